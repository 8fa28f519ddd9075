/* Outcome: the lines that tell what became of a file. */
#ifndef CLIENT_CLI_OUTCOME_H
#define CLIENT_CLI_OUTCOME_H

#include "client/cli/run.h"

/* The event is BELAY_EVENT_END.  Says nothing where nobody wants to know: -q,
 * and good files of many. */
void outcome_success(struct run *run, const struct run_file *file,
                     const struct belay_event *event,
                     const struct belay_job_stats *stats);
/* ... with what is kept, where a rerun goes on from it. */
void outcome_failure(struct run *run, const struct run_file *file,
                     const struct belay_event *event,
                     const struct belay_job_stats *stats);

/* Who writes HOST:PORT/PATH means TCP, and gets ssh and a path that begins
 * with a number: what to say behind such a failure; else nothing. */
void outcome_scheme_hint(const char *url, char *out, size_t cap);

#endif
