#include "client/engine.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/report.h"
#include "client/security.h"
#include "proto/base/check.h"
#include "proto/io/clock.h"
#include "proto/io/loop.h"

#define FILES_DEFAULT 4u
/* Memory for received data of all files, and what one needs at least. */
#define MEMORY_ALL ((size_t)32 << 20)
#define MEMORY_ONE ((size_t)8 << 20)
/* Hashing and writing on all cores, and one thread for slow syncs. */
#define WORKERS_MIN 4u
/* The loop, the files, the directory, and one connection. */
#define DESCRIPTORS_MIN 12u

struct job_list {
    struct belay_job *first;
    struct belay_job *last;
};

struct belay_engine {
    struct belay_engine_options options;
    struct loop *loop;
    struct loop_async *async;
    struct loop_timer *tick_timer;
    struct loop_timer *deadline_timer;
    struct loop_defer *turn_defer;
    struct rate rate;
    struct security security;
    struct job_list queued;
    struct job_list working;
    struct job_list over; /* told; to be freed outside their callbacks */
    unsigned working_count;
    unsigned stuck_count;
    bool lingers; /* a name look-up goes on that nobody waits for */
    bool running;
    bool expired;
    bool interrupted;
    atomic_bool interrupt_asked;
    atomic_bool wake_asked;
};

static void list_add(struct job_list *list, struct belay_job *job)
{
    job->next = NULL;
    job->prev = list->last;
    if (list->last != NULL) {
        list->last->next = job;
    } else {
        list->first = job;
    }
    list->last = job;
}

static void list_remove(struct job_list *list, struct belay_job *job)
{
    if (job->prev != NULL) {
        job->prev->next = job->next;
    } else {
        list->first = job->next;
    }
    if (job->next != NULL) {
        job->next->prev = job->prev;
    } else {
        list->last = job->prev;
    }
    job->next = NULL;
    job->prev = NULL;
}

/* ---- events. */

static void tell(struct belay_engine *engine, const struct belay_event *event)
{
    if (engine->options.event != NULL) {
        engine->options.event(engine->options.arg, event);
    }
}

void engine_tell(struct belay_job *job, struct belay_event *event)
{
    event->job = job;
    event->user_data = job->asked.user_data;
    tell(job->engine, event);
}

static void tell_plain(struct belay_engine *engine,
                       enum belay_event_type type)
{
    struct belay_event event = {
        .struct_size = sizeof event, .type = type, .text = ""};

    tell(engine, &event);
}

void engine_job_over(struct belay_job *job, enum belay_reason reason,
                     const char *text)
{
    struct belay_engine *engine = job->engine;
    struct belay_event event = {.struct_size = sizeof event,
                                .type = BELAY_EVENT_END,
                                .text = text,
                                .reason = reason};

    BELAY_ASSERT(!job->over);
    job->over = true;
    if (job->fetch != NULL) {
        list_remove(&engine->working, job);
        engine->working_count--;
    } else {
        list_remove(&engine->queued, job);
    }
    engine_tell(job, &event);
    list_add(&engine->over, job);
    loop_defer_arm(engine->turn_defer);
}

/* ---- the turn: free what is over, begin what waits. */

static size_t memory_of_one(const struct belay_engine *engine)
{
    size_t share = MEMORY_ALL / engine->options.files;

    return share > MEMORY_ONE ? share : MEMORY_ONE;
}

static void start_job(struct belay_engine *engine, struct belay_job *job)
{
    struct belay_event event = {.struct_size = sizeof event,
                                .type = BELAY_EVENT_START,
                                .text = ""};
    struct rate *rate = engine->rate.per_second > 0 ? &engine->rate : NULL;

    if (job_start(job, engine->loop, rate, memory_of_one(engine),
                  &engine->security) != 0) {
        engine_job_over(job, BELAY_INTERNAL, "out of memory");
        return;
    }
    list_remove(&engine->queued, job);
    list_add(&engine->working, job);
    engine->working_count++;
    engine_tell(job, &event);
}

