#include "client/engine.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/dirjob.h"
#include "client/getjob.h"
#include "client/group.h"
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

/* Groups at once; each has connections of its own. */
#define GROUPS_MAX 2u

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
    struct newdirs made;
    struct job_list queued;
    struct belay_job *next; /* of those queued, for begin_jobs() */
    struct job_list working;
    struct job_list over; /* told; to be freed outside their callbacks */
    unsigned working_count; /* alone, each with its own connections */
    struct group *groups[GROUPS_MAX];
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

/* Any callback may end a queued job, also the one that was to be next. */
static void unqueue(struct belay_engine *engine, struct belay_job *job)
{
    if (engine->next == job) {
        engine->next = job->next;
    }
    list_remove(&engine->queued, job);
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
    event->user_data = job->user_data;
    tell(job->engine, event);
}

void engine_tell_all(struct belay_engine *engine,
                     const struct belay_event *event)
{
    tell(engine, event);
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

    BELAY_ASSERT(!job->over && job->group == NULL);
    job->over = true;
    if (job->working) {
        list_remove(&engine->working, job);
        engine->working_count -= job->alone;
    } else {
        unqueue(engine, job);
    }
    engine_tell(job, &event);
    list_add(&engine->over, job);
    loop_defer_arm(engine->turn_defer);
}

void engine_job_alone(struct belay_job *job)
{
    struct belay_engine *engine = job->engine;

    list_remove(&engine->working, job);
    list_add(&engine->queued, job);
    job->working = false;
    job->again = true;
    loop_defer_arm(engine->turn_defer);
}

void engine_group_over(struct belay_engine *engine, struct group *group,
                       enum belay_reason reason, const char *text)
{
    struct belay_job *next;

    for (struct belay_job *job = engine->working.first; job != NULL;
         job = next) {
        next = job->next;
        if (job->group == group) {
            group_forget(group, job);
            engine_job_over(job, reason, text);
        }
    }
    loop_defer_arm(engine->turn_defer);
}

void engine_turn(struct belay_engine *engine)
{
    loop_defer_arm(engine->turn_defer);
}

/* ---- the turn: free what is over, begin what waits. */

static size_t memory_of_one(const struct belay_engine *engine)
{
    size_t share = MEMORY_ALL / engine->options.files;

    return share > MEMORY_ONE ? share : MEMORY_ONE;
}

static bool has_jobs(const struct belay_engine *engine)
{
    return engine->working.first != NULL || engine->queued.first != NULL ||
           engine->over.first != NULL;
}

/* From the queue to work; the first time it is told. */
static void begins(struct belay_job *job)
{
    struct belay_engine *engine = job->engine;
    struct belay_event event = {.struct_size = sizeof event,
                                .type = BELAY_EVENT_START,
                                .text = ""};

    BELAY_ASSERT(!job->over);
    unqueue(engine, job);
    list_add(&engine->working, job);
    job->working = true;
    if (!job->again) {
        engine_tell(job, &event);
    }
}

static struct job_means means_of(struct belay_engine *engine)
{
    return (struct job_means){
        .loop = engine->loop,
        .rate = engine->rate.per_second > 0 ? &engine->rate : NULL,
        .memory = memory_of_one(engine),
        .security = &engine->security,
        .made = &engine->made,
    };
}

static void start_alone(struct belay_engine *engine, struct belay_job *job)
{
    struct job_means means = means_of(engine);

    if (job->kind->start(job, &means) != 0) {
        engine_job_over(job, BELAY_INTERNAL, "out of memory");
        return;
    }
    job->alone = true;
    engine->working_count++;
    begins(job);
}

static bool worth_a_group(struct belay_job *job)
{
    unsigned like = 0;

    for (struct belay_job *other = job; other != NULL && like < GROUP_MIN;
         other = other->next) {
        like += group_same(job, other);
    }
    return like == GROUP_MIN;
}

static void exclude_like(struct belay_job *job)
{
    for (struct belay_job *other = job; other != NULL; other = other->next) {
        if (group_same(job, other)) {
            group_exclude(other);
        }
    }
}

/* Fetches the job with others of its like.  False: it goes alone. */
static bool start_in_group(struct belay_engine *engine, struct belay_job *job)
{
    struct group **free_place = NULL;
    struct job_means means = means_of(engine);

    for (unsigned k = 0; k < GROUPS_MAX; k++) {
        struct group *group = engine->groups[k];

        if (group == NULL) {
            free_place = &engine->groups[k];
        } else if (group_takes(group, job)) {
            if (group_has_room(group) && group_add(group, job) == 0) {
                begins(job);
            } /* else it waits for its turn */
            return true;
        }
    }
    if (free_place == NULL || !group_suits(job) || !worth_a_group(job) ||
        group_start(job, &means, free_place) != 0) {
        return false;
    }
    if (!group_has_room(*free_place) || group_add(*free_place, job) != 0) {
        /* It could not begin: it ends, and alone they say why. */
        exclude_like(job);
        return false;
    }
    begins(job);
    return true;
}

