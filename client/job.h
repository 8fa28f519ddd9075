/* Job: one download of an engine, from belay_get() to its last event.
 *
 *     queued -> working -> over
 *
 * Loop thread only. */
#ifndef CLIENT_JOB_H
#define CLIENT_JOB_H

#include "client/belay.h"
#include "client/fetch.h"

struct belay_job {
    struct belay_engine *engine;
    struct belay_job *next; /* of the engine's list that it is on */
    struct belay_job *prev;
    struct belay_get_options asked; /* its texts: members below */
    char *url;
    char *dir;
    char *name; /* NULL: to a descriptor */
    char *shown;
    char *shown_url;
    bool have_sha256;
    uint8_t sha256[HASH_LEN];
    struct proxy *proxy; /* NULL: none */
    struct uri *uri;     /* while it works */
    struct fetch *fetch; /* NULL: queued */
    enum belay_reason reason;
    bool over;
};

/* Checks the options and copies them.  The engine is borrowed. */
enum belay_reason job_new(struct belay_engine *engine,
                          const struct belay_get_options *options,
                          struct belay_job **out, struct belay_error *error)
    MUST_USE;
/* Not while its fetch is stuck. */
void job_free(struct belay_job *job);

/* Begins to work: engine_job_over() comes later.  `rate` may be NULL;
 * `memory` is what received data may take; `security` is borrowed.
 * ERR_NOMEM. */
int job_start(struct belay_job *job, struct loop *loop, struct rate *rate,
              size_t memory, const struct security *security) MUST_USE;

#endif
