#include "client/pipeline.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "proto/base/check.h"
#include "proto/base/limits.h"
#include "proto/data/zpack.h"

struct pipeline {
    struct pipeline_config config;
    struct store *store;
    uint8_t *window;
    uint64_t window_slots;
    uint8_t window_log2;
    size_t slab_size;
    unsigned slab_max;
    unsigned slab_count; /* allocated so far */
    unsigned free_count;
    bool starved;        /* somebody found no slab */
    unsigned pending;
    _Atomic uint64_t dirty; /* bytes written so far, by all workers */
    struct slab *free_slabs;
    struct run *free_runs;
};

/* ---- pool. */

static void count_slabs(struct pipeline *p)
{
    size_t count = p->config.memory / p->slab_size;

    p->slab_max = count > PIPELINE_SLABS_MIN ? (unsigned)count
                                             : PIPELINE_SLABS_MIN;
}

int pipeline_new(const struct pipeline_config *config, struct pipeline **out)
{
    struct pipeline *p = calloc(1, sizeof *p);

    if (p == NULL) {
        return ERR_NOMEM;
    }
    p->config = *config;
    p->slab_size = config->memory / PIPELINE_SLABS;
    if (p->slab_size > PIPELINE_SLAB) {
        p->slab_size = PIPELINE_SLAB;
    }
    count_slabs(p);
    *out = p;
    return 0;
}

static void run_free(struct run *run)
{
    loop_work_free(run->work);
    hasher_free(run->hasher);
    zpack_free(run->zpack);
    free(run);
}

static void free_slabs(struct pipeline *p)
{
    while (p->free_slabs != NULL) {
        struct slab *slab = p->free_slabs;

        p->free_slabs = slab->next;
        free(slab->data);
        free(slab);
        p->slab_count--;
        p->free_count--;
    }
}

void pipeline_chunks(struct pipeline *p, uint8_t chunk_log2)
{
    size_t chunk = (size_t)1 << chunk_log2;

    if (chunk <= p->slab_size) {
        return;
    }
    free_slabs(p);
    BELAY_ASSERT(p->slab_count == 0);
    p->slab_size = chunk;
    count_slabs(p);
}

void pipeline_free(struct pipeline *p)
{
    if (p == NULL) {
        return;
    }
    BELAY_ASSERT(p->pending == 0);
    while (p->free_runs != NULL) {
        struct run *run = p->free_runs;

        p->free_runs = run->next;
        run_free(run);
    }
    free_slabs(p);
    free(p);
}

void pipeline_to_store(struct pipeline *p, struct store *store)
{
    p->store = store;
}

void pipeline_to_window(struct pipeline *p, uint8_t *window, uint64_t slots,
                        uint8_t chunk_log2)
{
    p->window = window;
    p->window_slots = slots;
    p->window_log2 = chunk_log2;
}

size_t pipeline_slab_size(const struct pipeline *p)
{
    return p->slab_size;
}

/* Slabs are made when first needed and kept. */
static int slab_make(struct pipeline *p)
{
    struct slab *slab;
    void *data;

    if (p->slab_count == p->slab_max) {
        return ERR_AGAIN;
    }
    slab = calloc(1, sizeof *slab);
    if (slab == NULL || posix_memalign(&data, 4096, p->slab_size) != 0) {
        free(slab);
        /* Those in use come back; without any there is nothing to wait for. */
        return p->slab_count > p->free_count ? ERR_AGAIN : ERR_NOMEM;
    }
    slab->data = data;
    slab->next = p->free_slabs;
    p->free_slabs = slab;
    p->slab_count++;
    p->free_count++;
    return 0;
}

int pipeline_slabs(struct pipeline *p, struct slab **out, unsigned count)
{
    while (p->free_count < count) {
        int err = slab_make(p);

        if (err != 0) {
            p->starved = true;
            return err;
        }
    }
    for (unsigned k = 0; k < count; k++) {
        struct slab *slab = p->free_slabs;

        p->free_slabs = slab->next;
        p->free_count--;
        slab->next = NULL;
        slab->used = 0;
        slab->refs = 1;
        out[k] = slab;
    }
    return 0;
}

void pipeline_slab_hold(struct slab *slab)
{
    BELAY_ASSERT(slab->refs > 0);
    slab->refs++;
}

