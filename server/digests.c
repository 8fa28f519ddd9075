#include "server/digests.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"
#include "proto/data/cid.h"
#include "proto/data/merkle.h"
#include "server/digestcache.h"
#include "server/limits.h"

#define BUCKETS 64u

/* The part of a block that can be dropped and read again. */
struct body {
    struct digestcache_block b; /* known: settled */
    uint64_t published[DIGESTCACHE_WORDS]; /* known ones included */
};

struct block {
    struct block *next; /* in its bucket */
    uint64_t index;
    uint64_t generation; /* of the cache, when last looked at */
    uint32_t room;       /* digests of this block */
    uint32_t known;
    bool dirty;          /* settled digests are not stored yet */
    bool keep;           /* some are only published: not in the cache */
    struct body *body;   /* NULL: dropped */
};

struct digests {
    pthread_mutex_t lock;
    struct digestcache *cache;
    struct fileid id;
    uint8_t chunk_log2;
    uint64_t count;
    uint64_t known; /* sum over the blocks seen */
    bool has_cid;
    unsigned dirty_blocks;
    uint64_t looked; /* generation when the CID was last looked for, */
    uint64_t synced; /* ... and when the digests were last completed */
    uint8_t cid[HASH_LEN];
    struct block *bucket[BUCKETS];
};

/* Bodies in this process, over all files. */
static atomic_uint bodies;

static bool
bit_get(const uint64_t *words, uint32_t i)
{
    return (words[i / 64] >> (i % 64) & 1) != 0;
}

static void
bit_set(uint64_t *words, uint32_t i)
{
    words[i / 64] |= UINT64_C(1) << (i % 64);
}

static uint32_t
bits_count(const uint64_t *words)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < DIGESTCACHE_WORDS; i++) {
        sum += (uint32_t)__builtin_popcountll(words[i]);
    }
    return sum;
}

struct digests *
digests_new(struct digestcache *cache, const struct fileid *id,
            uint8_t chunk_log2)
{
    struct digests *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&d->lock, NULL) != 0) {
        free(d);
        return NULL;
    }
    d->cache = cache;
    d->id = *id;
    d->chunk_log2 = chunk_log2;
    d->count = cid_chunk_count(id->size, chunk_log2);
    d->looked = UINT64_MAX;
    d->synced = UINT64_MAX;
    return d;
}

static void
body_free(struct block *b)
{
    if (b->body != NULL) {
        free(b->body);
        b->body = NULL;
        atomic_fetch_sub(&bodies, 1);
    }
}

void
digests_free(struct digests *d)
{
    if (d == NULL) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        struct block *b;
        while ((b = d->bucket[i]) != NULL) {
            d->bucket[i] = b->next;
            body_free(b);
            free(b);
        }
    }
    pthread_mutex_destroy(&d->lock);
    free(d);
}

uint64_t
digests_count(const struct digests *d)
{
    return d->count;
}

/* ---- Blocks; the lock is held. */

static struct digestcache_key
key_of(const struct digests *d, const struct block *b)
{
    return (struct digestcache_key){
        .id = d->id,
        .chunk_log2 = d->chunk_log2,
        .block = b->index,
        .count = b->room,
    };
}

/* Gives back the memory of one block that the cache has as well. */
static void
drop_one(struct digests *d)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct block *b = d->bucket[i]; b != NULL; b = b->next) {
            if (b->body != NULL && !b->dirty && !b->keep) {
                body_free(b);
                return;
            }
        }
    }
}

static struct body *
body_new(struct digests *d)
{
    if (atomic_load(&bodies) >= SERVER_DIGEST_BLOCKS) {
        drop_one(d);
    }
    if (atomic_load(&bodies) >= SERVER_DIGEST_BLOCKS) {
        return NULL;
    }
    struct body *body = malloc(sizeof(*body));
    if (body != NULL) {
        memset(body->b.known, 0, sizeof(body->b.known));
        memset(body->b.zero, 0, sizeof(body->b.zero));
        memset(body->published, 0, sizeof(body->published));
        atomic_fetch_add(&bodies, 1);
    }
    return body;
}

