/* Tests of proto/data/merkle against the definition of the tree, written as a
 * plain recursion, and against the public roots of RFC 6962. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/data/cid.h"
#include "proto/data/merkle.h"

#define N_MAX 130
#define B_MAX 8

static struct hasher *hasher;

static int setup(void **state)
{
    (void)state;
    hasher = hasher_new();
    return hasher != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    hasher_free(hasher);
    return 0;
}

/* MTH of section 9.2, word for word. */
static void oracle_root(const uint8_t *entries, size_t count, uint8_t *out)
{
    if (count == 0) {
        assert_int_equal(hash_sha256(hasher, "", 0, out), 0);
        return;
    }
    if (count == 1) {
        memcpy(out, entries, HASH_LEN);
        return;
    }
    size_t k = 1;
    while (2 * k < count) {
        k *= 2;
    }
    uint8_t both[1 + 2 * HASH_LEN];
    both[0] = 1;
    oracle_root(entries, k, both + 1);
    oracle_root(entries + k * HASH_LEN, count - k, both + 1 + HASH_LEN);
    assert_int_equal(hash_sha256(hasher, both, sizeof both, out), 0);
}

/* The path of RFC 9162 section 2.1.3.1; returns its length. */
static size_t oracle_path(const uint8_t *entries, size_t count, size_t index,
                          uint8_t *path)
{
    if (count == 1) {
        return 0;
    }
    size_t k = 1;
    while (2 * k < count) {
        k *= 2;
    }
    size_t len;
    if (index < k) {
        len = oracle_path(entries, k, index, path);
        oracle_root(entries + k * HASH_LEN, count - k, path + len * HASH_LEN);
    } else {
        len = oracle_path(entries + k * HASH_LEN, count - k, index - k, path);
        oracle_root(entries, k, path + len * HASH_LEN);
    }
    return len + 1;
}

/* Entries without any structure, the same in each run. */
static void make_entries(uint8_t *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t name[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        assert_int_equal(
            hash_sha256(hasher, name, 2, entries + i * HASH_LEN), 0);
    }
}

static void expect_hex(const uint8_t *hash, const char *hex)
{
    char text[2 * HASH_LEN + 1];
    cid_hex_encode(hash, HASH_LEN, text);
    assert_string_equal(text, hex);
}

