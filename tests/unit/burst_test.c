/* A flood of log lines is a few, and one that counts the others. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <unistd.h>

#include "server/burst.h"
#include "server/limits.h"

/* At a moment so many lines come; how many are written, and what count stands
 * in the log before them (0: none). */
static const struct {
    uint64_t ms;
    unsigned lines, written, withheld;
} moments[] = {
    {5000, 3, 3, 0},
    {5000 + SERVER_BURST_MS - 1, 20, SERVER_BURST_LINES - 3, 0},
    {5000 + SERVER_BURST_MS, 1, 1, 23 - SERVER_BURST_LINES},
    {5001 + SERVER_BURST_MS, SERVER_BURST_LINES, SERVER_BURST_LINES - 1, 0},
    {9000 + SERVER_BURST_MS, 1, 1, 1},
    {90000, SERVER_BURST_LINES, SERVER_BURST_LINES, 0},
    {99000, 1000000, SERVER_BURST_LINES, 0},
    {100000, 1, 1, 1000000 - SERVER_BURST_LINES},
};

static unsigned
last_count(int fd)
{
    char text[400] = "";
    const char *at;

    assert_true(pread(fd, text, sizeof text - 1, 0) >= 0);
    if (text[0] == '\0') {
        return 0;
    }
    assert_non_null(strstr(text, " warn flood-more worker=7 count="));
    at = strstr(text, "count=");
    assert_null(strstr(at + 1, "count=")); /* one line */
    return (unsigned)strtoul(at + 6, NULL, 10);
}

static void
test_moments(void **state)
{
    struct burst burst = {.more = "flood-more"};
    char path[] = "/tmp/belay-burst-XXXXXX";
    int fd = mkstemp(path);
    struct log log;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(log_open(&log, path, LOG_LEVEL_INFO), 0);
    for (size_t k = 0; k < sizeof moments / sizeof moments[0]; k++) {
        unsigned written = 0;

        assert_int_equal(ftruncate(fd, 0), 0);
        for (unsigned n = 0; n < moments[k].lines; n++) {
            written += burst_allows(&burst, &log, 7, moments[k].ms);
        }
        assert_int_equal(written, moments[k].written);
        assert_int_equal(last_count(fd), moments[k].withheld);
    }
    log_close(&log);
    close(fd);
    assert_int_equal(unlink(path), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
