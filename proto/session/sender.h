/* Sender: the server's half of one connection (belay-1, sections 8, 10, 14).
 *
 * A pure machine. Bytes of the client go in by sender_recv(), frames come out
 * by sender_emit(), and everything that needs a file is handed out as a job:
 *
 *   loop:  sender_next_job() until it says false; run each job, now or on
 *          another thread, and give its result to sender_job_done()
 *          sender_emit() while the transport takes bytes
 *
 * The data of a chunk never passes through here: sender_emit() ends with the
 * head of a CHUNK frame and names the prepared chunk whose stored bytes the
 * runner sends behind it; then it calls sender_chunk_sent().
 *
 * At most SENDER_CHUNKS_AHEAD chunks are prepared and not yet with the
 * kernel. The most urgent GET goes first; among equals handles take turns,
 * and the GETs of one handle go in the order in which they came (L3). A CLOSE
 * takes effect after everything before it on its handle (L2).
 *
 * Memory: a few hundred bytes, plus requests and handles that the client has
 * outstanding, together at most SENDER_MEMORY_MAX, plus one page of
 * SENDER_PAGE_BYTES while a DIGEST or LIST is answered, plus an incomplete
 * frame of the client. A step validates a whole message before it changes
 * anything; nothing is called back.
 *
 * Times are milliseconds of one monotonic clock, given by the caller, never
 * falling. Not thread-safe: one owner. */
#ifndef PROTO_SESSION_SENDER_H
#define PROTO_SESSION_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/base/registry.h"
#include "proto/data/hash.h"
#include "proto/session/auth.h"

/* Chunks prepared, or being prepared, or being sent. */
#define SENDER_CHUNKS_AHEAD 2

/* Jobs out at the same time: opens, checks, pages and the chunks ahead. */
#define SENDER_JOBS_MAX 16

/* Requests and handles that the client has outstanding, in bytes. 1024
 * requests on 512 handles with paths of 100 bytes need 350 KiB. */
#define SENDER_MEMORY_MAX (512u * 1024u)

/* One page of digests or directory entries: what one frame can carry, or a
 * little more. */
#define SENDER_PAGE_BYTES (LIMIT_CONTROL_PAYLOAD + 64u)

/* Digests of one page: one frame takes them, with a path of any length and
 * some grease behind them. */
#define SENDER_PAGE_DIGESTS 1920u

/* What sender_emit() needs at least as room: the longest control frame. */
#define SENDER_EMIT_BYTES (LIMIT_CONTROL_PAYLOAD + 64u)

/* What sender_recv() takes at most in one call. */
#define SENDER_RECV_BYTES (64u * 1024u)

struct sender_config {
    uint8_t max_chunk_log2;
    uint16_t max_requests; /* 0 in this and the next four: not announced, */
    uint16_t max_handles;  /* which means the default of the registry */
    uint16_t max_ranges;
    uint16_t idle_timeout_s;
    uint16_t ping_interval_s;
    bool compression;     /* CODEC_ZLIB may be used */
    bool secure;          /* TLS or a local pipe: tokens may travel */
    bool grease;          /* send meaningless items (X4): always, but for
                             tests that compare whole streams */
    uint64_t grease_seed; /* random: which ones and where */
    const char *agent;    /* borrowed for the life of the sender */
    uint64_t requests_total_max; /* then GOAWAY; 0: the limit of limits.h */
    const struct auth_table *auth; /* borrowed for the life of the sender;
                                      NULL: everybody may ask */
};

/* ---- Jobs. */

enum sender_job_type {
    /* Answered by sender_job_done(), exactly once each: */
    SENDER_JOB_OPEN,   /* .open: resolve, open, one fstat (I2) */
    SENDER_JOB_CHUNK,  /* .chunk: compare fstat (G5), read, digest, encode */
    SENDER_JOB_CHECK,  /* compare fstat once more before DONE (G5) */
    SENDER_JOB_DIGEST, /* .digest: fill .out with chunk digests */
    SENDER_JOB_LIST,   /* .list: fill .out with a page of entries */
    /* Orders without an answer: */
    SENDER_JOB_CLOSE,   /* .file is not used any more */
    SENDER_JOB_DROP,    /* .piece will not be sent */
    SENDER_JOB_ABANDON, /* nobody waits for job .id: end it soon */
};