static void test_rfc6962_roots(void **state)
{
    (void)state;
    static const struct {
        const char *leaf;
        size_t len;
        const char *root;
    } rows[] = {
        {"", 0,
         "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
        {"\x00", 1,
         "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
        {"\x10", 1,
         "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
        {"\x20\x21", 2,
         "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
        {"\x30\x31", 2,
         "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
        {"\x40\x41\x42\x43", 4,
         "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
        {"\x50\x51\x52\x53\x54\x55\x56\x57", 8,
         "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
        {"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
         16,
         "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
    };
    struct merkle_stack stack;
    uint8_t hash[HASH_LEN];
    merkle_stack_init(&stack);
    assert_int_equal(merkle_stack_root(&stack, hasher, hash), 0);
    expect_hex(hash, "e3b0c44298fc1c149afbf4c8996fb924"
                     "27ae41e4649b934ca495991b7852b855");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(hash_prefixed(hasher, TREE_LEAF, rows[i].leaf,
                                       rows[i].len, hash), 0);
        assert_int_equal(merkle_stack_add(&stack, hasher, hash), 0);
        assert_int_equal(merkle_stack_root(&stack, hasher, hash), 0);
        expect_hex(hash, rows[i].root);
    }
}

static void test_stack_and_tree_give_the_root(void **state)
{
    (void)state;
    uint8_t entries[N_MAX * HASH_LEN];
    uint8_t nodes[(2 * N_MAX + LIMIT_PROOF) * HASH_LEN];
    struct merkle_stack stack;
    make_entries(entries, N_MAX);
    merkle_stack_init(&stack);
    for (size_t n = 1; n <= N_MAX; n++) {
        uint8_t want[HASH_LEN];
        uint8_t got[HASH_LEN];
        oracle_root(entries, n, want);
        assert_int_equal(merkle_stack_add(&stack, hasher,
                                          entries + (n - 1) * HASH_LEN), 0);
        assert_int_equal(stack.count, n);
        assert_int_equal(merkle_stack_root(&stack, hasher, got), 0);
        assert_memory_equal(got, want, HASH_LEN);

        assert_true(merkle_tree_len(n) < 2 * n + LIMIT_PROOF);
        memcpy(nodes, entries, n * HASH_LEN);
        assert_int_equal(merkle_tree_build(hasher, nodes, n), 0);
        assert_memory_equal(merkle_tree_root(nodes, n), want, HASH_LEN);
        assert_memory_equal(nodes, entries, n * HASH_LEN);
    }
}

/* Checks the path of one block, and that no near miss passes. */
static void check_block(const struct merkle_proof *good, const uint8_t *want)
{
    assert_int_equal(merkle_path_len(good->index, good->count),
                     good->path_len);
    assert_memory_equal(good->path, want, good->path_len * HASH_LEN);
    assert_int_equal(merkle_verify(hasher, good), 0);

    struct merkle_proof bad = *good;
    bad.path_len = good->path_len + 1;
    assert_int_equal(merkle_verify(hasher, &bad), ERR_DIGEST);
    if (good->path_len > 0) {
        bad.path_len = good->path_len - 1;
        assert_int_equal(merkle_verify(hasher, &bad), ERR_DIGEST);
    }
    for (int step = -1; step <= 1; step += 2) {
        bad = *good;
        bad.index += (uint64_t)(int64_t)step;
        assert_int_equal(merkle_verify(hasher, &bad), ERR_DIGEST);
    }
    bad = *good;
    bad.root = good->entry;
    if (good->count > 1) {
        assert_int_equal(merkle_verify(hasher, &bad), ERR_DIGEST);
    }
}

static void test_all_proofs(void **state)
{
    (void)state;
    uint8_t entries[N_MAX * HASH_LEN];
    uint8_t nodes[(2 * N_MAX + LIMIT_PROOF) * HASH_LEN];
    size_t proofs = 0;
    make_entries(entries, N_MAX);
    for (size_t n = 1; n <= N_MAX; n++) {
        memcpy(nodes, entries, n * HASH_LEN);
        assert_int_equal(merkle_tree_build(hasher, nodes, n), 0);
        for (uint8_t b = 0; b <= B_MAX; b++) {
            size_t step = (size_t)1 << b;
            size_t m = (n + step - 1) / step;
            uint8_t blocks[N_MAX * HASH_LEN];
            assert_int_equal(merkle_block_count(n, b), m);
            for (size_t j = 0; j < m; j++) {
                size_t len = n - j * step < step ? n - j * step : step;
                oracle_root(entries + j * step * HASH_LEN, len,
                            blocks + j * HASH_LEN);
            }
            for (size_t j = 0; j < m; j++) {
                uint8_t path[(LIMIT_PROOF + 1) * HASH_LEN] = {0};
                uint8_t want[(LIMIT_PROOF + 1) * HASH_LEN];
                size_t len = merkle_tree_path(nodes, n, b, j, path);
                assert_int_equal(len, oracle_path(blocks, m, j, want));
                struct merkle_proof proof = {
                    .index = j,
                    .count = m,
                    .entry = blocks + j * HASH_LEN,
                    .path = path,
                    .path_len = len,
                    .root = merkle_tree_root(nodes, n),
                };
                check_block(&proof, want);
                proofs++;
            }
        }
    }
    /* As many as the design's own check counted. */
    assert_int_equal(proofs, 17489);
}

static void test_every_flipped_byte_is_noticed(void **state)
{
    (void)state;
    enum { N = 13, J = 5 };
    uint8_t nodes[(2 * N + LIMIT_PROOF) * HASH_LEN];
    uint8_t path[LIMIT_PROOF * HASH_LEN];
    uint8_t entry[HASH_LEN];
    uint8_t root[HASH_LEN];
    make_entries(nodes, N);
    assert_int_equal(merkle_tree_build(hasher, nodes, N), 0);
    size_t len = merkle_tree_path(nodes, N, 0, J, path);
    memcpy(entry, nodes + J * HASH_LEN, HASH_LEN);
    memcpy(root, merkle_tree_root(nodes, N), HASH_LEN);
    const struct merkle_proof proof = {J, N, entry, path, len, root};
    assert_int_equal(merkle_verify(hasher, &proof), 0);
    const struct {
        uint8_t *at;
        size_t len;
    } rows[] = {{entry, HASH_LEN}, {root, HASH_LEN}, {path, len * HASH_LEN}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        for (size_t i = 0; i < rows[r].len; i++) {
            rows[r].at[i] ^= 0x40;
            assert_int_equal(merkle_verify(hasher, &proof), ERR_DIGEST);
            rows[r].at[i] ^= 0x40;
        }
    }
    assert_int_equal(merkle_verify(hasher, &proof), 0);
}

static void test_hostile_proof_numbers(void **state)
{
    (void)state;
    uint8_t zero[HASH_LEN] = {0};
    static const struct {
        uint64_t index;
        uint64_t count;
        size_t path_len;
    } rows[] = {
        {0, 0, 0},
        {1, 1, 0},
        {UINT64_MAX, 1, 0},
        {0, UINT64_MAX, 0},
        {0, UINT64_MAX, 64},
        {UINT64_MAX - 1, UINT64_MAX, 64},
        {0, MERKLE_ENTRIES_MAX + 1, LIMIT_PROOF + 1},
        {0, 1, SIZE_MAX},
        {0, 2, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct merkle_proof proof = {rows[i].index, rows[i].count, zero, NULL,
                                     rows[i].path_len, zero};
        assert_int_equal(merkle_verify(hasher, &proof), ERR_DIGEST);
    }
    assert_int_equal(merkle_path_len(0, MERKLE_ENTRIES_MAX), LIMIT_PROOF);
    assert_int_equal(
        merkle_path_len(MERKLE_ENTRIES_MAX - 1, MERKLE_ENTRIES_MAX),
        LIMIT_PROOF);
    /* The last of 2^51 + 1 entries stands right below the root. */
    assert_int_equal(merkle_path_len(MERKLE_ENTRIES_MAX / 2,
                                     MERKLE_ENTRIES_MAX / 2 + 1), 1);
}

/* pattern(n) of the seed vectors: byte i is i mod 251. */
static void pattern_digests(size_t size, uint8_t *digests)
{
    for (size_t at = 0, i = 0; at < size; at += 4096, i++) {
        uint8_t chunk[4096];
        size_t len = size - at < sizeof chunk ? size - at : sizeof chunk;
        for (size_t k = 0; k < len; k++) {
            chunk[k] = (uint8_t)((at + k) % 251);
        }
        assert_int_equal(hash_sha256(hasher, chunk, len,
                                     digests + i * HASH_LEN), 0);
    }
}

static void test_seed_vector(void **state)
{
    (void)state;
    uint8_t digests[5 * HASH_LEN];
    uint8_t hash[HASH_LEN];
    pattern_digests(20000, digests);
    expect_hex(digests, "d67c656e01756650d77717b0839985a0"
                        "56ec28ffe174601d690fc407a2ceffca");
    assert_int_equal(merkle_leaf(hasher, 0, 4096, digests, hash), 0);
    expect_hex(hash, "876011e053fdcb01cc197f206191c47a"
                     "c7119fff961e452a94cc648fc26d1d95");
    assert_int_equal(merkle_root(hasher, 20000, 12, digests, 5, hash), 0);
    expect_hex(hash, "01ce2a128e1d7709d766f6c64641f445"
                     "5cc9aa2c6c25b14b3dec9bd493906bf5");
    assert_int_equal(cid_from_root(hasher, 20000, 12, hash, hash), 0);
    expect_hex(hash, "cc333f2bf3887f5abe401a776d37f9a8"
                     "cd2c70c5a5dcc2e48198b553ac64f844");
}

static void test_builder_counts(void **state)
{
    (void)state;
    uint8_t digests[5 * HASH_LEN];
    uint8_t whole[HASH_LEN];
    uint8_t got[HASH_LEN];
    pattern_digests(20000, digests);
    assert_int_equal(merkle_root(hasher, 20000, 12, digests, 5, whole), 0);
    assert_int_equal(merkle_root(hasher, 20000, 12, digests, 4, got),
                     ERR_RANGE);
    assert_int_equal(merkle_root(hasher, 16384, 12, digests, 5, got),
                     ERR_RANGE);

    struct merkle_builder builder;
    merkle_builder_init(&builder, 20000, 12);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(merkle_builder_root(&builder, hasher, got),
                         ERR_RANGE);
        assert_int_equal(merkle_builder_add(&builder, hasher,
                                            digests + i * HASH_LEN, 1), 0);
    }
    assert_int_equal(merkle_builder_add(&builder, hasher, digests, 1),
                     ERR_RANGE);
    assert_int_equal(merkle_builder_root(&builder, hasher, got), 0);
    assert_memory_equal(got, whole, HASH_LEN);
}

static void test_builder_of_blocks(void **state)
{
    (void)state;
    uint8_t digests[5 * HASH_LEN];
    uint8_t whole[HASH_LEN];
    uint8_t got[HASH_LEN];
    pattern_digests(20000, digests);
    assert_int_equal(merkle_root(hasher, 20000, 12, digests, 5, whole), 0);
    for (uint8_t b = 0; b <= 3; b++) {
        struct merkle_stack blocks;
        merkle_stack_init(&blocks);
        for (uint64_t at = 0; at < 5; at += UINT64_C(1) << b) {
            uint64_t end = at + (UINT64_C(1) << b);
            struct merkle_builder builder;
            end = end < 5 ? end : 5;
            merkle_builder_init_range(&builder, 20000, 12, at, end);
            assert_int_equal(
                merkle_builder_add(&builder, hasher,
                                   digests + at * HASH_LEN, end - at), 0);
            assert_int_equal(merkle_builder_root(&builder, hasher, got), 0);
            assert_int_equal(merkle_stack_add(&blocks, hasher, got), 0);
        }
        assert_int_equal(merkle_stack_root(&blocks, hasher, got), 0);
        assert_memory_equal(got, whole, HASH_LEN);
    }
}

static void test_stack_is_bounded(void **state)
{
    (void)state;
    uint8_t entry[HASH_LEN] = {0};
    struct merkle_stack stack;
    memset(&stack, 0, sizeof stack);
    stack.count = MERKLE_ENTRIES_MAX - 1;
    assert_int_equal(merkle_stack_add(&stack, hasher, entry), 0);
    assert_int_equal(merkle_stack_add(&stack, hasher, entry), ERR_LIMIT);
    assert_int_equal(stack.count, MERKLE_ENTRIES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc6962_roots),
        cmocka_unit_test(test_stack_and_tree_give_the_root),
        cmocka_unit_test(test_all_proofs),
        cmocka_unit_test(test_every_flipped_byte_is_noticed),
        cmocka_unit_test(test_hostile_proof_numbers),
        cmocka_unit_test(test_seed_vector),
        cmocka_unit_test(test_builder_counts),
        cmocka_unit_test(test_builder_of_blocks),
        cmocka_unit_test(test_stack_is_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
