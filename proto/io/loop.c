#include "proto/io/loop.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <uv.h>

#include "proto/base/check.h"
#include "proto/io/threads.h"

struct loop {
    uv_loop_t uv;
    uv_check_t check;
    uv_idle_t idle;
    struct loop_defer *armed;       /* head of the list of armed defers */
    struct loop_defer **armed_tail; /* where the next one is linked */
    unsigned handles_open;          /* objects whose memory is not back yet */
};

struct loop_poll {
    uv_poll_t uv;
    loop_poll_fn *fn;
    void *arg;
    unsigned events;
};

struct loop_timer {
    uv_timer_t uv;
    loop_timer_fn *fn;
    void *arg;
};

struct loop_signal {
    uv_signal_t uv;
    loop_signal_fn *fn;
    void *arg;
};

struct loop_work {
    uv_work_t uv;
    struct loop *loop;
    loop_work_fn *work;
    loop_work_done_fn *done;
    void *arg;
    bool pending;
};

struct loop_async {
    uv_async_t uv;
    loop_async_fn *fn;
    void *arg;
};

struct loop_defer {
    struct loop *loop;
    loop_defer_fn *fn;
    void *arg;
    struct loop_defer *next;
    struct loop_defer **link; /* what points here; NULL while not armed */
};

static struct loop *
loop_of(const uv_loop_t *uv)
{
    return uv->data;
}

static int
err_of_uv(int rc)
{
    return rc == UV_ENOMEM ? ERR_NOMEM : ERR_IO;
}

/* The handle is the first member of every object, so one callback frees
 * them all. */
static void
on_closed(uv_handle_t *handle)
{
    loop_of(handle->loop)->handles_open--;
    free(handle);
}

static void
close_handle(void *object)
{
    if (object != NULL) {
        uv_close(object, on_closed);
    }
}

static void
on_closed_inner(uv_handle_t *handle)
{
    loop_of(handle->loop)->handles_open--;
}

/* Takes the first armed defer off the list. */
static struct loop_defer *
defer_unlink(struct loop *loop, struct loop_defer *defer)
{
    *defer->link = defer->next;
    if (defer->next != NULL) {
        defer->next->link = defer->link;
    } else {
        loop->armed_tail = defer->link;
    }
    defer->next = NULL;
    defer->link = NULL;
    return defer;
}

static void
on_check(uv_check_t *check)
{
    struct loop *loop = loop_of(check->loop);

    /* A marker ends the round: what is armed from now on queues behind it
     * and waits for the next turn. */
    struct loop_defer marker = { .loop = loop };
    if (loop->armed == NULL) {
        return;
    }
    loop_defer_arm(&marker);
    while (loop->armed != &marker) {
        struct loop_defer *defer = defer_unlink(loop, loop->armed);
        defer->fn(defer->arg);
    }
    defer_unlink(loop, &marker);
    if (loop->armed == NULL) {
        uv_idle_stop(&loop->idle);
    }
}

/* Its being active keeps the turn from sleeping; there is nothing to do. */
static void
on_idle(uv_idle_t *idle)
{
    (void)idle;
}

int
loop_new(struct loop **out)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL) {
        return ERR_NOMEM;
    }
    int rc = uv_loop_init(&loop->uv);
    if (rc != 0) {
        free(loop);
        return err_of_uv(rc);
    }
    loop->uv.data = loop;
    loop->armed_tail = &loop->armed;
    uv_check_init(&loop->uv, &loop->check);
    uv_check_start(&loop->check, on_check);
    uv_unref((uv_handle_t *)&loop->check);
    uv_idle_init(&loop->uv, &loop->idle);
    loop->handles_open = 2;
    *out = loop;
    return 0;
}

void
loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    BELAY_ASSERT(loop->armed == NULL);
    uv_close((uv_handle_t *)&loop->check, on_closed_inner);
    uv_close((uv_handle_t *)&loop->idle, on_closed_inner);
    /* Close callbacks run in a turn; an object that was never freed would
     * keep its handle open and is a bug of the caller. */
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    BELAY_ASSERT(loop->handles_open == 0);
    int rc = uv_loop_close(&loop->uv);
    BELAY_ASSERT(rc == 0);
    free(loop);
}

