/* The one source of chance in the simulator: everything follows from the
 * seed. */
#ifndef TESTS_SIM_RAND_H
#define TESTS_SIM_RAND_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

/* SplitMix64: any seed will do. */
static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* The state for one purpose of a world.  (The plain seed times the step above
 * would give neighbours the same numbers, one draw later.) */
static inline struct rng rng_make(uint64_t seed, uint64_t purpose)
{
    struct rng r = {.state = seed ^ purpose << 48};

    r.state = rng_next(&r);
    r.state = rng_next(&r) ^ seed;
    return r;
}

/* [0, bound), bound > 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t bound)
{
    return rng_next(r) % bound;
}

/* [low, high] */
static inline uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high)
{
    return low + rng_below(r, high - low + 1);
}

static inline bool rng_percent(struct rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}

#endif
