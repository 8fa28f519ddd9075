/* Engine: the loop, its jobs, and the one ear of the caller (belay.h).
 *
 * Loop thread only, but for belay_interrupt() and belay_wake(). */
#ifndef CLIENT_ENGINE_H
#define CLIENT_ENGINE_H

#include "client/belay.h"
#include "client/job.h"

/* Passes an event on, with the job filled in. */
void engine_tell(struct belay_job *job, struct belay_event *event);
/* The job has come to its end: tells it and lets it go. */
void engine_job_over(struct belay_job *job, enum belay_reason reason,
                     const char *text);

#endif
