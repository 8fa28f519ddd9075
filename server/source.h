/* Files that are being served: one struct for each version of a file at one
 * chunk size, shared by all connections of the worker.
 *
 * A source holds an open descriptor, so the bytes stay reachable when the
 * file is renamed or deleted. It is used by reference; the table frees it
 * when the last reference is gone, after its new digests are stored.
 * Functions are for the loop's thread; worker threads may use the descriptor,
 * the id and the digests of a source that they hold a reference to. */
#ifndef SERVER_SOURCE_H
#define SERVER_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "server/digests.h"
#include "server/fileid.h"

#define SOURCE_VERSION_LEN 16

struct digestcache;
struct hashjob;
struct loop;
struct sources;

struct source {
    struct source *next; /* in its bucket */
    struct sources *table;
    unsigned refs;
    bool syncing;        /* a thread is in digests_sync() */
    bool sync_again;
    int fd;
    uint8_t chunk_log2;
    struct fileid id;
    nlink_t links;       /* names of the file when it was opened */
    atomic_bool served;  /* digests were computed from it here */
    _Atomic int64_t unlinked_ctime; /* 0: it has its names yet */
    atomic_bool unlinked_clean;     /* ... and lost one before `served` */
    struct digests *digests;
    uint8_t version[SOURCE_VERSION_LEN];
    uint8_t *tree;           /* merkle_tree_build(), for proofs, or NULL */
    struct hashjob *hashjob; /* owned by hashjob.c; NULL: none */
    struct source_wait *waits;
    uint32_t pack_skip;      /* chunks to send without trying to compress */
    uint32_t pack_next;      /* ... after the next failure */
};

/* cache may be NULL. tree_id: DIGESTCACHE_TREE_ID bytes, copied. */
struct sources *sources_new(struct loop *loop, struct digestcache *cache,
                            const uint8_t *tree_id);

/* All references must be gone (asserted). NULL is allowed. */
void sources_free(struct sources *table);

/* The source of an open regular file; takes fd over, also on error. ERR_NOMEM
 * or ERR_INTERNAL. */
MUST_USE int sources_get(struct sources *table, int fd, const struct stat *st,
                         uint8_t chunk_log2, struct source **out);

/* The fstat that rule G5 asks for before each read. 0, ERR_CHANGED or ERR_IO.
 * Any thread.
 *
 * A file whose name was removed or given to another file is still the same
 * version: an open handle pins it. Its change time has moved, though, which
 * hides a change of content. What has a digest is safe all the same, because
 * the client checks bytes against it. *unlinked tells that nothing else may be
 * read, unless source_may_hash() allows it. */
MUST_USE int source_check(struct source *src, bool *unlinked);

/* May chunks without a digest be read from an unlinked source? Only when
 * nothing was read before it was unlinked, so that all bytes are of the time
 * after. Their digests do not count as settled. */
bool source_may_hash(struct source *src);

void source_hold(struct source *src);
void source_release(struct source *src);

/* May the tree of this source be built? The trees of all sources together
 * have a bound. */
bool source_tree_fits(const struct source *src);

/* Keeps a tree of malloc()ed nodes until the source goes. */
void source_set_tree(struct source *src, uint8_t *nodes);

/* Somebody who waits for source_sync(). Embedded, not owned. */
struct source_wait {
    struct source_wait *next;
    void (*done)(struct source_wait *wait);
};

/* Stores new digests and completes the CID if that is possible now; then
 * calls wait->done (wait may be NULL); from inside only when memory is out. */
void source_sync(struct source *src, struct source_wait *wait);

/* Starts a sync of every source that has something to store. */
void sources_sync_all(struct sources *table);

/* No source is left, and nothing is being stored. */
bool sources_idle(const struct sources *table);

#endif
