/* Client: the fake runner of the real transfer machine and the real store.
 * It does what client/fetch.c and its neighbours do, in virtual time and on a
 * simulated disk, and watches that the transfer keeps its side of the
 * contract. */
#ifndef TESTS_SIM_CLIENT_H
#define TESTS_SIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/data/zpack.h"
#include "proto/session/transfer.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"

/* A chunk on its way from the last byte to the disk. */
struct cpiece {
    struct cpiece *next;
    struct transfer_chunk chunk;
    uint8_t *data;
    uint32_t got;
    uint64_t due;
    bool waits; /* ordered output: verified, its turn has not come */
};

/* A HASH or COPY in progress. */
struct local {
    struct local *next;
    struct transfer_action action;
    uint8_t digest[HASH_LEN]; /* COPY */
    uint64_t due;
};

struct clink {
    bool open;
    bool impostor; /* it is not who it should be: to be told */
    bool held; /* no memory for the chunk that begins */
    uint64_t held_until;
    struct cpiece *piece; /* the chunk that is coming */
    uint32_t discard;     /* data of an unwanted chunk still to come */
    struct net *net;
};

enum client_state {
    CLIENT_RUNS,
    CLIENT_DONE,
    CLIENT_FAILED, /* `reason`, or `store_error` if that is not 0 */
};

struct client {
    struct transfer_config config;
    struct transfer *transfer;
    struct disk *disk;
    struct rng rng;
    struct hasher *hasher; /* of the world, with the next */
    struct zpack *zpack;
    enum client_state state;
    enum transfer_reason reason;
    struct store *store; /* NULL with ordered output, and when it only looks */
    int store_error;
    bool in_place; /* the target is repaired where it is */
    bool settled;  /* done: an earlier run had ended right after its rename */
    bool contact; /* some server greeted this run */
    bool begun;
    bool rebased;
    uint64_t unsynced; /* bytes */
    uint64_t synced_at;
    struct clink link[TRANSFER_CONNS_MAX];
    struct cpiece *pieces;
    struct local *locals;
    unsigned local_count;
    uint64_t work_ms; /* most that a local job takes */
    unsigned hold_percent;
    uint64_t trace; /* hash over all actions: for comparing two runs */
    uint64_t steps;
    bool verbose;
    uint64_t now;
    /* Local files, as the config names them; NULL: the target. */
    const uint8_t *donor[TRANSFER_DONORS_MAX];
    /* Ordered output. */
    uint64_t out_next;
    struct pages out;
    /* What the world has to do. */
    void (*dial)(void *arg, unsigned conn);
    void (*closed)(void *arg, unsigned conn);
    void *arg;
};

/* Start, from what the disk holds. */
void client_start(struct client *c, uint64_t now);
/* The process dies: everything but the disk is gone. */
void client_kill(struct client *c);
/* It ends by itself, and puts away what it has in hand. */
void client_end(struct client *c);

void client_connected(struct client *c, unsigned conn, struct net *net);
void client_dial_failed(struct client *c, unsigned conn, const char *text);
void client_lost(struct client *c, unsigned conn, const char *text);
/* Take what arrived, finish local work that is due, do what the transfer
 * says, send. */
void client_run(struct client *c, uint64_t now);
uint64_t client_deadline(const struct client *c);

#endif
