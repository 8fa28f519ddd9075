/* Server: the fake runner of the real sender machine, one for each
 * connection.  Jobs take virtual time; a chunk is read some time after its
 * fstat, so that a change can happen in between. */
#ifndef TESTS_SIM_SERVER_H
#define TESTS_SIM_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/data/zpack.h"
#include "proto/session/sender.h"
#include "tests/sim/net.h"
#include "tests/sim/source.h"

/* What this server does badly, in percent of the jobs of a kind. */
struct server_faults {
    unsigned busy;       /* OPEN: BUSY */
    unsigned io_error;   /* CHUNK: IO_ERROR */
    unsigned pending;    /* DIGEST: DIGEST_PENDING */
    unsigned goaway;     /* a job is answered, then the operator stops */
    unsigned race;       /* CHUNK: the file changes between fstat and read */
};

struct server {
    struct source *source;
    struct hasher *hasher;
    struct zpack *zpack;
    struct rng rng;
    struct server_faults faults;
    uint8_t chunk_log2;     /* its own choice */
    uint8_t max_chunk_log2;
    uint16_t idle_timeout_s;
    uint64_t requests_total; /* of one connection, which then ends; 0: the
                                usual */
    uint64_t job_ms;        /* most that a job takes */
    uint64_t cid_after;     /* it names no CID before this time */
    enum {
        SERVER_HONEST,
        SERVER_FORGES,  /* wrong bytes with the digest of these */
        SERVER_DAMAGES, /* wrong bytes with the right digest */
    } manner;
    bool eager;             /* it hashes files before anybody asks */
    bool hasty;             /* it hashes them while they may still change */
    uint64_t bytes_hashed;
    unsigned jobs;
    bool worked; /* speaks as the server of PROTOCOL section 17 */
};

/* VERSION of the worked exchanges. */
#define WORKED_VERSION "\xa1\xb2\xc3\xd4\xe5\xf6\x07\x18"
#define WORKED_VERSION_LEN 8u

struct piece {
    struct piece *next;
    uint8_t *data;
    uint32_t len;
};

struct file {
    struct file *next;
    struct inode *inode;
    struct source_stat of;
    uint8_t chunk_log2;
};

struct work {
    struct work *next;
    struct sender_job job;
    uint64_t due;
    bool changed; /* by the fstat at its start */
};

struct sconn {
    struct server *server;
    struct sender *sender;
    struct net *net;
    struct work *work;
    struct piece *pieces;
    struct file *files;
    bool closed;
    struct sender_config config;
};

void sconn_open(struct sconn *c, struct server *server, struct net *net,
                uint64_t now);
void sconn_free(struct sconn *c);
/* Take what arrived, finish jobs that are due, send what can be sent. */
void sconn_run(struct sconn *c, uint64_t now);
uint64_t sconn_deadline(const struct sconn *c);

#endif
