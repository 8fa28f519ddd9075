/* Hashing what nobody has read yet, for DIGEST: one job for each source, in
 * slices between which it can be given up; all who want digests of the file
 * share it. Jobs of several files take turns. A file that changed a moment ago
 * is left alone until it has rested (rule D12).
 *
 * All calls from the loop's thread. */
#ifndef SERVER_HASHJOB_H
#define SERVER_HASHJOB_H

#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "server/metrics.h"
#include "server/prepare.h"
#include "server/source.h"

/* Somebody who wants digests. Embedded in the owner's struct, which holds a
 * reference to the source and stays in place until done was called or
 * hashjob_leave(). */
struct hashwait {
    struct source *source;
    uint64_t first;      /* ready when chunks [first, end) are known; */
    uint64_t end;
    uint64_t span_first; /* [span_first, span_end) will be wanted later */
    uint64_t span_end;
    struct metrics_slot *count; /* has the worker's jobs, too */
    void (*done)(struct hashwait *wait, int err);
    uint64_t done_bytes; /* progress within the span, after each slice */
    uint64_t total_bytes;
    void (*progress)(struct hashwait *wait);
    struct hashwait *next; /* private */
};

/* Waits; done is called later with 0, ERR_CHANGED, ERR_IO, ERR_NOMEM or
 * ERR_INTERNAL. ERR_NOMEM at once: it does not wait. */
MUST_USE int hashjob_join(struct loop *loop, struct prepare *prepare,
                          struct hashwait *wait);

/* Waits no longer; done will not be called. */
void hashjob_leave(struct hashwait *wait);

#endif
