/* Get job: one file, by belay_get().  A kind of job (job.h).
 *
 * It is fetched alone (fetch.h), or with others of its like (group.h), which
 * then tell its result here. */
#ifndef CLIENT_GETJOB_H
#define CLIENT_GETJOB_H

#include "client/fetch.h"
#include "client/haul.h"
#include "client/job.h"
#include "client/ssh.h"

struct get_job {
    struct belay_job job; /* first */
    struct belay_get_options asked; /* its texts: members below */
    char *dir;
    char *name; /* NULL: to a descriptor */
    bool have_sha256;
    uint8_t sha256[HASH_LEN];
    struct proxy *proxy; /* NULL: none */
    struct ssh_command *ssh; /* of each source, if of that scheme */
    bool looked; /* the next one is known: */
    bool solo;   /* it cannot be fetched with others */
    char **mirrors; /* URLs, and */
    char **seeds;   /* ... local files, as the counts in asked say */
    char *receipt;
    struct uri *uri;     /* while it works */
    struct fetch *fetch; /* NULL: queued, or in a group */
    uint64_t began_ms;   /* in a group */
    struct haul_result hauled; /* without its text */
    bool pin_shown;            /* by the server of the group */
    uint8_t pin[HASH_LEN];
};

/* Checks the options and copies them.  The engine is borrowed. */
enum belay_reason get_job_new(struct belay_engine *engine,
                              const struct belay_get_options *options,
                              struct belay_job **out,
                              struct belay_error *error) MUST_USE;

/* The get job that this is, or NULL for other kinds. */
struct get_job *get_job_of(struct belay_job *job);

#endif
