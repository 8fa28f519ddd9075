/* SIGKILL before and after every system call of the store, and at random
 * moments of a real program. What was marked is never lost; the next run
 * completes; wrong bytes never get the final name (C1, C11, C13, P3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/err.h"
#include "tests/crash/fault_sys.h"
#include "tests/crash/place.h"

/* What the child has reached, in memory that outlives it. */
static struct scenario_progress *shared;

static int setup(void **state)
{
    (void)state;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return munmap(shared, sizeof *shared);
}

/* Run in a child that the plan kills. True if it lived to the end. */
static bool run_child(const struct place *place,
                      const struct fault_plan *plan)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        struct scenario scenario = place->scenario;
        struct store_error why;

        scenario.sys = &fault_sys;
        fault_arm(plan);
        _exit(scenario_run(&scenario, shared, &why) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return false;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

static void check_after(const struct place *place,
                        const struct fault_plan *plan)
{
    struct scenario_progress progress;
    struct store_error why;
    enum place_final final = place_final(place);
    int rc;

    if (final == PLACE_WRONG ||
        (final == PLACE_ABSENT && place->start == PLACE_REPLACE) ||
        (shared->success && final != PLACE_RIGHT)) {
        fail_msg("wrong final file, kind %d at %u", (int)plan->kind,
                 plan->at);
    }
    rc = scenario_run(&place->scenario, &progress, &why);
    /* With the journal gone all was done, and the file is there to stay. */
    if (rc != 0 && !(rc == ERR_EXISTS && final == PLACE_RIGHT)) {
        fail_msg("not healed, kind %d at %u: %s", (int)plan->kind, plan->at,
                 err_name(rc));
    }
    if (rc == 0 && progress.found == STORE_FOUND_PARTIAL &&
        (shared->marked & ~progress.kept) != 0) {
        fail_msg("marked chunks were lost, kind %d at %u", (int)plan->kind,
                 plan->at);
    }
    if (rc == 0 && progress.found != STORE_FOUND_PARTIAL &&
        progress.found != STORE_FOUND_DONE && shared->marked != 0 &&
        final != PLACE_RIGHT) {
        fail_msg("the partial was lost, kind %d at %u", (int)plan->kind,
                 plan->at);
    }
    if (progress.found == STORE_FOUND_DONE && progress.fetched != 0) {
        fail_msg("a finished file was fetched again");
    }
    assert_int_equal(place_final(place), PLACE_RIGHT);
    assert_int_equal(place_names(place), 1);
}

static void kill_at_each(enum fault_kind kind)
{
    for (enum place_start start = 0; start < PLACE_STARTS; start++) {
        struct fault_plan plan = {.kind = kind, .at = 1};
        bool lived = false;

        for (; !lived; plan.at++) {
            struct place place;

            place_make(&place, start);
            lived = run_child(&place, &plan);
            check_after(&place, &plan);
            place_remove(&place);
        }
        assert_true(plan.at > 30);
    }
}

static void test_kill_before_each(void **state)
{
    (void)state;
    kill_at_each(FAULT_KILL_BEFORE);
}

static void test_kill_after_each(void **state)
{
    (void)state;
    kill_at_each(FAULT_KILL_AFTER);
}

/* ---- A real program, killed at random. */

#define BIG_SIZE (200 * SCENARIO_CHUNK + 1)

static pid_t start_driver(const struct place *place, int *output)
{
    char size[32];
    int ends[2];
    pid_t child;

    snprintf(size, sizeof size, "%llu", (unsigned long long)BIG_SIZE);
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(STORE_DRIVER, "store_driver", place->path, PLACE_NAME, size,
              "7", "1", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *output = ends[0];
    return child;
}

/* Let it run for so long, then kill it; true if it had completed. */
static bool run_driver(const struct place *place, unsigned int us)
{
    struct timespec wait = {.tv_nsec = (long)us * 1000};
    int output;
    pid_t child = start_driver(place, &output);
    int status;

    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(output);
    if (WIFSIGNALED(status)) {
        return false;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

static void check_big(const struct place *place)
{
    uint8_t *want = scenario_content(BIG_SIZE, 7, 1);
    uint8_t *got = malloc(BIG_SIZE + 1);
    char path[512];
    FILE *file;

    assert_non_null(got);
    snprintf(path, sizeof path, "%s/%s", place->path, PLACE_NAME);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fread(got, 1, BIG_SIZE + 1, file), BIG_SIZE);
    fclose(file);
    assert_memory_equal(got, want, BIG_SIZE);
    free(got);
    free(want);
}

/* Killed again and again, it still gets there, and the journal stays small. */
static void test_random_kills(void **state)
{
    const char *seed = getenv("CRASH_SEED");
    unsigned int random = seed != NULL ? (unsigned int)atoi(seed) : 1;
    unsigned int kills = 0;

    (void)state;
    print_message("CRASH_SEED=%u\n", random);
    for (int round = 0; round < 5; round++) {
        struct place place;
        unsigned int tries = 0;

        place_make(&place, PLACE_FRESH);
        for (;;) {
            random = random * 1664525u + 1013904223u;
            if (run_driver(&place, 1000 + (random >> 16) % 20000 +
                                       tries * 200)) {
                break;
            }
            kills++;
            assert_true(++tries < 1000);
            assert_true(place_names(&place) <= 3);
        }
        check_big(&place);
        assert_int_equal(place_names(&place), 1);
        place_remove(&place);
    }
    print_message("%u kills\n", kills);
    assert_true(kills > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill_before_each, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_kill_after_each, setup,
                                        teardown),
        cmocka_unit_test(test_random_kills),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
