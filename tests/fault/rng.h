/* Repeatable random numbers: one 64-bit word of state, seeded by the caller.
 *
 * This is splitmix64: small, fast and good enough to place faults. It is not
 * for secrets. Equal seeds give equal sequences on every machine. */
#ifndef TESTS_FAULT_RNG_H
#define TESTS_FAULT_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

/* Start the sequence number stream of seed. Two streams of one seed are
 * unrelated, so that each connection draws its own numbers and the order in
 * which connections run does not matter. */
void rng_init(struct rng *rng, uint64_t seed, uint64_t stream);

/* The next 64 random bits. */
uint64_t rng_next(struct rng *rng);

/* A number in [0, limit), limit > 0. */
uint64_t rng_below(struct rng *rng, uint64_t limit);

/* value moved by at most percent per cent (0 to 100) up or down, never
 * below 1. value 0 stays 0. */
uint64_t rng_jitter(struct rng *rng, uint64_t value, unsigned percent);

#endif