static void free_over(struct belay_engine *engine)
{
    struct belay_job *job;

    while ((job = engine->over.first) != NULL) {
        list_remove(&engine->over, job);
        if (job->fetch != NULL && fetch_stuck(job->fetch)) {
            engine->stuck_count++; /* a thread is in there: it stays */
            continue;
        }
        engine->lingers = engine->lingers ||
                          (job->fetch != NULL && fetch_lingers(job->fetch));
        job_free(job);
    }
}

static void on_turn(void *arg)
{
    struct belay_engine *engine = arg;
    struct belay_job *job;

    free_over(engine);
    while ((engine->interrupted || engine->expired) &&
           (job = engine->queued.first) != NULL) {
        if (engine->interrupted) {
            engine_job_over(job, BELAY_INTERRUPTED, "interrupted");
        } else {
            engine_job_over(job, BELAY_LIMIT,
                            "the time allowed by --deadline is over");
        }
    }
    while (engine->working_count < engine->options.files &&
           engine->queued.first != NULL) {
        start_job(engine, engine->queued.first);
    }
    if (engine->working.first == NULL && engine->queued.first == NULL &&
        engine->over.first == NULL) {
        loop_stop(engine->loop);
    }
}

static void on_async(void *arg)
{
    struct belay_engine *engine = arg;
    struct belay_job *next;

    if (atomic_exchange(&engine->wake_asked, false)) {
        tell_plain(engine, BELAY_EVENT_WAKE);
    }
    if (atomic_load(&engine->interrupt_asked) && !engine->interrupted) {
        engine->interrupted = true;
        for (struct belay_job *job = engine->working.first; job != NULL;
             job = next) {
            next = job->next;
            fetch_interrupt(job->fetch);
        }
        loop_defer_arm(engine->turn_defer);
    }
}

static void on_tick(void *arg)
{
    struct belay_engine *engine = arg;

    loop_timer_start(engine->tick_timer, engine->options.tick_ms);
    tell_plain(engine, BELAY_EVENT_TICK);
}

static void on_deadline(void *arg)
{
    struct belay_engine *engine = arg;
    struct belay_job *next;

    engine->expired = true;
    for (struct belay_job *job = engine->working.first; job != NULL;
         job = next) {
        next = job->next;
        fetch_expire(job->fetch);
    }
    loop_defer_arm(engine->turn_defer);
}

/* ---- life. */

/* The event library ends the program when it gets none: ask beforehand. */
static bool enough_descriptors(void)
{
    int fds[DESCRIPTORS_MIN];
    int model = open("/", O_PATH | O_CLOEXEC);
    unsigned count = 0;

    while (model >= 0 && count < DESCRIPTORS_MIN &&
           (fds[count] = fcntl(model, F_DUPFD_CLOEXEC, 0)) >= 0) {
        count++;
    }
    for (unsigned k = 0; k < count; k++) {
        close(fds[k]);
    }
    if (model >= 0) {
        close(model);
    }
    return count == DESCRIPTORS_MIN;
}

static void set_workers(unsigned asked)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (asked == 0) {
        asked = cores + 2 > (long)WORKERS_MIN ? (unsigned)cores + 2
                                              : WORKERS_MIN;
    }
    loop_set_workers(asked < 64 ? asked : 64);
}

static int make_parts(struct belay_engine *engine)
{
    int err = loop_new(&engine->loop);

    if (err == 0) {
        err = loop_async_new(engine->loop, on_async, engine, &engine->async);
    }
    if (err == 0) {
        err = loop_timer_new(engine->loop, on_tick, engine,
                             &engine->tick_timer);
    }
    if (err == 0) {
        err = loop_timer_new(engine->loop, on_deadline, engine,
                             &engine->deadline_timer);
    }
    if (err == 0) {
        err = loop_defer_new(engine->loop, on_turn, engine,
                             &engine->turn_defer);
    }
    return err;
}