struct sender_job_open {
    const char *path; /* NUL-terminated; relpath_check holds; "" is the root */
    uint8_t chunk_log2;     /* as asked, or 0 */
    uint8_t max_chunk_log2; /* for the server's own choice */
    bool no_handle;         /* describe only: directories and links too */
};

struct sender_job_chunk {
    uint64_t index;
    uint32_t raw_len;
    bool zero; /* CODEC_ZERO may be used, */
    bool zlib; /* CODEC_ZLIB may be used */
};

struct sender_job_digest {
    uint64_t first;      /* chunks [first, first + count) */
    uint32_t count;      /* at most SENDER_PAGE_DIGESTS */
    uint64_t span_first; /* what the whole request still wants: */
    uint64_t span_count; /* hash that, and report progress over it */
    bool no_wait;        /* WIRE_DIGEST_PENDING instead of hashing */
    bool whole_tree;     /* a proof is part of the answer: hash the file */
    bool with_proof;     /* append the path of block .block */
    uint8_t block_log2;
    uint64_t block;
    uint8_t *out; /* count digests, then the path: SENDER_PAGE_BYTES */
};

struct sender_job_list {
    const char *path;
    const uint8_t *cursor;
    size_t cursor_len;
    uint32_t max_entries; /* never 0 */
    bool with_cid;
    uint32_t request; /* for the frame header */
    uint8_t *out;     /* one complete ENTRIES frame with END:
                         SENDER_PAGE_BYTES */
};

/* Pointers are borrowed until the job is answered. */
struct sender_job {
    enum sender_job_type type;
    uint32_t id;
    void *file;  /* the runner's, from the result of OPEN */
    void *piece; /* DROP: the runner's, from the result of CHUNK */
    union {
        struct sender_job_open open;
        struct sender_job_chunk chunk;
        struct sender_job_digest digest;
        struct sender_job_list list;
    };
};

struct sender_file {
    void *file; /* the runner's; NULL where nothing stays open. The sender
                   returns it by SENDER_JOB_CLOSE */
    uint8_t file_type;
    uint8_t chunk_log2;
    bool strong;
    uint8_t version_len;
    uint64_t size;
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t mode;
    uint8_t version[LIMIT_VERSION_LEN];
};

/* .code 0 says that the job was done; otherwise it is the wire code of the
 * answer, and only .offset counts. */
struct sender_result {
    uint16_t code;
    bool has_offset;    /* any error: where in the file */
    uint64_t offset;
    uint32_t retry_after_ms; /* any error: 0 is not said */
    struct sender_file open;
    bool cid_known;     /* OPEN, CHECK */
    uint8_t cid[HASH_LEN];
    void *piece;        /* CHUNK; returned by sending it or SENDER_JOB_DROP */
    uint8_t codec;      /* CHUNK */
    uint32_t stored_len;
    uint8_t digest[HASH_LEN];
    uint8_t proof_len;  /* DIGEST with_proof: hashes of the path */
    size_t out_len;     /* LIST: bytes in .out */
};

/* ---- Life. */

struct sender;

/* now: the moment of accept. NULL when memory is out. */
struct sender *sender_new(const struct sender_config *config, uint64_t now);

/* The runner must have got back or be able to free all files, pieces and
 * jobs by itself: nothing is handed out any more. NULL is allowed. */
void sender_free(struct sender *s);

/* ---- Who asks. */

/* What the transport has turned out to be, before any byte of the client came
 * by sender_recv(): secure as in the config, and whether it has proved who
 * the client is, so that AUTH_EXTERNAL succeeds. */
void sender_set_transport(struct sender *s, bool secure, bool external);

struct sender_identity {
    uint8_t method; /* AUTH_..., or 0: nobody */
    uint32_t token; /* AUTH_BEARER: place in the table */
};

/* Changes with each successful AUTH; a job that was handed out was allowed to
 * whoever the client was then. */
const struct sender_identity *sender_identity(const struct sender *s);

/* ---- Bytes. */

