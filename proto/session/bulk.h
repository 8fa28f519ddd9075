/* Bulk: many small files over few connections (belay-1, section 11, L1).
 *
 * The pure brain behind lists and directories.  For each file OPEN and GET go
 * out together, the next file right behind, up to what the server allows; so
 * the number of round trips does not depend on the number of files.  A file is
 * whole when every chunk arrived, DONE named the version of INFO and, where a
 * CID is known or pinned, the CID of the bytes equals it.  A file without a
 * CID whose version is weak is asked for again once it has rested; this is
 * where rules R5c and R5e leave no other way without digest lists.
 *
 * Files that are large, or that only digest lists or partial files can help,
 * are handed back: BULK_HANDED, for proto/session/transfer.h.
 *
 * The caller (the runner) owns every effect, as in transfer.h: it reports
 * what happened, then calls bulk_next() until BULK_IDLE and does what it says.
 * Chunk data never passes through here.  Files fail one by one; BULK_FAIL is
 * for what concerns all of them.
 *
 * A file is known by its item number, 0 to items_max - 1, from bulk_add() to
 * its BULK_ITEM.  Times are milliseconds of one monotonic clock.
 * Memory: some 200 bytes for each item, fixed at bulk_new(), and one wide
 * receiver for each connection.  Not thread-safe. */
#ifndef PROTO_SESSION_BULK_H
#define PROTO_SESSION_BULK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/data/hash.h"
#include "proto/session/line.h"
#include "proto/session/transfer.h"

/* A file of unknown size is asked for so far only: what turns out larger is
 * handed back, and this much of it was in vain. */
#define BULK_GUESS_BYTES ((uint64_t)256 << 10)
/* Bytes asked for and not yet received, in all. */
#define BULK_FLIGHT_BYTES ((uint64_t)32 << 20)

struct bulk_config {
    struct line_config line; /* .wide is set here */
    unsigned conns;     /* at most; 0: chosen by what helps */
    uint32_t items_max; /* files waiting, asked for or being stored */
    uint64_t small_max; /* larger files are handed back */
};

struct bulk_file {
    const uint8_t *path; /* borrowed until its BULK_ITEM */
    size_t path_len;
    bool size_known;
    uint64_t size;  /* as somebody else told it: a guess for the planning */
    bool probe;     /* ask for INFO first: BULK_PROBED, bulk_judge() */
    bool pinned;
    uint8_t pin_log2;
    uint8_t pin_cid[HASH_LEN];
};

enum bulk_action_type {
    BULK_IDLE,
    BULK_DIAL,   /* connect .conn, then bulk_connected() */
    BULK_DROP,   /* close .conn now; no bulk_lost() for it */
    BULK_PROBED, /* bulk_identity(.item) is known: bulk_judge() */
    BULK_STORE,  /* all bytes of .item are there: check and store them, then
                    bulk_stored() */
    BULK_ITEM,   /* .item is over: .outcome, .reason, .text; forget it */
    BULK_NOTE,   /* .note: something a person wants to know */
    BULK_FAIL,   /* .reason, .text: the end of everything */
    BULK_END,    /* the input ended and every item is over */
};

enum bulk_outcome {
    BULK_GOOD,    /* stored */
    BULK_SKIPPED, /* as bulk_judge() said */
    BULK_HANDED,  /* not for here: fetch it alone */
    BULK_BAD,     /* .reason, .text */
};

struct bulk_action {
    enum bulk_action_type type;
    unsigned conn;
    uint32_t item;
    enum bulk_outcome outcome;
    enum transfer_reason reason;
    const char *text; /* printable; until the next bulk_next() */
    struct line_note note;
};

/* A chunk whose header was accepted by bulk_feed(). */
struct bulk_chunk {
    bool present; /* false: no chunk in this call */
    bool wanted;  /* false: read and throw away its data */
    uint32_t item;
    uint32_t attempt; /* another number than before: forget earlier bytes */
    uint64_t offset;
    uint32_t raw_len;
    uint32_t stored_len; /* data bytes that follow in the stream */
    uint8_t codec;
    uint8_t digest[HASH_LEN];
};

/* What became of the bytes of BULK_STORE. */
enum bulk_stored {
    BULK_STORED,    /* verified and in place */
    BULK_BAD_CHUNK, /* a chunk does not fit its codec or digest */
    BULK_BAD_CID,   /* chunks fit, the CID of the whole does not */
    BULK_LOCAL,     /* trouble on this side, which the runner knows */
};

struct bulk_ledger {
    uint64_t files;  /* stored */
    uint64_t bytes;  /* of these */
    uint64_t wire;   /* all bytes received */
    uint64_t wasted; /* chunk data that came to nothing */
    uint64_t saved;  /* raw bytes minus stored bytes, compression */
    uint32_t connects;
    uint32_t losses;
};

struct bulk;

/* NULL when memory is out. */
struct bulk *bulk_new(const struct bulk_config *config, uint64_t now);
void bulk_free(struct bulk *b);

/* ERR_LIMIT: as many as there is room for; again after the next BULK_ITEM. */
int bulk_add(struct bulk *b, const struct bulk_file *file,
             uint32_t *item) MUST_USE;
bool bulk_room(const struct bulk *b);
/* No file will be added any more. */
void bulk_end_of_input(struct bulk *b);

/* ---- events; the same as those of transfer.h. */

void bulk_connected(struct bulk *b, unsigned conn, uint64_t now);
void bulk_dial_failed(struct bulk *b, unsigned conn, const char *text,
                      uint64_t now);
void bulk_lost(struct bulk *b, unsigned conn, const char *text, uint64_t now);
void bulk_feed(struct bulk *b, unsigned conn, const uint8_t *data, size_t len,
               size_t *used, struct bulk_chunk *chunk, uint64_t now);
/* Data of the chunk that bulk_feed() told; once, of length 0, where none
 * follows. */
void bulk_chunk_data(struct bulk *b, unsigned conn, size_t len, uint64_t now);
/* Answer to BULK_PROBED: fetch the file, or leave it (BULK_SKIPPED). */
void bulk_judge(struct bulk *b, uint32_t item, bool fetch, uint64_t now);
/* Answer to BULK_STORE. */
void bulk_stored(struct bulk *b, uint32_t item, enum bulk_stored result,
                 uint64_t now);
void bulk_tick(struct bulk *b, uint64_t now);
void bulk_hurry(struct bulk *b, uint64_t now);

/* ---- what to do next. */

enum bulk_action_type bulk_next(struct bulk *b, uint64_t now,
                                struct bulk_action *action);
uint64_t bulk_deadline(const struct bulk *b);

/* ---- queries. */

struct receiver *bulk_receiver(struct bulk *b, unsigned conn);
bool bulk_conn_open(const struct bulk *b, unsigned conn);
/* Of a file whose INFO came: valid from its first chunk, or BULK_PROBED, to
 * its BULK_ITEM. */
const struct transfer_identity *bulk_identity(const struct bulk *b,
                                              uint32_t item);
/* Does the digest list of a whole file fit what is known of it? `digests` are
 * those of all chunks, in order.  0, ERR_DIGEST or ERR_INTERNAL.  Any thread,
 * each with its own hasher. */
int bulk_check(struct hasher *hasher, const struct transfer_identity *id,
               const uint8_t *digests) MUST_USE;
void bulk_ledger(const struct bulk *b, struct bulk_ledger *out);
unsigned bulk_conns_used(const struct bulk *b);

#endif
