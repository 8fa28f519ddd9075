#include "server/source.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/endian.h"
#include "proto/base/limits.h"
#include "proto/data/merkle.h"
#include "proto/io/loop.h"
#include "server/digestcache.h"
#include "server/limits.h"

#define BUCKETS 256u

struct sources {
    struct loop *loop;
    struct digestcache *cache;
    struct hasher *hasher;
    unsigned count;
    uint64_t tree_bytes;
    uint8_t tree_id[DIGESTCACHE_TREE_ID];
    struct source *bucket[BUCKETS];
};

/* One digests_sync() on a worker thread. */
struct sync {
    struct source *src;
    struct source_wait *waits;
    struct loop_work *work;
};

struct sources *
sources_new(struct loop *loop, struct digestcache *cache,
            const uint8_t *tree_id)
{
    struct sources *table = calloc(1, sizeof(*table));
    if (table == NULL) {
        return NULL;
    }
    table->loop = loop;
    table->cache = cache;
    memcpy(table->tree_id, tree_id, sizeof(table->tree_id));
    table->hasher = hasher_new();
    if (table->hasher == NULL) {
        free(table);
        return NULL;
    }
    return table;
}

void
sources_free(struct sources *table)
{
    if (table != NULL) {
        BELAY_ASSERT(table->count == 0);
        hasher_free(table->hasher);
        free(table);
    }
}

bool
sources_idle(const struct sources *table)
{
    return table->count == 0;
}

static size_t
bucket_of(const struct fileid *id)
{
    uint64_t h = (id->ino ^ id->dev << 32 ^ (uint64_t)id->ctime_ns) *
                 UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(h >> 32) % BUCKETS;
}

/* Section 9.6: equal only for the same state of the same file of this tree. */
static int
make_version(struct sources *table, struct source *src)
{
    uint8_t input[DIGESTCACHE_TREE_ID + 5 * 8];
    uint8_t digest[HASH_LEN];
    uint8_t *at = input + DIGESTCACHE_TREE_ID;

    memcpy(input, table->tree_id, DIGESTCACHE_TREE_ID);
    endian_store_u64(at, src->id.dev);
    endian_store_u64(at + 8, src->id.ino);
    endian_store_u64(at + 16, src->id.size);
    endian_store_u64(at + 24, (uint64_t)src->id.mtime_ns);
    endian_store_u64(at + 32, (uint64_t)src->id.ctime_ns);
    int err = hash_sha256(table->hasher, input, sizeof(input), digest);
    memcpy(src->version, digest, SOURCE_VERSION_LEN);
    return err;
}

static int
source_new(struct sources *table, int fd, const struct stat *st,
           uint8_t chunk_log2, struct source **out)
{
    struct source *src = calloc(1, sizeof(*src));
    if (src == NULL) {
        return ERR_NOMEM;
    }
    src->id = fileid_of(st);
    src->links = st->st_nlink;
    src->chunk_log2 = chunk_log2;
    src->table = table;
    src->fd = fd;
    src->refs = 1;
    src->pack_next = 2;
    src->digests = digests_new(table->cache, &src->id, chunk_log2);
    int err = src->digests == NULL ? ERR_NOMEM : make_version(table, src);
    if (err == 0 && src->id.size == 0) {
        err = digests_sync(src->digests, table->hasher);
    }
    if (err != 0) {
        digests_free(src->digests);
        free(src);
        return err;
    }
    size_t i = bucket_of(&src->id);
    src->next = table->bucket[i];
    table->bucket[i] = src;
    table->count++;
    *out = src;
    return 0;
}

int
sources_get(struct sources *table, int fd, const struct stat *st,
            uint8_t chunk_log2, struct source **out)
{
    struct fileid id = fileid_of(st);
    struct source *src = table->bucket[bucket_of(&id)];
    while (src != NULL && (src->chunk_log2 != chunk_log2 ||
                           !fileid_equal(&src->id, &id))) {
        src = src->next;
    }
    if (src != NULL) {
        close(fd);
        source_hold(src);
        *out = src;
        return 0;
    }
    int err = source_new(table, fd, st, chunk_log2, out);
    if (err != 0) {
        close(fd);
    }
    return err;
}

