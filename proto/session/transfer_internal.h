/* Private parts of transfer: shared by the transfer_*.c files only.
 *
 *   transfer.c         life, queries, notes, failure
 *   transfer_grid.c    chunk states and digests, smaller chunks
 *   transfer_conn.c    connections: dialling, back-off, loss, opening
 *   transfer_grow.c    how many connections
 *   transfer_claim.c   which connection asks for which chunks
 *   transfer_share.c   work of slow and silent ones is shared anew
 *   transfer_info.c    what the server says about the file
 *   transfer_reply.c   its other answers
 *   transfer_list.c    complete digest lists
 *   transfer_change.c  another version: comparison, copies
 *   transfer_donor.c   content from local files
 *   transfer_source.c  several servers with one content
 *   transfer_check.c   completion
 *   transfer_next.c    what the runner does next, timers */
#ifndef PROTO_SESSION_TRANSFER_INTERNAL_H
#define PROTO_SESSION_TRANSFER_INTERNAL_H

#include "proto/session/retry.h"
#include "proto/session/transfer.h"

/* Sizes that decide which branch is taken.  The simulator builds a copy with
 * small ones, so that files of some hundred KiB take them all. */
#ifndef TRANSFER_SMALL
/* The GET that leaves before the size is known asks for this much: enough
 * to keep a fast long link busy until INFO is back. */
#define FIRST_SPAN ((uint64_t)4 << 20)
/* Bytes that one later GET spans. */
#define SPAN_FIRST ((uint64_t)1 << 20)
#define SPAN_MIN ((uint64_t)64 << 10)
#define SPAN_MAX ((uint64_t)64 << 20)
/* Bytes still missing that make one more connection worth its greeting. */
#define BYTES_PER_CONN ((uint64_t)1 << 20)
/* Local data given out for hashing in one action, and at once. */
#define HASH_BATCH_BYTES ((uint64_t)8 << 20)
#define HASH_PENDING_BYTES ((uint64_t)32 << 20)
/* So little held of so much larger a file is fetched again rather than
 * compared: the server may have to read its whole file for the list. */
#define REUSE_MIN_BYTES ((uint64_t)4 << 20)
BELAY_STATIC_ASSERT(FIRST_SPAN % (1u << LIMIT_CHUNK_LOG2_MAX) == 0,
                    "the first GET ends at a chunk border of every grid");
#else
#define FIRST_SPAN ((uint64_t)64 << 10)
#define SPAN_FIRST ((uint64_t)32 << 10)
#define SPAN_MIN ((uint64_t)8 << 10)
#define SPAN_MAX ((uint64_t)128 << 10)
#define BYTES_PER_CONN ((uint64_t)24 << 10)
#define HASH_BATCH_BYTES ((uint64_t)32 << 10)
#define HASH_PENDING_BYTES ((uint64_t)64 << 10)
#define REUSE_MIN_BYTES ((uint64_t)16 << 10)
#endif

/* States of one chunk, low nibble of its state byte.  The high nibble is the
 * connection that claimed it, the source that sent it (pipe), or where the
 * bytes on disk come from (enum origin).  Missing is 0, so that memchr() finds
 * it. */
enum chunk_state {
    CHUNK_MISSING,
    CHUNK_CLAIMED,
    CHUNK_PIPE,
    CHUNK_HINT,  /* on disk by the record, digest known, bytes unchecked */
    CHUNK_LOCAL, /* on disk and right, but its digest is not known yet */
    CHUNK_HAVE,
};

