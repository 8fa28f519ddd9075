/* What may be shown on a terminal, and what it stands for. */

#ifndef TESTS_FUZZ_SHOWN_H
#define TESTS_FUZZ_SHOWN_H

#include "tests/fuzz/fuzz.h"

/* No byte that acts: controls of C0 and C1, and no broken sequences. The
 * lead byte tells the length; escape marks are plain ASCII. */
static inline void shown_check(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint8_t c = (uint8_t)text[i];
        size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        FUZZ_CHECK(c >= 0x20 && c != 0x7f && c != 0xc0 && c != 0xc1);
        FUZZ_CHECK(c < 0x80 || (c >= 0xc2 && c <= 0xf4));
        FUZZ_CHECK(i + more < len);
        for (size_t k = 1; k <= more; k++) {
            FUZZ_CHECK(((uint8_t)text[i + k] & 0xc0) == 0x80);
        }
        /* U+0080 to U+009F are controls, too. */
        FUZZ_CHECK(c != 0xc2 || (uint8_t)text[i + 1] >= 0xa0);
        i += more + 1;
    }
}

static inline unsigned shown_hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A') + 10;
}

/* Undo the escapes; true when that gives the original. */
static inline bool shown_is(const char *shown, const uint8_t *text, size_t len)
{
    size_t at = 0;
    for (const char *p = shown; *p != '\0'; at++) {
        uint8_t c = (uint8_t)*p++;
        if (c == '\\' && *p == 'x') {
            c = (uint8_t)(shown_hex(p[1]) << 4 | shown_hex(p[2]));
            p += 3;
        } else if (c == '\\') {
            c = (uint8_t)*p++;
        }
        if (at >= len || c != text[at]) {
            return false;
        }
    }
    return at == len;
}

#endif
