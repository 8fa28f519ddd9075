/* proto/wire/preface.h: the seed prefaces, every bit, every prefix. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/wire/preface.h"

struct row {
    struct preface preface;
    const char *bytes;
    int err; /* when read by the other side */
};

static const struct row rows[] = {
    { { 1, ROLE_CLIENT, false },
      "\x89\x42\x4c\x59\x0d\x0a\x1a\x0a\x00\x01\x43\x00\x5f\xf6\x26\x01",
      BELAY_OK },
    { { 1, ROLE_SERVER, false },
      "\x89\x42\x4c\x59\x0d\x0a\x1a\x0a\x00\x01\x53\x00\x15\x34\x34\x50",
      BELAY_OK },
    { { 1, ROLE_SERVER, true },
      "\x89\x42\x4c\x59\x0d\x0a\x1a\x0a\x00\x01\x53\x01\x62\x33\x04\xc6",
      BELAY_OK },
};

static const uint8_t *raw(const struct row *row)
{
    return (const uint8_t *)row->bytes;
}

static void check_equal(const struct preface *a, const struct preface *b)
{
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->role, b->role);
    assert_int_equal(a->rejected, b->rejected);
}

static void seed_prefaces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t out[PREFACE_LEN];
        struct preface p;
        preface_encode(&rows[i].preface, out);
        assert_memory_equal(out, raw(&rows[i]), PREFACE_LEN);
        assert_int_equal(preface_decode(out, rows[i].preface.role, &p),
                         rows[i].err);
        check_equal(&p, &rows[i].preface);
    }
}

static void other_versions(void **state)
{
    (void)state;
    const uint16_t versions[] = { 0, 2, 0x0100, 0xFFFF };
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        uint8_t out[PREFACE_LEN];
        struct preface p;
        struct preface theirs = { versions[i], ROLE_SERVER, false };
        preface_encode(&theirs, out);
        assert_int_equal(preface_decode(out, ROLE_SERVER, &p), ERR_VERSION);
        check_equal(&p, &theirs);
        /* A rejection is readable whatever its version is. */
        theirs.rejected = true;
        preface_encode(&theirs, out);
        assert_int_equal(preface_decode(out, ROLE_SERVER, &p), BELAY_OK);
        check_equal(&p, &theirs);
    }
}

static void the_wrong_role(void **state)
{
    (void)state;
    struct preface p = { 77, 78, true };
    const struct preface before = p;
    assert_int_equal(preface_decode(raw(&rows[0]), ROLE_SERVER, &p), ERR_ROLE);
    assert_int_equal(preface_decode(raw(&rows[1]), ROLE_CLIENT, &p), ERR_ROLE);
    check_equal(&p, &before);
}

/* A client's bit 0x01 means nothing: reserved bits are ignored. */
static void a_client_cannot_reject(void **state)
{
    (void)state;
    uint8_t out[PREFACE_LEN];
    struct preface p;
    const struct preface odd = { 1, ROLE_CLIENT, true };
    preface_encode(&odd, out);
    assert_int_equal(preface_decode(out, ROLE_CLIENT, &p), BELAY_OK);
    assert_false(p.rejected);
}

static void every_flipped_bit(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < PREFACE_LEN * 8; bit++) {
        uint8_t out[PREFACE_LEN];
        struct preface p;
        memcpy(out, raw(&rows[0]), sizeof out);
        out[bit / 8] = (uint8_t)(out[bit / 8] ^ 1u << bit % 8);
        assert_int_equal(preface_decode(out, ROLE_CLIENT, &p),
                         bit < 64 ? ERR_MAGIC : ERR_CRC);
    }
}

static void foreign_bytes_show_at_once(void **state)
{
    (void)state;
    const uint8_t *good = raw(&rows[0]);
    for (size_t len = 0; len <= PREFACE_LEN; len++) {
        assert_true(preface_possible(good, len));
    }
    for (size_t at = 0; at < 8; at++) {
        uint8_t text[PREFACE_LEN];
        memcpy(text, good, sizeof text);
        text[at] ^= 0x80;
        for (size_t len = 0; len <= PREFACE_LEN; len++) {
            assert_int_equal(preface_possible(text, len), len <= at);
        }
    }
    assert_true(preface_possible(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seed_prefaces),
        cmocka_unit_test(other_versions),
        cmocka_unit_test(the_wrong_role),
        cmocka_unit_test(a_client_cannot_reject),
        cmocka_unit_test(every_flipped_bit),
        cmocka_unit_test(foreign_bytes_show_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
