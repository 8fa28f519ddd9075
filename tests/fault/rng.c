#include "tests/fault/rng.h"

#include <assert.h>

void
rng_init(struct rng *rng, uint64_t seed, uint64_t stream)
{
    rng->state = seed;
    rng->state = rng_next(rng) ^ (stream * UINT64_C(0xd1342543de82ef95));
}

uint64_t
rng_next(struct rng *rng)
{
    rng->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = rng->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t
rng_below(struct rng *rng, uint64_t limit)
{
    assert(limit > 0);
    /* The bias of the plain remainder is below 2^-24 for all limits that a
     * fault rule uses, far less than a test could notice. */
    return rng_next(rng) % limit;
}

uint64_t
rng_jitter(struct rng *rng, uint64_t value, unsigned percent)
{
    assert(percent <= 100);
    if (value == 0 || percent == 0) {
        return value;
    }
    uint64_t span = value / 100 * percent + value % 100 * percent / 100;
    if (span == 0 || span > UINT64_MAX / 4) {
        return value;
    }
    uint64_t moved = value - span + rng_below(rng, 2 * span + 1);
    return moved > 0 ? moved : 1;
}
