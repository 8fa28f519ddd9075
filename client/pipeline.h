/* Pipeline: from received chunks to verified bytes in their place.
 *
 * The loop thread receives chunk data straight into slabs, large buffers that
 * take several chunks, and notes each chunk as a piece of a run.  A submitted
 * run is worked on by a worker thread: inflate, SHA-256 (two chunks at a time
 * where the processor can), one write per stretch of neighbouring chunks,
 * then the journal's marks.  Chunks that do not fit their codec or digest are
 * reported and not written.
 *
 * The pool is bounded: pipeline_slab() returns NULL when all slabs are in
 * use, and `room` is called when one is free again.
 *
 * Loop thread only, except what the workers do inside. */
#ifndef CLIENT_PIPELINE_H
#define CLIENT_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/store.h"
#include "proto/io/loop.h"
#include "proto/session/transfer.h"

/* Slabs there are at least, however little memory is given: two for each of
 * two connections. */
#define PIPELINE_SLABS_MIN 4u
/* ... and so many if chunks are not too large. */
#define PIPELINE_SLABS 32u
/* Slabs are so large if memory allows: writes of 1 MiB cost half the kernel
 * time of 256 KiB ones. */
#define PIPELINE_SLAB ((size_t)1 << 20)
#define RUN_PIECES_MAX 64u

struct slab {
    uint8_t *data;
    size_t used; /* for the owner of the open end */
    unsigned refs;
    struct slab *next;
};

struct piece {
    struct transfer_chunk chunk;
    struct slab *data;     /* raw bytes, before or after inflating; NULL for
                              a zero-fill chunk */
    struct slab *packed;   /* codec zlib: the stored bytes */
    uint32_t data_at;      /* offset in data */
    uint32_t packed_at;
    bool ok;
    uint8_t digest[HASH_LEN]; /* what the bytes really hash to */
};

struct run {
    unsigned count;
    bool failed;              /* writing failed: see error */
    struct store_error error;
    struct piece piece[RUN_PIECES_MAX];
    /* Private to pipeline.c. */
    struct pipeline *pipeline;
    struct loop_work *work;
    struct hasher *hasher;
    struct zpack *zpack;
    uint32_t zero_len; /* digest of so many zeros, 0: not known yet */
    uint8_t zero_digest[HASH_LEN];
    struct run *next;
};

struct pipeline_config {
    struct loop *loop;
    /* A run is finished: judge its pieces, then it is recycled. */
    void (*done)(void *arg, struct run *run);
    void (*room)(void *arg); /* a slab became free after there was none */
    void *arg;
    size_t memory; /* bytes for received data, whatever the file's size */
};

struct pipeline;

int pipeline_new(const struct pipeline_config *config,
                 struct pipeline **out) MUST_USE;
/* No run may be pending (pipeline_pending() == 0). */
void pipeline_free(struct pipeline *p);

/* Where verified bytes go: a store, or a window of memory for output in
 * order (chunk i at (i % slots) << chunk_log2).  Set before the first run. */
void pipeline_to_store(struct pipeline *p, struct store *store);
void pipeline_to_window(struct pipeline *p, uint8_t *window, uint64_t slots,
                        uint8_t chunk_log2);

/* Slabs must hold at least one chunk of this size.  Before the first slab is
 * taken, or when all are free. */
void pipeline_chunks(struct pipeline *p, uint8_t chunk_log2);
size_t pipeline_slab_size(const struct pipeline *p);
/* `count` slabs at once, each with one reference.  Or none: ERR_AGAIN when
 * others have them, room() tells when to ask again; ERR_NOMEM when nobody
 * has one that could come back. */
int pipeline_slabs(struct pipeline *p, struct slab **out, unsigned count)
    MUST_USE;
void pipeline_slab_hold(struct slab *slab);
void pipeline_slab_drop(struct pipeline *p, struct slab *slab);

/* An empty run; NULL when memory is out.  Give it back by submitting it. */
struct run *pipeline_run(struct pipeline *p);
/* Pieces hold their own references to slabs; the pipeline drops them. */
void pipeline_submit(struct run *run);
/* Give an unused or abandoned run back without working on it. */
void pipeline_discard(struct run *run);
unsigned pipeline_pending(const struct pipeline *p);

#endif
