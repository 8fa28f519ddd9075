#include "tests/fault/pipe.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fault/timers.h"

#define NS_PER_MS INT64_C(1000000)

/* One turn of a pipe: enough to be fast, little enough to be fair. */
#define TURN_BYTES (UINT64_C(1) << 20)
#define TURN_WRITES 64

static void
pipe_add_step(struct pipe *pipe, uint64_t at, enum fault_action action)
{
    if (at == OPTIONS_OFF) {
        return;
    }
    assert(pipe->step_count < PIPE_STEPS_MAX);
    unsigned i = pipe->step_count++;
    while (i > 0 && pipe->steps[i - 1].at > at) {
        pipe->steps[i] = pipe->steps[i - 1];
        i--;
    }
    pipe->steps[i] = (struct pipe_step){ at, action };
}

static void
pipe_plan(struct pipe *pipe, const struct options *options, uint64_t index)
{
    uint64_t rst_after = options->rst_after;
    if (rst_after != OPTIONS_OFF) {
        rst_after =
            rng_jitter(&pipe->rng, rst_after, options->jitter_percent);
    }
    pipe_add_step(pipe, rst_after, FAULT_RST);
    pipe_add_step(pipe, options->fin_after, FAULT_FIN);
    pipe_add_step(pipe, options->stall_after, FAULT_STALL);
    pipe_add_step(pipe, options->half_open_after, FAULT_HALF_OPEN);
    pipe_add_step(pipe, options->truncate_at, FAULT_TRUNCATE);
    if (index < options->cut_count) {
        pipe_add_step(pipe, options->cut_at[index], options->cut_with);
    }
}

/* Choose the bit of the next window of flip_every bytes. */
static void
pipe_plan_flip(struct pipe *pipe)
{
    uint64_t every = pipe->shared->options->flip_every;
    pipe->flip_at = pipe->flip_window + rng_below(&pipe->rng, every);
    pipe->flip_window += every;
}

int
pipe_init(struct pipe *pipe, struct pipe_shared *shared, bool ruled,
    uint64_t index, int64_t now_ns)
{
    const struct options *options = shared->options;
    *pipe = (struct pipe){
        .shared = shared, .ruled = ruled, .flip_at = OPTIONS_OFF,
    };
    rng_init(&pipe->rng, options->seed, index + 1);
    bucket_init(&pipe->rate, ruled ? options->rate : 0, now_ns);
    if (ruled) {
        pipe_plan(pipe, options, index);
        if (options->flip_every > 0) {
            pipe_plan_flip(pipe);
        }
    }
    if (options->delay_ns > 0) {
        pipe->marks = calloc(PIPE_MARKS_MAX, sizeof(pipe->marks[0]));
        if (pipe->marks == NULL) {
            return -ENOMEM;
        }
    }
    return ring_init(&pipe->ring, (size_t)options->buffer);
}

void
pipe_clear(struct pipe *pipe)
{
    ring_clear(&pipe->ring);
    free(pipe->marks);
    pipe->marks = NULL;
    pipe->mark_count = 0;
}

bool
pipe_wants_input(const struct pipe *pipe)
{
    return !pipe->source_ended &&
        (pipe->discarding || ring_room(&pipe->ring) > 0);
}

/* Remember that the bytes up to received may leave after the delay. Reads
 * close together share a mark, so that the marks never run out. */
static void
pipe_mark_input(struct pipe *pipe, int64_t now_ns)
{
    int64_t delay_ns = pipe->shared->options->delay_ns;
    int64_t release_ns = now_ns + delay_ns;
    if (pipe->mark_count > 0) {
        unsigned last = (pipe->mark_first + pipe->mark_count - 1) %
            PIPE_MARKS_MAX;
        struct pipe_mark *mark = &pipe->marks[last];
        if (pipe->mark_count == PIPE_MARKS_MAX ||
            release_ns - mark->release_ns < delay_ns / PIPE_DELAY_PARTS) {
            mark->upto = pipe->received;
            return;
        }
    }
    unsigned slot = (pipe->mark_first + pipe->mark_count) % PIPE_MARKS_MAX;
    pipe->marks[slot] = (struct pipe_mark){ pipe->received, release_ns };
    pipe->mark_count++;
}

