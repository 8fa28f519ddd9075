#include "tests/sim/net.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

static void pipe_init(struct pipe *p)
{
    memset(p, 0, sizeof *p);
    p->last = &p->first;
    p->flip_at = NET_NEVER;
    p->replay_at = NET_NEVER;
}

void net_init(struct net *n)
{
    memset(n, 0, sizeof *n);
    pipe_init(&n->up);
    pipe_init(&n->down);
    n->latency_ms = 1;
    n->bytes_per_ms = 1000;
    n->cut_at = NET_NEVER;
    n->stall_at = NET_NEVER;
}

static void pipe_clear(struct pipe *p)
{
    while (p->first != NULL) {
        struct segment *s = p->first;

        p->first = s->next;
        free(s);
    }
    p->last = &p->first;
    p->in_flight = 0;
}

void net_clear(struct net *n)
{
    pipe_clear(&n->up);
    pipe_clear(&n->down);
}

static struct segment *put(struct net *n, struct pipe *p,
                           const uint8_t *data, size_t len)
{
    struct segment *s = malloc(sizeof *s + len);

    BELAY_ASSERT(s != NULL);
    memcpy(s->data, data, len);
    s->next = NULL;
    s->len = len;
    s->at = 0;
    p->free_at += len / n->bytes_per_ms;
    s->due = p->free_at + n->latency_ms;
    *p->last = s;
    p->last = &s->next;
    p->in_flight += len;
    return s;
}

void net_send(struct net *n, struct pipe *p, struct rng *rng, uint64_t now,
              const uint8_t *data, size_t len)
{
    if (p->free_at < now) {
        p->free_at = now;
    }
    while (len > 0) {
        /* The line takes a few KiB at a time, so that arrival is spread. */
        size_t step = (size_t)rng_between(rng, 1, 3000);
        struct segment *s;

        if (step > len) {
            step = len;
        }
        s = put(n, p, data, step);
        if (p->flip_at >= p->sent && p->flip_at - p->sent < step) {
            s->data[p->flip_at - p->sent] ^=
                (uint8_t)(1u << rng_below(rng, 8));
        }
        if (p->replay_at >= p->sent && p->replay_at - p->sent < step) {
            (void)put(n, p, data, step);
        }
        p->sent += step;
        data += step;
        len -= step;
    }
}

uint64_t net_due(const struct net *n, const struct pipe *p)
{
    if (n->stalled || p->first == NULL) {
        return NET_NEVER;
    }
    return p->first->due;
}

size_t net_take(struct net *n, struct pipe *p, struct rng *rng, uint64_t now,
                uint8_t *out, size_t cap)
{
    size_t got = 0;
    size_t most = rng_percent(rng, 30) ? (size_t)rng_between(rng, 1, 40)
                                       : cap;

    if (most > cap) {
        most = cap;
    }
    while (got < most && !n->stalled && p->first != NULL &&
           p->first->due <= now) {
        struct segment *s = p->first;
        size_t step = s->len - s->at;

        if (step > most - got) {
            step = most - got;
        }
        if (p == &n->down) {
            if (n->cut_at != NET_NEVER && step > n->cut_at - p->delivered) {
                step = (size_t)(n->cut_at - p->delivered);
            }
            if (n->stall_at != NET_NEVER &&
                step >= n->stall_at - p->delivered) {
                step = (size_t)(n->stall_at - p->delivered);
                n->stalled = true;
            }
        }
        if (step == 0) {
            break;
        }
        memcpy(out + got, s->data + s->at, step);
        got += step;
        s->at += step;
        p->delivered += step;
        p->in_flight -= step;
        if (s->at == s->len) {
            p->first = s->next;
            if (p->first == NULL) {
                p->last = &p->first;
            }
            free(s);
        }
    }
    return got;
}

bool net_at_end(const struct pipe *p)
{
    return p->ended && p->first == NULL;
}
