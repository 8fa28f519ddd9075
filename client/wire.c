#include "client/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/io/clock.h"

/* Bytes received per turn of the loop, so that wires share it. */
#define TURN_BYTES ((size_t)4 << 20)
/* A rate limit is kept in steps of this length. */
#define RATE_STEP_MS 20u

static struct receiver *receiver_of(const struct wire *w)
{
    return w->shared->events->receiver(w->shared->arg, w->number);
}

static uint64_t now_ms(const struct wire *w)
{
    return loop_now_ms(w->shared->loop);
}

static void watch(struct wire *w)
{
    const uint8_t *data;
    unsigned events = 0;

    if (w->fd < 0) {
        return;
    }
    if (!w->held && !w->throttled) {
        events |= LOOP_READ;
    }
    if (receiver_out(receiver_of(w), &data) > 0) {
        events |= LOOP_WRITE;
    }
    if (events != w->watched) {
        w->watched = events;
        loop_poll_set(w->poll, events);
    }
}

/* Silence counts only while somebody listens. */
static void update_pause(struct wire *w)
{
    receiver_pause(receiver_of(w), w->held || w->throttled, now_ms(w));
}

static void lost(struct wire *w, const char *text)
{
    wire_close(w);
    w->shared->events->lost(w->shared->arg, w->number, text);
}

static void receive(struct wire *w)
{
    const struct wire_shared *s = w->shared;
    size_t turn = 0;

    while (w->fd >= 0 && !w->held && turn < TURN_BYTES) {
        size_t room = rate_allowance(s->rate, clock_mono_ms());
        ssize_t n;

        if (room == 0) {
            w->throttled = true;
            update_pause(w);
            loop_timer_start(w->rate_timer, RATE_STEP_MS);
            break;
        }
        n = recv(w->fd, s->buffer, room < WIRE_BUFFER ? room : WIRE_BUFFER,
                 0);
        if (n > 0) {
            rate_spend(s->rate, (size_t)n);
            turn += (size_t)n;
            s->events->input(s->arg, w->number, s->buffer, (size_t)n);
            if ((size_t)n < WIRE_BUFFER / 2 && w->fd >= 0) {
                break; /* most likely all there was */
            }
        } else if (n == 0) {
            lost(w, "the server closed the connection");
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            lost(w, strerror(errno));
        }
    }
}

static void on_ready(void *arg, unsigned events)
{
    struct wire *w = arg;

    if ((events & LOOP_READ) != 0) {
        receive(w);
    }
    if ((events & LOOP_WRITE) != 0 && w->fd >= 0) {
        wire_send(w);
    }
    watch(w);
    w->shared->events->turn(w->shared->arg);
}

static void on_rate(void *arg)
{
    struct wire *w = arg;

    if (w->fd < 0 || !w->throttled) {
        return;
    }
    w->throttled = false;
    update_pause(w);
    receive(w);
    watch(w);
    w->shared->events->turn(w->shared->arg);
}

void wire_send(struct wire *w)
{
    const uint8_t *data;
    size_t len;

    while (w->fd >= 0 && (len = receiver_out(receiver_of(w), &data)) > 0) {
        ssize_t n = send(w->fd, data, len, MSG_NOSIGNAL);

        if (n >= 0) {
            receiver_sent(receiver_of(w), (size_t)n, now_ms(w));
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            int why = errno;

            /* What the server said before it left is still to be read. */
            receive(w);
            if (w->fd >= 0) {
                lost(w, strerror(why));
            }
        }
    }
    watch(w);
}

void wire_hold(struct wire *w, bool held)
{
    if (w->fd < 0 || w->held == held) {
        return;
    }
    w->held = held;
    update_pause(w);
    watch(w);
}

/* ---- life. */

static void on_dialed(void *arg, int fd, const char *text)
{
    struct wire *w = arg;
    const struct wire_shared *s = w->shared;

    w->dial = NULL;
    if (fd >= 0 && loop_poll_new(s->loop, fd, on_ready, w, &w->poll) != 0) {
        close(fd);
        fd = -1;
        text = "out of memory";
    }
    w->fd = fd;
    w->watched = 0;
    w->held = false;
    w->throttled = false;
    s->events->connected(s->arg, w->number, fd >= 0, text);
    if (w->fd >= 0) {
        wire_send(w);
    }
    s->events->turn(s->arg);
}

void wire_dial(struct wire *w)
{
    const struct wire_shared *s = w->shared;

    if (dial_start(s->dialer, s->connect_timeout_ms, on_dialed, w,
                   &w->dial) != 0) {
        s->events->connected(s->arg, w->number, false, "out of memory");
    }
}

void wire_close(struct wire *w)
{
    dial_cancel(w->dial);
    w->dial = NULL;
    loop_timer_stop(w->rate_timer);
    if (w->fd >= 0) {
        loop_poll_free(w->poll);
        w->poll = NULL;
        close(w->fd);
        w->fd = -1;
    }
}

int wire_init(struct wire *w, const struct wire_shared *shared,
              unsigned number)
{
    memset(w, 0, sizeof *w);
    w->shared = shared;
    w->number = number;
    w->fd = -1;
    return loop_timer_new(shared->loop, on_rate, w, &w->rate_timer);
}

void wire_clear(struct wire *w)
{
    if (w->shared != NULL) {
        wire_close(w);
        loop_timer_free(w->rate_timer);
    }
}
