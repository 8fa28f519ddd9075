/* The tree over the chunk digests of a file: root, proofs, verification.
 *
 * The tree has the shape of RFC 9162 (and RFC 6962): leaf i is the hash of
 * offset, length and digest of chunk i; a node is the hash of its children;
 * n entries split at the largest power of two below n.  The hash over block j
 * of 2^b chunks is itself a node, and the tree over all such block hashes has
 * the same shape.  So one verifier serves single chunks, blocks and the list.
 *
 * Arrays of digests and nodes are flat: HASH_LEN bytes each, in order.
 * Nothing here allocates.  The hasher is borrowed for the call.
 *
 * Implements sections 9.2 and 9.4 of spec/belay-id-1.md. */
#ifndef PROTO_DATA_MERKLE_H
#define PROTO_DATA_MERKLE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/registry.h"
#include "proto/data/hash.h"

/* Most entries of a tree: a file of 2^64 bytes in chunks of 2^12. */
#define MERKLE_ENTRIES_MAX (UINT64_C(1) << LIMIT_PROOF)

/* The hash of one leaf.  `len` is the length of the chunk at `offset`.
 * Returns 0 or ERR_INTERNAL, as do all functions here that only hash. */
int merkle_leaf(struct hasher *hasher, uint64_t offset, uint32_t len,
                const uint8_t digest[HASH_LEN],
                uint8_t out[HASH_LEN]) MUST_USE;

/* The hash of an inner node.  `out` may be one of the children. */
int merkle_node(struct hasher *hasher, const uint8_t left[HASH_LEN],
                const uint8_t right[HASH_LEN],
                uint8_t out[HASH_LEN]) MUST_USE;

/* ---- Root of entries that come one by one, in O(log n) memory.
 *
 * An entry is the hash of a leaf or of a whole block.  The nodes kept are the
 * roots of the complete subtrees so far, one per set bit of `count`. */
struct merkle_stack {
    uint64_t count;
    uint8_t node[LIMIT_PROOF + 1][HASH_LEN];
};

void merkle_stack_init(struct merkle_stack *stack);

/* Adds the next entry.  Returns 0, ERR_LIMIT beyond MERKLE_ENTRIES_MAX, or
 * ERR_INTERNAL, after which the stack must be initialised again. */
int merkle_stack_add(struct merkle_stack *stack, struct hasher *hasher,
                     const uint8_t entry[HASH_LEN]) MUST_USE;

/* The root over the entries so far; without any, the hash of nothing.  More
 * entries may follow. */
int merkle_stack_root(const struct merkle_stack *stack, struct hasher *hasher,
                      uint8_t root[HASH_LEN]) MUST_USE;

/* ---- The same for the chunk digests of a file or of one of its blocks. */
struct merkle_builder {
    struct merkle_stack stack;
    uint64_t size;       /* Of the file, in bytes. */
    uint64_t next;       /* Chunk whose digest comes next. */
    uint64_t end;        /* One past the last chunk wanted. */
    uint8_t chunk_log2;
};

/* For all chunks of a file.  Requires cid_chunk_log2_ok(chunk_log2). */
void merkle_builder_init(struct merkle_builder *builder, uint64_t size,
                         uint8_t chunk_log2);

/* For chunks [first, end) of a file; with block bounds, the result is the
 * hash of that block.  Requires first <= end <= chunk count. */
void merkle_builder_init_range(struct merkle_builder *builder, uint64_t size,
                               uint8_t chunk_log2, uint64_t first,
                               uint64_t end);

/* Adds the digests of the next `count` chunks.  Returns 0, ERR_RANGE when
 * these are more than are wanted (nothing is added), or ERR_INTERNAL. */
int merkle_builder_add(struct merkle_builder *builder, struct hasher *hasher,
                       const uint8_t *digests, uint64_t count) MUST_USE;

/* The root over the wanted chunks.  Returns ERR_RANGE while digests are
 * missing. */
int merkle_builder_root(const struct merkle_builder *builder,
                        struct hasher *hasher,
                        uint8_t root[HASH_LEN]) MUST_USE;

/* The root of a file from all its chunk digests, `count` of them.  Returns
 * ERR_RANGE when `count` is not the chunk count of the file. */
int merkle_root(struct hasher *hasher, uint64_t size, uint8_t chunk_log2,
                const uint8_t *digests, uint64_t count,
                uint8_t root[HASH_LEN]) MUST_USE;

/* ---- Proofs. */

/* How many blocks of 2^block_log2 chunks n chunks make.  Requires
 * block_log2 <= LIMIT_BLOCK_LOG2. */
uint64_t merkle_block_count(uint64_t chunks, uint8_t block_log2);

/* Hashes in the path of entry `index` of `count`: a function of these two
 * alone (rule P1), at most LIMIT_PROOF.  Requires index < count <=
 * MERKLE_ENTRIES_MAX. */
size_t merkle_path_len(uint64_t index, uint64_t count);

/* A claim of a peer: entry `index` of the `count` under `root` is `entry`.
 * All pointers are borrowed for the call. */
struct merkle_proof {
    uint64_t index;
    uint64_t count;
    const uint8_t *entry;  /* Hash of a leaf or of a block. */
    const uint8_t *path;   /* May be NULL when path_len is 0. */
    size_t path_len;       /* In hashes. */
    const uint8_t *root;   /* Trusted. */
};

/* Returns 0 when the claim holds, and ERR_DIGEST when it does not: index out
 * of range, a path of any other length than rule P1 allows, or wrong hashes.
 * Any values may come from a peer. */
int merkle_verify(struct hasher *hasher,
                  const struct merkle_proof *proof) MUST_USE;

/* ---- A whole tree in memory, for a prover of many entries.
 *
 * Level 0 holds the `count` entries, each next level half as many (rounded
 * up), the last one the root; all levels lie one after the other.  Level b is
 * the array of the hashes of all blocks of 2^b entries. */

/* Nodes of the whole tree, fewer than 2 * count + LIMIT_PROOF.  Requires
 * 1 <= count <= MERKLE_ENTRIES_MAX. */
uint64_t merkle_tree_len(uint64_t count);

/* Fills in the upper levels.  `nodes` has room for merkle_tree_len(count)
 * hashes and begins with the entries.  Returns 0 or ERR_INTERNAL. */
int merkle_tree_build(struct hasher *hasher, uint8_t *nodes,
                      uint64_t count) MUST_USE;

/* The root of a built tree; borrowed from `nodes`. */
const uint8_t *merkle_tree_root(const uint8_t *nodes, uint64_t count);

/* Writes the path of block `index` of 2^block_log2 entries to `path`, which
 * has room for LIMIT_PROOF hashes, and returns its length in hashes; it is
 * merkle_path_len(index, merkle_block_count(count, block_log2)).  Requires a
 * built tree and that the block exists. */
size_t merkle_tree_path(const uint8_t *nodes, uint64_t count,
                        uint8_t block_log2, uint64_t index, uint8_t *path);

#endif
