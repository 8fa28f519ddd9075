/* client/prologue.h: what a remote shell prints before the server. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "client/prologue.h"

#define MAGIC "\x89" "BLY\r\n\x1a\n"

/* What can be read now, what of it is skipped, and what that means. */
static void test_verdicts(void **state)
{
    static const struct {
        const char *bytes;
        size_t skip;
        enum prologue_verdict verdict;
    } cases[] = {
        {MAGIC, 0, PROLOGUE_ENDS},
        {MAGIC "more", 0, PROLOGUE_ENDS},
        {"hello\n" MAGIC, 6, PROLOGUE_ENDS},
        {"hello\n", 6, PROLOGUE_GOES_ON},
        {"hello\n\x89" "BL", 6, PROLOGUE_MAY_END},
        {"\x89" "BLx", 4, PROLOGUE_GOES_ON},
        {"\x89" "BL" MAGIC, 3, PROLOGUE_ENDS},
        {"\x89\x89" "B", 1, PROLOGUE_MAY_END},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct prologue p = {.len = 0};
        enum prologue_verdict verdict;
        size_t skip = prologue_take(&p, (const uint8_t *)cases[i].bytes,
                                    strlen(cases[i].bytes), &verdict);

        assert_int_equal(skip, cases[i].skip);
        assert_int_equal(p.len, cases[i].skip);
        assert_int_equal(verdict, cases[i].verdict);
    }
}

/* The limit is of what was skipped, not of what can be read. */
static void test_limit(void **state)
{
    static uint8_t noise[PROLOGUE_MAX + 8];
    struct prologue p = {.len = 0};
    enum prologue_verdict verdict;

    (void)state;
    memset(noise, 'x', sizeof noise);
    assert_int_equal(prologue_take(&p, noise, PROLOGUE_MAX, &verdict),
                     PROLOGUE_MAX);
    assert_int_equal(verdict, PROLOGUE_GOES_ON);
    memcpy(noise + 1, MAGIC, 7);
    assert_int_equal(prologue_take(&p, noise, 9, &verdict), 9);
    assert_int_equal(verdict, PROLOGUE_ENDLESS);
    p.len = PROLOGUE_MAX;
    memcpy(noise, MAGIC, 8);
    assert_int_equal(prologue_take(&p, noise, 8, &verdict), 0);
    assert_int_equal(verdict, PROLOGUE_ENDS);
}

/* The beginning is told, printable, and says where it was cut. */
static void test_text(void **state)
{
    struct prologue p = {.len = 0};
    enum prologue_verdict verdict;
    char text[PROLOGUE_TEXT];
    uint8_t noise[200];

    (void)state;
    prologue_text(&p, text);
    assert_string_equal(text, "");
    (void)prologue_take(&p, (const uint8_t *)"a\x1b[2J\n", 6, &verdict);
    prologue_text(&p, text);
    assert_string_equal(text, "a\\x1B[2J\\x0A");
    memset(noise, 'x', sizeof noise);
    (void)prologue_take(&p, noise, sizeof noise, &verdict);
    prologue_text(&p, text);
    assert_int_equal(strlen(text), 12 + LIMIT_TEXT_HINT - 6);
    assert_int_equal(p.len, 206);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
