/* Bulk with real senders at the other end of its connections, and a runner
 * made of memory on both sides.
 *
 * What each file of the server does is planned: be there or not, change,
 * carry a damaged chunk, so many times.  Bytes go through links that the test
 * splits, delays and cuts; time is a number. */

#ifndef TESTS_UNIT_BULK_FIXTURE_H
#define TESTS_UNIT_BULK_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/data/hash.h"
#include "proto/data/merkle.h"
#include "proto/session/bulk.h"
#include "proto/session/sender.h"

#define FILES_MAX 400u
#define WORLD_CONNS 8u
#define CHUNK_LOG2 12u
#define CHUNK_LEN (1u << CHUNK_LOG2)
#define SMALL_MAX ((uint64_t)1 << 20)
#define FOREVER UINT32_MAX
#define LINK_BYTES ((size_t)4 << 20) /* more was never on its way */

/* What is wrong with a file, the first `times` times. */
enum plan {
    PLAN_FINE,
    PLAN_OPEN_CODE, /* .code answers OPEN */
    PLAN_READ_CODE, /* .code answers GET */
    PLAN_CHECK_CODE, /* .code instead of DONE, behind other bytes */
    PLAN_DAMAGE,    /* a byte is not that of the digest */
    PLAN_WEAK,      /* no strong version, no CID */
    PLAN_WRONG_CID, /* DONE names the CID of something else */
};

struct remote {
    char path[16];
    uint64_t size;
    enum plan plan;
    uint16_t code;
    uint32_t times;
    uint32_t wait_ms; /* RETRY_AFTER of .code */
    unsigned opens; /* OPEN requests that came */
    unsigned handles; /* open now */
    /* How the client shall ask. */
    bool tell_size, probe, fetch, pinned;
    /* What the client said. */
    unsigned ended;
    uint64_t ended_at;
    enum bulk_outcome outcome;
    enum transfer_reason reason;
    char text[200];
};

/* One OPEN; a handle of the server. */
struct served {
    struct served *next;
    struct remote *file;
    bool ill; /* the plan holds for this one */
};

struct piece {
    struct piece *next;
    uint32_t len;
    uint8_t data[CHUNK_LEN];
};

struct link {
    bool dialling, up;
    uint64_t up_at;
    struct sender *sender;
    struct served *served;
    struct piece *pieces;
    struct piece *piece; /* whose data goes out */
    uint8_t *queue; /* to the client */
    size_t len, at;
    uint64_t received, sent; /* by the client in this life */
    uint64_t cut_received, cut_sent; /* then it is cut; 0: not */
    struct bulk_chunk chunk; /* whose data is coming */
    uint32_t chunk_got;
};

/* One file as the client collects it. */
struct load {
    uint32_t remote;
    uint32_t attempt; /* 0: nothing came */
    uint32_t chunks;  /* that came */
    uint8_t *data;
    uint8_t (*digest)[HASH_LEN];
    enum bulk_action_type owed; /* BULK_STORE, BULK_PROBED: not answered */
};

struct world {
    struct bulk *b;
    struct bulk_config config;
    struct sender_config server;
    struct hasher *hasher;
    uint64_t now, random;
    uint32_t count, next, items; /* added so far; items in use */
    struct remote remote[FILES_MAX];
    struct load load[FILES_MAX];
    struct link link[WORLD_CONNS];
    unsigned dials, drops, stores;
    unsigned refuse_dials; /* so many of the next ones */
    bool done, failed;
    enum transfer_reason fail_reason;
    char fail_text[200];
    /* How the links behave. */
    bool rough; /* pieces of any length, delays */
    uint32_t cut_every; /* bytes, on average; 0: never */
};

static inline uint32_t pick(struct world *w, uint32_t bound)
{
    w->random =
        w->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(w->random >> 33) % bound;
}

/* ---- the bytes of a file. */

static inline uint8_t truth(const struct remote *r, uint64_t i)
{
    return (uint8_t)(i % 251 + (uint64_t)(unsigned char)r->path[4] * 7 +
                     (i >> 9));
}

static inline void true_cid(struct world *w, const struct remote *r,
                            uint8_t cid[HASH_LEN])
{
    uint64_t count = cid_chunk_count(r->size, CHUNK_LOG2);
    uint8_t (*digest)[HASH_LEN] = calloc(count + 1, HASH_LEN);
    uint8_t root[HASH_LEN];
    uint8_t data[CHUNK_LEN];

    assert_non_null(digest);
    for (uint64_t k = 0; k < count; k++) {
        uint32_t len = cid_chunk_len(r->size, CHUNK_LOG2, k);

        for (uint32_t i = 0; i < len; i++) {
            data[i] = truth(r, (k << CHUNK_LOG2) + i);
        }
        assert_int_equal(hash_sha256(w->hasher, data, len, digest[k]), 0);
    }
    assert_int_equal(merkle_root(w->hasher, r->size, CHUNK_LOG2, digest[0],
                                 count, root), 0);
    assert_int_equal(cid_from_root(w->hasher, r->size, CHUNK_LOG2, root,
                                   cid), 0);
    free(digest);
}