/* Who gets the credit for the bytes of a hint, local or held chunk. */
enum origin {
    ORIGIN_FRESH,  /* received by this run */
    ORIGIN_KEPT,   /* there since an earlier run */
    ORIGIN_REUSED, /* of an earlier version of the file */
    ORIGIN_COUNT,
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
    uint64_t missing_bytes;     /* of chunks that nobody was asked for */
    uint64_t origin_bytes[ORIGIN_COUNT]; /* of have_bytes */
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
    uint64_t left;    /* of these, in chunks that have not begun to arrive */
    bool cancelled;   /* its END will come early */
    uint64_t arrival; /* number of the last chunk that it brought; 0: none */
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
    unsigned source; /* whom it leads to */
    unsigned unjudged; /* whole chunks that the runner has not judged */
    bool draining;  /* GOAWAY came */
    bool retired;   /* it was one too many: closed when it owes nothing */
    bool bound;     /* INFO of the current version came for `handle` */
    bool strong;    /* ... and was VERSION_STRONG */
    bool handle_open; /* the server has it open, of whatever version */
    bool first_get; /* the GET that was sent before the size was known */
    uint32_t handle;
    uint32_t open_request;  /* 0: no OPEN outstanding */
    uint64_t open_arrivals; /* chunks that had arrived when it was sent */
    uint32_t first_request; /* request id of first_get */
    uint64_t dial_at;     /* when to dial, then when it was begun */
    uint64_t pause_until; /* the server asked to wait */
    unsigned fruitless;   /* lost in a row without a verified chunk */
    uint64_t delivered;   /* whole chunks in this life of the connection */
    bool listed;          /* ... and more of the digest list than was there */
    uint64_t current;     /* chunk whose data is coming, if piping */
    uint32_t current_stored;
    bool piping;
    bool discarding; /* data of an unwanted chunk is coming */
    uint64_t data_at;     /* when chunk data last came */
    uint64_t span;        /* bytes per GET */
    uint64_t rate;        /* bytes per second; 0: not known yet */
    uint64_t ended_at;    /* when its last GET was answered */
    uint64_t ended_bytes; /* ... and up_bytes then */
    uint64_t up_at;       /* when it was connected */
    uint64_t up_bytes;    /* chunk data since then */
    unsigned bad_run;     /* chunks that failed, none in between was good */
    uint64_t probed_at;   /* PING sent then, to see if the line works; 0: no */
    uint64_t probe_after; /* not again before */
    unsigned probes;      /* so many in this life */
    struct claim claim[CLAIMS_MAX];
    struct receiver *receiver;
};

/* Of who sends other bytes than those of the content id that it named. */
enum doubt {
    DOUBT_NONE,
    DOUBT_ASKED,    /* maybe its file has just changed: it is opened anew, */
    DOUBT_ANSWERED, /* which was done: now it has to be as it is said to be */
};

/* One of the servers that have the content. */
struct source {
    const uint8_t *path;
    size_t path_len;
    bool known;   /* an INFO of it fitted the identity: its version follows */
    bool named;   /* ... and it named the content id itself */
    bool contact; /* a greeting of it came */
    bool aside;   /* it is not asked any more, */
    bool stale;   /* ... but it may be when nobody else is left: it had
                     another content, or a bad line */
    uint8_t version_len;
    uint8_t version[LIMIT_VERSION_LEN];
    enum doubt doubt;   /* only ever grows, so that it has an end */
    unsigned fruitless; /* connections in a row that brought nothing */
    uint64_t retry_at;  /* others first until then */
    struct transfer_source_stats stats;
};

enum list_use {
    LIST_NONE,
    LIST_CHANGE, /* the digests of a new version, to reuse old chunks */
    LIST_CHECK,  /* of the same version: find the chunks that differ */
    LIST_MIRROR, /* to judge the chunks of several sources */
    LIST_SEED,   /* before donors are looked at */
    LIST_FIRST,  /* of the pinned content, before anything is released */
};

/* A complete digest list on its way. */
struct listing {
    enum list_use use;
    bool asked;
    bool pieced; /* more than one answer made it */
    bool strong; /* all of them under strong versions */
    uint64_t from;   /* what was asked for: [from, end) */
    uint64_t end;
    uint8_t block_log2; /* as asked */
    unsigned conn;
    uint32_t request;
    uint64_t next;
    uint64_t best; /* most that `next` ever was */
    uint64_t count;
    uint64_t retry_at;
    uint8_t (*digest)[HASH_LEN];
};