void
loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void
loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

uint64_t
loop_now_ms(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

void
loop_update_now(struct loop *loop)
{
    uv_update_time(&loop->uv);
}

/* --- Descriptors --- */

static void on_poll(uv_poll_t *handle, int status, int events);

static void
watch(struct loop_poll *poll)
{
    int mask = 0;
    mask |= (poll->events & LOOP_READ) != 0 ? UV_READABLE : 0;
    mask |= (poll->events & LOOP_WRITE) != 0 ? UV_WRITABLE : 0;
    int rc = uv_poll_start(&poll->uv, mask, on_poll);
    BELAY_ASSERT(rc == 0);
}

/* An error stops the handle of libuv, but bytes may be left to read before it
 * shows: the watch goes on until its owner has seen to the end. */
static void
on_poll(uv_poll_t *handle, int status, int events)
{
    struct loop_poll *poll = (struct loop_poll *)handle;
    unsigned ready = 0;

    if (status < 0) {
        ready = poll->events;
        if (ready != 0) {
            watch(poll);
        }
    } else {
        ready |= (events & UV_READABLE) != 0 ? LOOP_READ : 0;
        ready |= (events & UV_WRITABLE) != 0 ? LOOP_WRITE : 0;
    }
    if (ready != 0) {
        poll->fn(poll->arg, ready);
    }
}

int
loop_poll_new(struct loop *loop, int fd, loop_poll_fn *fn, void *arg,
              struct loop_poll **out)
{
    struct loop_poll *poll = calloc(1, sizeof(*poll));
    if (poll == NULL) {
        return ERR_NOMEM;
    }
    int rc = uv_poll_init(&loop->uv, &poll->uv, fd);
    if (rc != 0) {
        free(poll);
        return err_of_uv(rc);
    }
    poll->fn = fn;
    poll->arg = arg;
    loop->handles_open++;
    *out = poll;
    return 0;
}

void
loop_poll_set(struct loop_poll *poll, unsigned events)
{
    if (poll->events == events) {
        return;
    }
    poll->events = events;
    if (events == 0) {
        uv_poll_stop(&poll->uv);
        return;
    }
    watch(poll);
}

void
loop_poll_free(struct loop_poll *poll)
{
    close_handle(poll);
}

/* --- Timers --- */

static void
on_timer(uv_timer_t *handle)
{
    struct loop_timer *timer = (struct loop_timer *)handle;
    timer->fn(timer->arg);
}

int
loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *arg,
               struct loop_timer **out)
{
    struct loop_timer *timer = calloc(1, sizeof(*timer));
    if (timer == NULL) {
        return ERR_NOMEM;
    }
    uv_timer_init(&loop->uv, &timer->uv);
    timer->fn = fn;
    timer->arg = arg;
    loop->handles_open++;
    *out = timer;
    return 0;
}

void
loop_timer_start(struct loop_timer *timer, uint64_t delay_ms)
{
    uv_timer_start(&timer->uv, on_timer, delay_ms, 0);
}

void
loop_timer_stop(struct loop_timer *timer)
{
    uv_timer_stop(&timer->uv);
}

void
loop_timer_free(struct loop_timer *timer)
{
    close_handle(timer);
}

/* --- Signals --- */

static void
on_signal(uv_signal_t *handle, int signum)
{
    struct loop_signal *signal = (struct loop_signal *)handle;
    signal->fn(signal->arg, signum);
}

int
loop_signal_new(struct loop *loop, int signum, loop_signal_fn *fn, void *arg,
                struct loop_signal **out)
{
    struct loop_signal *signal = calloc(1, sizeof(*signal));
    if (signal == NULL) {
        return ERR_NOMEM;
    }
    int rc = uv_signal_init(&loop->uv, &signal->uv);
    if (rc != 0) {
        free(signal);
        return err_of_uv(rc);
    }
    signal->fn = fn;
    signal->arg = arg;
    loop->handles_open++;
    rc = uv_signal_start(&signal->uv, on_signal, signum);
    if (rc != 0) {
        close_handle(signal);
        return err_of_uv(rc);
    }
    uv_unref((uv_handle_t *)&signal->uv);
    *out = signal;
    return 0;
}

void
loop_signal_free(struct loop_signal *signal)
{
    close_handle(signal);
}

