/* Transfer: one file fetched over several connections (belay-1, section 13).
 *
 * The pure brain of the client: which connection asks for which chunks, what
 * a kept chunk is worth after a reconnect, what happens when the file changed,
 * when the download is complete.  It owns one receiver per connection.
 *
 * The caller (the runner) owns every effect.  It calls an event function for
 * each thing that happened and then transfer_next() until it returns
 * TRANSFER_IDLE, doing what each action says.  Nothing is called back.
 *
 * Chunk bytes never pass through here.  After transfer_feed() reported a
 * chunk the runner collects its data, checks the digest, stores the bytes and
 * reports by transfer_chunk_done().  A chunk is counted as held only then.
 *
 * Chunk states: missing -> claimed (asked for) -> pipe (arrived, being
 * verified and stored) -> have.  Chunks found on disk at start are hints:
 * hint -> have after their bytes were hashed again, else missing.
 *
 * Times are milliseconds of one monotonic clock.  Not thread-safe. */
#ifndef PROTO_SESSION_TRANSFER_H
#define PROTO_SESSION_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/data/hash.h"
#include "proto/session/receiver.h"

/* Connections of one transfer; more never helped in measurements. */
#define TRANSFER_CONNS_MAX 16
/* Digests of one file are held in memory: 32 bytes each. */
#define TRANSFER_CHUNKS_MAX ((uint64_t)1 << 22)
/* So many HASH actions are unanswered at most, and one COPY besides. */
#define TRANSFER_HASHES_MAX 8u
/* Servers that may offer one content. */
#define TRANSFER_SOURCES_MAX 16u
/* Local files that are looked at for content. */
#define TRANSFER_DONORS_MAX 16u
/* Chunks are made smaller only while the file has at most this many. */
#define TRANSFER_CHUNKS_SHRINK ((uint64_t)1 << 19)

/* The identity of one version of the file, as INFO told it. */
struct transfer_identity {
    uint64_t size;
    uint8_t chunk_log2;
    uint8_t version_len;
    bool strong; /* every INFO that counted was VERSION_STRONG */
    bool cid_known;
    uint8_t version[LIMIT_VERSION_LEN];
    uint8_t cid[HASH_LEN];
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t mode;
};

/* A local file that may hold some of the content. */
struct transfer_donor {
    uint64_t size;
    /* It is the file that is written to: what is right in its place stays.
     * Only the first donor may be this. */
    bool self;
};

struct transfer_config {
    const uint8_t *path; /* borrowed for the life of the transfer */
    size_t path_len;
    /* Other servers with the same content, sources 1 and up (the path above
     * is that of source 0).  Borrowed as it is. */
    unsigned mirror_count;
    struct {
        const uint8_t *path;
        size_t path_len;
    } mirror[TRANSFER_SOURCES_MAX - 1];
    bool pinned; /* the content is known beforehand (URL pin) */
    uint8_t pin_log2;
    uint8_t pin_cid[HASH_LEN];
    uint8_t want_chunk_log2; /* 0: the server's choice */
    uint8_t max_chunk_log2;
    bool compression;
    unsigned conns;     /* connections to use; 0: chosen by what helps */
    unsigned tries_max; /* fruitless connections in a row; 0: no limit */
    bool wait_first;    /* keep trying even before the first contact */
    bool probe; /* ask for INFO only: TRANSFER_BEGIN is all that comes */
    /* With donors the complete digest list is fetched first; what they hold
     * is copied, the rest is fetched.  Not with in_order. */
    unsigned donor_count;
    struct transfer_donor donors[TRANSFER_DONORS_MAX];
    /* Compare donor 0 with the digest list, nothing else: chunks that are
     * right in their place are held when TRANSFER_COMPARED comes. */
    bool compare_only;
    bool stop_on_change;
    bool in_order;      /* output is a stream: nothing can be taken back */
    uint32_t window_chunks_bytes; /* in_order: bytes held ahead at most */
    uint64_t max_size;  /* 0: no limit */
    uint64_t silence_ms; /* without a byte before a PING; 0: the default */
    const char *agent;  /* borrowed */
    const struct receiver_auth *auth; /* for the first source only; borrowed;
                                         NULL: none */
    uint64_t seed;      /* randomness for back-off and grease */
};

#define TRANSFER_NO_DONOR UINT32_MAX

enum transfer_action_type {
    TRANSFER_IDLE,     /* nothing to do until the next event or deadline */
    TRANSFER_DIAL,     /* connect .conn to .source, transfer_connected() */
    TRANSFER_DROP,     /* close .conn now; no transfer_lost() for it */
    TRANSFER_BEGIN,    /* first identity known: start the partial file */
    TRANSFER_REBASE,   /* identity or grid changed: see below */
    TRANSFER_IDENTITY, /* same version, more is known (CID): record it */
    TRANSFER_HASH,     /* hash local chunks [.first, .first + .count) of the
                          grid .chunk_log2, transfer_hashed() for each; of
                          the file itself, or of .donor */
    TRANSFER_COPY,     /* bytes at .from_offset, of the file itself or of
                          .donor, have digest .digest and belong at chunk
                          .first: transfer_copied() */
    TRANSFER_COMPARED, /* compare_only: it is done; the end */
    TRANSFER_FINISH,   /* everything is verified: make it final */
    TRANSFER_FAIL,     /* .reason, transfer_detail(); the end */
    TRANSFER_NOTE,     /* .note: something a person wants to know */
};

