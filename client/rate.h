/* A limit of bytes per second, shared by any number of takers: a bucket that
 * fills with time and holds a tenth of a second at most.
 *
 * Pure; one thread. */
#ifndef CLIENT_RATE_H
#define CLIENT_RATE_H

#include <stddef.h>
#include <stdint.h>

struct rate {
    uint64_t per_second;
    uint64_t tokens;
    uint64_t part; /* thousandths of a byte on top */
    uint64_t at;   /* when it was filled last */
};

void rate_init(struct rate *rate, uint64_t per_second, uint64_t now_ms);
/* Bytes that may be received now; 0 means wait.  No bucket is no limit. */
size_t rate_allowance(struct rate *rate, uint64_t now_ms);
void rate_spend(struct rate *rate, size_t bytes);

#endif
