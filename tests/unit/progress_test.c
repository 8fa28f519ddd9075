#include "client/cli/progress.h"

#include "client/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

/* Kept bytes make no speed: 10 of 20 MiB were there, 1 MiB came in 1 s. */
static void speed_from_new_bytes(void **state)
{
    struct progress p = {0};
    struct belay_job_stats s = {.size = 20 * MIB, .have = 11 * MIB,
                                .kept = 10 * MIB, .fresh = MIB,
                                .elapsed_ms = 1000, .connections = 1};
    uint64_t ms;
    char line[PROGRESS_TEXT];

    (void)state;
    assert_false(progress_left_ms(&p, &s, &ms));
    progress_sample(&p, &s);
    assert_true(p.rate > 1048575 && p.rate < 1048577);
    assert_true(progress_left_ms(&p, &s, &ms));
    assert_int_equal(ms, 9000);
    progress_plain(&p, &s, line);
    assert_string_equal(line, " 55%, 11.00 MiB of 20.00 MiB, 1.00 MiB/s, "
                              "9s left");
    /* Too soon for another sample; and none that goes backwards. */
    s.elapsed_ms = 1100;
    s.fresh = 20 * MIB;
    progress_sample(&p, &s);
    assert_int_equal(p.fresh, MIB);
    s.elapsed_ms = 3000;
    s.fresh = 0;
    progress_sample(&p, &s);
    assert_int_equal(p.fresh, MIB);
}

/* Of a directory the files are told, too, and what is not known yet is not. */
static void directories(void **state)
{
    struct progress p = {.rate = MIB};
    struct belay_job_stats s = {.have = 11 * MIB, .kept = 10 * MIB,
                                .fresh = MIB, .elapsed_ms = 1000,
                                .connections = 1, .files_found = 30,
                                .files_have = 12, .files_kept = 10};
    char line[PROGRESS_TEXT];

    (void)state;
    progress_plain(&p, &s, line);
    assert_string_equal(line, "12 of 30+ files, 11.00 MiB, "
                              "1.00 MiB/s, - left");
    progress_bar(&p, &s, 100, line);
    assert_string_equal(line, "12/30+ files 11.00 MiB 1.00 MiB/s, - left");
    s.size = 20 * MIB;
    s.files_found = 40;
    progress_plain(&p, &s, line);
    assert_string_equal(line, " 55%, 12 of 40 files, 11.00 MiB of 20.00 MiB, "
                              "1.00 MiB/s, 9s left");
    progress_bar(&p, &s, 60, line);
    assert_string_equal(line, " 55% 12/40 files 11.00 MiB/20.00 MiB "
                              "1.00 MiB/s, 9s left");
    progress_bar(&p, &s, 50, line);
    assert_string_equal(line, " 55% 1.00 MiB/s, 9s left");
    /* More than was listed: files grew meanwhile. */
    s.have = 30 * MIB;
    progress_plain(&p, &s, line);
    assert_memory_equal(line, "100%, ", 6);
}

static void lines_fit(void **state)
{
    struct progress p = {.rate = 1e9};
    struct belay_job_stats s = {.size = UINT64_MAX / 2, .have = MIB,
                                .connections = 1, .losses = 12345};
    char line[PROGRESS_TEXT];

    (void)state;
    for (unsigned width = 1; width < 200; width++) {
        progress_bar(&p, &s, width, line);
        assert_true(strlen(line) <= width);
        progress_row(&p, "a name that is longer than there is room", &s,
                     width, line);
        assert_true(width < 30 || strlen(line) <= width);
    }
    progress_row(&p, "short", &s, 79, line);
    assert_memory_equal(line, "short ", 6);
    /* No number is cut in two: what there is no room for is left out. */
    p.rate = 16 * MIB;
    s = (struct belay_job_stats){.size = 191 * MIB, .have = 3 * MIB,
                                 .connections = 1, .losses = 1};
    static const struct {
        unsigned width;
        const char *want;
    } table[] = {
        {80, "[................]   2% 3.00 MiB/191.00 MiB 16.00 MiB/s, 11s "
             "left, 1 break"},
        {71, "  2% 3.00 MiB/191.00 MiB 16.00 MiB/s, 11s left, 1 break"},
        {50, "  2% 16.00 MiB/s, 11s left, 1 break"},
        {30, "  2% "},
    };
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        progress_bar(&p, &s, table[k].width, line);
        assert_string_equal(line, table[k].want);
    }
}

static void cut_at_characters(void **state)
{
    static const struct {
        const char *text;
        unsigned width;
        const char *want;
    } table[] = {
        {"abc", 3, "abc"},        {"abcd", 3, "abc"},
        {"\xC3\xA4\xC3\xA4", 1, "\xC3\xA4"},
        {"\xE6\x97\xA5\xE6\x9C\xAC", 3, "\xE6\x97\xA5"},
        {"\xF0\x9F\x98\x80x", 2, "\xF0\x9F\x98\x80"}, {"x", 0, ""},
    };

    (void)state;
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        char text[16];

        (void)snprintf(text, sizeof text, "%s", table[k].text);
        progress_cut(text, table[k].width);
        assert_string_equal(text, table[k].want);
    }
}

static void times(void **state)
{
    static const struct {
        uint64_t seconds;
        const char *want;
    } table[] = {{0, "0s"}, {59, "59s"}, {60, "1m00s"}, {3599, "59m59s"},
                 {3600, "1h00m"}, {360000, "100h00m"}};
    char text[32];

    (void)state;
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        progress_time(table[k].seconds, text, sizeof text);
        assert_string_equal(text, table[k].want);
    }
}

/* Callers of an earlier and of a later library. */
static void structs_that_grow(void **state)
{
    struct {
        size_t struct_size;
        int a;
        int b;
    } ours = {0}, theirs = {sizeof(size_t) + sizeof(int), 1, 2};

    (void)state;
    report_take(&ours, sizeof ours, &theirs);
    assert_int_equal(ours.a, 1);
    assert_int_equal(ours.b, 0);
    ours.a = 3;
    ours.b = 4;
    report_give(&theirs, &ours, sizeof ours);
    assert_int_equal(theirs.struct_size, sizeof(size_t) + sizeof(int));
    assert_int_equal(theirs.a, 3);
    assert_int_equal(theirs.b, 2);
    theirs.struct_size = sizeof theirs + 100;
    report_give(&theirs, &ours, sizeof ours);
    assert_int_equal(theirs.b, 4);
    theirs.struct_size = 0;
    report_give(&theirs, &ours, sizeof ours);
    assert_int_equal(theirs.struct_size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speed_from_new_bytes), cmocka_unit_test(directories),
        cmocka_unit_test(lines_fit),
        cmocka_unit_test(cut_at_characters),    cmocka_unit_test(times),
        cmocka_unit_test(structs_that_grow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
