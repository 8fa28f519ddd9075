/* Events: the run as JSON, one object a line.
 *
 * The schema is described in client/cli/events.md; its version is
 * EVENTS_SCHEMA.  Members may be added within a version; readers skip what
 * they do not know. */
#ifndef CLIENT_CLI_EVENTS_H
#define CLIENT_CLI_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "client/belay.h"
#include "client/cli/progress.h"

#define EVENTS_SCHEMA 1

struct events {
    FILE *to;          /* NULL: nobody asked */
    uint64_t began_ms; /* of the monotonic clock */
    int failed;        /* errno: it could not be written; or 0 */
};

/* How a run went, in files and bytes. */
struct events_totals {
    size_t files;      /* that were asked for */
    size_t fetched;
    size_t up_to_date; /* nothing was to be fetched */
    size_t skipped;
    size_t would_fetch;
    size_t temporary;  /* failed, by class */
    size_t permanent;
    size_t limit;
    size_t usage;
    uint64_t fresh;    /* bytes, of all files */
    uint64_t wire;
    uint64_t have;
    uint64_t elapsed_ms;
};

void events_open(struct events *events, FILE *to);
/* "begin": the first line. */
void events_begin(struct events *events, size_t files);
/* Whatever the engine told about the file number `id`. */
void events_job(struct events *events, const struct belay_event *event,
                size_t id);
/* "progress" of one file. */
void events_progress(struct events *events, const struct belay_job *job,
                     size_t id, const struct progress *progress);
/* "summary": the last line. */
void events_end(struct events *events, const struct events_totals *totals,
                int exit_code);

#endif