/* Takes over digests that the cache has and we have not. */
static void
merge(struct digests *d, struct block *b, const struct digestcache_block *in)
{
    for (uint32_t i = 0; i < b->room; i++) {
        bool published = bit_get(b->body->published, i);
        if (!bit_get(in->known, i) ||
            (published &&
             memcmp(b->body->b.digest[i], in->digest[i], HASH_LEN) != 0)) {
            continue;
        }
        memcpy(b->body->b.digest[i], in->digest[i], HASH_LEN);
        bit_set(b->body->b.known, i);
        bit_set(b->body->published, i);
        if (bit_get(in->zero, i)) {
            bit_set(b->body->b.zero, i);
        }
    }
    uint32_t known = bits_count(b->body->b.known);
    if (known > b->known) {
        d->known += known - b->known;
        b->known = known;
    }
}

/* Looks into the cache when something may be new there. */
static void
refresh(struct digests *d, struct block *b)
{
    if (d->cache == NULL) {
        return;
    }
    uint64_t generation = digestcache_generation(d->cache);
    if (b->generation == generation) {
        return;
    }
    b->generation = generation;
    struct digestcache_block *in = malloc(sizeof(*in));
    struct digestcache_key key = key_of(d, b);
    if (in != NULL && digestcache_read(d->cache, &key, in)) {
        merge(d, b, in);
    }
    free(in);
}

static struct block *
block_find(const struct digests *d, uint64_t index)
{
    struct block *b = d->bucket[index % BUCKETS];
    while (b != NULL && b->index != index) {
        b = b->next;
    }
    return b;
}

/* The block with its body in memory, or NULL when memory is out. */
static struct block *
block_load(struct digests *d, uint64_t index)
{
    struct block *b = block_find(d, index);
    if (b == NULL) {
        b = calloc(1, sizeof(*b));
        if (b == NULL) {
            return NULL;
        }
        uint64_t left = d->count - index * DIGESTS_BLOCK;
        b->index = index;
        b->room = left < DIGESTS_BLOCK ? (uint32_t)left : DIGESTS_BLOCK;
        b->next = d->bucket[index % BUCKETS];
        d->bucket[index % BUCKETS] = b;
    }
    if (b->body == NULL) {
        b->body = body_new(d);
        if (b->body == NULL) {
            return NULL;
        }
        b->generation = UINT64_MAX;
        refresh(d, b);
    } else if (b->known < b->room) {
        refresh(d, b);
    }
    return b;
}

/* ---- Single digests. */

void
digests_get(struct digests *d, uint64_t index, struct digest_state *out)
{
    uint32_t i = (uint32_t)(index % DIGESTS_BLOCK);

    memset(out, 0, sizeof(*out));
    pthread_mutex_lock(&d->lock);
    struct block *b = block_find(d, index / DIGESTS_BLOCK);
    if (b == NULL || b->body == NULL || !bit_get(b->body->b.known, i)) {
        b = block_load(d, index / DIGESTS_BLOCK);
    }
    if (b != NULL && bit_get(b->body->published, i)) {
        out->published = true;
        out->settled = bit_get(b->body->b.known, i);
        out->zero = bit_get(b->body->b.zero, i);
        memcpy(out->digest, b->body->b.digest[i], HASH_LEN);
    }
    pthread_mutex_unlock(&d->lock);
}

static void
mark_dirty(struct digests *d, struct block *b)
{
    if (!b->dirty && d->cache != NULL) {
        b->dirty = true;
        d->dirty_blocks++;
    }
}

static int
put_locked(struct digests *d, struct block *b, uint32_t i,
           const struct digest_state *state)
{
    struct body *body = b->body;

    if (bit_get(body->published, i) &&
        memcmp(body->b.digest[i], state->digest, HASH_LEN) != 0) {
        return ERR_CHANGED;
    }
    memcpy(body->b.digest[i], state->digest, HASH_LEN);
    bit_set(body->published, i);
    if (state->zero) {
        bit_set(body->b.zero, i);
    }
    if (state->settled && !bit_get(body->b.known, i)) {
        bit_set(body->b.known, i);
        b->known++;
        d->known++;
        mark_dirty(d, b);
    }
    if (!state->settled) {
        b->keep = true;
    }
    return 0;
}

