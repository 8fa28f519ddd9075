/* Net: the two directions of one connection in virtual time.
 *
 * Bytes keep their order, arrive after the latency and not faster than the
 * rate, in pieces of any length.  A connection can be cut (reset: what is on
 * the way is lost), stall for ever, flip a bit, or bring some bytes twice,
 * each at a chosen byte. */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/rand.h"

#define NET_NEVER UINT64_MAX

struct segment {
    struct segment *next;
    uint64_t due;
    size_t len;
    size_t at;
    uint8_t data[];
};

struct pipe {
    struct segment *first;
    struct segment **last;
    size_t in_flight;
    uint64_t sent;      /* bytes put in */
    uint64_t delivered; /* bytes taken out */
    uint64_t free_at;   /* when the line can take the next byte */
    uint64_t flip_at;   /* this byte loses a bit */
    uint64_t replay_at; /* what is sent with this byte comes twice */
    bool ended;         /* no more will be put in */
};

struct net {
    struct pipe up;   /* client to server */
    struct pipe down; /* server to client */
    uint64_t latency_ms;
    uint64_t bytes_per_ms;
    uint64_t cut_at;   /* delivered bytes downwards */
    uint64_t stall_at; /* the same */
    bool stalled;
};

void net_init(struct net *n);
void net_clear(struct net *n);
void net_send(struct net *n, struct pipe *p, struct rng *rng, uint64_t now,
              const uint8_t *data, size_t len);
/* When something can be taken; NET_NEVER for never. */
uint64_t net_due(const struct net *n, const struct pipe *p);
/* Bytes that have arrived: at most a random number of them, or 0. */
size_t net_take(struct net *n, struct pipe *p, struct rng *rng, uint64_t now,
                uint8_t *out, size_t cap);
/* Everything was taken, and nothing more will come. */
bool net_at_end(const struct pipe *p);

#endif
