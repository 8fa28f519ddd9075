/* How many connections there are: in all, from each origin, in each worker;
 * how many of these are strangers, which have not proved yet that they speak
 * the protocol and may come in; and how many origins wait for hashing.
 *
 * Lives in memory that all processes of the server share, so that the limits
 * hold for the server as a whole. Everything is counted per worker, so that
 * the parent can take a dead worker's share back.
 *
 * Processes lock each other out for a moment; a process that dies within it
 * does not hold up the others. Implements the lines about connections and hash
 * jobs of RELIABILITY (f). */
#ifndef SERVER_CENSUS_H
#define SERVER_CENSUS_H

#include <stdbool.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "server/origin.h"

struct census;

/* All at least 1. */
struct census_limits {
    unsigned total;
    unsigned per_origin;
    unsigned strangers_drop; /* from here on some are turned away by chance, */
    unsigned strangers;      /* and all from here on */
    unsigned strangers_per_origin;
    unsigned hashing_per_origin;
};

/* What follows from the two numbers that an operator chooses: with the default
 * ones those of proto/base/limits.h, and in proportion for larger ones. */
struct census_limits census_limits_for(unsigned total, unsigned per_origin);

/* Made before the workers are forked; shared with them. ERR_NOMEM or
 * ERR_IO. */
MUST_USE int census_new(const struct census_limits *limits,
                        struct census **out);
void census_free(struct census *census);

/* Who comes in. */
struct census_guest {
    struct origin origin;
    bool exempt; /* counts in all, but not for its origin */
};

/* What it is once it has entered. An origin with as many strangers as it may
 * have is not refused, because its clients may well open several connections
 * at a time: the next ones wait, unread, until one of them is known. */
enum census_standing {
    CENSUS_QUEUED,
    CENSUS_STRANGER,
    CENSUS_KNOWN,
};

enum census_verdict {
    CENSUS_ENTERED,     /* as a stranger, */
    CENSUS_WAITS,       /* or queued */
    CENSUS_FULL,        /* the server has as many as it takes, */
    CENSUS_ORIGIN_FULL, /* or this origin has; */
    CENSUS_STRANGERS,   /* or there are too many strangers: by chance, or all */
};

/* A connection of worker 0..SERVER_WORKERS_MAX-1 begins. chance: a random
 * number below 100. */
enum census_verdict census_enter(struct census *census, unsigned worker,
                                 const struct census_guest *guest,
                                 unsigned chance);

/* From queued to stranger, if there is room now. */
bool census_advance(struct census *census, unsigned worker,
                    const struct census_guest *guest);

/* From stranger to known. */
void census_meet(struct census *census, unsigned worker,
                 const struct census_guest *guest);

/* It ends as what it was. */
void census_leave(struct census *census, unsigned worker,
                  const struct census_guest *guest,
                  enum census_standing standing);

/* How many connections share with this one what the server can do: those of
 * its origin, if there are others; else 1. */
unsigned census_sharers(struct census *census,
                        const struct census_guest *guest);

/* Hashing for a guest that has entered: false when its origin has as many jobs
 * as it may. Else end it once. */
bool census_hash_begin(struct census *census, unsigned worker,
                       const struct census_guest *guest);
void census_hash_end(struct census *census, unsigned worker,
                     const struct census_guest *guest);

/* Does another live worker have fewer connections than this one? */
bool census_has_idler(struct census *census, unsigned worker);

/* ---- Blame for a crash. */

/* The worker deals with what this guest sent; NULL: with nobody's. */
void census_serve(struct census *census, unsigned worker,
                  const struct census_guest *guest);

/* The parent, before census_worker_died(): whom the worker dealt with when it
 * died, or who was its only guest. False: nobody in particular, or one who is
 * exempt. */
bool census_blame(struct census *census, unsigned worker, struct origin *out);

/* The parent: worker lives from now on; or is dead, with its connections. */
void census_worker_started(struct census *census, unsigned worker);
void census_worker_died(struct census *census, unsigned worker);

/* Connections now, and strangers among them; for tests and logs. */
unsigned census_total(struct census *census);
unsigned census_strangers(struct census *census);

#endif
