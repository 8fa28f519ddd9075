/* The log: one line for each event, whatever is put into it. */

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

#include "proto/io/log.h"

static char path[] = "/tmp/log-test-XXXXXX";

static size_t
read_log(const char *name, char *out, size_t cap)
{
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    size_t len = fread(out, 1, cap - 1, file);
    out[len] = '\0';
    fclose(file);
    return len;
}

static int
make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int
remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void
test_line(void **state)
{
    struct log log;
    struct log_line line;
    char text[4096];
    (void)state;
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(log_open(&log, path, LOG_LEVEL_INFO), 0);
    log_begin(&line, &log, LOG_LEVEL_WARN, "event");
    log_num(&line, "n", UINT64_MAX);
    log_word(&line, "peer", "[::1]:7245");
    log_bytes(&line, "evil", "a\"b\n\x1b[2J\\ \xff", 11);
    log_text(&line, "empty", "");
    log_end(&line);
    log_begin(&line, &log, LOG_LEVEL_DEBUG, "unwanted");
    log_num(&line, "n", 1);
    log_end(&line);
    log_close(&log);
    read_log(path, text, sizeof(text));
    /* 2026-01-02T03:04:05.678Z */
    assert_int_equal(strspn(text, "0123456789-T:."), 23);
    assert_string_equal(text + 23,
                        "Z warn event n=18446744073709551615 "
                        "peer=[::1]:7245 "
                        "evil=\"a\\x22b\\x0A\\x1B[2J\\\\ \\xFF\""
                        " empty=\"\"\n");
}

static void
test_long_line_is_cut(void **state)
{
    static uint8_t junk[4000];
    struct log log;
    struct log_line line;
    char text[8192];
    (void)state;
    memset(junk, 1, sizeof(junk));
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(log_open(&log, path, LOG_LEVEL_INFO), 0);
    log_begin(&line, &log, LOG_LEVEL_INFO, "long");
    for (int i = 0; i < 20; i++) {
        log_bytes(&line, "junk", junk, sizeof(junk));
        log_num(&line, "n", 12345678);
    }
    log_end(&line);
    log_close(&log);
    size_t len = read_log(path, text, sizeof(text));
    assert_in_range(len, 1000, LOG_LINE_MAX);
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
}

static void
test_reopen(void **state)
{
    struct log log;
    struct log_line line;
    char moved[64];
    char text[4096];
    (void)state;
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(log_open(&log, path, LOG_LEVEL_INFO), 0);
    snprintf(moved, sizeof(moved), "%s.1", path);
    assert_int_equal(rename(path, moved), 0);
    log_begin(&line, &log, LOG_LEVEL_INFO, "old");
    log_end(&line);
    assert_int_equal(log_reopen(&log), 0);
    log_begin(&line, &log, LOG_LEVEL_INFO, "new");
    log_end(&line);
    log_close(&log);
    read_log(moved, text, sizeof(text));
    assert_non_null(strstr(text, "info old\n"));
    assert_null(strstr(text, "new"));
    read_log(path, text, sizeof(text));
    assert_non_null(strstr(text, "info new\n"));
    unlink(moved);
}

static void
test_cannot_open(void **state)
{
    struct log log;
    struct log_line line;
    (void)state;
    assert_int_equal(log_open(&log, "/nonexistent/log", LOG_LEVEL_INFO),
                     ERR_IO);
    /* Harmless all the same. */
    log_begin(&line, &log, LOG_LEVEL_ERROR, "event");
    log_errno(&line, 2);
    log_end(&line);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_long_line_is_cut),
        cmocka_unit_test(test_reopen),
        cmocka_unit_test(test_cannot_open),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