enum belay_reason belay_engine_new(const struct belay_engine_options *options,
                                   struct belay_engine **out,
                                   struct belay_error *error)
{
    struct belay_engine *engine;
    enum belay_reason reason;

    if (!enough_descriptors()) {
        return report(error, BELAY_INTERNAL, "too few file descriptors; "
                                             "raise the limit (ulimit -n)");
    }
    engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    report_take(&engine->options, sizeof engine->options, options);
    if (engine->options.files == 0) {
        engine->options.files = FILES_DEFAULT;
    }
    reason = security_init(&engine->security, engine->options.security,
                           error);
    engine->options.security = NULL; /* the caller's */
    if (reason != BELAY_DONE) {
        free(engine);
        return reason;
    }
    set_workers(engine->options.workers);
    rate_init(&engine->rate, engine->options.rate, clock_mono_ms());
    atomic_init(&engine->interrupt_asked, false);
    atomic_init(&engine->wake_asked, false);
    if (make_parts(engine) != 0) {
        (void)belay_engine_free(engine);
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    *out = engine;
    return BELAY_DONE;
}

bool belay_engine_free(struct belay_engine *engine)
{
    struct belay_job *job;

    if (engine == NULL) {
        return true;
    }
    BELAY_ASSERT(!engine->running);
    if (engine->stuck_count > 0 || engine->lingers) {
        return false;
    }
    while ((job = engine->queued.first) != NULL) {
        list_remove(&engine->queued, job);
        job_free(job);
    }
    loop_async_free(engine->async);
    loop_timer_free(engine->tick_timer);
    loop_timer_free(engine->deadline_timer);
    loop_defer_free(engine->turn_defer);
    if (engine->loop != NULL) {
        loop_run(engine->loop); /* lets freed objects go */
        loop_free(engine->loop);
    }
    security_clear(&engine->security);
    free(engine);
    return true;
}

void belay_run(struct belay_engine *engine)
{
    BELAY_ASSERT(!engine->running);
    engine->running = true;
    loop_update_now(engine->loop);
    if (engine->options.tick_ms > 0) {
        loop_timer_start(engine->tick_timer, engine->options.tick_ms);
    }
    if (engine->options.deadline_ms > 0) {
        loop_timer_start(engine->deadline_timer, engine->options.deadline_ms);
    }
    loop_defer_arm(engine->turn_defer);
    do {
        loop_run(engine->loop);
    } while (engine->working.first != NULL || engine->queued.first != NULL ||
             engine->over.first != NULL);
    loop_timer_stop(engine->tick_timer);
    loop_timer_stop(engine->deadline_timer);
    engine->running = false;
}

void belay_interrupt(struct belay_engine *engine)
{
    atomic_store(&engine->interrupt_asked, true);
    loop_async_send(engine->async);
}

void belay_wake(struct belay_engine *engine)
{
    atomic_store(&engine->wake_asked, true);
    loop_async_send(engine->async);
}

/* ---- jobs. */

enum belay_reason belay_get(struct belay_engine *engine,
                            const struct belay_get_options *options,
                            struct belay_job **out, struct belay_error *error)
{
    struct belay_job *job;
    enum belay_reason reason = job_new(engine, options, &job, error);

    if (reason != BELAY_DONE) {
        return reason;
    }
    list_add(&engine->queued, job);
    loop_defer_arm(engine->turn_defer);
    if (out != NULL) {
        *out = job;
    }
    return BELAY_DONE;
}

void belay_job_stop(struct belay_job *job)
{
    if (job->over) {
        return;
    }
    if (job->fetch != NULL) {
        fetch_interrupt(job->fetch);
    } else {
        engine_job_over(job, BELAY_INTERRUPTED, "interrupted");
    }
}
