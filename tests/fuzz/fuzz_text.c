/* Escaped text can steer no terminal, and says the same as before.
 *
 * Input: the room for the result (a byte), then the text. */

#include "proto/data/text.h"
#include "tests/fuzz/fuzz.h"

/* No byte that acts: controls of C0 and C1, and no broken sequences. The
 * lead byte tells the length; escape marks are plain ASCII. */
static void check_shown(const char *text, size_t len)
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

static unsigned hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A') + 10;
}

/* Undo the escapes; true when that gives the original. */
static bool same(const char *shown, const uint8_t *text, size_t len)
{
    size_t at = 0;
    for (const char *p = shown; *p != '\0'; at++) {
        uint8_t c = (uint8_t)*p++;
        if (c == '\\' && *p == 'x') {
            c = (uint8_t)(hex(p[1]) << 4 | hex(p[2]));
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    size_t small = TEXT_ESCAPE_MIN + script_u8(&s);
    size_t len;
    uint8_t *text = script_rest(&s, &len);
    char *whole = malloc(TEXT_ESCAPE_SIZE(len) + TEXT_ESCAPE_MIN);
    char *cut = malloc(small);
    FUZZ_CHECK(whole != NULL && cut != NULL);
    size_t n = text_escape(whole, TEXT_ESCAPE_SIZE(len) + TEXT_ESCAPE_MIN,
                           text, len);
    FUZZ_CHECK(strlen(whole) == n);
    check_shown(whole, n);
    FUZZ_CHECK(same(whole, text, len));
    size_t m = text_escape(cut, small, text, len);
    FUZZ_CHECK(m < small && strlen(cut) == m);
    check_shown(cut, m);
    FUZZ_CHECK(n >= small || strcmp(whole, cut) == 0);
    FUZZ_CHECK(n < small || (m >= 3 && memcmp(cut + m - 3, "\xe2\x80\xa6",
                                              3) == 0));
    free(whole);
    free(cut);
    free(text);
    return 0;
}
