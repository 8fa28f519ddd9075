/* Every system call of the store fails once, in every kind of run. Each run
 * must end cleanly, never with wrong bytes under the final name, and a second
 * run must heal what the first one left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "proto/base/err.h"
#include "tests/crash/fault_sys.h"
#include "tests/crash/place.h"

static const char *what(const struct fault_plan *plan)
{
    static char text[128];

    snprintf(text, sizeof text, "kind %d, call %u (%s), error %d",
             (int)plan->kind, plan->at, fault_hit() ? fault_hit() : "-",
             plan->error);
    return text;
}

static void check_final(const struct place *place,
                        const struct fault_plan *plan)
{
    enum place_final final = place_final(place);

    if (final == PLACE_WRONG ||
        (final == PLACE_ABSENT && place->start == PLACE_REPLACE)) {
        fail_msg("wrong final file after %s", what(plan));
    }
}

static void check_message(int rc, const struct store_error *why,
                          const struct fault_plan *plan)
{
    char text[STORE_ERROR_TEXT];

    if (rc != why->code || why->operation == NULL || why->path[0] == '\0' ||
        store_error_text(why, text, sizeof text) < 20) {
        fail_msg("no good message after %s", what(plan));
    }
}

/* Run with a fault, check, run without, check. Gives back the first result
 * and the number of calls. */
static int run_twice(enum place_start start, const struct fault_plan *plan,
                     unsigned int *calls)
{
    struct place place;
    struct scenario_progress progress;
    struct store_error why;
    unsigned int before = place_descriptors();
    bool success;
    int rc;
    int again;

    place_make(&place, start);
    fault_arm(plan);
    place.scenario.sys = &fault_sys;
    rc = scenario_run(&place.scenario, &progress, &why);
    *calls = fault_calls();
    success = progress.success;
    check_final(&place, plan);
    if (place_descriptors() != before) {
        fail_msg("descriptors leak after %s", what(plan));
    }
    if (rc != 0) {
        check_message(rc, &why, plan);
    } else if (!success || place_final(&place) != PLACE_RIGHT) {
        fail_msg("false success after %s", what(plan));
    }
    place.scenario.sys = &store_sys_real;
    again = scenario_run(&place.scenario, &progress, &why);
    if (again != 0 && !(again == ERR_EXISTS && success)) {
        fail_msg("%s is not healed: %s %s", what(plan), err_name(again),
                 why.operation != NULL ? why.operation : "");
    }
    if (place_final(&place) != PLACE_RIGHT || place_names(&place) != 1) {
        fail_msg("wrong result or leftovers after %s", what(plan));
    }
    place_remove(&place);
    return rc;
}

static unsigned int count_calls(enum place_start start)
{
    struct fault_plan none = {.kind = FAULT_NONE};
    unsigned int calls;

    assert_int_equal(run_twice(start, &none, &calls), 0);
    return calls;
}

static void fail_each(struct fault_plan plan)
{
    for (enum place_start start = 0; start < PLACE_STARTS; start++) {
        unsigned int total = count_calls(start);
        unsigned int bad = 0;

        assert_true(total > 30);
        for (plan.at = 1; plan.at <= total; plan.at++) {
            unsigned int calls;

            bad += run_twice(start, &plan, &calls) != 0;
        }
        /* Most calls matter; a loop that never fails tests nothing. */
        assert_true(bad > total / 3);
    }
}

static void test_eio(void **state)
{
    (void)state;
    fail_each((struct fault_plan){.kind = FAULT_ERRNO, .error = EIO});
}

static void test_enospc(void **state)
{
    (void)state;
    fail_each((struct fault_plan){.kind = FAULT_ERRNO, .error = ENOSPC});
}

static void test_eacces(void **state)
{
    (void)state;
    fail_each((struct fault_plan){.kind = FAULT_ERRNO, .error = EACCES});
}

/* The call did its work and says that it failed. */
static void test_late_eio(void **state)
{
    (void)state;
    fail_each((struct fault_plan){.kind = FAULT_LATE, .error = EIO});
}

/* From the n-th call on nothing works any more. */
static void test_all_fails_from_here(void **state)
{
    (void)state;
    fail_each((struct fault_plan){
        .kind = FAULT_ERRNO, .error = EIO, .times = 1000000});
}

static bool may_be_interrupted(const char *name)
{
    static const char *const slow[] = {"openat", "close",    "pread",
                                       "pwritev", "ftruncate", "punch_hole",
                                       "fsync",  "fdatasync", "lock"};

    for (size_t i = 0; i < sizeof slow / sizeof slow[0]; i++) {
        if (strcmp(slow[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* D5: EINTR from every slow call in turn, once and thrice: completes. */
static void test_eintr(void **state)
{
    (void)state;
    for (enum place_start start = 0; start < PLACE_STARTS; start++) {
        unsigned int total = count_calls(start);

        for (unsigned int i = 1; i <= 2 * total; i++) {
            struct fault_plan plan = {FAULT_ERRNO, (i + 1) / 2,
                                      i % 2 == 0 ? 3 : 1, EINTR};
            unsigned int calls;
            int rc = run_twice(start, &plan, &calls);

            if (rc != 0 && plan.times == 1 &&
                may_be_interrupted(fault_hit() ? fault_hit() : "")) {
                fail_msg("interrupted for good: %s", what(&plan));
            }
        }
    }
}

/* D4: every read and write does one byte first: completes. */
static void test_short(void **state)
{
    (void)state;
    for (enum place_start start = 0; start < PLACE_STARTS; start++) {
        unsigned int total = count_calls(start);
        struct fault_plan plan = {.kind = FAULT_SHORT};
        unsigned int calls;

        for (plan.at = 1; plan.at <= total; plan.at++) {
            assert_int_equal(run_twice(start, &plan, &calls), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eio),
        cmocka_unit_test(test_enospc),
        cmocka_unit_test(test_eacces),
        cmocka_unit_test(test_late_eio),
        cmocka_unit_test(test_all_fails_from_here),
        cmocka_unit_test(test_eintr),
        cmocka_unit_test(test_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
