/* The inside of the sender; for the files named sender*.c only.
 *
 * A request lives from its frame until its END is emitted and none of its
 * chunks is in a slot. A handle lives from its OPEN until it is closed, its
 * INFO or ERROR is emitted, no job uses it and its file went back to the
 * runner. Both are allocated one by one and counted in memory_used. */
#ifndef PROTO_SESSION_SENDER_INTERNAL_H
#define PROTO_SESSION_SENDER_INTERNAL_H

#include <sys/queue.h>

#include "proto/session/sender.h"
#include "proto/wire/msg.h"

#define SENDER_URGENCIES (LIMIT_URGENCY + 1)

/* Answers to requests beyond MAX_REQUESTS that wait for the transport. */
#define SENDER_REFUSALS_MAX 64
#define SENDER_PONGS_MAX 8

/* PINGs taken in a burst, and again one for each half interval. */
#define SENDER_PING_BURST 32

enum answer {
    ANSWER_NONE, /* not answered yet */
    ANSWER_INFO,
    ANSWER_DONE,
    ANSWER_ERROR,
    ANSWER_PONG,
};

struct request_open {
    uint8_t flags;
    uint8_t want_chunk_log2;
    uint8_t expect_version_len;
    bool has_expect_cid;
    uint8_t expect_version[LIMIT_VERSION_LEN];
    uint8_t expect_cid[HASH_LEN];
};

struct request_get {
    uint8_t urgency;
    uint8_t flags;
    uint16_t range_count;
    uint16_t range;      /* the one that next lies in */
    uint16_t pieces;     /* slots that hold chunks of it */
    bool all_scheduled;  /* no chunk left to prepare */
    bool failed;         /* answer with request.code when pieces is 0 */
    uint64_t next;       /* chunk to prepare next */
    uint64_t chunks;     /* sent */
    uint64_t raw_bytes;  /* of these */
};

struct request_digest {
    uint8_t block_log2;
    uint8_t flags;
    uint64_t first_block;
    uint32_t block_count;
    uint64_t next; /* chunk whose digest is sent next */
    uint64_t end;
};

struct request_list {
    uint8_t flags;
    uint8_t cursor_len;
    uint8_t cursor[LIMIT_CURSOR];
    uint32_t max_entries;
};

TAILQ_HEAD(request_list_head, request);

struct request {
    TAILQ_ENTRY(request) all;   /* by id; or of those that are gone */
    TAILQ_ENTRY(request) lane;  /* its handle's queue */
    TAILQ_ENTRY(request) queue; /* of the list that `in` names */
    struct request_list_head *in; /* ready, checks, digests, lists or NULL */
    struct handle *handle;      /* NULL when it has none (any more) */
    uint32_t id;
    uint8_t type;   /* FRAME_... */
    bool counted;   /* against MAX_REQUESTS; else against the refusals */
    bool active;    /* its turn has come */
    bool in_lane;
    bool gone;      /* its END is out; only jobs still borrow from it */
    unsigned jobs;  /* that borrow its path or cursor */
    enum answer answer;
    uint16_t code; /* of an ERROR */
    bool has_offset;
    uint64_t offset;
    uint32_t retry_after_ms; /* of an ERROR; 0: not said */
    uint64_t progress_done; /* of a DIGEST, in bytes */
    uint64_t progress_total;
    size_t memory;
    union {
        struct request_open open;
        struct request_get get;
        struct request_digest digest;
        struct request_list list;
        struct msg_ping ping;
    };
    /* GET: struct msg_range[]; OPEN, LIST: the path and a NUL. */
    _Alignas(8) uint8_t tail[];
};

enum handle_state {
    HANDLE_QUEUED, /* waits for its OPEN job to be taken */
    HANDLE_OPENING,
    HANDLE_OPEN,
    HANDLE_DEAD,
};

struct handle {
    TAILQ_ENTRY(handle) all;
    TAILQ_ENTRY(handle) opens; /* while QUEUED */
    TAILQ_ENTRY(handle) run;   /* while a GET of it has chunks to prepare */
    uint32_t id;               /* 0: OPEN_NO_HANDLE */
    enum handle_state state;
    bool sealed;   /* closes after what is queued; no more is accepted */
    bool running;  /* in a run list: that of run_level */
    uint8_t run_level;
    bool cid_known;
    unsigned busy; /* jobs and slots that use the file */
    uint64_t chunks;
    unsigned refs; /* requests that point here */
    struct request_list_head lane;
    struct sender_file info; /* .file is NULL once handed back */
    uint8_t cid[HASH_LEN];
};