enum transfer_note {
    TRANSFER_NOTE_CHANGED,   /* the file on the server is another version */
    TRANSFER_NOTE_REUSED,    /* ... and .count old chunks are still good */
    TRANSFER_NOTE_SHRUNK,    /* chunks are now 2^.count bytes */
    TRANSFER_NOTE_BAD_CHUNK, /* chunk .first failed its digest */
    TRANSFER_NOTE_LOST,      /* .conn was lost: transfer_detail() */
    TRANSFER_NOTE_WAIT,      /* no connection; next try in .count ms */
    TRANSFER_NOTE_BACK,      /* data flows again after TRANSFER_NOTE_WAIT */
    TRANSFER_NOTE_HINTS_BAD, /* .count chunks on disk were not as recorded */
    TRANSFER_NOTE_RECHECK,   /* CID differs or is unknown: comparing digests */
    TRANSFER_NOTE_SERVER,    /* text from the server: transfer_detail() */
    TRANSFER_NOTE_DONOR,     /* donor .conn: .first chunks stay in place,
                                .count are copied */
    TRANSFER_NOTE_NO_LIST,   /* donors are of no use: no digest list */
    TRANSFER_NOTE_ASIDE,     /* source .conn is not asked any more:
                                transfer_detail() */
    TRANSFER_NOTE_SLOW,      /* source .conn is left for a while: too slow */
};

enum transfer_reason {
    TRANSFER_OK,
    TRANSFER_REFUSED,      /* the server will not, ever: not found, denied */
    TRANSFER_ACCESS,       /* credentials are needed or were refused */
    TRANSFER_DISTRUSTED,   /* the last server left is not who it should be */
    TRANSFER_UNREACHABLE,  /* no contact, or tries used up: temporary */
    TRANSFER_SERVER,       /* the server's own trouble, temporary */
    TRANSFER_NOT_BELAY,    /* the peer does not speak this protocol */
    TRANSFER_VERSION,      /* ... or no version of it that we speak */
    TRANSFER_PROTOCOL,     /* the peer breaks the protocol */
    TRANSFER_WRONG_CONTENT,/* not the pinned content, or contradictions */
    TRANSFER_CHANGED,      /* changed, and we were told to stop then */
    TRANSFER_TOO_LARGE,    /* beyond max_size or what a client can hold */
    TRANSFER_NOT_A_FILE,
    TRANSFER_NOT_A_DIRECTORY, /* of a walk */
    TRANSFER_UNREADABLE,   /* what was received cannot be read again */
    TRANSFER_NOMEM,
};

struct transfer_action {
    enum transfer_action_type type;
    enum transfer_note note;
    enum transfer_reason reason;
    unsigned conn;
    unsigned source; /* DIAL */
    uint64_t first;
    uint64_t count;
    uint64_t from;
    uint64_t from_offset; /* COPY: where the old bytes stand */
    unsigned donor; /* HASH, COPY: whose bytes; TRANSFER_NO_DONOR: our own */
    uint8_t chunk_log2;
    const uint8_t *digest; /* COPY: borrowed until transfer_copied() */
};

/* A chunk whose header was accepted by transfer_feed(). */
struct transfer_chunk {
    bool present;  /* false: no chunk in this call */
    bool wanted;   /* false: read and throw away its data */
    unsigned conn;
    uint64_t index;
    uint64_t offset;
    uint32_t raw_len;
    uint32_t stored_len; /* data bytes that follow in the stream */
    uint8_t codec;
    uint8_t digest[HASH_LEN];
};

/* Bytes, for people and for reports.  have = kept + fresh + reused at any
 * time; a change of the file takes back what it made useless. */
struct transfer_ledger {
    uint64_t size;       /* 0 until known */
    uint64_t have;       /* verified and stored, kept ones included */
    uint64_t kept;       /* of these, taken over from an earlier run */
    uint64_t fresh;      /* of these, received by this run */
    uint64_t reused;     /* of these, old chunks found good after a change,
                            and copies from donors */
    uint64_t wire;       /* all bytes received from servers */
    uint64_t repeated;   /* chunk data received that was already held */
    uint64_t wasted;     /* chunk data that came to nothing: cut or bad */
    uint64_t saved;      /* raw bytes minus stored bytes, compression */
    uint32_t connects;   /* connections that were made */
    uint32_t losses;     /* ... and lost before their work was done */
    uint32_t bad_chunks; /* chunks that failed their digest */
    uint32_t changes;    /* versions of the file seen after the first */
};

