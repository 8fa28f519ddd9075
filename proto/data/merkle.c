#include "proto/data/merkle.h"

#include <stdbool.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/endian.h"
#include "proto/data/cid.h"

int merkle_leaf(struct hasher *hasher, uint64_t offset, uint32_t len,
                const uint8_t digest[HASH_LEN], uint8_t out[HASH_LEN])
{
    uint8_t input[8 + 4 + HASH_LEN];
    endian_store_u64(input, offset);
    endian_store_u32(input + 8, len);
    memcpy(input + 12, digest, HASH_LEN);
    return hash_prefixed(hasher, TREE_LEAF, input, sizeof input, out);
}

int merkle_node(struct hasher *hasher, const uint8_t left[HASH_LEN],
                const uint8_t right[HASH_LEN], uint8_t out[HASH_LEN])
{
    uint8_t input[2 * HASH_LEN];
    memcpy(input, left, HASH_LEN);
    memcpy(input + HASH_LEN, right, HASH_LEN);
    return hash_prefixed(hasher, TREE_NODE, input, sizeof input, out);
}

/* Nodes on the stack: one for each complete subtree, largest first. */
static size_t stack_height(const struct merkle_stack *stack)
{
    return (size_t)__builtin_popcountll(stack->count);
}

void merkle_stack_init(struct merkle_stack *stack)
{
    stack->count = 0;
}

int merkle_stack_add(struct merkle_stack *stack, struct hasher *hasher,
                     const uint8_t entry[HASH_LEN])
{
    if (stack->count >= MERKLE_ENTRIES_MAX) {
        return ERR_LIMIT;
    }
    size_t height = stack_height(stack);
    memcpy(stack->node[height], entry, HASH_LEN);
    /* Like a carry in binary counting: equal subtrees join. */
    for (uint64_t bits = stack->count; (bits & 1) != 0; bits >>= 1) {
        int err = merkle_node(hasher, stack->node[height - 1],
                              stack->node[height], stack->node[height - 1]);
        if (err != 0) {
            return err;
        }
        height--;
    }
    stack->count++;
    return 0;
}

