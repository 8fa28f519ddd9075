/* Dirjob: the jobs about a directory, belay_list() and belay_tree().  Two
 * kinds of job (job.h).
 *
 * Loop thread only. */
#ifndef CLIENT_DIRJOB_H
#define CLIENT_DIRJOB_H

#include "client/job.h"
#include "proto/base/check.h"

/* Checks the options and copies them.  The engine is borrowed. */
enum belay_reason dirjob_new_list(struct belay_engine *engine,
                                  const struct belay_list_options *options,
                                  struct belay_job **out,
                                  struct belay_error *error) MUST_USE;
enum belay_reason dirjob_new_tree(struct belay_engine *engine,
                                  const struct belay_tree_options *options,
                                  struct belay_job **out,
                                  struct belay_error *error) MUST_USE;
/* Is it of one of these kinds? */
bool dirjob_is(const struct belay_job *job);

#endif
