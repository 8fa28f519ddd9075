/* The tree: proofs of a peer, and the prover against the verifier.
 *
 * Input: a byte of the kind.
 *   0  any proof: index and count (eight bytes each), root, entry, path
 *   1  a tree of 1..256 entries made from a seed; block_log2, the block, and
 *      a place in the claim to spoil (0 for none)
 *   0xf0 and up: the digests of a file; size, chunk_log2, bounds, then how
 *      many are added at a time */

#include "proto/data/cid.h"
#include "proto/data/merkle.h"
#include "tests/fuzz/fuzz.h"

#define COUNT_MAX 256u

static struct hasher *hasher;

static void any_proof(struct script *s)
{
    struct merkle_proof proof = { .index = script_u64(s) };
    proof.count = script_u64(s);
    size_t root_len = HASH_LEN;
    size_t entry_len = HASH_LEN;
    size_t path_len;
    uint8_t *root = script_copy(s, &root_len);
    uint8_t *entry = script_copy(s, &entry_len);
    uint8_t *path = script_rest(s, &path_len);
    proof.root = root;
    proof.entry = entry;
    proof.path = path;
    proof.path_len = path_len / HASH_LEN;
    if (entry_len == HASH_LEN) {
        int err = merkle_verify(hasher, &proof);
        FUZZ_CHECK(err == 0 || err == ERR_DIGEST);
        FUZZ_CHECK(err != 0 || proof.index < proof.count);
        if (proof.index < proof.count && proof.count <= MERKLE_ENTRIES_MAX) {
            size_t want = merkle_path_len(proof.index, proof.count);
            FUZZ_CHECK(want <= LIMIT_PROOF);
            FUZZ_CHECK(err != 0 || want == proof.path_len);
        }
    }
    free(root);
    free(entry);
    free(path);
}

/* One bit of the claim is wrong: `at` counts through index, count, entry,
 * root and path. False when it does not reach that far. */
static bool spoil(struct merkle_proof *proof, uint8_t *entry, uint8_t *root,
                  uint8_t *path, uint16_t at)
{
    uint8_t bit = (uint8_t)(1u << (at % 8));
    size_t byte = at / 8;
    if (byte < 1) {
        proof->index ^= bit;
    } else if (byte < 2) {
        /* Trees of other sizes share entries with this one, so not every
         * other count is a lie; one whose path has another length is. */
        uint64_t count = proof->count ^ bit;
        bool lie = proof->index >= count ||
                   merkle_path_len(proof->index, count) != proof->path_len;
        proof->count = count;
        return lie;
    } else if (byte < 2 + HASH_LEN) {
        entry[byte - 2] ^= bit;
    } else if (byte < 2 + 2 * HASH_LEN) {
        root[byte - 2 - HASH_LEN] ^= bit;
    } else if (byte < 2 + 2 * HASH_LEN + proof->path_len * HASH_LEN) {
        path[byte - 2 - 2 * HASH_LEN] ^= bit;
    } else {
        return false;
    }
    return true;
}

static void prove(struct script *s)
{
    static uint8_t nodes[(2 * COUNT_MAX + LIMIT_PROOF) * HASH_LEN];
    uint64_t count = 1u + script_u8(s);
    uint8_t seed = script_u8(s);
    struct merkle_stack stack;
    uint8_t root[HASH_LEN];
    merkle_stack_init(&stack);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *entry = nodes + i * HASH_LEN;
        memset(entry, seed, HASH_LEN);
        memcpy(entry, &i, sizeof i);
        FUZZ_CHECK(merkle_stack_add(&stack, hasher, entry) == 0);
    }
    FUZZ_CHECK(merkle_stack_root(&stack, hasher, root) == 0);
    FUZZ_CHECK(merkle_tree_len(count) <= 2 * COUNT_MAX + LIMIT_PROOF);
    FUZZ_CHECK(merkle_tree_build(hasher, nodes, count) == 0);
    FUZZ_CHECK(memcmp(root, merkle_tree_root(nodes, count), HASH_LEN) == 0);

    uint8_t log2 = script_u8(s) % 10;
    uint64_t blocks = merkle_block_count(count, log2);
    uint64_t block = script_u8(s) % blocks;
    uint8_t path[LIMIT_PROOF * HASH_LEN];
    uint8_t entry[HASH_LEN];
    size_t at = 0;
    uint64_t width = count;
    for (uint8_t level = 0; level < log2; level++) {
        at += width;
        width = (width + 1) / 2;
        if (at >= merkle_tree_len(count)) {
            break;
        }
    }
    if (at + block >= merkle_tree_len(count)) {
        at = merkle_tree_len(count) - 1;
        block = 0;
    }
    memcpy(entry, nodes + (at + block) * HASH_LEN, HASH_LEN);
    struct merkle_proof proof = { .index = block, .count = blocks,
                                  .entry = entry, .path = path,
                                  .root = root };
    proof.path_len = merkle_tree_path(nodes, count, log2, block, path);
    FUZZ_CHECK(proof.path_len == merkle_path_len(block, blocks));
    FUZZ_CHECK(merkle_verify(hasher, &proof) == 0);
    if (spoil(&proof, entry, root, path, script_u16(s))) {
        FUZZ_CHECK(merkle_verify(hasher, &proof) == ERR_DIGEST);
    }
}

