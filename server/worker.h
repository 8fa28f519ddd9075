/* One worker process: a loop, its connections, and what they share. */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/io/log.h"
#include "proto/io/loop.h"
#include "proto/io/rootfs.h"
#include "proto/session/sender.h"
#include "server/bufpool.h"
#include "server/burst.h"
#include "server/census.h"
#include "server/conduct.h"
#include "server/digestcache.h"
#include "server/metrics.h"
#include "server/prepare.h"
#include "server/sandbox.h"
#include "server/settings.h"
#include "server/source.h"

struct conn;
struct digest_task;
struct gate;
struct listener;
struct listing;
struct permits;
struct vault;

/* Frames are collected here, several of them, before they are sent. */
#define WORKER_SCRATCH_BYTES (2 * SENDER_EMIT_BYTES)

/* Frames and file data on their way into TLS: four records. */
#define WORKER_STAGE_BYTES ((size_t)64 * 1024)

/* Shared by the processes; made by the parent, or by main for --stdio. */
struct server {
    const struct settings *settings;
    struct log log;
    struct rootfs root;
    const char *cache_dir; /* of the digest cache; NULL: none */
    struct vault *vault; /* NULL with --stdio, where ssh is the door */
    struct census *census;   /* NULL with --stdio, and the next two */
    struct conduct *conduct;
    struct permits *permits;
    struct metrics *metrics;
    struct filter filter; /* of system calls, for children */
    uint64_t began_ms; /* on the monotonic clock */
    int metrics_fd;    /* listens for those who ask for them; -1: none */
    int listen_fd[SERVER_LISTEN_MAX];
    size_t listen_count;
    uint8_t tree_id[DIGESTCACHE_TREE_ID]; /* when there is no cache */
};

struct worker {
    struct server *server;
    struct log *log;
    struct rootfs *root;
    struct sandbox sandbox;
    unsigned index;
    struct metrics_slot *count; /* our numbers */
    struct loop *loop;
    struct bufpool *buffers;
    struct prepare *prepare;
    struct digestcache *cache; /* NULL: none */
    struct sources *sources;
    struct listing *listing;   /* used by one slice at a time */
    struct listener *listener;
    struct gate *gate; /* of new connections */
    bool tls_told;     /* logged who encrypts */
    struct burst unreadable; /* lines about files that we may not read */
    struct digest_task *turns; /* of serve_digest.c: wait for their turn */
    struct conn *conns;
    unsigned conn_count;
    unsigned queued;   /* connections that wait for their turn */
    uint64_t next_conn;
    bool draining;
    bool stdio;
    struct loop_timer *flush;
    struct loop_timer *stop;
    struct loop_signal *signals[3];
    uint8_t *scratch; /* frames on their way out: WORKER_SCRATCH_BYTES */
    uint8_t *stage;   /* WORKER_STAGE_BYTES */
    uint8_t *input;   /* SERVER_READ_BYTES */
};

/* Serves until told to stop by signal; returns the exit status. */
MUST_USE int worker_run(struct server *server, unsigned index);

/* Serves one client on standard input and output, which it closes. */
MUST_USE int worker_run_stdio(struct server *server);

/* This process takes no more connections: the last one to say so closes the
 * port. */
void server_stop_listening(struct server *server);

/* ... or has nothing to do with the port for the server's numbers. */
void server_stop_telling(struct server *server);

/* A connection is gone. */
void worker_conn_ended(struct worker *worker);

#endif