/* One old chunk whose bytes belong somewhere in the new version. */
struct copy {
    uint64_t from;
    uint64_t to;
};

/* Looking at donors, one after the other. */
struct seeding {
    enum {
        SEED_NONE, /* there are none, or they were looked at */
        SEED_LIST, /* the digest list comes first */
        SEED_HASH, /* the chunks of `donor` are being hashed */
        SEED_COPY, /* ... and those of use are copied */
    } state;
    bool restart; /* another version: all over again, when jobs are done */
    unsigned donor;
    struct grid grid; /* of the donor; every chunk local or have */
    struct copy *copies;
    uint64_t copy_count;
    uint64_t copy_next;
    bool copy_asked;
    uint8_t wanted[HASH_LEN]; /* by the copy that was asked for */
};

/* Do more connections bring more? */
struct growth {
    bool over;      /* it is known: no */
    unsigned before; /* connections before the last step; 0: none yet */
    uint64_t rate;  /* bytes per second with those */
    uint64_t since; /* all of now are up since then, */
    uint64_t wire;  /* ... when so many bytes had come */
    uint32_t losses; /* ... and so many connections were lost */
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
    bool cid_recorded; /* the CID is that of a weak version in an earlier run,
                          which nobody has named since */
    uint64_t arrivals; /* wanted chunks that came, counted */
    uint64_t unlooked; /* of those whose GET did not end with DONE, the last
                          after which no INFO named the version; 0: none */
    struct grid grid;
    uint8_t (*expect)[HASH_LEN]; /* verified digest list, or NULL */
    bool expect_final;           /* it hashes to the identity's CID */
    unsigned expect_source;      /* who told it */

    /* Another grid's CID that the bytes must have in the end. */
    bool anchor;
    bool anchor_checked;
    uint8_t anchor_log2;
    uint8_t anchor_cid[HASH_LEN];

    struct grid old; /* COMPARE, COPY: the grid before the change */
    struct transfer_identity old_identity; /* ... and whose it was */
    struct copy *copies;
    uint64_t copy_count;
    uint64_t copy_next;
    bool copy_asked;
    uint64_t reused;

    struct seeding seed;
    bool compared; /* compare_only: TRANSFER_COMPARED is due */

    struct listing list;
    /* What the line carries shows over many lists: these outlive them. */
    unsigned list_barren; /* connections in a row that brought none of one */
    uint64_t list_piece;  /* digests to ask for at once; 0: all */
    unsigned contradictions;

    struct source source[TRANSFER_SOURCES_MAX];
    unsigned source_count;
    unsigned home; /* the source whose version the identity names */

    struct conn conn[TRANSFER_CONNS_MAX];
    unsigned conn_goal; /* connections worth having now */
    struct growth growth;
    uint64_t dial_ms;   /* how long the last dial took */
    uint64_t tick_at;   /* when transfer_tick() wants to be called next */
    uint64_t share_at;  /* when to look again who owes too much */
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
    unsigned barren; /* rounds in a row without a verified chunk, and */
    unsigned barren_conns; /* connections behind them that began one */
    uint8_t shrink_to; /* 0, or the grid to change to when possible */
    uint64_t shrink_at; /* since when */

    /* Chunks that failed, for each source that sent them: what one damages
     * is not held against another. */
    struct {
        uint64_t index;
        unsigned source;
        unsigned count;
    } bad[BAD_SLOTS];

    unsigned unsteady; /* chunks of weak versions that were not as listed, none
                          in between was good, */
    uint64_t calm_at;  /* ... and the file is not opened anew before then */

    unsigned bad_run; /* chunks that failed, none in between was good */
    /* On this grid: what came whole, and what of it failed. */
    uint64_t sound_bytes;
    uint64_t damaged_bytes;
    unsigned damaged;