static void free_over(struct belay_engine *engine)
{
    struct belay_job *job;

    while ((job = engine->over.first) != NULL) {
        list_remove(&engine->over, job);
        if (job->kind->stuck(job)) {
            engine->stuck_count++; /* a thread is in there: it stays */
            continue;
        }
        engine->lingers = engine->lingers || job->kind->lingers(job);
        job->kind->free(job);
    }
    for (unsigned k = 0; k < GROUPS_MAX; k++) {
        struct group *group = engine->groups[k];

        if (group == NULL || !group_over(group)) {
            continue;
        }
        engine->groups[k] = NULL;
        if (group_stuck(group)) {
            engine->stuck_count++;
            continue;
        }
        engine->lingers = engine->lingers || group_lingers(group);
        group_free(group);
    }
}

/* After an interrupt or the deadline nothing is begun. */
static void drop_queue(struct belay_engine *engine)
{
    struct belay_job *job;

    while ((job = engine->queued.first) != NULL) {
        if (engine->interrupted) {
            engine_job_over(job, BELAY_INTERRUPTED, "interrupted");
        } else {
            engine_job_over(job, BELAY_LIMIT,
                            "the time allowed is over");
        }
    }
}

static void begin_jobs(struct belay_engine *engine)
{
    struct belay_job *job;

    engine->next = engine->queued.first;
    while ((job = engine->next) != NULL) {
        engine->next = job->next;
        if (!start_in_group(engine, job) &&
            engine->working_count < engine->options.files) {
            start_alone(engine, job);
        }
    }
}

static bool groups_left(struct belay_engine *engine)
{
    bool left = false;

    for (unsigned k = 0; k < GROUPS_MAX; k++) {
        if (engine->groups[k] != NULL && !group_over(engine->groups[k])) {
            /* Whoever is like it would have joined. */
            if (group_count(engine->groups[k]) == 0) {
                group_close(engine->groups[k]);
            }
            left = true;
        }
    }
    return left;
}

static void on_turn(void *arg)
{
    struct belay_engine *engine = arg;

    free_over(engine);
    if (engine->interrupted || engine->expired) {
        drop_queue(engine);
    }
    begin_jobs(engine);
    if (!groups_left(engine) && !has_jobs(engine)) {
        loop_stop(engine->loop);
    }
}

static void end_all(struct belay_engine *engine, bool expired)
{
    struct belay_job *next;

    for (unsigned k = 0; k < GROUPS_MAX; k++) {
        if (engine->groups[k] != NULL && !group_over(engine->groups[k])) {
            (expired ? group_expire : group_interrupt)(engine->groups[k]);
        }
    }
    for (struct belay_job *job = engine->working.first; job != NULL;
         job = next) {
        next = job->next;
        if (job->alone) {
            (expired ? job->kind->expire : job->kind->interrupt)(job);
        }
    }
    loop_defer_arm(engine->turn_defer);
}

static void on_async(void *arg)
{
    struct belay_engine *engine = arg;

    if (atomic_exchange(&engine->wake_asked, false)) {
        tell_plain(engine, BELAY_EVENT_WAKE);
    }
    if (atomic_load(&engine->interrupt_asked) && !engine->interrupted) {
        engine->interrupted = true;
        end_all(engine, false);
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

    engine->expired = true;
    end_all(engine, true);
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
        job->kind->free(job);
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
    } while (has_jobs(engine) || groups_left(engine));
    loop_timer_stop(engine->tick_timer);
    loop_timer_stop(engine->deadline_timer);
    newdirs_settle(&engine->made);
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

void engine_add(struct belay_engine *engine, struct belay_job *job)
{
    list_add(&engine->queued, job);
    loop_defer_arm(engine->turn_defer);
}

enum belay_reason belay_get(struct belay_engine *engine,
                            const struct belay_get_options *options,
                            struct belay_job **out, struct belay_error *error)
{
    struct belay_job *job;
    enum belay_reason reason = get_job_new(engine, options, &job, error);

    if (reason != BELAY_DONE) {
        return reason;
    }
    engine_add(engine, job);
    if (out != NULL) {
        *out = job;
    }
    return BELAY_DONE;
}

enum belay_reason belay_list(struct belay_engine *engine,
                             const struct belay_list_options *options,
                             struct belay_job **out,
                             struct belay_error *error)
{
    struct belay_job *job;
    enum belay_reason reason = dirjob_new_list(engine, options, &job, error);

    if (reason == BELAY_DONE) {
        engine_add(engine, job);
        if (out != NULL) {
            *out = job;
        }
    }
    return reason;
}

enum belay_reason belay_tree(struct belay_engine *engine,
                             const struct belay_tree_options *options,
                             struct belay_job **out,
                             struct belay_error *error)
{
    struct belay_job *job;
    enum belay_reason reason = dirjob_new_tree(engine, options, &job, error);

    if (reason == BELAY_DONE) {
        engine_add(engine, job);
        if (out != NULL) {
            *out = job;
        }
    }
    return reason;
}

void belay_job_stop(struct belay_job *job)
{
    if (job->over) {
        return;
    }
    if (job->alone) {
        job->kind->interrupt(job);
    } else if (!job->working) {
        engine_job_over(job, BELAY_INTERRUPTED, "interrupted");
    }
}
