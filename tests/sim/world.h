/* World: one download from one seed.
 *
 * The real transfer, the real sender of each connection, a network, a disk
 * and a file on the server that lives its own life, all in one process and in
 * virtual time.  Trouble of many kinds goes on until `quiet_at`; from then on
 * the download has to come to its end.
 *
 * Whatever happens: a download that calls itself complete equals one version
 * of the file, and still does when the power fails at the next moment (P1,
 * P2); the final name never leads to anything else (P1); what a killed client
 * had verified is not fetched again (P3); no wait is without end (P6). */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

struct world_result {
    const char *wrong; /* NULL: everything held */
    uint64_t trace;    /* equal for equal runs */
    uint64_t ended_at; /* virtual milliseconds */
    uint64_t steps;
    uint64_t wire;     /* bytes received in the last run of the client */
    uint64_t size;
    unsigned conns;    /* dialled in all */
    unsigned restarts;
    unsigned changes;
    unsigned power_cuts;
    unsigned disk_failures;
    bool finished;     /* else it failed in a way that is allowed */
};

void world_run(uint64_t seed, bool verbose, struct world_result *result);

#endif
