/* A download as the client does it, without a network: open, resume or begin,
 * fetch what is missing from memory, commit. Uses only store.h.
 *
 * Its bytes are a function of a seed, so each run can tell right from wrong.
 */
#ifndef TESTS_CRASH_SCENARIO_H
#define TESTS_CRASH_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/store.h"

#define SCENARIO_LOG2 12
#define SCENARIO_CHUNK (UINT64_C(1) << SCENARIO_LOG2)
#define SCENARIO_CHUNKS_MAX 256

struct scenario {
    const struct store_sys *sys;
    int dir_fd;
    const char *dir_path;
    const char *name;
    enum store_policy policy;
    const uint8_t *content;
    uint64_t size; /* at most SCENARIO_CHUNKS_MAX chunks */
    uint8_t version;
    uint64_t sync_every; /* chunks between two syncs; 0: none */
    bool trust_journal; /* a mutant: hints count without a re-hash */
};

/* What a run has reached; written as it goes, so that it is true at every
 * moment at which the run may be cut off. */
struct scenario_progress {
    volatile bool begun; /* store_begin returned */
    volatile bool success; /* store_finish or store_settle returned 0 */
    volatile uint64_t marked; /* chunks marked so far, bit by bit */
    volatile uint64_t synced; /* of these, before the last store_sync */
    volatile uint64_t kept; /* chunks that the resume found right */
    volatile uint64_t fetched; /* number of chunks fetched */
    volatile enum store_found found;
};

/* The bytes of a version: versions 1 and 2 of one seed differ in every second
 * chunk. Free with free(). */
uint8_t *scenario_content(uint64_t size, uint32_t seed, uint8_t version);

/* Run to the end. Returns 0 or the error that ended it, with *why filled.
 * The bit sets hold the first 64 chunks. */
int scenario_run(const struct scenario *scenario,
                 struct scenario_progress *progress, struct store_error *why);

#endif
