/* The server's numbers: counted in slots, summed, rendered. Scenario
 * server_metrics.py reads them from the real program. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/registry.h"
#include "server/limits.h"
#include "server/metrics.h"

static struct metrics *
fresh(void)
{
    struct metrics *m = NULL;
    assert_int_equal(metrics_new(&m), 0);
    return m;
}

/* ---- Numbers. */

static void
test_sums_over_slots(void **state)
{
    struct metrics *m = fresh();
    uint64_t expected = 0;
    (void)state;

    for (unsigned w = 0; w < SERVER_WORKERS_MAX; w++) {
        metrics_add(metrics_of_worker(m, w), METRICS_REQUESTS, w + 1);
        expected += w + 1;
    }
    metrics_add(metrics_of_parent(m), METRICS_REQUESTS, 1000);
    for (enum metrics_id id = 0; id < METRICS_IDS; id++) {
        assert_int_equal(metrics_sum(m, id),
                         id == METRICS_REQUESTS ? expected + 1000 : 0);
    }
    metrics_free(m);
    metrics_free(NULL);
}

/* A counter stays, what was only of the moment goes with its worker. */
static void
test_death_takes_back_the_moment_only(void **state)
{
    struct metrics *m = fresh();
    uint64_t before[METRICS_IDS];
    (void)state;

    for (enum metrics_id id = 0; id < METRICS_IDS; id++) {
        metrics_add(metrics_of_worker(m, 0), id, 5);
        metrics_add(metrics_of_worker(m, 1), id, 2);
        before[id] = metrics_sum(m, id);
    }
    metrics_worker_died(m, 0);
    for (enum metrics_id id = 0; id < METRICS_IDS; id++) {
        bool momentary = id == METRICS_CONNECTIONS_NOW ||
                         id == METRICS_HASH_RUNNING_NOW ||
                         id == METRICS_HASH_WAITING_NOW ||
                         id == METRICS_WORKERS_NOW;
        assert_int_equal(metrics_sum(m, id),
                         momentary ? before[id] - 5 : before[id]);
    }
    metrics_free(m);
}

/* Another process may have scribbled there: never below zero. */
static void
test_never_below_zero(void **state)
{
    struct metrics *m = fresh();
    struct metrics_slot *slot = metrics_of_worker(m, 0);
    (void)state;

    metrics_add(slot, METRICS_CONNECTIONS_NOW, 2);
    metrics_sub(slot, METRICS_CONNECTIONS_NOW, 1);
    assert_int_equal(metrics_sum(m, METRICS_CONNECTIONS_NOW), 1);
    metrics_sub(slot, METRICS_CONNECTIONS_NOW, 7);
    assert_int_equal(metrics_sum(m, METRICS_CONNECTIONS_NOW), 0);
    metrics_free(m);
}

static void
test_other_processes_share_them(void **state)
{
    struct metrics *m = fresh();
    int status = 0;
    (void)state;

    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        metrics_add(metrics_of_worker(m, 3), METRICS_RESETS, 42);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(metrics_sum(m, METRICS_RESETS), 42);
    metrics_free(m);
}

static void
test_sealed_can_only_be_read(void **state)
{
    struct metrics *m = fresh();
    int status = 0;
    (void)state;

    metrics_add(metrics_of_worker(m, 0), METRICS_RESETS, 1);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (metrics_seal(m) != 0 || metrics_sum(m, METRICS_RESETS) != 1) {
            _exit(3);
        }
        signal(SIGSEGV, SIG_DFL);
        metrics_add(metrics_of_worker(m, 0), METRICS_RESETS, 1);
        _exit(4);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    assert_int_equal(metrics_sum(m, METRICS_RESETS), 1);
    metrics_free(m);
}

/* ---- Text. */

