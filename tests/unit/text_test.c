/* Tests of proto/data/text: nothing but plain text gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/data/text.h"

#define TEXT(s) s, sizeof(s) - 1

static void test_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *want;
    } rows[] = {
        {TEXT(""), ""},
        {TEXT("plain text, 100 %"), "plain text, 100 %"},
        {TEXT("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {TEXT("a\nb\r\tc"), "a\\x0Ab\\x0D\\x09c"},
        {TEXT("\x1b[2J\x07"), "\\x1B[2J\\x07"},
        {TEXT("\0x\x7f"), "\\x00x\\x7F"},
        {TEXT("C:\\x41"), "C:\\\\x41"},
        /* C1 controls: as a stray byte, and as a character. */
        {TEXT("\x9b" "2J"), "\\x9B2J"},
        {TEXT("\xc2\x9b" "2J"), "\\xC2\\x9B2J"},
        {TEXT("\xc2\x80\xc2\x9f\xc2\xa0"), "\\xC2\\x80\\xC2\\x9F\xc2\xa0"},
        /* Writing direction. */
        {TEXT("\xe2\x80\xae" "gpj.exe"), "\\xE2\\x80\\xAEgpj.exe"},
        {TEXT("\xe2\x80\xaa\xe2\x81\xa6\xe2\x81\xa9"),
         "\\xE2\\x80\\xAA\\xE2\\x81\\xA6\\xE2\\x81\\xA9"},
        {TEXT("\xe2\x81\xa5\xe2\x81\xaa"), "\xe2\x81\xa5\xe2\x81\xaa"},
        {TEXT("\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c"),
         "\\xE2\\x80\\x8E\\xE2\\x80\\x8F\\xD8\\x9C"},
        /* Line and paragraph separators, byte order mark, tags. */
        {TEXT("\xe2\x80\xa8\xe2\x80\xa9"),
         "\\xE2\\x80\\xA8\\xE2\\x80\\xA9"},
        {TEXT("\xef\xbb\xbf"), "\\xEF\\xBB\\xBF"},
        {TEXT("\xf3\xa0\x81\x81"), "\\xF3\\xA0\\x81\\x81"},
        /* Not UTF-8: stray, cut short, overlong, surrogate, too large. */
        {TEXT("\xff\xfe"), "\\xFF\\xFE"},
        {TEXT("\x80" "a"), "\\x80a"},
        {TEXT("\xc3"), "\\xC3"},
        {TEXT("\xe2\x82"), "\\xE2\\x82"},
        {TEXT("\xe2\x82" "a"), "\\xE2\\x82a"},
        {TEXT("\xc0\xaf"), "\\xC0\\xAF"},
        {TEXT("\xc1\xbf"), "\\xC1\\xBF"},
        {TEXT("\xe0\x80\xaf"), "\\xE0\\x80\\xAF"},
        {TEXT("\xf0\x80\x80\xaf"), "\\xF0\\x80\\x80\\xAF"},
        {TEXT("\xed\xa0\x80"), "\\xED\\xA0\\x80"},
        {TEXT("\xf4\x90\x80\x80"), "\\xF4\\x90\\x80\\x80"},
        {TEXT("\xf8\x88\x80\x80\x80"), "\\xF8\\x88\\x80\\x80\\x80"},
        {TEXT("\xf4\x8f\xbf\xbd"), "\xf4\x8f\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[256];
        size_t len = text_escape(out, TEXT_ESCAPE_SIZE(rows[i].len) + 4,
                                 rows[i].bytes, rows[i].len);
        assert_string_equal(out, rows[i].want);
        assert_int_equal(len, strlen(rows[i].want));
    }
    char out[8];
    assert_int_equal(text_escape(out, sizeof out, NULL, 0), 0);
    assert_string_equal(out, "");
}

#define CUT "\xe2\x80\xa6"

