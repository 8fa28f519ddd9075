#include "server/digestcache.h"

#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/endian.h"
#include "proto/io/rand.h"
#include "proto/wire/crc.h"
#include "server/digestcache_file.h"
#include "server/limits.h"

/* Processes that read at the same time, of this and of other servers that
 * share the cache: a thread of each worker holds one place. */
#define READERS_MAX 126u

/* Records that one transaction deletes: it has to copy pages to do so. */
#define EVICT_BATCH 256u

struct digestcache {
    MDB_env *env;
    MDB_dbi dbi;
    uint64_t max_bytes;
    uint64_t map_bytes;
    uint8_t tree_id[DIGESTCACHE_TREE_ID];
    /* Order: write_lock, then read_lock. */
    pthread_mutex_t write_lock; /* writing, and changing the map */
    pthread_mutex_t read_lock;  /* reader, and the map itself */
    MDB_txn *reader;            /* reset between uses */
};

/* Errors of LMDB are its own negative codes or errno values. */
static int
err_of_mdb(int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOSPC:
    case EDQUOT:
    case MDB_MAP_FULL:
        return ERR_NO_SPACE;
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
    case MDB_INCOMPATIBLE:
    case MDB_NOTFOUND:
        return ERR_JOURNAL;
    default:
        errno = rc > 0 ? rc : EIO;
        return ERR_IO;
    }
}

/* ---- Records. */

static MDB_val
val_of(const void *data, size_t len)
{
    return (MDB_val){ .mv_data = (void *)(uintptr_t)data, .mv_size = len };
}

static size_t
make_key(uint8_t out[RECORD_KEY_MAX], enum record_kind kind,
         const struct fileid *id, uint8_t chunk_log2, uint64_t block)
{
    out[0] = (uint8_t)kind;
    endian_store_u64(out + 1, id->dev);
    endian_store_u64(out + 9, id->ino);
    endian_store_u64(out + 17, id->size);
    endian_store_u64(out + 25, (uint64_t)id->mtime_ns);
    endian_store_u64(out + 33, (uint64_t)id->ctime_ns);
    out[41] = chunk_log2;
    endian_store_u64(out + 42, block);
    return RECORD_KEY_MAX;
}

static void
seal(const uint8_t *key, size_t key_len, uint8_t *value, size_t len)
{
    endian_store_u64(value + 4, (uint64_t)time(NULL));
    endian_store_u32(value, record_crc(key, key_len, value, len));
}

static size_t
block_bytes(uint32_t count)
{
    return RECORD_HEAD + 2 * (DIGESTS_BLOCK / 8) + (size_t)count * HASH_LEN;
}

static void
put_words(uint8_t *out, const uint64_t words[DIGESTCACHE_WORDS])
{
    for (size_t i = 0; i < DIGESTCACHE_WORDS; i++) {
        endian_store_u64(out + i * 8, words[i]);
    }
}

static void
get_words(const uint8_t *in, uint64_t words[DIGESTCACHE_WORDS])
{
    for (size_t i = 0; i < DIGESTCACHE_WORDS; i++) {
        words[i] = endian_load_u64(in + i * 8);
    }
}

static void
encode_block(uint8_t *value, const struct digestcache_block *block,
             uint32_t count)
{
    uint8_t *at = value + RECORD_HEAD;
    put_words(at, block->known);
    put_words(at + DIGESTS_BLOCK / 8, block->zero);
    memcpy(at + 2 * (DIGESTS_BLOCK / 8), block->digest,
           (size_t)count * HASH_LEN);
}

static void
decode_block(const uint8_t *value, struct digestcache_block *block,
             uint32_t count)
{
    const uint8_t *at = value + RECORD_HEAD;
    get_words(at, block->known);
    get_words(at + DIGESTS_BLOCK / 8, block->zero);
    memcpy(block->digest, at + 2 * (DIGESTS_BLOCK / 8),
           (size_t)count * HASH_LEN);
}

/* ---- Reading. */

/* Another process made the map larger. Ours can follow only while nothing of
 * it is in use: the lock of writers is tried, not waited for. */
static bool
follow_map(struct digestcache *cache)
{
    if (pthread_mutex_trylock(&cache->write_lock) != 0) {
        return false;
    }
    bool done = mdb_env_set_mapsize(cache->env, 0) == 0;
    pthread_mutex_unlock(&cache->write_lock);
    return done;
}

/* With read_lock held: the reader looks at the newest state. */
static bool
reader_begin(struct digestcache *cache)
{
    int rc = mdb_txn_renew(cache->reader);
    if (rc == MDB_MAP_RESIZED && follow_map(cache)) {
        rc = mdb_txn_renew(cache->reader);
    }
    return rc == 0;
}