static ssize_t
pipe_read(struct pipe *pipe, int fd)
{
    struct iovec iov[2];
    int pieces = ring_free_iov(&pipe->ring, SIZE_MAX, iov);
    ssize_t len;
    do {
        len = readv(fd, iov, pieces);
    } while (len < 0 && errno == EINTR);
    return len >= 0 ? len : -errno;
}

static ssize_t
pipe_read_waste(int fd)
{
    uint8_t waste[65536];
    ssize_t len;
    do {
        len = read(fd, waste, sizeof(waste));
    } while (len < 0 && errno == EINTR);
    return len >= 0 ? len : -errno;
}

int
pipe_fill(struct pipe *pipe, int fd, int64_t now_ns, uint64_t *dropped)
{
    if (!pipe_wants_input(pipe)) {
        return 0;
    }
    ssize_t len =
        pipe->discarding ? pipe_read_waste(fd) : pipe_read(pipe, fd);
    if (len == -EAGAIN || len == -EWOULDBLOCK) {
        return 0;
    }
    if (len < 0) {
        return (int)len;
    }
    if (len == 0) {
        pipe->source_ended = true;
        pipe->end_release_ns = now_ns + pipe->shared->options->delay_ns;
        return 0;
    }
    pipe->received += (uint64_t)len;
    if (pipe->discarding) {
        *dropped += (uint64_t)len;
        return 0;
    }
    ring_commit(&pipe->ring, (size_t)len);
    if (pipe->marks != NULL) {
        pipe_mark_input(pipe, now_ns);
    }
    return 0;
}

/* How many of the held bytes has the delay released? */
static uint64_t
pipe_released(struct pipe *pipe, int64_t now_ns, int64_t *wake_ns)
{
    if (pipe->marks == NULL) {
        return pipe->ring.used;
    }
    uint64_t upto = pipe->forwarded;
    for (unsigned i = 0; i < pipe->mark_count; i++) {
        const struct pipe_mark *mark =
            &pipe->marks[(pipe->mark_first + i) % PIPE_MARKS_MAX];
        if (mark->release_ns > now_ns) {
            if (mark->release_ns < *wake_ns) {
                *wake_ns = mark->release_ns;
            }
            break;
        }
        upto = mark->upto;
    }
    return upto - pipe->forwarded;
}

static void
pipe_drop_marks(struct pipe *pipe)
{
    while (pipe->mark_count > 0 &&
        pipe->marks[pipe->mark_first].upto <= pipe->forwarded) {
        pipe->mark_first = (pipe->mark_first + 1) % PIPE_MARKS_MAX;
        pipe->mark_count--;
    }
}

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The bytes that one write may take: up to the next position that matters,
 * as far as delay, rates and split allow. 0: wait until *wake_ns. */
static uint64_t
pipe_window(struct pipe *pipe, int64_t now_ns, int64_t *wake_ns)
{
    uint64_t len = pipe_released(pipe, now_ns, wake_ns);
    if (pipe->shared->options->split > 0) {
        len = least(len, pipe->shared->options->split);
    }
    if (!pipe->ruled || len == 0) {
        return len;
    }
    if (pipe->step_next < pipe->step_count) {
        len = least(len, pipe->steps[pipe->step_next].at - pipe->forwarded);
    }
    len = least(len, pipe->shared->reset_at - pipe->shared->passed);
    int64_t bucket_ns = INT64_MAX;
    len = bucket_allow(&pipe->rate, len, now_ns, &bucket_ns);
    if (len > 0) {
        len = bucket_allow(&pipe->shared->rate_total, len, now_ns,
            &bucket_ns);
    }
    if (bucket_ns < *wake_ns) {
        *wake_ns = bucket_ns;
    }
    if (len > 0 && pipe->flip_at == pipe->forwarded) {
        ring_flip_head(&pipe->ring, (uint8_t)(1 << rng_below(&pipe->rng, 8)));
        pipe->flip_pending = true;
        pipe_plan_flip(pipe);
    }
    return least(len, pipe->flip_at - pipe->forwarded);
}