/* False: do not read from the transport for now (rule L5), or any more. */
bool sender_wants_read(const struct sender *s);

/* Takes all len (at most SENDER_RECV_BYTES) bytes. Call only while
 * sender_wants_read(). What is wrong with them is answered to the peer and
 * shows in sender_reason(); nothing is returned. */
void sender_recv(struct sender *s, uint64_t now, const uint8_t *data,
                 size_t len);

/* The client will send no more: finish what was asked, then close. */
void sender_eof(struct sender *s, uint64_t now);

/* The chunk whose head ended the last emission. */
struct sender_out {
    size_t len;     /* bytes written to the buffer; 0: nothing to send now */
    bool has_chunk; /* they end with a CHUNK head: */
    void *file;
    void *piece;
    uint64_t offset;
    uint32_t raw_len;
    uint32_t stored_len; /* bytes to send behind it; may be 0 */
};

/* Writes as many frames as fit, the most urgent first, to buf (cap at least
 * SENDER_EMIT_BYTES). Not to be called between a chunk and its
 * sender_chunk_sent(). */
void sender_emit(struct sender *s, uint64_t now, uint8_t *buf, size_t cap,
                 struct sender_out *out);

/* The chunk of the last emission is with the kernel as a whole; its piece is
 * the runner's again. */
void sender_chunk_sent(struct sender *s, uint64_t now);

/* The transport took len bytes (frames and chunk data). */
void sender_wrote(struct sender *s, uint64_t now, uint64_t len);

/* ---- Jobs. */

/* The next thing to do, or false. */
bool sender_next_job(struct sender *s, uint64_t now, struct sender_job *job);

/* result is borrowed for the call. */
void sender_job_done(struct sender *s, uint64_t now, uint32_t id,
                     const struct sender_result *result);

/* How far a DIGEST job is, in bytes; told to the client now and then. */
void sender_job_progress(struct sender *s, uint32_t id, uint64_t done,
                         uint64_t total);

/* ---- Time and end. */

/* When sender_tick() wants to be called; UINT64_MAX for never. */
uint64_t sender_deadline(const struct sender *s);
void sender_tick(struct sender *s, uint64_t now);

/* Operator stop: announce, finish what is outstanding, close. */
void sender_goaway(struct sender *s, uint64_t now);

/* Instead of anything else: says `code` by the last words, and ends.  `reason`
 * is one word for the log, static. */
void sender_refuse(struct sender *s, uint16_t code, const char *reason);

/* Nothing more will come: send what sender_emit() wrote last, then close. */
bool sender_finished(const struct sender *s);

/* The handshake was completed; stays so. */
bool sender_ready(const struct sender *s);

/* No request is outstanding: a good moment to give back buffers. */
bool sender_is_idle(const struct sender *s);

/* Why the connection ended or ends: one word for the log, static; "open"
 * while it lives. */
const char *sender_reason(const struct sender *s);

/* Classes of errors, by their numbers; 0 is not used. */
#define SENDER_CLASSES (WIRE_CLASS_CANCELLED + 1u)

/* Codecs that are used: raw, zlib, zero, by their numbers. */
#define SENDER_CODECS (CODEC_ZERO + 1u)

struct sender_stats {
    uint64_t requests;
    uint64_t cancelled;
    uint64_t errors; /* requests answered by ERROR */
    uint64_t errors_of_class[SENDER_CLASSES]; /* ... and connections */
    uint64_t too_many_requests; /* refused, because others are open */
    uint64_t too_many_handles;
    uint64_t small;  /* GETs that brought less than SMALL_REQUEST_BYTES, and
                        not the whole file */
    uint64_t auth_refused; /* AUTH with wrong or exposed credentials */
    uint64_t chunks;
    uint64_t chunks_of_codec[SENDER_CODECS];
    uint64_t raw_bytes;  /* of these chunks */
    uint64_t bytes_out;  /* taken by the transport */
    uint64_t bytes_in;
};

const struct sender_stats *sender_stats(const struct sender *s);

/* The client's AGENT, hostile text; borrowed. Empty before its HELLO. */
const uint8_t *sender_agent(const struct sender *s, size_t *len);

#endif