uint64_t
digestcache_generation(struct digestcache *cache)
{
    MDB_envinfo info;

    pthread_mutex_lock(&cache->read_lock);
    int rc = mdb_env_info(cache->env, &info);
    pthread_mutex_unlock(&cache->read_lock);
    return rc == 0 ? info.me_last_txnid : 0;
}

/* Copies a record whose length is known; false when it is not there or not
 * whole. */
static bool
read_record(struct digestcache *cache, const uint8_t *key, size_t key_len,
            uint8_t *out, size_t len)
{
    MDB_val k = val_of(key, key_len);
    MDB_val v;
    bool found = false;

    pthread_mutex_lock(&cache->read_lock);
    if (reader_begin(cache)) {
        if (mdb_get(cache->reader, cache->dbi, &k, &v) == 0 &&
            v.mv_size == len) {
            memcpy(out, v.mv_data, len);
            found = true;
        }
        mdb_txn_reset(cache->reader);
    }
    pthread_mutex_unlock(&cache->read_lock);
    return found && record_ok(key, key_len, out, len);
}

bool
digestcache_read(struct digestcache *cache, const struct digestcache_key *key,
                 struct digestcache_block *out)
{
    uint8_t k[RECORD_KEY_MAX];
    size_t k_len =
        make_key(k, RECORD_BLOCK, &key->id, key->chunk_log2, key->block);
    size_t len = block_bytes(key->count);
    uint8_t *value = malloc(len);
    bool found = value != NULL && read_record(cache, k, k_len, value, len);

    if (found) {
        decode_block(value, out, key->count);
    }
    free(value);
    return found;
}

bool
digestcache_read_cid(struct digestcache *cache, const struct fileid *id,
                     uint8_t chunk_log2, uint8_t cid[HASH_LEN])
{
    uint8_t k[RECORD_KEY_MAX];
    size_t k_len = make_key(k, RECORD_CID, id, chunk_log2, 0);
    uint8_t value[RECORD_HEAD + HASH_LEN];
    bool found = read_record(cache, k, k_len, value, sizeof(value));

    if (found) {
        memcpy(cid, value + RECORD_HEAD, HASH_LEN);
    }
    return found;
}

const uint8_t *
digestcache_tree_id(const struct digestcache *cache)
{
    return cache->tree_id;
}

/* ---- Writing; write_lock is held. */

/* Makes the map larger, up to a bound. */
static int
grow_map(struct digestcache *cache, uint64_t bound)
{
    MDB_envinfo info;
    int rc = mdb_env_info(cache->env, &info);

    if (rc == 0 && info.me_mapsize >= bound) {
        return MDB_MAP_FULL;
    }
    if (rc == 0) {
        uint64_t bytes = 2 * (uint64_t)info.me_mapsize;
        pthread_mutex_lock(&cache->read_lock);
        rc = mdb_env_set_mapsize(cache->env,
                                 (size_t)(bytes < bound ? bytes : bound));
        pthread_mutex_unlock(&cache->read_lock);
    }
    return rc;
}

static int
txn_begin(struct digestcache *cache, MDB_txn **txn)
{
    int rc = mdb_txn_begin(cache->env, NULL, 0, txn);
    if (rc == MDB_MAP_RESIZED) {
        pthread_mutex_lock(&cache->read_lock);
        rc = mdb_env_set_mapsize(cache->env, 0);
        pthread_mutex_unlock(&cache->read_lock);
        if (rc == 0) {
            rc = mdb_txn_begin(cache->env, NULL, 0, txn);
        }
    }
    return rc;
}

/* Deletes up to EVICT_BATCH records that are not younger than limit. */
static int
evict_batch(struct digestcache *cache, uint64_t limit, unsigned *deleted)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val k;
    MDB_val v;

    *deleted = 0;
    int rc = txn_begin(cache, &txn);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_cursor_open(txn, cache->dbi, &cursor);
    while (rc == 0 && *deleted < EVICT_BATCH) {
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
        if (rc == 0 && record_age(&k, &v) <= limit) {
            rc = mdb_cursor_del(cursor, 0);
            ++*deleted;
        }
    }
    if (cursor != NULL) {
        mdb_cursor_close(cursor);
    }
    if (rc != 0 && rc != MDB_NOTFOUND) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

