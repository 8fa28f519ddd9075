/* World, inside: what its plan (plan.c) and its course (world.c) share. */
#ifndef TESTS_SIM_WORLD_INTERNAL_H
#define TESTS_SIM_WORLD_INTERNAL_H

#include "proto/data/cid.h"
#include "tests/sim/client.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

/* What goes wrong in this world, and how, follows from the seed. */
struct plan {
    uint64_t quiet_at;
    unsigned cut;      /* percent of the connections */
    unsigned stall;
    unsigned flip_down;
    unsigned flip_up;
    unsigned replay;   /* percent of the connections, each way */
    bool io_errors;    /* the server has them; what it tells arrives later */
    unsigned refuse;   /* dials */
    unsigned change_ms; /* mean time between changes; 0: none */
    unsigned vanish;   /* percent of the changes */
    unsigned kill_ms;  /* mean time between deaths of the client */
    unsigned power;    /* percent of the deaths are power cuts */
    unsigned spoil;    /* percent of the pages rot after a death */
    unsigned reboot_ms; /* mean time between restarts of the server */
    bool frantic;      /* many changes within one tick of the clock */
    bool sly;          /* ... that show in nothing but the time */
    uint64_t calm_at;  /* no changes behind this; 0: until quiet_at */
    uint64_t narrow;   /* every connection is cut after so many bytes */
    uint64_t brief;    /* ... somewhere before so many, if it is cut */
    uint64_t rate;
    uint64_t latency;
    bool pinned;
    unsigned mirrors;  /* servers besides the first */
    unsigned donor;    /* percent of a donor that is right; 0: none */
    bool donor_self;   /* ... which is the file itself, to be repaired */
    bool smaller;      /* after a reboot the server makes smaller chunks */
    struct disk_faults disk;
    bool varies;        /* every run has other options */
    bool limits;        /* servers have limits, other ones after a restart */
    unsigned goaway_ms; /* mean time between stops by their operator */
    unsigned hurry_ms;  /* mean time between news of the network */
};

struct line {
    bool used;
    uint64_t dialled_at; /* 0: none */
    uint64_t answer_at;
    struct net net;
    struct sconn server;
};

/* One more server, with its own copy of the content, or of something else. */
struct mirror {
    struct source source;
    struct server server;
    bool dead; /* until all is quiet */
    bool impostor; /* it is not who it should be */
};

#define MIRRORS_MAX 3u

struct world {
    struct rng rng;
    struct plan plan;
    struct source source;
    struct server server;
    struct mirror mirror[MIRRORS_MAX];
    uint8_t *donor;
    struct disk disk;
    struct client client;
    struct line line[TRANSFER_CONNS_MAX];
    uint64_t now;
    uint64_t change_at;
    uint64_t kill_at;
    uint64_t reboot_at;
    uint64_t goaway_at;
    uint64_t hurry_at;
    struct rng vary; /* for all of vary.c */
    unsigned order[MIRRORS_MAX + 1]; /* sources: the first server is 0 */
    uint64_t began;
    uint64_t run_began;
    unsigned cuts; /* in the present run of the client */
    unsigned stalls;
    unsigned failures; /* of the disk, before that run */
    unsigned flips;
    bool spoiled;   /* the disk lost something that was there */
    uint64_t fresh; /* verified bytes of the runs before */
    uint64_t fresh_seen; /* ... and of this one, when it last got more */
    unsigned barren; /* connections that ended since then */
    const struct content *pin;
    uint64_t content_seed;
    bool verbose;
    struct world_result *result;
};

/* A line of the story, if it is told. */
void world_tell(const struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Everything that follows from the seed before the first event: contents,
 * servers, disk, client, and what will go wrong. */
void plan_world(struct world *w, uint64_t seed);

/* The end of the plan; before each run but the first; after a server was
 * started. */
void vary_plan(struct world *w, uint64_t seed);
void vary_run(struct world *w);
void vary_limits(struct world *w);
/* Events of their own: when the world begins; the next one; those that are
 * due. */
void vary_begin(struct world *w);
uint64_t vary_next(const struct world *w);
void vary_happen(struct world *w);

#endif
