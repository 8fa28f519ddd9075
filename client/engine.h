/* Engine: the loop, its jobs, and the one ear of the caller (belay.h).
 *
 * Loop thread only, but for belay_interrupt() and belay_wake(). */
#ifndef CLIENT_ENGINE_H
#define CLIENT_ENGINE_H

#include "client/belay.h"
#include "client/job.h"

struct group;

/* Takes a new job over: it is queued. */
void engine_add(struct belay_engine *engine, struct belay_job *job);
/* Passes an event on, with the job filled in; or without a job. */
void engine_tell(struct belay_job *job, struct belay_event *event);
void engine_tell_all(struct belay_engine *engine,
                     const struct belay_event *event);
/* The job has come to its end: tells it and lets it go. */
void engine_job_over(struct belay_job *job, enum belay_reason reason,
                     const char *text);
/* The group could not take this job: it is queued again. */
void engine_job_alone(struct belay_job *job);
/* The group has ended; the jobs that are still in it end so, too. */
void engine_group_over(struct belay_engine *engine, struct group *group,
                       enum belay_reason reason, const char *text);
/* Look soon for what can be begun. */
void engine_turn(struct belay_engine *engine);

#endif
