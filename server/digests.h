/* The chunk digests of one version of one file at one chunk size: what this
 * process has computed, backed by the cache that all processes share.
 *
 * A digest is `settled` when the file had not changed shortly before it was
 * read. Only those are known: they go to the cache, into answers and into the
 * CID, and are trusted without reading the bytes again (rules I1, I5, I11).
 * Any other was only published with its chunk: a second reading has to agree
 * with it (rule G5b), and that is all it is good for.
 *
 * Blocks of DIGESTS_BLOCK digests are in memory while they are used; those
 * that are stored may be dropped and are read again. Any thread may call any
 * function but new and free. */
#ifndef SERVER_DIGESTS_H
#define SERVER_DIGESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/data/hash.h"
#include "server/fileid.h"

/* Digests of one block: 256 MiB of file at the smallest automatic size. */
#define DIGESTS_BLOCK 1024u

struct digestcache;
struct digests;

/* cache may be NULL: nothing is kept. NULL when memory is out. */
struct digests *digests_new(struct digestcache *cache,
                            const struct fileid *id, uint8_t chunk_log2);

/* Forgets what was not flushed. NULL is allowed. */
void digests_free(struct digests *d);

struct digest_state {
    bool settled;
    bool published; /* settled or not, it was computed before */
    bool zero;      /* the chunk is all zeros */
    uint8_t digest[HASH_LEN]; /* when published */
};

/* What is known about chunk index. */
void digests_get(struct digests *d, uint64_t index, struct digest_state *out);

/* Chunk index was read and hashed: .settled, .zero and .digest count. Returns
 * 0, or ERR_CHANGED when another digest was published for it, which stays.
 * Memory may be out: then the digest is forgotten, and 0 is returned all the
 * same. */
MUST_USE int digests_put(struct digests *d, uint64_t index,
                         const struct digest_state *state);

/* The first chunk of [first, end) whose digest is unknown, or end. */
uint64_t digests_unknown(struct digests *d, uint64_t first, uint64_t end);

/* Copies the digests of chunks [first, first + count) to out. False when one
 * is unknown; out is then unspecified. */
bool digests_copy(struct digests *d, uint64_t first, uint64_t count,
                  uint8_t *out);

/* Is any digest known, as far as this process can tell at once? */
bool digests_any(struct digests *d);

/* Are all digests known, as far as this process can tell at once? */
bool digests_complete(struct digests *d);

/* The CID, if it is known: quick. */
bool digests_cid(struct digests *d, uint8_t cid[HASH_LEN]);

/* Stores what is new, takes over what other processes stored, and computes
 * the CID if that completes the list: slow, for worker threads. hasher is the
 * thread's. ERR_IO and ERR_NOMEM cost the cache, not the digests. */
MUST_USE int digests_sync(struct digests *d, struct hasher *hasher);

/* Is there something that digests_sync() would store? */
bool digests_dirty(struct digests *d);

/* The CID is unknown, and digests_sync() may find it: the list is complete,
 * or other processes stored something since the last look. */
bool digests_sync_helps(struct digests *d);

/* The tree of a complete list: all its nodes as in merkle_tree_build(), for
 * proofs. malloc()ed, the caller frees it. ERR_AGAIN while a digest is
 * unknown, ERR_LIMIT for a tree too large to build, ERR_NOMEM. */
MUST_USE int digests_tree(struct digests *d, struct hasher *hasher,
                          uint8_t **nodes_out);

uint64_t digests_count(const struct digests *d);

#endif
