/* proto/base/err.h: the list is complete and consistent. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"

static const int codes[] = {
#define CODE(name, sentence, wire) name,
    ERR_LIST(CODE)
#undef CODE
};

static void every_code_is_described(void **state)
{
    (void)state;
    assert_int_equal(sizeof codes / sizeof codes[0], ERR_COUNT);
    for (size_t i = 0; i < ERR_COUNT; i++) {
        assert_int_equal(codes[i], -1 - (int)i);
        assert_true(strncmp(err_name(codes[i]), "ERR_", 4) == 0);
        const char *sentence = err_sentence(codes[i]);
        assert_true(strlen(sentence) > 0);
        assert_true(sentence[strlen(sentence) - 1] != '.');
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(err_name(codes[i]), err_name(codes[j]));
        }
        /* What may go on the wire is an assigned code. */
        if (err_wire(codes[i]) != 0) {
            assert_non_null(err_wire_name(err_wire(codes[i])));
        }
    }
}

static void values_off_the_list(void **state)
{
    (void)state;
    const int off[] = { 1, INT32_MAX, -(int)ERR_COUNT - 1, INT32_MIN };
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        assert_string_equal(err_name(off[i]), "ERR_UNKNOWN");
        assert_string_equal(err_sentence(off[i]), "unknown error");
        assert_int_equal(err_wire(off[i]), 0);
    }
    assert_string_equal(err_name(BELAY_OK), "BELAY_OK");
    assert_int_equal(err_wire(BELAY_OK), 0);
}

static void classes_of_wire_codes(void **state)
{
    (void)state;
    const struct {
        uint16_t wire;
        uint8_t class;
        const char *name;
    } rows[] = {
        { WIRE_BAD_REQUEST, WIRE_CLASS_PERMANENT, "BAD_REQUEST" },
        { WIRE_DIGEST_PENDING, WIRE_CLASS_TRANSIENT, "DIGEST_PENDING" },
        { WIRE_CHANGED, WIRE_CLASS_STALE, "CHANGED" },
        { WIRE_INSECURE, WIRE_CLASS_ACCESS, "INSECURE" },
        { WIRE_CORRUPT_STREAM, WIRE_CLASS_SERVER, "CORRUPT_STREAM" },
        { WIRE_VERSION_REJECTED, WIRE_CLASS_PROTOCOL, "VERSION_REJECTED" },
        { WIRE_CANCELLED, WIRE_CLASS_CANCELLED, "CANCELLED" },
        { 0x02FF, WIRE_CLASS_TRANSIENT, NULL },
        { 0x0000, WIRE_CLASS_PERMANENT, NULL },
        { 0x0801, WIRE_CLASS_PERMANENT, NULL },
        { 0xFFFF, WIRE_CLASS_PERMANENT, NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(err_wire_class(rows[i].wire), rows[i].class);
        const char *name = err_wire_name(rows[i].wire);
        if (rows[i].name == NULL) {
            assert_null(name);
            assert_string_equal(err_wire_sentence(rows[i].wire),
                                "unknown error code");
        } else {
            assert_string_equal(name, rows[i].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_is_described),
        cmocka_unit_test(values_off_the_list),
        cmocka_unit_test(classes_of_wire_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
