#include "client/wire.h"

#include <stdio.h>
#include <string.h>

#include "client/ssh.h"
#include "client/trust.h"
#include "client/tunnel.h"
#include "proto/io/clock.h"
#include "proto/io/tls.h"

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

bool wire_is_open(const struct wire *w)
{
    return w->channel.fd >= 0;
}

static void watch(struct wire *w)
{
    const uint8_t *data;
    unsigned events = 0;

    if (!wire_is_open(w)) {
        return;
    }
    if (!w->held && !w->throttled) {
        events |= LOOP_READ;
    }
    if (receiver_out(receiver_of(w), &data) > 0) {
        events |= LOOP_WRITE;
    }
    events = channel_events(&w->channel, events);
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

/* The text goes with the channel. */
static void lost_by(struct wire *w, int err)
{
    char text[TLS_TEXT_MAX];

    (void)snprintf(text, sizeof text, "%s",
                   channel_problem(&w->channel, err));
    lost(w, text);
}

static void receive(struct wire *w)
{
    const struct wire_shared *s = w->shared;
    size_t turn = 0;

    while (wire_is_open(w) && !w->channel.shaking && !w->held &&
           turn < TURN_BYTES) {
        size_t room = rate_allowance(s->rate, &w->taker,
                                     clock_mono_ms());
        struct iovec iov = {.iov_base = s->buffer};
        size_t n = 0;
        int err;

        if (room == 0) {
            w->throttled = true;
            update_pause(w);
            loop_timer_start(w->rate_timer, RATE_STEP_MS);
            break;
        }
        iov.iov_len = room < WIRE_BUFFER ? room : WIRE_BUFFER;
        err = channel_readv(&w->channel, &iov, 1, &n);
        if (err == 0) {
            rate_spend(s->rate, &w->taker, n);
            turn += n;
            s->events->input(s->arg, w->number, s->buffer, n);
        } else if (err == ERR_AGAIN) {
            break;
        } else if (err == ERR_TLS && channel_is_refused(&w->channel)) {
            s->events->distrust(s->arg, channel_problem(&w->channel, err));
            break;
        } else {
            lost_by(w, err);
        }
    }
    if (turn >= TURN_BYTES && wire_is_open(w)) {
        /* No event may come any more, neither for what TLS holds nor for an
         * error, which is told once. */
        loop_defer_arm(w->again);
    }
}

static void on_again(void *arg)
{
    struct wire *w = arg;

    receive(w);
    watch(w);
    w->shared->events->turn(w->shared->arg);
}

/* What the server proves comes before anything that we say. */
static void shake(struct wire *w)
{
    const struct wire_shared *s = w->shared;
    char text[TLS_TEXT_MAX];
    int err = channel_shake(&w->channel);

    if (err == 0 && trust_recorded(s->trust, text, sizeof text)) {
        s->events->recorded(s->arg, text);
    }
    if (err == ERR_TLS) {
        s->events->distrust(s->arg, channel_problem(&w->channel, err));
    } else if (err != 0 && err != ERR_AGAIN) {
        lost_by(w, err);
    } else if (err == 0 && wire_is_open(w)) {
        wire_send(w);
        receive(w); /* it may be here with the end of the handshake */
    }
}

static void on_ready(void *arg, unsigned events)
{
    struct wire *w = arg;

    if (w->channel.shaking) {
        shake(w);
    } else if ((events & LOOP_READ) != 0 || w->channel.read_wants_write) {
        receive(w);
    }
    if ((events & LOOP_WRITE) != 0 && wire_is_open(w)) {
        wire_send(w);
    }
    watch(w);
    w->shared->events->turn(w->shared->arg);
}

static void on_rate(void *arg)
{
    struct wire *w = arg;

    if (!wire_is_open(w) || !w->throttled) {
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

    while (wire_is_open(w) && !w->channel.shaking &&
           (len = receiver_out(receiver_of(w), &data)) > 0) {
        size_t n = 0;
        int err = channel_send(&w->channel, data, len, &n);

        if (err == 0) {
            receiver_sent(receiver_of(w), n, now_ms(w));
        } else if (err == ERR_AGAIN) {
            break;
        } else {
            char text[TLS_TEXT_MAX];

            (void)snprintf(text, sizeof text, "%s",
                           channel_problem(&w->channel, err));
            /* What the server said before it left is still to be read. */
            receive(w);
            if (wire_is_open(w)) {
                lost(w, text);
            }
        }
    }
    watch(w);
}

void wire_hold(struct wire *w, bool held)
{
    if (!wire_is_open(w) || w->held == held) {
        return;
    }
    w->held = held;
    if (!held && channel_has_input(&w->channel)) {
        loop_defer_arm(w->again); /* no event will come for it */
    }
    update_pause(w);
    watch(w);
}

/* ---- life. */

static int open_channel(struct wire *w, int fd)
{
    const struct wire_shared *s = w->shared;
    int err = channel_open(&w->channel, fd, s->trust);

    if (err == 0) {
        err = loop_poll_new(s->loop, fd, on_ready, w, &w->poll);
    }
    if (err != 0) {
        channel_close(&w->channel);
    }
    return err;
}

static void on_dialed(void *arg, int fd, const char *text)
{
    struct wire *w = arg;
    const struct wire_shared *s = w->shared;

    w->dial = NULL;
    w->watched = 0;
    w->held = false;
    w->throttled = false;
    if (fd >= 0 && open_channel(w, fd) != 0) {
        text = "out of memory";
    }
    s->events->connected(s->arg, w->number, wire_is_open(w), text);
    if (wire_is_open(w) && w->channel.shaking) {
        shake(w);
        watch(w);
    } else if (wire_is_open(w)) {
        wire_send(w);
    }
    s->events->turn(s->arg);
}

static void on_tunnel(void *arg, int fd, bool hopeless, const char *text)
{
    struct wire *w = arg;
    const struct wire_shared *s = w->shared;
    char copy[1600];

    if (fd >= 0) {
        on_dialed(w, fd, text);
        return;
    }
    /* The text is the tunnel's, which ends before anything follows. */
    (void)snprintf(copy, sizeof copy, "%s", text);
    tunnel_free(w->tunnel);
    w->tunnel = NULL;
    if (hopeless) {
        s->events->hopeless(s->arg, copy);
        s->events->turn(s->arg);
    } else {
        on_dialed(w, -1, copy);
    }
}

static void on_tunnel_told(void *arg, bool detail, const char *text)
{
    const struct wire *w = arg;

    w->shared->events->told(w->shared->arg, detail, text);
}

static int start_tunnel(struct wire *w)
{
    const struct wire_shared *s = w->shared;
    const struct tunnel_options options = {
        .argv = s->ssh->argv,
        .host = s->ssh_host,
        .timeout_ms = s->connect_timeout_ms + TUNNEL_LOGIN_MS,
        .done = on_tunnel,
        .tell = on_tunnel_told,
        .arg = w,
    };

    tunnel_free(w->tunnel);
    w->tunnel = NULL;
    return tunnel_start(s->loop, &options, &w->tunnel);
}

void wire_dial(struct wire *w)
{
    const struct wire_shared *s = w->shared;

    if (s->ssh != NULL) {
        if (start_tunnel(w) != 0) {
            s->events->connected(s->arg, w->number, false, "out of memory");
        }
        return;
    }
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
    rate_leave(w->shared->rate, &w->taker);
    loop_poll_free(w->poll);
    w->poll = NULL;
    channel_close(&w->channel);
    tunnel_free(w->tunnel);
    w->tunnel = NULL;
}

int wire_init(struct wire *w, const struct wire_shared *shared,
              unsigned number)
{
    memset(w, 0, sizeof *w);
    w->shared = shared;
    w->number = number;
    w->channel.fd = -1;
    int err = loop_defer_new(shared->loop, on_again, w, &w->again);
    if (err == 0) {
        err = loop_timer_new(shared->loop, on_rate, w, &w->rate_timer);
    }
    if (err != 0) {
        loop_defer_free(w->again);
        w->shared = NULL; /* nothing for wire_clear() */
    }
    return err;
}

void wire_clear(struct wire *w)
{
    if (w->shared != NULL) {
        wire_close(w);
        loop_defer_free(w->again);
        loop_timer_free(w->rate_timer);
    }
}