TAILQ_HEAD(handle_list_head, handle);

enum slot_state {
    SLOT_FREE,
    SLOT_PREPARING,
    SLOT_READY,
    SLOT_SENDING,
    SLOT_DROPPING,
};

/* A chunk on its way. */
struct slot {
    enum slot_state state;
    struct request *request; /* NULL: nobody wants it any more */
    struct handle *handle;
    uint64_t index;
    uint64_t seq; /* order of preparing */
    uint32_t raw_len;
    uint32_t stored_len;
    uint8_t codec;
    uint8_t digest[HASH_LEN];
    void *piece;
};

struct job {
    bool used;
    bool abandon; /* ABANDON is to be said, once */
    enum sender_job_type type;
    struct request *request; /* may be gone: nobody waits any more */
    struct handle *handle;
    struct slot *slot;
};

enum page_state {
    PAGE_FREE,
    PAGE_RUNNING, /* a job fills it */
    PAGE_READY,   /* frames are to be sent from it */
    PAGE_ORPHAN,  /* a job fills it for nobody */
};

/* The buffer of one DIGEST or LIST answer. */
struct page {
    enum page_state state;
    struct request *owner;
    uint8_t *buf;
    uint64_t first; /* DIGEST: chunk of the first digest */
    uint32_t count;
    uint8_t proof_len;
    size_t len; /* LIST */
};

enum phase {
    PHASE_PREFACE, /* of the client: not complete yet */
    PHASE_HELLO,
    PHASE_ACTIVE,
    PHASE_CLOSING, /* last words are to be emitted */
    PHASE_FINISHED,
};

/* The operator's stop (section 14). */
enum drain {
    DRAIN_NONE,
    DRAIN_ANNOUNCE, /* GOAWAY(announce) is to be emitted */
    DRAIN_GAP,      /* requests on their way are still taken */
    DRAIN_NAME,     /* GOAWAY(last id) is to be emitted */
    DRAIN_FINISH,   /* what was taken is finished */
};

struct sender {
    struct sender_config config;
    uint64_t now;
    enum phase phase;
    bool greeted; /* the phase has been active */
    const char *reason;
    struct sender_stats stats;

    /* What the client said. */
    uint8_t peer_chunk_log2;
    bool peer_zlib;
    bool peer_zero;
    bool peer_done; /* it said that no more requests will come */
    bool eof;       /* no more bytes will come */
    uint8_t agent_len;
    uint8_t agent[LIMIT_AGENT];

    bool external; /* the transport knows who the client is */
    struct sender_identity identity;

    /* Limits in force: as announced, or the defaults. */
    unsigned max_requests;
    unsigned max_handles;
    uint16_t max_ranges;
    uint64_t idle_ms;
    uint64_t ping_half_ms;

    /* Input that waits: an incomplete frame, or more than may be taken. */
    uint8_t *stash;
    size_t stash_len;
    size_t stash_cap;
    size_t pre_hello;

    /* Last words. */
    bool greeting_sent;
    bool reject_version;
    uint16_t close_error; /* of an ERROR; 0: none */
    bool close_goaway;
    uint16_t goaway_code;
    uint32_t goaway_last_id;

    enum drain drain;
    uint64_t drain_at; /* when the present step of it is over */
    uint32_t drain_last_id;

    /* Times. */
    uint64_t born;
    uint64_t last_frame;    /* received, or an answer sent */
    uint64_t last_sent;     /* anything */
    uint64_t emitted;       /* bytes handed out, chunk data included */
    uint64_t write_moved;   /* last time the transport took something */
    uint64_t slow_since;    /* start of the slow-reader window */
    uint64_t slow_bytes;    /* stats.bytes_out then */

    /* Abuse. */
    unsigned ping_tokens;
    uint64_t ping_refill;
    unsigned recent_requests;
    unsigned recent_cancels;

    /* Grease. */
    uint64_t grease_state;
    bool grease_frame_due;
    bool grease_frame_late; /* after the first answer, not after HELLO */

    uint32_t last_id;
    unsigned requests;
    unsigned refusals;
    unsigned pongs;
    unsigned handles;
    size_t memory_used;
    uint64_t next_seq;
    bool chunk_open; /* a chunk head is out, its data not yet */
    struct request_list_head all;
    struct request_list_head gone;    /* kept for jobs that borrow */
    struct request_list_head ready;   /* answered, to be emitted */
    struct request_list_head checks;  /* GETs whose chunks are all sent */
    struct request_list_head digests; /* wait for the digest page */
    struct request_list_head lists;   /* wait for the list page */
    struct handle_list_head handles_all;
    struct handle_list_head dead;
    struct handle_list_head opens;
    struct handle_list_head run[SENDER_URGENCIES];
    struct slot slots[SENDER_CHUNKS_AHEAD];
    struct job jobs[SENDER_JOBS_MAX];
    unsigned jobs_used;
    struct page digest_page;
    struct page list_page;
};

