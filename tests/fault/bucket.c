#include "tests/fault/bucket.h"

#include <assert.h>

#define NS_PER_S UINT64_C(1000000000)
#define BURST_PARTS_PER_S 100

void
bucket_init(struct bucket *bucket, uint64_t rate, int64_t now_ns)
{
    assert(rate <= UINT64_C(1) << 40);
    uint64_t burst = rate / BURST_PARTS_PER_S;
    *bucket = (struct bucket){
        .rate = rate,
        .burst = burst > 0 ? burst : 1,
        .tokens = burst > 0 ? burst : 1,
        .filled_ns = now_ns,
    };
}

static void
bucket_fill(struct bucket *bucket, int64_t now_ns)
{
    if (now_ns <= bucket->filled_ns) {
        return;
    }
    uint64_t passed_ns = (uint64_t)(now_ns - bucket->filled_ns);
    uint64_t missing = bucket->burst - bucket->tokens;
    /* A second fills any bucket, as a burst is 10 ms worth (or one byte). */
    if (passed_ns >= NS_PER_S) {
        bucket->tokens = bucket->burst;
        bucket->filled_ns = now_ns;
        return;
    }
    unsigned __int128 product = (unsigned __int128)passed_ns * bucket->rate;
    uint64_t fresh = (uint64_t)(product / NS_PER_S);
    if (fresh >= missing) {
        bucket->tokens = bucket->burst;
        bucket->filled_ns = now_ns;
        return;
    }
    bucket->tokens += fresh;
    /* Only the time that became whole tokens is used up. */
    product = (unsigned __int128)fresh * NS_PER_S;
    bucket->filled_ns += (int64_t)(product / bucket->rate);
}

uint64_t
bucket_allow(struct bucket *bucket, uint64_t want, int64_t now_ns,
    int64_t *wake_ns)
{
    assert(want > 0);
    if (bucket->rate == 0) {
        return want;
    }
    bucket_fill(bucket, now_ns);
    /* Waiting for half a burst keeps the number of small writes down. */
    uint64_t least = bucket->burst / 2 + bucket->burst % 2;
    if (least > want) {
        least = want;
    }
    if (bucket->tokens >= least) {
        return want < bucket->tokens ? want : bucket->tokens;
    }
    uint64_t lack = least - bucket->tokens;
    unsigned __int128 wait_ns = (unsigned __int128)lack * NS_PER_S;
    *wake_ns = bucket->filled_ns + (int64_t)(wait_ns / bucket->rate) + 1;
    return 0;
}

void
bucket_spend(struct bucket *bucket, uint64_t len)
{
    if (bucket->rate != 0) {
        assert(len <= bucket->tokens);
        bucket->tokens -= len;
    }
}
