/* Getting chunks ready to be sent, so that the loop never waits for a disk,
 * a hash or a compressor.
 *
 * A chunk whose digest is known and whose pages are in memory is ready at
 * once and goes out by sendfile. Any other goes through a queue to one of
 * SERVER_HASH_SLOTS threads: it is read into a buffer, hashed (two chunks at
 * a time where two of equal length wait), and perhaps compressed; or, when
 * only its pages are missing, read once to warm them. What was compressed goes
 * out from memory, and so does what changed a moment ago; all else by
 * sendfile, since its pages are there now.
 *
 * One prepare belongs to one loop; all calls come from its thread. */
#ifndef SERVER_PREPARE_H
#define SERVER_PREPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/data/hash.h"
#include "proto/data/zpack.h"
#include "server/bufpool.h"
#include "server/source.h"

struct loop;
struct permits;
struct prepare;

enum piece_work {
    PIECE_READ, /* read, hash, perhaps compress: sent from memory */
    PIECE_WARM, /* make the pages resident: sent by sendfile */
};

/* One chunk. The first part is the order, filled in by the owner, who keeps
 * the struct in place until `done` was called or prepare_start() said that it
 * is ready; the owner holds a reference to the source meanwhile. */
struct piece {
    struct source *source;
    uint64_t index;
    uint32_t raw_len;
    bool zero_ok;     /* CODEC_ZERO may be used */
    bool zlib_ok;     /* CODEC_ZLIB may be used, */
    int zlib_level;   /* at this level */
    void (*done)(struct piece *piece);

    /* The result. */
    uint16_t code;     /* 0, or a wire code, */
    bool has_offset;   /* with the place of the fault */
    bool known;        /* its digest did not have to be computed */
    uint8_t codec;
    uint32_t stored_len;
    const uint8_t *data; /* stored bytes; NULL: by sendfile, or none */
    uint8_t digest[HASH_LEN];

    /* Private to prepare.c. */
    struct piece *next;
    enum piece_work work;
    bool hashing;    /* the bytes are read for their digest, */
    bool verify;     /* which is published: they must have it */
    bool settled;
    bool packable;   /* the trial of compression was worth it */
    uint8_t *raw;    /* buffer of raw_len bytes */
    uint8_t *packed; /* ... and of packed_cap */
    uint32_t packed_cap;
    uint64_t offset;
};

/* NULL when memory is out. */
struct prepare *prepare_new(struct loop *loop, struct bufpool *buffers);

/* From now on metered slices need a permit each. permits is borrowed until
 * prepare_free(). ERR_NOMEM, ERR_IO. */
MUST_USE int prepare_meter(struct prepare *p, struct permits *permits,
                           unsigned worker);

/* Nothing may be in work (asserted). NULL is allowed. */
void prepare_free(struct prepare *p);

/* True: the piece is ready now, done will not be called. */
bool prepare_start(struct prepare *p, struct piece *piece);

/* Gives back the buffers of a piece that is ready: it was sent, or will not
 * be. */
void prepare_release(struct prepare *p, struct piece *piece);

/* ---- Work of another kind for the same threads, after all pieces: at most
 * SERVER_SLICES at a time. Those that wait for a permit let others pass. */

struct prepare_slice {
    bool metered; /* it hashes for DIGEST */
    void (*work)(struct prepare_slice *slice, struct hasher *hasher);
    void (*done)(struct prepare_slice *slice);
    struct prepare_slice *next; /* private */
};

/* Queues it; both functions will be called, work on a thread. */
void prepare_slice(struct prepare *p, struct prepare_slice *slice);

/* Reads exactly len bytes at offset for any thread. 0, ERR_CHANGED when the
 * file is shorter, ERR_IO. */
MUST_USE int prepare_read(int fd, uint8_t *buf, size_t len, uint64_t offset);

#endif
