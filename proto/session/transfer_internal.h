/* Private parts of transfer: shared by the transfer_*.c files only.
 *
 *   transfer.c         life, queries, notes, failure
 *   transfer_grid.c    chunk states and digests, smaller chunks
 *   transfer_conn.c    connections: dialling, back-off, loss, opening
 *   transfer_claim.c   which connection asks for which chunks
 *   transfer_reply.c   answers of the server
 *   transfer_change.c  another version: digest list, comparison, completion
 *   transfer_next.c    what the runner does next, timers */
#ifndef PROTO_SESSION_TRANSFER_INTERNAL_H
#define PROTO_SESSION_TRANSFER_INTERNAL_H

#include "proto/session/transfer.h"

/* States of one chunk, low nibble of its state byte; the high nibble is the
 * connection that claimed it.  Missing is 0, so that memchr() finds it. */
enum chunk_state {
    CHUNK_MISSING,
    CHUNK_CLAIMED,
    CHUNK_PIPE,
    CHUNK_HINT,  /* on disk by the record, digest known, bytes unchecked */
    CHUNK_LOCAL, /* on disk and right, but its digest is not known yet */
    CHUNK_HAVE,
};

struct grid {
    uint64_t size;
    uint64_t count;
    uint8_t log2;
    uint8_t *state;              /* count bytes */
    uint8_t (*digest)[HASH_LEN]; /* valid for hint and have */
    uint64_t missing_from;      /* no missing chunk below it */
    uint64_t hash_from;         /* no unissued hint or local below it */
    uint64_t prefix;            /* chunks below it are all held */
    uint64_t have;              /* chunks held */
    uint64_t have_bytes;
    uint64_t unhashed;          /* hints and locals, issued or not */
    uint64_t piped;
};

enum phase {
    PHASE_NEW,     /* identity unknown */
    PHASE_FETCH,   /* asking for missing chunks */
    PHASE_CHANGED, /* the version is gone: a plain OPEN must tell the new */
    PHASE_COMPARE, /* new identity known, its digest list is coming */
    PHASE_COPY,    /* moving old chunks that the new version still has */
    PHASE_REGRID,  /* hashing kept data on a finer grid */
    PHASE_CHECK,   /* all chunks held; is it one version? */
    PHASE_FINISH,  /* told the runner to make it final */
    PHASE_OVER,    /* failed, or finished */
};

#define CLAIMS_MAX 3u

/* The chunks that one outstanding GET will bring, in order. */
struct claim {
    uint32_t request; /* 0: this slot is free */
    uint32_t count;
    uint64_t asked_at;
    uint64_t bytes;
    struct {
        uint64_t first;
        uint64_t count;
    } range[RECEIVER_RANGES_MAX];
};

enum conn_state {
    CONN_IDLE,    /* not needed, or waiting for dial_at */
    CONN_WAITING, /* to be dialled at dial_at */
    CONN_DIALING,
    CONN_UP,
};

struct conn {
    enum conn_state state;
    bool drop;      /* tell the runner to close it */
    bool greeted;   /* HELLO came */
    bool draining;  /* GOAWAY came */
    bool bound;     /* INFO of the current version came for `handle` */
    bool first_get; /* the GET that was sent before the size was known */
    uint32_t handle;
    uint32_t open_request;  /* 0: no OPEN outstanding */
    uint32_t first_request; /* request id of first_get */
    uint64_t dial_at;
    uint64_t pause_until; /* the server asked to wait */
    unsigned fruitless;   /* lost in a row without a verified chunk */
    uint64_t delivered;   /* whole chunks in this life of the connection */
    uint64_t current;     /* chunk whose data is coming, if piping */
    uint32_t current_stored;
    bool piping;
    bool discarding; /* data of an unwanted chunk is coming */
    uint64_t data_at;     /* when chunk data last came */
    uint64_t span;        /* bytes per GET */
    struct claim claim[CLAIMS_MAX];
    struct receiver *receiver;
};

enum list_use {
    LIST_NONE,
    LIST_CHANGE, /* the digests of a new version, to reuse old chunks */
    LIST_CHECK,  /* of the same version: find the chunks that differ */
    LIST_FIRST,  /* of the pinned content, before anything is released */
};

/* A complete digest list on its way. */
struct listing {
    enum list_use use;
    bool asked;
    unsigned conn;
    uint32_t request;
    uint64_t next;
    uint64_t count;
    uint64_t retry_at;
    uint8_t (*digest)[HASH_LEN];
};

/* One old chunk whose bytes belong somewhere in the new version. */
struct copy {
    uint64_t from;
    uint64_t to;
};

#define NOTES_MAX 32u
#define DETAIL_MAX 512u
#define BAD_SLOTS 32u

struct note {
    enum transfer_note note;
    unsigned conn;
    uint64_t first;
    uint64_t count;
    char text[200];
};

struct transfer {
    struct transfer_config config;
    enum phase phase;
    uint64_t now;
    uint64_t random;
    struct hasher *hasher;

    struct transfer_identity identity;
    bool confirmed; /* an INFO of this run agreed with the identity */
    bool any_weak;  /* an INFO that counted was not strong */
    bool looked;    /* INFO or DONE named the version after the last chunk */
    struct grid grid;
    uint8_t (*expect)[HASH_LEN]; /* verified digest list, or NULL */
    bool expect_final;           /* it hashes to the identity's CID */