static void test_cuts(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t cap;
        const char *want;
    } rows[] = {
        {"abcdef", 7, "abcdef"},
        {"abcdefg", 7, "abc" CUT},
        {"abcd", 4, CUT},
        {"abc", 4, "abc"},
        {"abcdef", 6, "ab" CUT},
        /* Never inside a character or an escape. */
        {"a\xc3\xbc\xc3\xbc\xc3\xbc", 7, "a\xc3\xbc" CUT},
        {"a\xc3\xbc\xc3\xbc\xc3\xbc", 6, "a" CUT},
        {"a\xc3\xbc\xc3\xbc\xc3\xbc", 8, "a\xc3\xbc\xc3\xbc\xc3\xbc"},
        {"a\nb", 6, "a" CUT},
        {"a\nb", 7, "a\\x0A" "b"},
        {"a\nbcd", 8, "a" CUT},
        {"a\nbcd", 9, "a\\x0A" "bcd"},
        {"\n\n", 8, "\\x0A" CUT},
        {"\n\n", 7, CUT},
        {"\xf0\x9f\x98\x80", 4, CUT},
        {"\xf0\x9f\x98\x80", 5, "\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[16];
        memset(out, 'Z', sizeof out);
        size_t len = text_escape(out, rows[i].cap, rows[i].bytes,
                                 strlen(rows[i].bytes));
        assert_string_equal(out, rows[i].want);
        assert_int_equal(len, strlen(rows[i].want));
        for (size_t k = rows[i].cap; k < sizeof out; k++) {
            assert_int_equal(out[k], 'Z');
        }
    }
}

/* Whatever goes in, only printable bytes come out, within the bound. */
static void test_random_bytes(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[40];
        char out[64];
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = (uint8_t)(seed >> 16);
        }
        size_t cap = TEXT_ESCAPE_MIN + (size_t)round % 60;
        size_t len = text_escape(out, cap, bytes, sizeof bytes);
        assert_true(len < cap);
        assert_int_equal(strlen(out), len);
        for (size_t i = 0; i < len; i++) {
            unsigned char c = (unsigned char)out[i];
            assert_true(c >= 0x20 && c != 0x7f);
        }
        /* The result is fit for a terminal, so a second pass only doubles
         * the backslashes. */
        char again[4 * sizeof out];
        size_t slashes = 0;
        for (size_t i = 0; i < len; i++) {
            slashes += out[i] == '\\' ? 1 : 0;
        }
        assert_int_equal(text_escape(again, sizeof again, out, len),
                         len + slashes);
    }
}

static void print_to(char *out, size_t cap, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void print_to(char *out, size_t cap, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text_vprint(out, cap, format, args);
    va_end(args);
}

static void test_print(void **state)
{
    (void)state;
    char out[12];
    static const struct {
        const char *text;
        const char *want;
    } cases[] = {
        {"", "<>"},
        {"123456789", "<123456789>"},
        {"1234567890", "<1234567…"},
        {"123456\u00e4 cut", "<123456…"},
        {"12345\u00e4 cut", "<12345\u00e4…"},
        {"1234\u20ac cut", "<1234\u20ac…"},
        {"12345\u20ac cut", "<12345…"},
        {"\u20ac\u20ac\u20ac\u20ac", "<\u20ac\u20ac…"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_to(out, sizeof out, "<%s>", cases[i].text);
        assert_string_equal(out, cases[i].want);
    }
    print_to(out, TEXT_ESCAPE_MIN, "%s", "long");
    assert_string_equal(out, "…");
}

static void test_size(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *want;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.00 KiB"},
        {200057020, "190.79 MiB"},
        {UINT64_C(1) << 40, "1.00 TiB"},
        {UINT64_MAX, "16.00 EiB"},
    };
    char out[16];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text_size(out, sizeof out, cases[i].bytes);
        assert_string_equal(out, cases[i].want);
    }
    text_size(out, 5, 200057020);
    assert_string_equal(out, "190.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
