/* Work in a child process: its bytes come back, whatever becomes of it. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/errand.h"
#include "server/filter.h"
#include "server/privileges.h"

struct order {
    size_t len;    /* bytes that are written, */
    int status;    /* then this is returned, */
    int signum;    /* or this comes */
};

static int
carry_out(void *arg, int fd)
{
    const struct order *order = arg;

    for (size_t i = 0; i < order->len; i++) {
        const uint8_t byte = (uint8_t)i;
        if (write(fd, &byte, 1) != 1) {
            return 1;
        }
    }
    if (order->signum != 0) {
        signal(order->signum, SIG_DFL); /* cmocka has handlers of its own */
        raise(order->signum);
    }
    return order->status;
}

static void
test_ends(void **state)
{
    static const struct {
        struct order order;
        int err;
        size_t len;
    } rows[] = {
        { { 0, 0, 0 }, 0, 0 },
        { { 1, 0, 0 }, 0, 1 },
        { { 100, 0, 0 }, 0, 100 },
        { { 100, 1, 0 }, ERR_NOMEM, 100 },
        { { 0, ERRAND_NONE, 0 }, ERR_NOT_FOUND, 0 },
        { { 7, 0, SIGSEGV }, ERR_NOMEM, 7 },
        { { 0, 0, SIGABRT }, ERR_NOMEM, 0 },
        { { 0, 0, SIGXCPU }, ERR_NOMEM, 0 },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct order order = rows[i].order;
        uint8_t buf[100];
        size_t len = 1000;
        assert_int_equal(errand_run(carry_out, &order, buf, sizeof(buf),
                                    &len), rows[i].err);
        assert_int_equal(len, rows[i].len);
        for (size_t k = 0; k < len; k++) {
            assert_int_equal(buf[k], k);
        }
    }
}

/* Who writes more than is wanted does not hold us up: it loses its reader. */
static void
test_too_much(void **state)
{
    struct order order = { .len = 1 << 20 };
    uint8_t buf[10];
    size_t len = 0;
    (void)state;

    assert_int_equal(errand_run(carry_out, &order, buf, sizeof(buf), &len),
                     ERR_NOMEM);
    assert_int_equal(len, sizeof(buf));
}

static void
test_descriptors(void **state)
{
    struct order order = { .len = 1 };
    uint8_t buf[10];
    size_t len = 0;
    (void)state;

    int before = dup(STDIN_FILENO);
    close(before);
    for (unsigned i = 0; i < 20; i++) {
        order.status = (int)(i % 2);
        (void)!errand_run(carry_out, &order, buf, sizeof(buf), &len);
    }
    int after = dup(STDIN_FILENO);
    close(after);
    assert_int_equal(after, before);
}

/* ---- Who goes on errands. */

static void
test_users(void **state)
{
    static const char *const none[] = {
        "", "there-is-no-such-user", "4294967295", "-1", "0x0",
        "99999999999999999999",
    };
    struct privileges_user user;
    (void)state;

    assert_int_equal(privileges_find("root", &user), 0);
    assert_int_equal(user.uid, 0);
    assert_int_equal(user.gid, 0);
    assert_true(user.group_count >= 1);
    assert_int_equal(user.groups[0], 0);
    assert_int_equal(privileges_find("0", &user), 0);
    assert_int_equal(user.uid, 0);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(privileges_find(none[i], &user), ERR_NOT_FOUND);
    }
}

static void
test_filters(void **state)
{
    struct filter one;
    struct filter two;
    (void)state;

    if (!filter_built()) {
        assert_int_equal(filter_make(true, &one), ERR_UNSUPPORTED);
        return;
    }
    assert_int_equal(filter_make(true, &one), 0);
    assert_int_equal(filter_make(true, &two), 0);
    assert_true(one.len > 100);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.code, two.code, one.len);
    filter_clear(&two);
    assert_int_equal(filter_make(false, &two), 0);
    assert_true(one.len != two.len ||
                memcmp(one.code, two.code, one.len) != 0);
    filter_clear(&one);
    filter_clear(&two);
    filter_clear(&two);
    assert_int_equal(filter_load(&two), ERR_UNSUPPORTED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