    /* Another grid's CID that the bytes must have in the end. */
    bool anchor;
    bool anchor_checked;
    uint8_t anchor_log2;
    uint8_t anchor_cid[HASH_LEN];

    struct grid old; /* PHASE_COPY: the grid before the change */
    uint8_t old_log2;
    struct copy *copies;
    uint64_t copy_count;
    uint64_t copy_next;
    bool copy_asked;
    uint64_t reused;

    struct listing list;
    unsigned contradictions;

    struct conn conn[TRANSFER_CONNS_MAX];
    unsigned conn_goal; /* connections worth having now */
    unsigned lead;      /* the one that talks while a change is sorted out */
    unsigned fruitless; /* connections in a row without a new chunk */
    bool contact;       /* a greeting was completed in this run */
    bool waiting_told;
    unsigned protocol_errors;
    unsigned io_errors;

    /* Since every connection was lost the last time. */
    uint64_t round_bytes;
    uint64_t round_wasted;
    unsigned round_losses;
    unsigned rounds; /* with waste, in a row */
    unsigned barren; /* rounds in a row without a verified chunk */
    uint8_t shrink_to; /* 0, or the grid to change to when possible */

    struct {
        uint64_t index;
        unsigned count;
    } bad[BAD_SLOTS];

    uint64_t hash_pending; /* chunks given out by TRANSFER_HASH */
    uint64_t hints_bad;
    bool anchor_hash;      /* the anchor's grid is being hashed */
    uint64_t anchor_from;
    uint64_t anchor_count;
    uint64_t started;
    uint64_t sample_at;
    uint64_t sample_wire;

    bool need_begin, need_rebase, need_identity;
    bool finish_told, fail_told;
    enum transfer_reason reason;
    char detail[DETAIL_MAX];
    struct note notes[NOTES_MAX];
    unsigned note_head, note_count;
    struct transfer_ledger ledger;
};

/* transfer.c */
uint64_t transfer_random(struct transfer *t);
void transfer_fail(struct transfer *t, enum transfer_reason reason,
                   const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void transfer_say(struct transfer *t, const struct note *note);
/* Copies peer text into `out`, escaped and cut. */
void transfer_peer_text(char *out, size_t cap, const uint8_t *text,
                        size_t len);

/* transfer_grid.c */
int grid_init(struct grid *g, uint64_t size, uint8_t log2) MUST_USE;
void grid_free(struct grid *g);
static inline enum chunk_state grid_state(const struct grid *g, uint64_t i)
{
    return (enum chunk_state)(g->state[i] & 0x0F);
}
void grid_set(struct grid *g, uint64_t i, enum chunk_state state,
              unsigned owner);
unsigned grid_owner(const struct grid *g, uint64_t i);
uint32_t grid_len(const struct grid *g, uint64_t i);
/* First missing chunk at or after `from`; count when there is none. */
uint64_t grid_next_missing(struct grid *g, uint64_t from);
uint64_t grid_missing_bytes(const struct grid *g);
/* CID of the digests; every chunk must be held. */
int grid_cid(struct transfer *t, uint8_t (*digest)[HASH_LEN],
             const struct grid *g, uint8_t cid[HASH_LEN]) MUST_USE;
void transfer_shrink(struct transfer *t, uint8_t to);
void transfer_shrink_more(struct transfer *t);
bool transfer_try_shrink(struct transfer *t);
void transfer_regrid_done(struct transfer *t);

/* transfer_conn.c */
void conn_open(struct transfer *t, unsigned i);
void conn_give_up(struct transfer *t, unsigned i, const char *text,
                  bool quiet);
void conn_release(struct transfer *t, unsigned i);
void conn_round_end(struct transfer *t);
void conn_goal_update(struct transfer *t);
void conn_drop_all(struct transfer *t, unsigned except);
unsigned conn_count_up(const struct transfer *t);
void conn_wait(struct transfer *t, unsigned i, uint64_t at_least);
void conn_fruitless(struct transfer *t, const char *text);

/* transfer_claim.c */
void claim_fill(struct transfer *t, unsigned i);
void claim_first(struct transfer *t, unsigned i);
void claim_bind_first(struct transfer *t, unsigned i);
void claim_end(struct transfer *t, unsigned i, uint32_t request, bool done);
bool claim_any(const struct transfer *t);
bool claim_steal(struct transfer *t);

/* transfer_reply.c */
void reply_event(struct transfer *t, unsigned i,
                 const struct receiver_event *event,
                 struct transfer_chunk *chunk);

/* transfer_change.c */
void identity_adopt(struct transfer *t, const struct msg_info *info);
void change_begin(struct transfer *t, unsigned i, const char *why);
void change_pump(struct transfer *t);
void change_info(struct transfer *t, unsigned i, const struct msg_info *info);
void list_ask(struct transfer *t, enum list_use use);
void list_pump(struct transfer *t);
void list_digests(struct transfer *t, unsigned i,
                  const struct msg_digests *digests, bool end);
void list_failed(struct transfer *t, unsigned i, uint16_t code,
                 uint64_t wait_ms);
void list_clear(struct transfer *t);
void change_copied(struct transfer *t, bool ok);
void check_complete(struct transfer *t);
void check_anchor_hashed(struct transfer *t);

#endif