/* ---- the server's runner. */

static inline void serve_open(struct world *w, struct link *l,
                              const struct sender_job *job,
                              struct sender_result *out)
{
    struct remote *r = NULL;
    struct served *v;

    for (uint32_t k = 0; k < w->count && r == NULL; k++) {
        if (strcmp(w->remote[k].path, job->open.path) == 0) {
            r = &w->remote[k];
        }
    }
    assert_non_null(r);
    r->opens++;
    v = calloc(1, sizeof *v);
    assert_non_null(v);
    v->file = r;
    v->ill = r->plan != PLAN_FINE && r->times > 0;
    r->times -= v->ill && r->times != FOREVER;
    if (v->ill && r->plan == PLAN_OPEN_CODE) {
        out->code = r->code;
        out->retry_after_ms = r->wait_ms;
        free(v);
        return;
    }
    v->next = l->served;
    l->served = v;
    r->handles++;
    out->open = (struct sender_file){
        .file = v,
        .file_type = FILE_REGULAR,
        .chunk_log2 = CHUNK_LOG2,
        .strong = !(v->ill && r->plan == PLAN_WEAK),
        .version_len = 4,
        .version = "ver",
        .size = r->size,
        .mode = 0644};
}

static inline void serve_chunk(struct world *w, struct link *l,
                               const struct sender_job *job,
                               struct sender_result *out)
{
    struct served *v = job->file;
    struct remote *r = v->file;
    struct piece *p;

    if (v->ill && r->plan == PLAN_READ_CODE) {
        out->code = r->code;
        return;
    }
    p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->len = job->chunk.raw_len;
    for (uint32_t i = 0; i < p->len; i++) {
        p->data[i] = truth(r, (job->chunk.index << CHUNK_LOG2) + i);
        if (v->ill && r->plan == PLAN_CHECK_CODE) {
            p->data[i] ^= 1;
        }
    }
    assert_int_equal(hash_sha256(w->hasher, p->data, p->len, out->digest), 0);
    if (v->ill && r->plan == PLAN_DAMAGE) {
        p->data[p->len / 2] ^= 0x20;
    }
    p->next = l->pieces;
    l->pieces = p;
    out->piece = p;
    out->codec = CODEC_RAW;
    out->stored_len = p->len;
}

static inline void serve_check(struct world *w, const struct sender_job *job,
                               struct sender_result *out)
{
    struct served *v = job->file;
    struct remote *r = v->file;

    if (v->ill && r->plan == PLAN_CHECK_CODE) {
        out->code = r->code;
        return;
    }
    out->cid_known = !(v->ill && r->plan == PLAN_WEAK);
    true_cid(w, r, out->cid);
    out->cid[0] ^= v->ill && r->plan == PLAN_WRONG_CID;
}

static inline void drop_piece(struct link *l, void *piece)
{
    struct piece **at = &l->pieces;
    struct piece *p = piece;

    while (*at != p) {
        at = &(*at)->next;
    }
    *at = p->next;
    free(p);
}

static inline void drop_served(struct link *l, void *file)
{
    struct served **at = &l->served;
    struct served *v = file;

    while (*at != v) {
        at = &(*at)->next;
    }
    *at = v->next;
    v->file->handles--;
    free(v);
}

static inline void serve_job(struct world *w, struct link *l,
                             const struct sender_job *job)
{
    struct sender_result result = {.code = 0};

    switch (job->type) {
    case SENDER_JOB_OPEN:
        serve_open(w, l, job, &result);
        break;
    case SENDER_JOB_CHUNK:
        serve_chunk(w, l, job, &result);
        break;
    case SENDER_JOB_CHECK:
        serve_check(w, job, &result);
        break;
    case SENDER_JOB_CLOSE:
        drop_served(l, job->file);
        return;
    case SENDER_JOB_DROP:
        drop_piece(l, job->piece);
        return;
    case SENDER_JOB_ABANDON:
        return;
    default:
        result.code = WIRE_UNSUPPORTED;
        break;
    }
    sender_job_done(l->sender, w->now, job->id, &result);
}

/* ---- life. */

static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->now = 1000;
    w->random = 1;
    w->hasher = hasher_new();
    assert_non_null(w->hasher);
    w->config = (struct bulk_config){
        .line = {.agent = "test", .max_chunk_log2 = 22, .seed = 7},
        .conns = 1,
        .items_max = 64,
        .small_max = SMALL_MAX};
    w->server = (struct sender_config){.max_chunk_log2 = 22,
                                       .max_requests = 64,
                                       .max_handles = 32,
                                       .agent = "test"};
}

static inline struct remote *world_file(struct world *w, uint64_t size)
{
    struct remote *r = &w->remote[w->count];

    assert_true(w->count < FILES_MAX);
    memset(r, 0, sizeof *r);
    (void)snprintf(r->path, sizeof r->path, "dir/f%04u", w->count++);
    r->size = size;
    r->tell_size = true;
    return r;
}

#endif