int
digests_put(struct digests *d, uint64_t index, const struct digest_state *state)
{
    int err = 0;

    BELAY_ASSERT(index < d->count);
    pthread_mutex_lock(&d->lock);
    struct block *b = block_load(d, index / DIGESTS_BLOCK);
    if (b != NULL) {
        err = put_locked(d, b, (uint32_t)(index % DIGESTS_BLOCK), state);
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

/* ---- Ranges. */

uint64_t
digests_unknown(struct digests *d, uint64_t first, uint64_t end)
{
    uint64_t at = first;

    pthread_mutex_lock(&d->lock);
    while (at < end) {
        const struct block *b = block_load(d, at / DIGESTS_BLOCK);
        if (b == NULL) {
            break;
        }
        uint32_t i = (uint32_t)(at % DIGESTS_BLOCK);
        while (at < end && i < b->room && bit_get(b->body->b.known, i)) {
            i++;
            at++;
        }
        if (i < b->room) {
            break;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return at < end ? at : end;
}

bool
digests_copy(struct digests *d, uint64_t first, uint64_t count, uint8_t *out)
{
    uint64_t done = 0;
    bool all = true;

    pthread_mutex_lock(&d->lock);
    while (all && done < count) {
        uint64_t at = first + done;
        const struct block *b = block_load(d, at / DIGESTS_BLOCK);
        uint32_t i = (uint32_t)(at % DIGESTS_BLOCK);
        all = b != NULL && bit_get(b->body->b.known, i);
        if (all) {
            memcpy(out + done * HASH_LEN, b->body->b.digest[i], HASH_LEN);
            done++;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return all;
}

bool
digests_any(struct digests *d)
{
    uint8_t cid[HASH_LEN];
    if (digests_cid(d, cid)) {
        return true;
    }
    pthread_mutex_lock(&d->lock);
    bool any = d->known > 0;
    pthread_mutex_unlock(&d->lock);
    return any;
}

bool
digests_complete(struct digests *d)
{
    pthread_mutex_lock(&d->lock);
    bool complete = d->known == d->count;
    pthread_mutex_unlock(&d->lock);
    return complete;
}

bool
digests_dirty(struct digests *d)
{
    pthread_mutex_lock(&d->lock);
    bool dirty = d->dirty_blocks > 0;
    pthread_mutex_unlock(&d->lock);
    return dirty;
}

bool
digests_sync_helps(struct digests *d)
{
    pthread_mutex_lock(&d->lock);
    bool helps = !d->has_cid && d->count <= MAX_FILE_CHUNKS &&
                 (d->known == d->count || d->dirty_blocks > 0 ||
                  (d->cache != NULL &&
                   d->synced != digestcache_generation(d->cache)));
    pthread_mutex_unlock(&d->lock);
    return helps;
}

/* ---- The whole list. */

bool
digests_cid(struct digests *d, uint8_t cid[HASH_LEN])
{
    pthread_mutex_lock(&d->lock);
    if (!d->has_cid && d->cache != NULL) {
        uint64_t generation = digestcache_generation(d->cache);
        if (d->looked != generation) {
            d->looked = generation;
            d->has_cid = digestcache_read_cid(d->cache, &d->id, d->chunk_log2,
                                              d->cid);
        }
    }
    bool known = d->has_cid;
    if (known) {
        memcpy(cid, d->cid, HASH_LEN);
    }
    pthread_mutex_unlock(&d->lock);
    return known;
}

/* Stores one dirty block: copied under the lock, written without it. */
static int
store_block(struct digests *d, struct digestcache_block *copy)
{
    struct digestcache_key key;
    bool found = false;

    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < BUCKETS && !found; i++) {
        for (struct block *b = d->bucket[i]; b != NULL; b = b->next) {
            if (b->dirty) {
                found = true;
                key = key_of(d, b);
                memcpy(copy, &b->body->b, sizeof(*copy));
                b->dirty = false;
                d->dirty_blocks--;
                break;
            }
        }
    }
    pthread_mutex_unlock(&d->lock);
    return found ? digestcache_write(d->cache, &key, copy) : ERR_EOF;
}

static int
store_all(struct digests *d)
{
    struct digestcache_block *copy = malloc(sizeof(*copy));
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    int err = 0;
    while (err == 0) {
        err = store_block(d, copy);
    }
    free(copy);
    return err == ERR_EOF ? 0 : err;
}

/* The root over all digests, block by block, so that the lock is never held
 * for long. ERR_AGAIN when one is unknown. */
static int
compute_cid(struct digests *d, struct hasher *hasher, uint8_t cid[HASH_LEN])
{
    struct merkle_builder builder;
    uint8_t root[HASH_LEN];
    uint8_t *part = malloc((size_t)DIGESTS_BLOCK * HASH_LEN);
    if (part == NULL) {
        return ERR_NOMEM;
    }
    int err = 0;
    merkle_builder_init(&builder, d->id.size, d->chunk_log2);
    for (uint64_t at = 0; at < d->count && err == 0; at += DIGESTS_BLOCK) {
        uint64_t left = d->count - at;
        uint64_t count = left < DIGESTS_BLOCK ? left : DIGESTS_BLOCK;
        err = digests_copy(d, at, count, part)
                  ? merkle_builder_add(&builder, hasher, part, count)
                  : ERR_AGAIN;
    }
    free(part);
    if (err == 0) {
        err = merkle_builder_root(&builder, hasher, root);
    }
    if (err == 0) {
        err = cid_from_root(hasher, d->id.size, d->chunk_log2, root, cid);
    }
    return err;
}

static int
publish_cid(struct digests *d, const uint8_t cid[HASH_LEN])
{
    pthread_mutex_lock(&d->lock);
    memcpy(d->cid, cid, HASH_LEN);
    d->has_cid = true;
    pthread_mutex_unlock(&d->lock);
    return d->cache == NULL
               ? 0
               : digestcache_write_cid(d->cache, &d->id, d->chunk_log2, cid);
}

int
digests_sync(struct digests *d, struct hasher *hasher)
{
    uint8_t cid[HASH_LEN];
    int stored = d->cache != NULL && digests_dirty(d) ? store_all(d) : 0;

    if (d->count > MAX_FILE_CHUNKS || digests_cid(d, cid)) {
        return stored;
    }
    if (d->cache != NULL) {
        pthread_mutex_lock(&d->lock);
        d->synced = digestcache_generation(d->cache);
        pthread_mutex_unlock(&d->lock);
    }
    /* Looking for the first gap loads what other processes stored. */
    if (digests_unknown(d, 0, d->count) < d->count) {
        return stored;
    }
    int err = compute_cid(d, hasher, cid);
    if (err == 0) {
        err = publish_cid(d, cid);
    }
    return err != 0 && err != ERR_AGAIN ? err : stored;
}

int
digests_tree(struct digests *d, struct hasher *hasher, uint8_t **nodes_out)
{
    if (d->count == 0 || d->count > MAX_FILE_CHUNKS) {
        return ERR_LIMIT;
    }
    uint8_t *nodes = malloc(merkle_tree_len(d->count) * HASH_LEN);
    if (nodes == NULL) {
        return ERR_NOMEM;
    }
    int err = digests_copy(d, 0, d->count, nodes) ? 0 : ERR_AGAIN;
    for (uint64_t i = 0; i < d->count && err == 0; i++) {
        uint8_t *leaf = nodes + i * HASH_LEN;
        err = merkle_leaf(hasher, cid_chunk_offset(d->chunk_log2, i),
                          cid_chunk_len(d->id.size, d->chunk_log2, i), leaf,
                          leaf);
    }
    if (err == 0) {
        err = merkle_tree_build(hasher, nodes, d->count);
    }
    if (err != 0) {
        free(nodes);
        return err;
    }
    *nodes_out = nodes;
    return 0;
}