/* ---- sender.c */

/* Ends the connection: last words with this wire code, then close. */
void sender_fail(struct sender *s, uint16_t code, const char *reason);

/* Ends it without last words. */
void sender_close(struct sender *s, const char *reason);

/* After anything that may have ended the last request. */
void sender_settle(struct sender *s);

/* A number below bound, from the grease seed. */
uint32_t sender_grease_pick(struct sender *s, uint32_t bound);

/* A request that threads work on, so that the client should hear about it
 * when nothing else is sent; NULL: none, or the client has bytes to read. */
struct request *sender_progress_request(const struct sender *s);

/* Bytes were handed out that the transport has not taken yet. */
bool sender_is_blocked(const struct sender *s);

/* ---- sender_input.c */

/* Goes on with input that had to wait. */
void sender_input_resume(struct sender *s);

/* What waits, if anything, is only the beginning of a frame. */
bool sender_input_is_partial(const struct sender *s);

/* ---- sender_admit.c: requests as they arrive. payload has f->length
 * bytes. */
void sender_admit(struct sender *s, const struct frame *f,
                  const uint8_t *payload);
void sender_admit_unknown(struct sender *s, const struct frame *f);
void sender_admit_ping(struct sender *s, const struct msg_ping *ping);
void sender_cancel(struct sender *s, uint32_t id);

/* ---- sender_auth.c */

/* Methods are listed, and none has succeeded yet (rule A1). */
bool sender_needs_auth(const struct sender *s);

/* What HELLO lists; returns how many. */
size_t sender_auth_methods(const struct sender *s, uint8_t methods[2]);

/* 0 and the client is who it says, or the wire code of the refusal. */
uint16_t sender_judge_auth(struct sender *s, const struct msg_auth *m);

/* Rule A3: enough refusals end the connection. */
void sender_auth_limit(struct sender *s);

/* ---- sender_table.c: requests and handles. */

/* NULL when the client's memory is used up. tail_len bytes follow. */
struct request *request_new(struct sender *s, const struct frame *f,
                            size_t tail_len);

/* Its END is out. The memory returns when no job borrows from it. */
void request_free(struct sender *s, struct request *r);

/* A job that borrowed from it has been answered. */
void request_return(struct sender *s, struct request *r);

/* Decide the last frame of a request. It leaves all queues but the ready
 * one; chunks of it that are not being sent are dropped. The caller lets its
 * handle advance. */
void request_answer(struct sender *s, struct request *r, enum answer answer);
void request_error(struct sender *s, struct request *r, uint16_t code);

/* Its END went out inside a page: forget it. */
void request_finish(struct sender *s, struct request *r);

/* Put it into one of the lists of the sender, or take it out of the one that
 * it is in, if any. */
void request_enqueue(struct request *r, struct request_list_head *list);
void request_dequeue(struct request *r);

/* Let it belong to a handle. */
void request_bind(struct request *r, struct handle *h);

/* The chunk that GET r prepares next is r->get.next, or none is left. */
void request_get_advance(struct request *r);

/* The GET of a handle whose turn it is: the most urgent that has chunks to
 * prepare, the oldest among equals. NULL: none. */
struct request *handle_next_get(const struct handle *h);

struct handle *handle_new(struct sender *s, uint32_t id);

/* The handle of this number, or NULL. One that is sealed takes no more
 * requests, but its number is still in use. */
struct handle *handle_find(const struct sender *s, uint32_t id);

/* Start what may start, close what is to be closed. */
void handle_advance(struct sender *s, struct handle *h);

/* Close at once: what is queued fails with code. The struct stays until
 * handle_reap(). */
void handle_kill(struct sender *s, struct handle *h, uint16_t code);

/* Free a dead handle, unless something needs it yet. */
void handle_reap(struct sender *s, struct handle *h);

/* Put it into the run list where it belongs now. */
void handle_schedule(struct sender *s, struct handle *h);

void page_release(struct page *page);

/* ---- sender_job.c */

/* The chunk in this slot is with the kernel. */
void slot_sent(struct sender *s, struct slot *slot);

#endif