int
source_check(struct source *src, bool *unlinked)
{
    struct stat st;

    *unlinked = false;
    if (fstat(src->fd, &st) != 0) {
        return ERR_IO;
    }
    struct fileid now = fileid_of(&st);
    if (fileid_equal(&src->id, &now)) {
        return 0;
    }
    int64_t ctime_ns = now.ctime_ns;
    now.ctime_ns = src->id.ctime_ns;
    if (!fileid_equal(&src->id, &now) || st.st_nlink >= src->links) {
        return ERR_CHANGED;
    }
    int64_t before = 0;
    if (atomic_compare_exchange_strong(&src->unlinked_ctime, &before,
                                       ctime_ns)) {
        atomic_store(&src->unlinked_clean,
                     !atomic_load(&src->served) &&
                         !digests_any(src->digests));
    } else if (before != ctime_ns) {
        return ERR_CHANGED;
    }
    *unlinked = true;
    return 0;
}

bool
source_may_hash(struct source *src)
{
    return atomic_load(&src->unlinked_clean);
}

static uint64_t
tree_bytes(const struct source *src)
{
    return merkle_tree_len(digests_count(src->digests)) * HASH_LEN;
}

bool
source_tree_fits(const struct source *src)
{
    return digests_count(src->digests) <= MAX_FILE_CHUNKS &&
           src->table->tree_bytes + tree_bytes(src) <= SERVER_TREE_BYTES;
}

void
source_set_tree(struct source *src, uint8_t *nodes)
{
    BELAY_ASSERT(src->tree == NULL);
    src->tree = nodes;
    src->table->tree_bytes += tree_bytes(src);
}

void
source_hold(struct source *src)
{
    src->refs++;
}

void
source_release(struct source *src)
{
    BELAY_ASSERT(src->refs > 0);
    if (src->refs == 1 && !src->syncing && digests_dirty(src->digests)) {
        source_sync(src, NULL);
    }
    if (--src->refs > 0) {
        return;
    }
    struct source **link = &src->table->bucket[bucket_of(&src->id)];
    while (*link != src) {
        link = &(*link)->next;
    }
    *link = src->next;
    src->table->count--;
    BELAY_ASSERT(src->hashjob == NULL && src->waits == NULL);
    if (src->tree != NULL) {
        src->table->tree_bytes -= tree_bytes(src);
        free(src->tree);
    }
    close(src->fd);
    digests_free(src->digests);
    free(src);
}

static void
sync_work(void *arg)
{
    struct sync *sync = arg;
    struct hasher *hasher = hasher_new();

    if (hasher != NULL) {
        /* A cache that does not take it costs time later, nothing else. */
        int err = digests_sync(sync->src->digests, hasher);
        (void)err;
    }
    hasher_free(hasher);
}

static void
call_waits(struct source_wait *list)
{
    while (list != NULL) {
        struct source_wait *wait = list;
        list = wait->next;
        wait->done(wait);
    }
}

static void
sync_done(void *arg)
{
    struct sync *sync = arg;
    struct source *src = sync->src;

    src->syncing = false;
    call_waits(sync->waits);
    loop_work_free(sync->work);
    free(sync);
    if (src->sync_again) {
        src->sync_again = false;
        source_sync(src, NULL);
    }
    source_release(src);
}

/* Without memory for a job the answer is what is known already. */
void
source_sync(struct source *src, struct source_wait *wait)
{
    if (wait != NULL) {
        wait->next = src->waits;
        src->waits = wait;
    }
    if (src->syncing) {
        src->sync_again = true;
        return;
    }
    struct sync *sync = calloc(1, sizeof(*sync));
    if (sync == NULL ||
        loop_work_new(src->table->loop, sync_work, sync_done, sync,
                      &sync->work) != 0) {
        free(sync);
        struct source_wait *waits = src->waits;
        src->waits = NULL;
        call_waits(waits);
        return;
    }
    sync->src = src;
    sync->waits = src->waits;
    src->waits = NULL;
    src->syncing = true;
    source_hold(src);
    loop_work_submit(sync->work);
}

void
sources_sync_all(struct sources *table)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct source *src = table->bucket[i]; src != NULL;
             src = src->next) {
            if (!src->syncing && digests_dirty(src->digests)) {
                source_sync(src, NULL);
            }
        }
    }
}
