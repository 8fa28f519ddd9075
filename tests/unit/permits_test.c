/* Permits: as many as there are, taken and given between processes, and those
 * of a worker that died. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/limits.h"
#include "server/permits.h"

static bool
is_readable(const struct permits *p)
{
    struct pollfd pollfd = { .fd = permits_fd(p), .events = POLLIN };
    return poll(&pollfd, 1, 0) == 1;
}

static void
test_as_many_as_there_are(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 3; count++) {
        struct permits *p = NULL;
        assert_int_equal(permits_new(count, &p), 0);
        for (unsigned i = 0; i < count; i++) {
            assert_true(is_readable(p));
            assert_true(permits_take(p, i % 2));
        }
        assert_false(is_readable(p));
        assert_false(permits_take(p, 0));
        permits_give(p, 0);
        assert_true(is_readable(p));
        assert_true(permits_take(p, 1));
        assert_false(permits_take(p, 1));
        permits_free(p);
    }
    permits_free(NULL);
}

static void
test_by_cores(void **state)
{
    static const struct {
        long cores;
        unsigned count;
    } cases[] = {
        { -1, 1 }, { 0, 1 }, { 1, 1 }, { 2, 1 }, { 3, 1 }, { 4, 2 },
        { 5, 2 }, { 8, 4 }, { 64, 32 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(permits_for_cores(cases[i].cores), cases[i].count);
    }
}

static void
test_dead_worker(void **state)
{
    struct permits *p = NULL;
    int status = 0;
    (void)state;
    assert_int_equal(permits_new(1, &p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(permits_take(p, 3) && !permits_take(p, 3) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(permits_take(p, 1));
    permits_worker_died(p, 2);
    assert_false(permits_take(p, 1));
    permits_worker_died(p, 3);
    permits_worker_died(p, 3);
    assert_true(permits_take(p, 1));
    assert_false(permits_take(p, 1));
    permits_free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_many_as_there_are),
        cmocka_unit_test(test_by_cores),
        cmocka_unit_test(test_dead_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
