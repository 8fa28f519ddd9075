/* Burst: lines of the log that clients can bring about as often as they like.
 * A flood of them is a few lines, and one that counts the others. */
#ifndef SERVER_BURST_H
#define SERVER_BURST_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/io/log.h"

struct burst {
    const char *more; /* event of the line that counts; a literal */
    uint64_t since_ms; /* a second in which so many came */
    unsigned count;
};

/* May one more be written?  Writes first what the last second withheld; the
 * line names the worker. */
bool burst_allows(struct burst *burst, struct log *log, unsigned worker,
                  uint64_t now_ms);

#endif
