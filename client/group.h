/* Group: get jobs with one server, one directory and the same options, carried
 * out by one haul (haul.h): many small files over few connections.
 *
 * The engine decides what joins; each job ends by engine_job_over() or comes
 * back by engine_job_alone().
 *
 * Loop thread only. */
#ifndef CLIENT_GROUP_H
#define CLIENT_GROUP_H

#include <stdbool.h>

#include "client/job.h"

/* Fewer are not worth a group. */
#define GROUP_MIN 8u

struct group;

/* Can this job be fetched with others at all? */
bool group_suits(struct belay_job *job);
/* No longer: this get job goes alone. */
void group_exclude(struct belay_job *job);
/* ... and these two together? */
bool group_same(struct belay_job *a, struct belay_job *b);

/* A group for jobs like this one, still empty.  ERR_NOMEM.  One that has no
 * room cannot begin: it ends by itself. */
int group_start(struct belay_job *like, const struct job_means *means,
                struct group **out) MUST_USE;
/* Is `job` one for this group? */
bool group_takes(const struct group *group, struct belay_job *job);
bool group_has_room(const struct group *group);
/* Once group_takes() and group_has_room() said so.  ERR_LIMIT, ERR_NOMEM: it
 * has not joined. */
int group_add(struct group *group, struct belay_job *job) MUST_USE;
/* The group has ended without it. */
void group_forget(struct group *group, struct belay_job *job);
/* Nobody will join any more. */
void group_close(struct group *group);
/* Jobs in it. */
unsigned group_count(const struct group *group);
void group_interrupt(struct group *group);
void group_expire(struct group *group);
/* It has ended: to be freed, unless it is stuck (haul_stuck()). */
bool group_over(const struct group *group);
bool group_stuck(const struct group *group);
bool group_lingers(const struct group *group);
void group_free(struct group *group);

#endif