/* The middle between the oldest and the newest record. */
static int
middle_age(struct digestcache *cache, uint64_t *middle)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    uint64_t oldest = UINT64_MAX;
    uint64_t newest = 0;
    MDB_val k;
    MDB_val v;
    int rc = mdb_txn_begin(cache->env, NULL, MDB_RDONLY, &txn);

    if (rc != 0) {
        return rc;
    }
    rc = mdb_cursor_open(txn, cache->dbi, &cursor);
    while (rc == 0 &&
           (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        uint64_t age = record_age(&k, &v);
        if (age != RECORD_AGELESS) {
            oldest = age < oldest ? age : oldest;
            newest = age > newest ? age : newest;
        }
    }
    if (cursor != NULL) {
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    *middle = oldest < newest ? oldest + (newest - oldest) / 2 : newest;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The records have reached their bound: the older half goes. */
static int
evict(struct digestcache *cache)
{
    uint64_t middle = 0;
    unsigned deleted = 1;
    int rc = middle_age(cache, &middle);

    while (rc == 0 && deleted > 0) {
        rc = evict_batch(cache, middle, &deleted);
    }
    return rc;
}

/* Would the records with one more exceed their bound? */
static bool
is_full(struct digestcache *cache, MDB_txn *txn, size_t more)
{
    MDB_stat stat;

    if (mdb_stat(txn, cache->dbi, &stat) != 0) {
        return true;
    }
    uint64_t pages = (uint64_t)stat.ms_branch_pages + stat.ms_leaf_pages +
                     stat.ms_overflow_pages;
    return pages * stat.ms_psize + more > cache->max_bytes;
}

static int
put_once(struct digestcache *cache, MDB_val *k, MDB_val *v)
{
    MDB_txn *txn = NULL;
    int rc = txn_begin(cache, &txn);

    if (rc != 0) {
        return rc;
    }
    rc = is_full(cache, txn, v->mv_size)
             ? MDB_MAP_FULL
             : mdb_put(txn, cache->dbi, k, v, 0);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static int
put(struct digestcache *cache, const uint8_t *key, size_t key_len,
    const uint8_t *value, size_t len)
{
    MDB_val k = val_of(key, key_len);
    MDB_val v = val_of(value, len);
    int rc = put_once(cache, &k, &v);

    /* Beyond the bound of the records there is room to copy pages, which
     * deleting needs as well, and for holes. */
    while (rc == MDB_MAP_FULL &&
           grow_map(cache, cache->max_bytes + cache->max_bytes / 2) == 0) {
        rc = put_once(cache, &k, &v);
    }
    if (rc == MDB_MAP_FULL && evict(cache) == 0) {
        rc = put_once(cache, &k, &v);
    }
    return err_of_mdb(rc);
}

/* Adds what is stored to *block; what contradicts it was a lie of the file
 * system, and none of it is kept. */
static void
merge_stored(struct digestcache *cache, const struct digestcache_key *key,
             struct digestcache_block *block)
{
    struct digestcache_block *old = malloc(sizeof(*old));
    if (old == NULL || !digestcache_read(cache, key, old)) {
        free(old);
        return;
    }
    for (uint32_t i = 0; i < key->count; i++) {
        uint64_t bit = UINT64_C(1) << (i % 64);
        bool in_old = (old->known[i / 64] & bit) != 0;
        bool in_new = (block->known[i / 64] & bit) != 0;
        if (in_old && in_new &&
            memcmp(old->digest[i], block->digest[i], HASH_LEN) != 0) {
            memset(block->known, 0, sizeof(block->known));
            break;
        }
        if (in_old && !in_new) {
            memcpy(block->digest[i], old->digest[i], HASH_LEN);
            block->known[i / 64] |= bit;
            block->zero[i / 64] |= old->zero[i / 64] & bit;
        }
    }
    free(old);
}

int
digestcache_write(struct digestcache *cache, const struct digestcache_key *key,
                  const struct digestcache_block *block)
{
    uint8_t k[RECORD_KEY_MAX];
    size_t k_len =
        make_key(k, RECORD_BLOCK, &key->id, key->chunk_log2, key->block);
    size_t len = block_bytes(key->count);
    uint8_t *value = malloc(len);
    struct digestcache_block *all = malloc(sizeof(*all));
    int err = ERR_NOMEM;

    if (value != NULL && all != NULL) {
        memcpy(all, block, sizeof(*all));
        pthread_mutex_lock(&cache->write_lock);
        merge_stored(cache, key, all);
        encode_block(value, all, key->count);
        seal(k, k_len, value, len);
        err = put(cache, k, k_len, value, len);
        pthread_mutex_unlock(&cache->write_lock);
    }
    free(all);
    free(value);
    return err;
}

int
digestcache_write_cid(struct digestcache *cache, const struct fileid *id,
                      uint8_t chunk_log2, const uint8_t cid[HASH_LEN])
{
    uint8_t k[RECORD_KEY_MAX];
    size_t k_len = make_key(k, RECORD_CID, id, chunk_log2, 0);
    uint8_t value[RECORD_HEAD + HASH_LEN];

    memcpy(value + RECORD_HEAD, cid, HASH_LEN);
    seal(k, k_len, value, sizeof(value));
    pthread_mutex_lock(&cache->write_lock);
    int err = put(cache, k, k_len, value, sizeof(value));
    pthread_mutex_unlock(&cache->write_lock);
    return err;
}

/* ---- Opening. */

/* The record that names the format and the tree, made with the cache. */
static int
open_meta(struct digestcache *cache)
{
    static const uint8_t key[] = { RECORD_META };
    uint8_t value[RECORD_META_LEN];
    MDB_val k = val_of(key, sizeof(key));
    MDB_val v;
    MDB_txn *txn = NULL;
    int rc = txn_begin(cache, &txn);

    if (rc != 0) {
        return err_of_mdb(rc);
    }
    rc = mdb_dbi_open(txn, NULL, 0, &cache->dbi);
    if (rc == 0) {
        rc = mdb_get(txn, cache->dbi, &k, &v);
    }
    if (rc == MDB_NOTFOUND) {
        memcpy(value + RECORD_HEAD, RECORD_FORMAT, RECORD_FORMAT_LEN);
        rand_bytes(value + RECORD_HEAD + RECORD_FORMAT_LEN,
                   DIGESTCACHE_TREE_ID);
        seal(key, sizeof(key), value, sizeof(value));
        v = val_of(value, sizeof(value));
        rc = mdb_put(txn, cache->dbi, &k, &v, 0);
    }
    if (rc == 0 && !record_meta_ok(&v)) {
        rc = MDB_INVALID;
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return err_of_mdb(rc);
    }
    memcpy(cache->tree_id,
           (const uint8_t *)v.mv_data + RECORD_HEAD + RECORD_FORMAT_LEN,
           DIGESTCACHE_TREE_ID);
    return err_of_mdb(mdb_txn_commit(txn));
}

static int
open_env(struct digestcache *cache, const char *dir)
{
    char path[DIGESTCACHE_PATH_MAX];

    if (!digestcache_path(dir, "", path)) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    int rc = mdb_env_create(&cache->env);
    if (rc != 0) {
        return err_of_mdb(rc);
    }
    rc = mdb_env_set_mapsize(cache->env,
                             (size_t)(cache->max_bytes <
                                              SERVER_CACHE_START_BYTES
                                          ? cache->max_bytes
                                          : SERVER_CACHE_START_BYTES));
    if (rc == 0) {
        rc = mdb_env_set_maxreaders(cache->env, READERS_MAX);
    }
    /* Without syncing, an operating system crash may damage the file; the
     * check at the next start finds that. */
    if (rc == 0) {
        rc = mdb_env_open(cache->env, path,
                          MDB_NOSUBDIR | MDB_NOTLS | MDB_NOSYNC, 0600);
    }
    return err_of_mdb(rc);
}

static int
open_reader(struct digestcache *cache)
{
    int dead = 0;

    /* Places of workers that were killed. */
    mdb_reader_check(cache->env, &dead);
    int rc = mdb_txn_begin(cache->env, NULL, MDB_RDONLY, &cache->reader);
    if (rc == 0) {
        mdb_txn_reset(cache->reader);
    }
    return err_of_mdb(rc);
}

int
digestcache_open(const char *dir, uint64_t max_bytes, struct digestcache **out)
{
    struct digestcache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return ERR_NOMEM;
    }
    cache->max_bytes = max_bytes;
    pthread_mutex_init(&cache->write_lock, NULL);
    pthread_mutex_init(&cache->read_lock, NULL);
    int err = open_env(cache, dir);
    if (err == 0) {
        err = open_meta(cache);
    }
    if (err == 0) {
        err = open_reader(cache);
    }
    if (err != 0) {
        int saved = errno;
        digestcache_close(cache);
        errno = saved;
        return err;
    }
    *out = cache;
    return 0;
}

void
digestcache_close(struct digestcache *cache)
{
    if (cache == NULL) {
        return;
    }
    if (cache->reader != NULL) {
        mdb_txn_abort(cache->reader);
    }
    if (cache->env != NULL) {
        mdb_env_close(cache->env);
    }
    pthread_mutex_destroy(&cache->read_lock);
    pthread_mutex_destroy(&cache->write_lock);
    free(cache);
}
