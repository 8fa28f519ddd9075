/* Escaped text can steer no terminal, and says the same as before.
 *
 * Input: the room for the result (a byte), then the text. */

#include "proto/data/text.h"
#include "tests/fuzz/shown.h"

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
    shown_check(whole, n);
    FUZZ_CHECK(shown_is(whole, text, len));
    size_t m = text_escape(cut, small, text, len);
    FUZZ_CHECK(m < small && strlen(cut) == m);
    shown_check(cut, m);
    FUZZ_CHECK(n >= small || strcmp(whole, cut) == 0);
    FUZZ_CHECK(n < small || (m >= 3 && memcmp(cut + m - 3, "\xe2\x80\xa6",
                                              3) == 0));
    free(whole);
    free(cut);
    free(text);
    return 0;
}