/* Each number has a line of its own: the id is its value. */
static void
test_text(void **state)
{
    static const char *const lines[] = {
        "\n# TYPE belayd_connections_open gauge\nbelayd_connections_open 1\n",
        "\nbelayd_connections_total 2\n",
        "\n# TYPE belayd_connection_resets_total counter\n"
        "belayd_connection_resets_total 3\n",
        "\nbelayd_tls_handshakes_total 4\n",
        "\nbelayd_tls_handshakes_failed_total 5\n",
        "\nbelayd_auth_failures_total 6\n",
        "\nbelayd_sent_bytes_total 7\n",
        "\nbelayd_received_bytes_total 8\n",
        "\nbelayd_sent_file_bytes_total 9\n",
        "\nbelayd_chunks_sent_total{encoding=\"raw\"} 10\n"
        "belayd_chunks_sent_total{encoding=\"zlib\"} 11\n"
        "belayd_chunks_sent_total{encoding=\"zero\"} 12\n",
        "\nbelayd_requests_total 13\n",
        "\nbelayd_errors_total{class=\"permanent\"} 14\n"
        "belayd_errors_total{class=\"transient\"} 15\n"
        "belayd_errors_total{class=\"stale\"} 16\n"
        "belayd_errors_total{class=\"access\"} 17\n"
        "belayd_errors_total{class=\"server\"} 18\n"
        "belayd_errors_total{class=\"protocol\"} 19\n"
        "belayd_errors_total{class=\"cancelled\"} 20\n",
        "\nbelayd_digest_cache_hits_total 21\n",
        "\nbelayd_digest_cache_misses_total 22\n",
        "\nbelayd_hash_jobs{state=\"running\"} 23\n"
        "belayd_hash_jobs{state=\"waiting\"} 24\n",
        "\nbelayd_hash_jobs_done_total 25\n",
        "\n# TYPE belayd_uptime_seconds gauge\nbelayd_uptime_seconds "
        "61.007\n",
        "# HELP belayd_build_info What runs here; always 1.\n"
        "# TYPE belayd_build_info gauge\n"
        "belayd_build_info{version=\"" BELAY_VERSION "\",protocol=\"1\",",
    };
    struct metrics *m = fresh();
    char text[METRICS_TEXT_MAX + 1];
    size_t len = 0;
    (void)state;

    for (enum metrics_id id = 0; id < METRICS_IDS; id++) {
        metrics_add(metrics_of_worker(m, 1), id, id + 1);
    }
    assert_int_equal(metrics_render(m, 61007, text, METRICS_TEXT_MAX, &len),
                     0);
    text[len] = '\0';
    assert_int_equal(strlen(text), len);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (strstr(text, lines[i]) == NULL) {
            fail_msg("missing:\n%s\nin:\n%s", lines[i], text);
        }
    }
    metrics_free(m);
}

/* The rows are found by number. */
static void
test_numbers_follow_the_registry(void **state)
{
    (void)state;
    assert_int_equal(METRICS_CHUNKS_ZLIB - METRICS_CHUNKS_RAW, CODEC_ZLIB);
    assert_int_equal(METRICS_CHUNKS_ZERO - METRICS_CHUNKS_RAW, CODEC_ZERO);
    assert_int_equal(METRICS_ERRORS_CANCELLED - METRICS_ERRORS_PERMANENT,
                     WIRE_CLASS_CANCELLED - WIRE_CLASS_PERMANENT);
    assert_int_equal(METRICS_ERRORS_ACCESS - METRICS_ERRORS_PERMANENT,
                     WIRE_CLASS_ACCESS - WIRE_CLASS_PERMANENT);
}

/* Longest numbers fit; one byte less than is needed is told. */
static void
test_room(void **state)
{
    struct metrics *m = fresh();
    char text[METRICS_TEXT_MAX];
    size_t len = 0;
    (void)state;

    for (enum metrics_id id = 0; id < METRICS_IDS; id++) {
        metrics_add(metrics_of_worker(m, 0), id, UINT64_MAX);
    }
    assert_int_equal(metrics_render(m, UINT64_MAX, text, sizeof(text), &len),
                     0);
    size_t whole = len;
    /* printf() wants a byte for the terminator, which is not counted. */
    assert_int_equal(metrics_render(m, UINT64_MAX, text, whole + 1, &len), 0);
    assert_int_equal(len, whole);
    for (size_t cap = 1; cap <= whole; cap += 97) {
        assert_int_equal(metrics_render(m, UINT64_MAX, text, cap, &len),
                         ERR_LIMIT);
        assert_true(len < cap);
    }
    assert_int_equal(metrics_render(m, UINT64_MAX, text, whole, &len),
                     ERR_LIMIT);
    metrics_free(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_over_slots),
        cmocka_unit_test(test_death_takes_back_the_moment_only),
        cmocka_unit_test(test_never_below_zero),
        cmocka_unit_test(test_other_processes_share_them),
        cmocka_unit_test(test_sealed_can_only_be_read),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_numbers_follow_the_registry),
        cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