static void
pipe_account(struct pipe *pipe, uint64_t len, uint64_t *flips)
{
    ring_consume(&pipe->ring, (size_t)len);
    pipe->forwarded += len;
    if (pipe->marks != NULL) {
        pipe_drop_marks(pipe);
    }
    if (pipe->ruled) {
        pipe->shared->passed += len;
        bucket_spend(&pipe->rate, len);
        bucket_spend(&pipe->shared->rate_total, len);
    }
    if (pipe->flip_pending) {
        pipe->flip_pending = false;
        *flips += 1;
    }
}

/* Is something due before another byte may leave? */
static enum pipe_result
pipe_check(struct pipe *pipe, int64_t now_ns, int64_t *wake_ns)
{
    if (pipe->stall_until_ns > now_ns) {
        if (pipe->stall_until_ns < *wake_ns) {
            *wake_ns = pipe->stall_until_ns;
        }
        return PIPE_IDLE;
    }
    pipe->stall_until_ns = 0;
    if (pipe->ruled && pipe->shared->passed >= pipe->shared->reset_at) {
        return PIPE_RESET_ALL;
    }
    if (pipe->step_next < pipe->step_count &&
        pipe->steps[pipe->step_next].at <= pipe->forwarded) {
        return PIPE_FAULT;
    }
    return PIPE_BUSY;
}

enum pipe_result
pipe_drain(struct pipe *pipe, int fd, int64_t now_ns, int64_t *wake_ns,
    uint64_t *flips, uint64_t *bytes)
{
    uint64_t turn = 0;
    for (int i = 0; i < TURN_WRITES && turn < TURN_BYTES; i++) {
        enum pipe_result due = pipe_check(pipe, now_ns, wake_ns);
        if (due != PIPE_BUSY) {
            return due;
        }
        uint64_t window = pipe_window(pipe, now_ns, wake_ns);
        if (window == 0) {
            return PIPE_IDLE;
        }
        struct iovec iov[2];
        struct msghdr msg = { .msg_iov = iov };
        msg.msg_iovlen =
            (size_t)ring_data_iov(&pipe->ring, (size_t)window, iov);
        ssize_t len = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return PIPE_BLOCKED;
        }
        if (len < 0) {
            return PIPE_BROKEN;
        }
        pipe_account(pipe, (uint64_t)len, flips);
        *bytes += (uint64_t)len;
        turn += (uint64_t)len;
    }
    enum pipe_result due = pipe_check(pipe, now_ns, wake_ns);
    return due;
}

enum fault_action
pipe_take_step(struct pipe *pipe)
{
    if (pipe->step_next < pipe->step_count &&
        pipe->steps[pipe->step_next].at <= pipe->forwarded) {
        return pipe->steps[pipe->step_next++].action;
    }
    return FAULT_NONE;
}

bool
pipe_end_due(const struct pipe *pipe, int64_t now_ns, int64_t *wake_ns)
{
    if (!pipe->source_ended || pipe->ended || pipe->ring.used > 0 ||
        pipe->stall_until_ns > now_ns) {
        return false;
    }
    if (pipe->end_release_ns > now_ns) {
        if (pipe->end_release_ns < *wake_ns) {
            *wake_ns = pipe->end_release_ns;
        }
        return false;
    }
    return true;
}

uint64_t
pipe_discard(struct pipe *pipe)
{
    uint64_t lost = pipe->ring.used;
    ring_consume(&pipe->ring, pipe->ring.used);
    pipe->mark_count = 0;
    pipe->discarding = true;
    pipe->step_next = pipe->step_count;
    return lost;
}
