/* The engine's queue: each job begins at most once and ends exactly once,
 * whatever the callbacks do to the jobs that still wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/belay.h"
#include "client/engine.h"
#include "client/job.h"
#include "proto/base/err.h"
#include "proto/io/loop.h"

#define JOBS 4u

/* A job that ends well in the turn after its begin, or cannot begin. */
struct fake {
    struct belay_job job; /* first */
    struct loop_defer *end;
    bool fails;
    bool stopped;
};

struct fixture {
    struct fake *fake[JOBS]; /* dangling once its end was told */
    const char *when;        /* "s0": at the start of the first, */
    const char *stops;       /* ... these are stopped: "12" */
    char told[64];
};

static void on_end(void *arg)
{
    struct fake *fake = arg;

    engine_job_over(&fake->job,
                    fake->stopped ? BELAY_INTERRUPTED : BELAY_DONE, "");
}

static int fake_start(struct belay_job *job, const struct job_means *means)
{
    struct fake *fake = (struct fake *)job;

    if (fake->fails) {
        return ERR_NOMEM;
    }
    assert_int_equal(loop_defer_new(means->loop, on_end, fake, &fake->end), 0);
    loop_defer_arm(fake->end);
    return 0;
}

static void fake_stop(struct belay_job *job)
{
    ((struct fake *)job)->stopped = true;
}

static bool fake_no(const struct belay_job *job)
{
    (void)job;
    return false;
}

static void fake_stats(const struct belay_job *job,
                       struct belay_job_stats *out)
{
    (void)job;
    (void)out;
}

static void fake_free(struct belay_job *job)
{
    struct fake *fake = (struct fake *)job;

    loop_defer_free(fake->end);
    job_clear(job);
    free(fake);
}

static const struct job_kind fake_kind = {
    .start = fake_start,
    .interrupt = fake_stop,
    .expire = fake_stop,
    .stuck = fake_no,
    .lingers = fake_no,
    .stats = fake_stats,
    .free = fake_free,
};

/* "s1" a start, "d1" done, "i1" interrupted, "x1" another end. */
static void on_event(void *arg, const struct belay_event *event)
{
    struct fixture *f = arg;
    size_t len = strlen(f->told);
    char kind = event->type == BELAY_EVENT_START ? 's'
                : event->reason == BELAY_DONE    ? 'd'
                : event->reason == BELAY_INTERRUPTED ? 'i' : 'x';
    char now[3] = {kind, belay_job_name(event->job)[0], '\0'};

    assert_true(event->job->over == (kind != 's'));
    assert_true(len + sizeof now + 1 < sizeof f->told);
    (void)snprintf(f->told + len, sizeof f->told - len, "%s%s",
                   len > 0 ? " " : "", now);
    if (strcmp(now, f->when) != 0) {
        return;
    }
    for (const char *at = f->stops; *at != '\0'; at++) {
        belay_job_stop(&f->fake[*at - '0']->job);
    }
}

static void add(struct fixture *f, struct belay_engine *engine, unsigned k,
                bool fails)
{
    const char name[2] = {(char)('0' + k), '\0'};

    f->fake[k] = calloc(1, sizeof *f->fake[k]);
    assert_non_null(f->fake[k]);
    f->fake[k]->fails = fails;
    assert_true(job_init(&f->fake[k]->job, &fake_kind, engine, "", name));
    engine_add(engine, &f->fake[k]->job);
}

static void test_stops_in_callbacks(void **state)
{
    static const struct {
        const char *fails; /* these cannot begin */
        const char *when;
        const char *stops;
        const char *told;
    } cases[] = {
        {"", "", "", "s0 s1 s2 s3 d0 d1 d2 d3"},
        {"", "s0", "0", "s0 s1 s2 s3 i0 d1 d2 d3"},
        {"", "s0", "1", "s0 i1 s2 s3 d0 d2 d3"},
        {"", "s0", "12", "s0 i1 i2 s3 d0 d3"},
        {"", "s0", "321", "s0 i3 i2 i1 d0"},
        {"", "s0", "3", "s0 i3 s1 s2 d0 d1 d2"},
        {"", "s2", "3", "s0 s1 s2 i3 d0 d1 d2"},
        {"", "s1", "02", "s0 s1 i2 s3 i0 d1 d3"},
        {"0", "x0", "1", "x0 i1 s2 s3 d2 d3"},
        {"0", "x0", "123", "x0 i1 i2 i3"},
        {"12", "x1", "2", "s0 x1 i2 s3 d0 d3"},
    };

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct fixture f = {.when = cases[k].when, .stops = cases[k].stops};
        struct belay_engine_options options = {
            .struct_size = sizeof options, .event = on_event, .arg = &f};
        struct belay_engine *engine;
        struct belay_error error;

        assert_int_equal(belay_engine_new(&options, &engine, &error), 0);
        for (unsigned n = 0; n < JOBS; n++) {
            add(&f, engine, n, strchr(cases[k].fails, (int)('0' + n)) != NULL);
        }
        belay_run(engine);
        assert_string_equal(f.told, cases[k].told);
        assert_true(belay_engine_free(engine));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops_in_callbacks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