int merkle_stack_root(const struct merkle_stack *stack, struct hasher *hasher,
                      uint8_t root[HASH_LEN])
{
    size_t height = stack_height(stack);
    if (height == 0) {
        return hash_sha256(hasher, NULL, 0, root);
    }
    /* The smallest subtrees are the rightmost and the deepest. */
    memcpy(root, stack->node[height - 1], HASH_LEN);
    for (size_t i = height - 1; i-- > 0;) {
        int err = merkle_node(hasher, stack->node[i], root, root);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

void merkle_builder_init_range(struct merkle_builder *builder, uint64_t size,
                               uint8_t chunk_log2, uint64_t first,
                               uint64_t end)
{
    BELAY_ASSERT(first <= end && end <= cid_chunk_count(size, chunk_log2));
    merkle_stack_init(&builder->stack);
    builder->size = size;
    builder->next = first;
    builder->end = end;
    builder->chunk_log2 = chunk_log2;
}

void merkle_builder_init(struct merkle_builder *builder, uint64_t size,
                         uint8_t chunk_log2)
{
    merkle_builder_init_range(builder, size, chunk_log2, 0,
                              cid_chunk_count(size, chunk_log2));
}

int merkle_builder_add(struct merkle_builder *builder, struct hasher *hasher,
                       const uint8_t *digests, uint64_t count)
{
    if (count > builder->end - builder->next) {
        return ERR_RANGE;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t chunk = builder->next;
        uint8_t leaf[HASH_LEN];
        int err = merkle_leaf(
            hasher, cid_chunk_offset(builder->chunk_log2, chunk),
            cid_chunk_len(builder->size, builder->chunk_log2, chunk),
            digests + i * HASH_LEN, leaf);
        if (err == 0) {
            err = merkle_stack_add(&builder->stack, hasher, leaf);
        }
        if (err != 0) {
            return err;
        }
        builder->next++;
    }
    return 0;
}

int merkle_builder_root(const struct merkle_builder *builder,
                        struct hasher *hasher, uint8_t root[HASH_LEN])
{
    if (builder->next != builder->end) {
        return ERR_RANGE;
    }
    return merkle_stack_root(&builder->stack, hasher, root);
}

int merkle_root(struct hasher *hasher, uint64_t size, uint8_t chunk_log2,
                const uint8_t *digests, uint64_t count,
                uint8_t root[HASH_LEN])
{
    struct merkle_builder builder;
    merkle_builder_init(&builder, size, chunk_log2);
    int err = merkle_builder_add(&builder, hasher, digests, count);
    if (err == 0) {
        err = merkle_builder_root(&builder, hasher, root);
    }
    return err;
}

uint64_t merkle_block_count(uint64_t chunks, uint8_t block_log2)
{
    BELAY_ASSERT(block_log2 <= LIMIT_BLOCK_LOG2);
    BELAY_ASSERT(chunks <= MERKLE_ENTRIES_MAX);
    return (chunks + (UINT64_C(1) << block_log2) - 1) >> block_log2;
}

/* One step from an entry towards the root, where the tree is seen as levels
 * and a node without a sibling moves up unchanged.  `last` is the index of
 * the last node of the level. */
static bool has_sibling(uint64_t index, uint64_t last)
{
    return (index & 1) != 0 || index < last;
}

size_t merkle_path_len(uint64_t index, uint64_t count)
{
    BELAY_ASSERT(index < count && count <= MERKLE_ENTRIES_MAX);
    size_t len = 0;
    for (uint64_t last = count - 1; last > 0; last >>= 1) {
        if (has_sibling(index, last)) {
            len++;
        }
        index >>= 1;
    }
    return len;
}

int merkle_verify(struct hasher *hasher, const struct merkle_proof *proof)
{
    if (proof->count > MERKLE_ENTRIES_MAX || proof->index >= proof->count ||
        proof->path_len != merkle_path_len(proof->index, proof->count)) {
        return ERR_DIGEST;
    }
    uint8_t hash[HASH_LEN];
    memcpy(hash, proof->entry, HASH_LEN);
    const uint8_t *sibling = proof->path;
    uint64_t index = proof->index;
    for (uint64_t last = proof->count - 1; last > 0; last >>= 1) {
        if (has_sibling(index, last)) {
            int err = (index & 1) != 0
                          ? merkle_node(hasher, sibling, hash, hash)
                          : merkle_node(hasher, hash, sibling, hash);
            if (err != 0) {
                return err;
            }
            sibling += HASH_LEN;
        }
        index >>= 1;
    }
    return memcmp(hash, proof->root, HASH_LEN) == 0 ? 0 : ERR_DIGEST;
}

uint64_t merkle_tree_len(uint64_t count)
{
    BELAY_ASSERT(count >= 1 && count <= MERKLE_ENTRIES_MAX);
    uint64_t len = count;
    while (count > 1) {
        count = (count + 1) / 2;
        len += count;
    }
    return len;
}

int merkle_tree_build(struct hasher *hasher, uint8_t *nodes, uint64_t count)
{
    BELAY_ASSERT(count >= 1 && count <= MERKLE_ENTRIES_MAX);
    uint8_t *level = nodes;
    while (count > 1) {
        uint8_t *above = level + count * HASH_LEN;
        for (uint64_t i = 0; i + 1 < count; i += 2) {
            const uint8_t *pair = level + i * HASH_LEN;
            int err = merkle_node(hasher, pair, pair + HASH_LEN,
                                  above + i / 2 * HASH_LEN);
            if (err != 0) {
                return err;
            }
        }
        if (count % 2 == 1) {
            memcpy(above + count / 2 * HASH_LEN,
                   level + (count - 1) * HASH_LEN, HASH_LEN);
        }
        count = (count + 1) / 2;
        level = above;
    }
    return 0;
}

const uint8_t *merkle_tree_root(const uint8_t *nodes, uint64_t count)
{
    return nodes + (merkle_tree_len(count) - 1) * HASH_LEN;
}

size_t merkle_tree_path(const uint8_t *nodes, uint64_t count,
                        uint8_t block_log2, uint64_t index, uint8_t *path)
{
    BELAY_ASSERT(index < merkle_block_count(count, block_log2));
    const uint8_t *level = nodes;
    for (unsigned int i = 0; i < block_log2 && count > 1; i++) {
        level += count * HASH_LEN;
        count = (count + 1) / 2;
    }
    size_t len = 0;
    while (count > 1) {
        if (has_sibling(index, count - 1)) {
            memcpy(path + len * HASH_LEN, level + (index ^ 1) * HASH_LEN,
                   HASH_LEN);
            len++;
        }
        index >>= 1;
        level += count * HASH_LEN;
        count = (count + 1) / 2;
    }
    return len;
}