void pipeline_slab_drop(struct pipeline *p, struct slab *slab)
{
    if (slab == NULL) {
        return;
    }
    BELAY_ASSERT(slab->refs > 0);
    if (--slab->refs > 0) {
        return;
    }
    slab->next = p->free_slabs;
    p->free_slabs = slab;
    p->free_count++;
}

/* ---- on a worker thread. */

static void run_inflate(struct run *run)
{
    for (unsigned k = 0; k < run->count; k++) {
        struct piece *piece = &run->piece[k];

        piece->ok = true;
        if (piece->chunk.codec == CODEC_ZLIB) {
            piece->ok = zpack_inflate(run->zpack,
                                      piece->packed->data + piece->packed_at,
                                      piece->chunk.stored_len,
                                      piece->data->data + piece->data_at,
                                      piece->chunk.raw_len) == 0;
        }
    }
}

/* All zero-fill chunks but the last of a file are of one length, so their
 * digest is worth keeping. */
static bool zero_digest(struct run *run, uint32_t len)
{
    static const uint8_t zeros[65536];
    uint32_t left = len;
    int err;

    if (run->zero_len == len) {
        return true;
    }
    err = hasher_begin(run->hasher);
    while (err == 0 && left > 0) {
        uint32_t step = left < sizeof zeros ? left : (uint32_t)sizeof zeros;

        err = hasher_update(run->hasher, zeros, step);
        left -= step;
    }
    if (err != 0 || hasher_final(run->hasher, run->zero_digest) != 0) {
        run->zero_len = 0;
        return false;
    }
    run->zero_len = len;
    return true;
}

static void run_verify(struct run *run)
{
    struct hash_item items[RUN_PIECES_MAX];
    size_t count = 0;
    bool hashed;

    for (unsigned k = 0; k < run->count; k++) {
        struct piece *piece = &run->piece[k];

        if (piece->chunk.codec == CODEC_ZERO) {
            piece->ok = zero_digest(run, piece->chunk.raw_len);
            memcpy(piece->digest, run->zero_digest, HASH_LEN);
        } else if (piece->ok) {
            items[count].data = piece->data->data + piece->data_at;
            items[count].len = piece->chunk.raw_len;
            items[count].out = piece->digest;
            count++;
        }
    }
    hashed = hash_sha256_many(run->hasher, items, count) == 0;
    for (unsigned k = 0; k < run->count; k++) {
        struct piece *piece = &run->piece[k];

        piece->ok = piece->ok && hashed &&
                    memcmp(piece->digest, piece->chunk.digest, HASH_LEN) == 0;
    }
}

/* Start writeback early and in large steps: the final sync finds less to do,
 * and dirty memory stays bounded.  `end` is where the last write ended. */
static void written(struct pipeline *p, uint64_t end, uint64_t len)
{
    uint64_t before = atomic_fetch_add(&p->dirty, len);

    if (before / WRITEBACK_BYTES != (before + len) / WRITEBACK_BYTES) {
        store_writeback_hint(p->store, 0, end);
    }
}

/* Pieces [at, end) are neighbours in the file with data to write. */
static int write_stretch(struct run *run, unsigned at, unsigned end)
{
    struct store *store = run->pipeline->store;
    struct iovec iov[RUN_PIECES_MAX] = {{0}};
    size_t count = 0;
    uint64_t offset = run->piece[at].chunk.offset;
    uint64_t len = 0;
    int err;

    for (unsigned k = at; k < end; k++) {
        struct piece *piece = &run->piece[k];
        uint8_t *data = piece->data->data + piece->data_at;

        if (count > 0 && (uint8_t *)iov[count - 1].iov_base +
                                 iov[count - 1].iov_len == data) {
            iov[count - 1].iov_len += piece->chunk.raw_len;
        } else {
            iov[count].iov_base = data;
            iov[count].iov_len = piece->chunk.raw_len;
            count++;
        }
        len += piece->chunk.raw_len;
    }
    err = store_pwrite(store, offset, iov, count, &run->error);
    if (err == 0) {
        written(run->pipeline, offset + len, len);
    }
    return err;
}

static bool is_zero(const struct piece *piece)
{
    return piece->chunk.codec == CODEC_ZERO;
}