/* What one source did. */
struct transfer_source_stats {
    uint64_t wire;       /* all bytes that it sent */
    uint64_t fresh;      /* verified bytes of it */
    uint32_t bad_chunks; /* of its chunks failed their digest */
    uint32_t losses;     /* connections to it that were lost */
    bool aside;          /* it is not asked any more */
};

struct transfer;

/* NULL when memory is out. */
struct transfer *transfer_new(const struct transfer_config *config,
                              uint64_t now);
void transfer_free(struct transfer *t);

/* ---- before the first transfer_next(): what an earlier run left. */

/* The partial file belongs to this version.  ERR_NOMEM or ERR_LIMIT. */
int transfer_resume(struct transfer *t,
                    const struct transfer_identity *identity) MUST_USE;
/* The record says that chunk `index` is there with this digest. */
void transfer_hint(struct transfer *t, uint64_t index,
                   const uint8_t digest[HASH_LEN]);

/* ---- events. */

void transfer_connected(struct transfer *t, unsigned conn, uint64_t now);
/* The dial failed; `text` (ours, or the system's) says why, and is copied. */
void transfer_dial_failed(struct transfer *t, unsigned conn, const char *text,
                          uint64_t now);
/* End of stream, reset or I/O error on `conn`. */
void transfer_lost(struct transfer *t, unsigned conn, const char *text,
                   uint64_t now);
/* The server of `conn` is not who it should be: it is not asked any more. */
void transfer_distrust(struct transfer *t, unsigned conn, const char *text,
                       uint64_t now);
/* Stream bytes of `conn`.  Consumes until a chunk header is complete or the
 * input is used up; call again with the rest.  Afterwards `conn` may have
 * been given up: ask transfer_conn_open().  After the end, good or bad, all
 * input is consumed and means nothing. */
void transfer_feed(struct transfer *t, unsigned conn, const uint8_t *data,
                   size_t len, size_t *used, struct transfer_chunk *chunk,
                   uint64_t now);
/* `len` bytes of the current chunk's data arrived on `conn`. */
void transfer_chunk_data(struct transfer *t, unsigned conn, size_t len,
                         uint64_t now);
/* A wanted chunk whose data was complete: verified and stored (ok), or its
 * bytes do not fit codec or digest (!ok).  `conn` sent it. */
void transfer_chunk_done(struct transfer *t, unsigned conn, uint64_t index,
                         const uint8_t digest[HASH_LEN], bool ok,
                         uint64_t now);
/* Answers to TRANSFER_HASH: the digest of a local chunk; NULL if unreadable. */
void transfer_hashed(struct transfer *t, uint64_t index,
                     const uint8_t *digest, uint64_t now);
/* Answer to TRANSFER_COPY. */
void transfer_copied(struct transfer *t, bool ok, uint64_t now);
/* Run the timers; call when transfer_deadline() has passed. */
void transfer_tick(struct transfer *t, uint64_t now);
/* The network changed or came back: dial at once instead of waiting. */
void transfer_hurry(struct transfer *t, uint64_t now);

/* ---- what to do next. */

/* REBASE: start a new record for transfer_identity(); the data on disk stays
 * where it is, and every chunk in state have is recorded anew
 * (transfer_have(), transfer_digest()). */
enum transfer_action_type transfer_next(struct transfer *t, uint64_t now,
                                        struct transfer_action *action);
uint64_t transfer_deadline(const struct transfer *t);

/* ---- queries. */

struct receiver *transfer_receiver(struct transfer *t, unsigned conn);
bool transfer_conn_open(const struct transfer *t, unsigned conn);
const struct transfer_identity *transfer_identity(const struct transfer *t);
uint64_t transfer_chunks(const struct transfer *t);
/* Is this chunk held, and to be recorded with its digest?  Never while the
 * record is of another grid or version than transfer_identity(), that is
 * until REBASE was given out. */
bool transfer_have(const struct transfer *t, uint64_t index);
const uint8_t *transfer_digest(const struct transfer *t, uint64_t index);
const struct transfer_ledger *transfer_ledger(const struct transfer *t);
unsigned transfer_sources(const struct transfer *t);
/* What a connection that is being dialled, or is up, leads to. */
unsigned transfer_conn_source(const struct transfer *t, unsigned conn);
void transfer_source_stats(const struct transfer *t, unsigned source,
                           struct transfer_source_stats *out);
/* Text for the last NOTE or FAIL; escaped; owned by the transfer. */
const char *transfer_detail(const struct transfer *t);
const char *transfer_reason_name(enum transfer_reason reason);
/* True when the data on `conn` that comes next is chunk `index`'s
 * successor in an answer: see receiver_predict(). */
unsigned transfer_conns_used(const struct transfer *t);

#endif
