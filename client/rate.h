/* A limit of bytes per second, shared by any number of takers: a bucket that
 * fills with time and holds a tenth of a second at most.
 *
 * A taker that was turned away waits; as long as any waits, nobody takes more
 * than its share of what is in the bucket and then waits itself, so that no
 * connection gets everything because it asks at the right moment.
 *
 * Pure; one thread. */
#ifndef CLIENT_RATE_H
#define CLIENT_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rate {
    uint64_t per_second;
    uint64_t tokens;
    uint64_t part;    /* thousandths of a byte on top */
    uint64_t at;      /* when it was filled last */
    uint64_t waiting; /* takers that were turned away */
};

/* One connection; zeroed at first. */
struct rate_taker {
    uint64_t left;  /* of its share, while `sharing` */
    uint64_t since; /* it waits */
    bool sharing;
    bool waiting;
};

void rate_init(struct rate *rate, uint64_t per_second, uint64_t now_ms);
/* Bytes that may be received now; 0 means wait, then ask again.  No bucket is
 * no limit. */
size_t rate_allowance(struct rate *rate, struct rate_taker *taker,
                      uint64_t now_ms);
void rate_spend(struct rate *rate, struct rate_taker *taker, size_t bytes);
/* It takes no more: the others do not share with it.  May be repeated. */
void rate_leave(struct rate *rate, struct rate_taker *taker);

#endif
