/* What the proxy has counted, and how it is told: one line of JSON. */
#ifndef TESTS_FAULT_STATS_H
#define TESTS_FAULT_STATS_H

#include <stddef.h>
#include <stdint.h>

struct stats {
    uint64_t connections;     /* accepted, refused ones included */
    uint64_t active;          /* open now */
    uint64_t refused;         /* reset at once by --refuse-first */
    uint64_t blackholed;      /* by --blackhole-first */
    uint64_t connect_failed;  /* the server could not be reached */
    uint64_t faults;          /* fault events, a reset of all counts once */
    uint64_t resets;          /* connections reset by a rule */
    uint64_t peer_resets;     /* resets by a peer, passed on to the other */
    uint64_t fins;
    uint64_t stalls;
    uint64_t half_opens;
    uint64_t truncations;
    uint64_t flips;           /* flipped bits that were forwarded */
    uint64_t bytes_up;        /* forwarded client to server */
    uint64_t bytes_down;      /* forwarded server to client */
    uint64_t bytes_dropped;   /* taken and not forwarded, by a rule */
    uint64_t seed;
    int64_t started_ns;       /* CLOCK_MONOTONIC */
};

#define STATS_LINE_MAX 768

/* Write the JSON line, newline included, as of now_ns. Returns its length. */
size_t stats_format(const struct stats *stats, int64_t now_ns,
    char line[STATS_LINE_MAX]);

/* Print the line on standard output and, if path is not NULL, replace the
 * file path by it in one step. Returns 0 or a negative errno. */
int stats_publish(const struct stats *stats, int64_t now_ns,
    const char *path);

#endif