    uint64_t hash_pending; /* chunks given out by TRANSFER_HASH */
    struct {
        uint64_t first;
        uint64_t count;
        uint64_t left; /* 0: this slot is free */
    } hash_batch[TRANSFER_HASHES_MAX];
    uint64_t hints_bad;
    bool anchor_hash;      /* the anchor's grid is being hashed, in old */
    bool own_cid_known;    /* PHASE_CHECK: the CID of what is held */
    uint8_t own_cid[HASH_LEN];
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
void transfer_fail(struct transfer *t, enum transfer_reason reason,
                   const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void transfer_say(struct transfer *t, const struct note *note);
/* Copies peer text into `out`, escaped and cut. */
void transfer_peer_text(char *out, size_t cap, const uint8_t *text,
                        size_t len);

/* transfer_next.c */
bool transfer_may_dial(const struct transfer *t);

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
/* Bring the ledger in line with the grid. */
void grid_account(struct transfer *t);
/* CID of the digests; every chunk must be held. */
int grid_cid(struct transfer *t, uint8_t (*digest)[HASH_LEN],
             const struct grid *g, uint8_t cid[HASH_LEN]) MUST_USE;
void transfer_shrink(struct transfer *t, uint8_t to);
void transfer_shrink_more(struct transfer *t);
/* A chunk of so many bytes failed: would smaller ones cost less? */
void grid_damaged(struct transfer *t, uint32_t bytes);
bool transfer_try_shrink(struct transfer *t);
void transfer_regrid_done(struct transfer *t);

/* transfer_conn.c */
void conn_open(struct transfer *t, unsigned i);
void conn_give_up(struct transfer *t, unsigned i, const char *text,
                  bool quiet);
void conn_release(struct transfer *t, unsigned i);
void conn_round_end(struct transfer *t);
void conn_barren(struct transfer *t);
void conn_drop_all(struct transfer *t, unsigned except);
void conn_reopen_all(struct transfer *t);
/* Those that are wanted and idle are dialled, from this one on. */
void conn_wake(struct transfer *t, unsigned first);
void conn_retire(struct transfer *t, unsigned i);
unsigned conn_count_up(const struct transfer *t);
void conn_wait(struct transfer *t, unsigned i, uint64_t at_least);
void conn_fruitless(struct transfer *t, const char *text);

/* transfer_grow.c */
void conn_goal_update(struct transfer *t);
void grow_tick(struct transfer *t);

/* transfer_claim.c */
void claim_fill(struct transfer *t, unsigned i);
void claim_first(struct transfer *t, unsigned i);
void claim_bind_first(struct transfer *t, unsigned i);
struct claim *claim_of(struct conn *c, uint32_t request);
void claim_end(struct transfer *t, unsigned i, uint32_t request, bool done);
bool claim_alive(const struct transfer *t);
bool claim_any(const struct transfer *t);
unsigned claim_count(const struct conn *c);
void claim_arrived(struct transfer *t, unsigned i, uint32_t request,
                   uint64_t index);
/* What connection i claimed of these chunks is missing again; false: it was
 * nothing. */
bool claim_free_range(struct transfer *t, unsigned i, uint64_t first,
                      uint64_t count);

/* transfer_share.c */
/* Connection i has nothing to do. */
void share_ask(struct transfer *t, unsigned i);
/* Should connection i ask for more before it has brought what it owes? */
bool share_ahead(const struct transfer *t, unsigned i);
void share_evenly(struct transfer *t);
void share_tick(struct transfer *t);
/* Everybody ends what was asked for early.  False: nothing is left to end. */
bool share_end_all(struct transfer *t);
/* Bytes came on connection i. */
void share_heard(struct transfer *t, unsigned i);

/* transfer_reply.c */
void reply_event(struct transfer *t, unsigned i,
                 const struct receiver_event *event,
                 struct transfer_chunk *chunk);

/* transfer_info.c */
void info_arrived(struct transfer *t, unsigned i,
                  const struct receiver_event *event);

/* transfer_change.c */
void identity_adopt(struct transfer *t, const struct msg_info *info);
void change_begin(struct transfer *t, unsigned i, const char *why);
/* Back to the version before the change, which nobody has any more. */
void change_undo(struct transfer *t);
/* Old chunks in the works still count, and still write, or the file is not
 * steady: not yet. */
bool change_waits(const struct transfer *t);
void change_pump(struct transfer *t);
void change_info(struct transfer *t, unsigned i, const struct msg_info *info);
/* The new version's list is in t->list: use what is there of the old one. */
void change_compare(struct transfer *t);
void change_copied(struct transfer *t, bool ok);

/* Held chunks of `g` ordered by digest, for match_find(); NULL without
 * memory.  Free with free(). */
uint32_t *match_index(const struct grid *g, uint32_t *count) MUST_USE;
/* A held chunk with this digest; g->count when there is none. */
uint64_t match_find(const struct grid *g, const uint32_t *index,
                    uint32_t count, const uint8_t *digest);

/* transfer_donor.c */
void seed_init(struct transfer *t);
void seed_free(struct transfer *t);
bool seed_busy(const struct transfer *t);
bool seed_local(const struct transfer *t);
void seed_restart(struct transfer *t);
bool seed_without_list(struct transfer *t);
void seed_listed(struct transfer *t);
void seed_copied(struct transfer *t, bool ok);
bool seed_next_copy(struct transfer *t, struct transfer_action *a);
void seed_pump(struct transfer *t);

/* transfer_source.c */
void mirror_init(struct transfer *t);
bool mirror_many(const struct transfer *t);
bool mirror_home_up(const struct transfer *t);
bool mirror_other_usable(const struct transfer *t, unsigned i);
unsigned mirror_pick(struct transfer *t);
bool mirror_may_dial(const struct transfer *t, unsigned i);
void mirror_result(struct transfer *t, unsigned i, bool progress);
bool mirror_all_failed(const struct transfer *t);
/* This source will not do, for this reason, or the server of connection i:
 * without it, or not at all. */
void mirror_reject(struct transfer *t, unsigned s,
                   enum transfer_reason reason, const char *text);
void mirror_fail(struct transfer *t, unsigned i, enum transfer_reason reason,
                 const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void mirror_differs(struct transfer *t, unsigned i, const char *why);
/* The bytes are not the pinned content: who named theirs is wrong.  False:
 * there is nobody else to ask. */
bool mirror_disproved(struct transfer *t);
void mirror_forget(struct transfer *t);
void mirror_adopt(struct transfer *t, unsigned i);
bool mirror_prove(struct transfer *t, unsigned i,
                  const struct msg_info *info);
const struct source *mirror_version(const struct transfer *t, unsigned i);
bool mirror_same_version(const struct transfer *t, unsigned i,
                         const struct bytes_view *version);
void mirror_forges(struct transfer *t, unsigned i);
/* Connection i's server contradicts itself.  False: it did so before, and is
 * said to be the same still; else its connections are opened anew. */
bool mirror_ask_again(struct transfer *t, unsigned i);
/* It has told what its file is. */
void mirror_answered(struct transfer *t, unsigned i);
bool mirror_blame(struct transfer *t, unsigned source);
void mirror_tick(struct transfer *t);
void mirror_pump(struct transfer *t);
bool mirror_more(const struct transfer *t);

/* transfer_list.c */
void list_ask(struct transfer *t, enum list_use use);
/* Ordered output cannot be taken back: where somebody may send other content
 * than what was begun, nothing is asked for before the list is there. */
void list_ask_first(struct transfer *t);
void list_pump(struct transfer *t);
void list_digests(struct transfer *t, unsigned i,
                  const struct msg_digests *digests, bool end);
void list_failed(struct transfer *t, unsigned i, uint16_t code,
                 uint64_t wait_ms);
void list_lost(struct transfer *t);
void list_clear(struct transfer *t);

/* transfer_check.c */
void check_complete(struct transfer *t);
/* The verified list is in t->expect: chunks that differ are fetched again. */
void check_against_list(struct transfer *t);
void check_arrived(struct transfer *t, unsigned i, uint32_t request);
void check_looked_info(struct transfer *t, uint64_t arrivals);
void check_anchor_hashed(struct transfer *t);

#endif
