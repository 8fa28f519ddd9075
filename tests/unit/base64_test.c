/* proto/data/base64.h: the examples of RFC 4648, every byte, every refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/data/base64.h"

static void examples(void **state)
{
    static const struct {
        const char *bytes;
        const char *text;
    } rows[] = {
        {"", ""},           {"f", "Zg=="},         {"fo", "Zm8="},
        {"foo", "Zm9v"},    {"foob", "Zm9vYg=="},  {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xbf", "+/+/"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i].bytes);
        uint8_t back[16];
        size_t count;
        char text[32];
        base64_encode((const uint8_t *)rows[i].bytes, len, text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(strlen(text), BASE64_LEN(len));
        assert_int_equal(base64_decode(text, strlen(text), back, &count), 0);
        assert_int_equal(count, len);
        assert_memory_equal(back, rows[i].bytes, len);
    }
}

static void every_byte(void **state)
{
    uint8_t bytes[256], back[BASE64_BYTES(BASE64_LEN(256))];
    char text[BASE64_LEN(256) + 1];
    size_t count;
    (void)state;
    for (size_t i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    for (size_t len = 0; len <= 256; len++) {
        base64_encode(bytes, len, text);
        assert_int_equal(
            base64_decode(text, BASE64_LEN(len), back, &count), 0);
        assert_int_equal(count, len);
        assert_memory_equal(back, bytes, len);
    }
}

static void refusals(void **state)
{
    static const char *const rows[] = {
        "Z", "Zg", "Zg=", "=", "====", "Z===", "Zg==Zg==", "Zm=v", "Zm9v\n",
        "Zm 9", "Zm-_", "Zm9v=", "Zm9.",
    };
    uint8_t back[16];
    size_t count;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(
            base64_decode(rows[i], strlen(rows[i]), back, &count),
            ERR_SYNTAX);
    }
    assert_int_equal(base64_decode("Zg=\0", 4, back, &count), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(every_byte),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
