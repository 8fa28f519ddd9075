/* Job: what an engine works on, from its adding to its last event.
 *
 *     queued -> working -> over
 *
 * This is what all kinds of jobs share; a kind embeds it as its first member
 * and brings the functions of struct job_kind.  The engine calls them in this
 * order: start, then any of the others, free last; free also comes without a
 * start.  A working job ends by engine_job_over(), called once and never from
 * inside start, interrupt or expire.
 *
 * Loop thread only. */
#ifndef CLIENT_JOB_H
#define CLIENT_JOB_H

#include "client/belay.h"
#include "client/newdirs.h"
#include "client/rate.h"
#include "client/security.h"
#include "proto/base/err.h"
#include "proto/data/uri.h"
#include "proto/io/loop.h"

/* What an engine gives its jobs; borrowed until they are freed. */
struct job_means {
    struct loop *loop;
    struct rate *rate; /* NULL: no limit */
    size_t memory;     /* that received data may take */
    const struct security *security;
    struct newdirs *made; /* settled when all jobs have ended */
};

struct job_kind {
    /* Begins to work.  ERR_NOMEM. */
    int (*start)(struct belay_job *job, const struct job_means *means);
    /* End soon: BELAY_INTERRUPTED, BELAY_LIMIT. */
    void (*interrupt)(struct belay_job *job);
    void (*expire)(struct belay_job *job);
    /* After the end: as fetch_stuck() and fetch_lingers(). */
    bool (*stuck)(const struct belay_job *job);
    bool (*lingers)(const struct belay_job *job);
    /* All but struct_size; zeroed before. */
    void (*stats)(const struct belay_job *job, struct belay_job_stats *out);
    void (*free)(struct belay_job *job);
};

struct group;

struct belay_job {
    const struct job_kind *kind;
    struct belay_engine *engine;
    struct belay_job *next; /* of the engine's list that it is on */
    struct belay_job *prev;
    void *user_data;
    char *url;
    char *shown;        /* belay_job_name() */
    char *shown_url;
    bool working;
    bool alone;          /* ... by start() of its kind */
    bool again;          /* it was at work before, in a group */
    bool over;
    struct group *group; /* it is at work with others, or NULL */
};

/* Fills in the texts; job_clear() releases them.  False: no memory. */
bool job_init(struct belay_job *job, const struct job_kind *kind,
              struct belay_engine *engine, const char *url,
              const char *name) MUST_USE;
void job_clear(struct belay_job *job);

#endif
