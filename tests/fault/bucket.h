/* A token bucket: at most rate bytes a second, in bursts of 10 ms.
 *
 * Pure: the caller brings the time. A rate of 0 means no limit. */
#ifndef TESTS_FAULT_BUCKET_H
#define TESTS_FAULT_BUCKET_H

#include <stdint.h>

struct bucket {
    uint64_t rate;    /* bytes per second; 0 = no limit */
    uint64_t burst;   /* bytes that may be saved up */
    uint64_t tokens;  /* bytes that may go now */
    int64_t filled_ns;
};

/* A full bucket at time now_ns. rate is at most 2^40. */
void bucket_init(struct bucket *bucket, uint64_t rate, int64_t now_ns);

/* How many of want (> 0) bytes may go at now_ns. Returns 0 and sets *wake_ns
 * to a later time when too few tokens are there for a worthwhile write;
 * *wake_ns is left alone otherwise. */
uint64_t bucket_allow(struct bucket *bucket, uint64_t want, int64_t now_ns,
    int64_t *wake_ns);

/* len bytes have gone; at most what bucket_allow returned. */
void bucket_spend(struct bucket *bucket, uint64_t len);

#endif
