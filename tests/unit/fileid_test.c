/* States of files: every field tells them apart, and the racy window is kept
 * to the millisecond. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/registry.h"
#include "proto/io/clock.h"
#include "server/fileid.h"

#define MS INT64_C(1000000)

static void
test_equal(void **state)
{
    const struct fileid id = { 1, 2, 3, 4, 5 };
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct fileid other = id;
        other.dev += i == 0;
        other.ino += i == 1;
        other.size += i == 2;
        other.mtime_ns += i == 3;
        other.ctime_ns += i == 4;
        assert_int_equal(fileid_equal(&id, &other), i == 5);
    }
}

static void
test_settled(void **state)
{
    int64_t now = INT64_C(1700000000) * 1000 * MS;
    const struct {
        int64_t mtime_ago_ms;
        int64_t ctime_ago_ms;
        bool settled;
    } cases[] = {
        { 100000, 100000, true },
        { 100000, 2021, true },
        { 100000, 2020, false },
        { 100000, 2000, false },
        { 100000, 0, false },
        { 2021, 2021, true },
        { 2020, 2021, false },
        { 0, 100000, false },
        { -100000, 100000, true },  /* set by hand, long ago */
        { 100000, -100000, false }, /* changed in the future: who knows */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fileid id = {
            .mtime_ns = now - cases[i].mtime_ago_ms * MS,
            .ctime_ns = now - cases[i].ctime_ago_ms * MS,
        };
        assert_int_equal(fileid_is_settled(&id, now), cases[i].settled);
        uint64_t rest = fileid_rest_ms(&id, now);
        assert_int_equal(rest == 0, cases[i].settled);
        assert_in_range(rest, 0, FILEID_REST_MAX_MS);
        if (cases[i].ctime_ago_ms >= 0) {
            assert_true(
                fileid_is_settled(&id, now + (int64_t)rest * MS));
        }
    }
    assert_true(TIMER_RACY_WINDOW_MS == 2000);
}

static void
test_check(void **state)
{
    char path[] = "/tmp/fileid-test-XXXXXX";
    struct stat st;
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(fstat(fd, &st), 0);
    struct fileid id = fileid_of(&st);
    assert_int_equal(id.size, 5);
    assert_int_equal(fileid_check(&id, fd), 0);
    /* A file just written is never settled by the clock it is stamped with. */
    assert_false(fileid_is_settled(&id, clock_file_ns()));
    assert_int_equal(write(fd, "!", 1), 1);
    assert_int_equal(fileid_check(&id, fd), ERR_CHANGED);
    assert_int_equal(fileid_check(&id, -1), ERR_IO);
    close(fd);
    unlink(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_settled),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