/* --- Work on other threads --- */

/* libuv starts all its workers with the first work, and ends the program when
 * one does not start: so they are tried before. */
static unsigned workers = 4;
static atomic_bool workers_tried;

static int
try_workers(void)
{
    if (atomic_load(&workers_tried)) {
        return 0;
    }
    int err = threads_probe(workers);
    if (err == 0) {
        atomic_store(&workers_tried, true);
    }
    return err;
}

void
loop_set_workers(unsigned count)
{
    BELAY_ASSERT(count >= 1 && count <= 64);
    char text[16];
    workers = count;
    snprintf(text, sizeof(text), "%u", count);
    setenv("UV_THREADPOOL_SIZE", text, 1);
}

static void
on_work(uv_work_t *request)
{
    struct loop_work *work = (struct loop_work *)request;
    work->work(work->arg);
}

static void
on_work_done(uv_work_t *request, int status)
{
    struct loop_work *work = (struct loop_work *)request;

    (void)status; /* only a cancel, which this loop does not offer, sets it */
    work->pending = false;
    work->done(work->arg);
}

int
loop_work_new(struct loop *loop, loop_work_fn *work_fn,
              loop_work_done_fn *done, void *arg, struct loop_work **out)
{
    int err = try_workers();
    if (err != 0) {
        return err;
    }
    struct loop_work *work = calloc(1, sizeof(*work));
    if (work == NULL) {
        return ERR_NOMEM;
    }
    work->loop = loop;
    work->work = work_fn;
    work->done = done;
    work->arg = arg;
    *out = work;
    return 0;
}

void
loop_work_submit(struct loop_work *work)
{
    BELAY_ASSERT(!work->pending);
    work->pending = true;
    int rc = uv_queue_work(&work->loop->uv, &work->uv, on_work, on_work_done);
    BELAY_ASSERT(rc == 0);
}

bool
loop_work_pending(const struct loop_work *work)
{
    return work->pending;
}

void
loop_work_free(struct loop_work *work)
{
    if (work == NULL) {
        return;
    }
    BELAY_ASSERT(!work->pending);
    free(work);
}

/* --- Wake-up from other threads --- */

static void
on_async(uv_async_t *handle)
{
    struct loop_async *async = (struct loop_async *)handle;
    async->fn(async->arg);
}

int
loop_async_new(struct loop *loop, loop_async_fn *fn, void *arg,
               struct loop_async **out)
{
    struct loop_async *async = calloc(1, sizeof(*async));
    if (async == NULL) {
        return ERR_NOMEM;
    }
    int rc = uv_async_init(&loop->uv, &async->uv, on_async);
    if (rc != 0) {
        free(async);
        return err_of_uv(rc);
    }
    async->fn = fn;
    async->arg = arg;
    loop->handles_open++;
    *out = async;
    return 0;
}

void
loop_async_send(struct loop_async *async)
{
    uv_async_send(&async->uv);
}

void
loop_async_free(struct loop_async *async)
{
    close_handle(async);
}

/* --- End of this turn --- */

int
loop_defer_new(struct loop *loop, loop_defer_fn *fn, void *arg,
               struct loop_defer **out)
{
    struct loop_defer *defer = calloc(1, sizeof(*defer));
    if (defer == NULL) {
        return ERR_NOMEM;
    }
    defer->loop = loop;
    defer->fn = fn;
    defer->arg = arg;
    *out = defer;
    return 0;
}

void
loop_defer_arm(struct loop_defer *defer)
{
    struct loop *loop = defer->loop;

    if (defer->link != NULL) {
        return;
    }
    if (loop->armed == NULL) {
        uv_idle_start(&loop->idle, on_idle);
    }
    defer->link = loop->armed_tail;
    *loop->armed_tail = defer;
    loop->armed_tail = &defer->next;
}

void
loop_defer_free(struct loop_defer *defer)
{
    if (defer == NULL) {
        return;
    }
    if (defer->link != NULL) {
        defer_unlink(defer->loop, defer);
        if (defer->loop->armed == NULL) {
            uv_idle_stop(&defer->loop->idle);
        }
    }
    free(defer);
}

const char *loop_library(void)
{
    return uv_version_string();
}