/* Digests added in any portions make one root; that of a range is the hash of
 * the block where the bounds are a block's. */
static void build(struct script *s)
{
    static uint8_t digests[COUNT_MAX][HASH_LEN];
    static uint8_t leaves[2 * COUNT_MAX + LIMIT_PROOF][HASH_LEN];
    uint64_t size = script_u32(s) % (COUNT_MAX << 12);
    uint8_t log2 = (uint8_t)(12u + script_u8(s) % 3u);
    uint64_t count = cid_chunk_count(size, log2);
    uint64_t first = count > 0 ? script_u8(s) % count : 0;
    uint64_t end = first + script_u8(s) % (count - first + 1);
    struct merkle_builder b;
    struct merkle_builder range;
    struct merkle_stack stack;
    uint8_t root[HASH_LEN];
    uint8_t other[HASH_LEN];
    merkle_builder_init(&b, size, log2);
    merkle_builder_init_range(&range, size, log2, first, end);
    merkle_stack_init(&stack);
    for (uint64_t i = 0; i < count; i++) {
        memset(digests[i], (int)(i * 7), HASH_LEN);
        digests[i][0] = (uint8_t)i;
    }
    for (uint64_t at = 0; at < count;) {
        uint64_t step = 1u + script_u8(s);
        uint64_t most = step < count - at ? step : count - at;
        FUZZ_CHECK(merkle_builder_root(&b, hasher, root) == ERR_RANGE);
        FUZZ_CHECK(step <= most || merkle_builder_add(&b, hasher, digests[at],
                                                      step) == ERR_RANGE);
        FUZZ_CHECK(merkle_builder_add(&b, hasher, digests[at], most) == 0);
        at += most;
    }
    FUZZ_CHECK(merkle_builder_root(&b, hasher, root) == 0);
    FUZZ_CHECK(merkle_root(hasher, size, log2, digests[0], count, other) ==
               0);
    FUZZ_CHECK(memcmp(root, other, HASH_LEN) == 0);
    FUZZ_CHECK(merkle_root(hasher, size, log2, digests[0], count + 1,
                           other) == ERR_RANGE);
    /* Leaf by leaf, by hand: spec section 3 of belay-id-1. */
    for (uint64_t i = first; i < end; i++) {
        FUZZ_CHECK(merkle_leaf(hasher, i << log2, cid_chunk_len(size, log2, i),
                               digests[i], leaves[i - first]) == 0);
        FUZZ_CHECK(merkle_stack_add(&stack, hasher, leaves[i - first]) == 0);
        FUZZ_CHECK(merkle_builder_add(&range, hasher, digests[i], 1) == 0);
    }
    FUZZ_CHECK(merkle_builder_root(&range, hasher, other) == 0);
    FUZZ_CHECK(merkle_stack_root(&stack, hasher, root) == 0);
    FUZZ_CHECK(memcmp(root, other, HASH_LEN) == 0);
    if (end > first) {
        FUZZ_CHECK(merkle_tree_build(hasher, leaves[0], end - first) == 0);
        FUZZ_CHECK(memcmp(merkle_tree_root(leaves[0], end - first), root,
                          HASH_LEN) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    if (hasher == NULL) {
        hasher = hasher_new();
        FUZZ_CHECK(hasher != NULL);
    }
    uint8_t kind = script_u8(&s);
    if (kind >= 0xf0) {
        build(&s);
    } else if (kind % 2 == 0) {
        any_proof(&s);
    } else {
        prove(&s);
    }
    return 0;
}