static bool neighbours(const struct piece *a, const struct piece *b)
{
    return b->ok && is_zero(a) == is_zero(b) &&
           a->chunk.offset + a->chunk.raw_len == b->chunk.offset;
}

static int zero_stretch(struct run *run, unsigned at, unsigned end)
{
    uint64_t offset = run->piece[at].chunk.offset;
    const struct transfer_chunk *last = &run->piece[end - 1].chunk;

    return store_zero(run->pipeline->store, offset,
                      last->offset + last->raw_len - offset, &run->error);
}

static int run_write(struct run *run)
{
    int err = 0;

    for (unsigned k = 0; k < run->count && err == 0;) {
        unsigned end = k + 1;

        if (!run->piece[k].ok) {
            k++;
            continue;
        }
        while (end < run->count &&
               neighbours(&run->piece[end - 1], &run->piece[end])) {
            end++;
        }
        err = is_zero(&run->piece[k]) ? zero_stretch(run, k, end)
                                      : write_stretch(run, k, end);
        k = end;
    }
    return err;
}

static int run_mark(struct run *run)
{
    uint8_t digests[RUN_PIECES_MAX][HASH_LEN];
    int err = 0;

    for (unsigned k = 0; k < run->count && err == 0;) {
        uint64_t first = run->piece[k].chunk.index;
        size_t count = 0;

        while (k < run->count && run->piece[k].ok &&
               run->piece[k].chunk.index == first + count) {
            memcpy(digests[count], run->piece[k].digest, HASH_LEN);
            count++;
            k++;
        }
        if (count == 0) {
            k++;
            continue;
        }
        err = store_mark(run->pipeline->store, first, count,
                         (const uint8_t (*)[HASH_LEN])digests, &run->error);
    }
    return err;
}

static void run_to_window(struct run *run)
{
    struct pipeline *p = run->pipeline;

    for (unsigned k = 0; k < run->count; k++) {
        struct piece *piece = &run->piece[k];
        uint8_t *slot = p->window + ((piece->chunk.index % p->window_slots)
                                     << p->window_log2);

        if (piece->ok && is_zero(piece)) {
            memset(slot, 0, piece->chunk.raw_len);
        } else if (piece->ok) {
            memcpy(slot, piece->data->data + piece->data_at,
                   piece->chunk.raw_len);
        }
    }
}

static void run_work(void *arg)
{
    struct run *run = arg;

    run->failed = false;
    run_inflate(run);
    run_verify(run);
    if (run->pipeline->window != NULL) {
        run_to_window(run);
    } else if (run_write(run) != 0 || run_mark(run) != 0) {
        run->failed = true;
    }
}

/* ---- runs. */

static void run_recycle(struct run *run)
{
    struct pipeline *p = run->pipeline;

    for (unsigned k = 0; k < run->count; k++) {
        pipeline_slab_drop(p, run->piece[k].data);
        pipeline_slab_drop(p, run->piece[k].packed);
    }
    run->count = 0;
    run->next = p->free_runs;
    p->free_runs = run;
}

static void run_done(void *arg)
{
    struct run *run = arg;
    struct pipeline *p = run->pipeline;

    p->pending--;
    p->config.done(p->config.arg, run);
    run_recycle(run);
    if (p->starved && p->free_count > 0) {
        p->starved = false;
        p->config.room(p->config.arg);
    }
}

struct run *pipeline_run(struct pipeline *p)
{
    struct run *run = p->free_runs;

    if (run != NULL) {
        p->free_runs = run->next;
        return run;
    }
    run = calloc(1, sizeof *run);
    if (run == NULL) {
        return NULL;
    }
    run->pipeline = p;
    run->hasher = hasher_new();
    run->zpack = zpack_new();
    if (run->hasher == NULL || run->zpack == NULL ||
        loop_work_new(p->config.loop, run_work, run_done, run, &run->work) !=
            0) {
        hasher_free(run->hasher);
        zpack_free(run->zpack);
        free(run);
        return NULL;
    }
    return run;
}

void pipeline_submit(struct run *run)
{
    BELAY_ASSERT(run->count > 0);
    run->pipeline->pending++;
    loop_work_submit(run->work);
}

void pipeline_discard(struct run *run)
{
    if (run != NULL) {
        run_recycle(run);
    }
}

unsigned pipeline_pending(const struct pipeline *p)
{
    return p->pending;
}
