/* Runs spec/vectors/{merkle,cid,path,chunk}.json against the data room.  The
 * keys are those of spec/vectors/README.md.  Each file tells how many cases it
 * has, so that a case that was not run is an error.  The `gate` cases of
 * chunk.json are about what a client asked for; the session's tests run
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/data/hash.h"
#include "proto/data/merkle.h"
#include "proto/data/relpath.h"
#include "proto/data/zpack.h"

/* Each returns 0 when the input was accepted and gave what is expected. */
typedef int run_fn(const json_t *input, const json_t *expected);

static struct hasher *hasher;
/* Both kinds of libraries have to agree with the vectors. */
static struct zpack *packs[2];

static int setup(void **state)
{
    (void)state;
    hasher = hasher_new();
    packs[0] = zpack_new();
    packs[1] = zpack_new_zlib();
    bool ok = hasher != NULL && packs[0] != NULL && packs[1] != NULL;
    return ok ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    hasher_free(hasher);
    zpack_free(packs[0]);
    zpack_free(packs[1]);
    return 0;
}

/* ---- Values.  What is missing or of another type fails the test. */

static const char *get_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL) {
        fail_msg("no text in \"%s\"", key);
    }
    return text;
}

static uint64_t get_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value)) {
        return (uint64_t)json_integer_value(value);
    }
    char *end;
    uint64_t number = strtoull(get_text(object, key), &end, 10);
    assert_int_equal(*end, '\0');
    return number;
}

/* Decodes hex to memory of exactly its length, so that a sanitizer sees any
 * access beyond. */
static uint8_t *from_hex(const char *hex, size_t *len)
{
    *len = strlen(hex) / 2;
    uint8_t *bytes = malloc(*len > 0 ? *len : 1);
    assert_non_null(bytes);
    assert_int_equal(strlen(hex) % 2, 0);
    assert_int_equal(cid_hex_decode(hex, *len, bytes), 0);
    return bytes;
}

static void get_hash(const json_t *object, const char *key, uint8_t *hash)
{
    const char *hex = get_text(object, key);
    assert_int_equal(strlen(hex), 2 * HASH_LEN);
    assert_int_equal(cid_hex_decode(hex, HASH_LEN, hash), 0);
}

/* Hashes of an array of hex strings, flat. */
static uint8_t *get_hashes(const json_t *object, const char *key,
                           size_t *count)
{
    const json_t *list = json_object_get(object, key);
    assert_true(json_is_array(list));
    *count = json_array_size(list);
    uint8_t *hashes = malloc(*count * HASH_LEN + 1);
    assert_non_null(hashes);
    for (size_t i = 0; i < *count; i++) {
        const char *hex = json_string_value(json_array_get(list, i));
        assert_non_null(hex);
        assert_int_equal(strlen(hex), 2 * HASH_LEN);
        assert_int_equal(
            cid_hex_decode(hex, HASH_LEN, hashes + i * HASH_LEN), 0);
    }
    return hashes;
}

static void expect_hash(const json_t *expected, const char *key,
                        const uint8_t *hash)
{
    char hex[2 * HASH_LEN + 1];
    cid_hex_encode(hash, HASH_LEN, hex);
    assert_string_equal(hex, get_text(expected, key));
}

/* ---- Files of pattern bytes */

struct file {
    uint8_t *bytes;
    uint64_t size;
    uint8_t chunk_log2;
    uint64_t chunks;
    uint8_t *digests;
};

/* Digests of the file that the input describes; file_free() it. */
static void file_make(struct file *file, const json_t *input)
{
    file->size = get_number(input, "pattern_len");
    file->chunk_log2 = (uint8_t)get_number(input, "chunk_log2");
    file->chunks = cid_chunk_count(file->size, file->chunk_log2);
    file->bytes = malloc(file->size + 1);
    file->digests = malloc(file->chunks * HASH_LEN + 1);
    struct hash_item *items = calloc(file->chunks + 1, sizeof *items);
    assert_true(file->bytes != NULL && file->digests != NULL &&
                items != NULL);
    for (uint64_t i = 0; i < file->size; i++) {
        file->bytes[i] = (uint8_t)(i % 251);
    }
    const json_t *inverted = json_object_get(input, "invert_at");
    assert_true(json_is_array(inverted));
    for (size_t i = 0; i < json_array_size(inverted); i++) {
        const json_t *at = json_array_get(inverted, i);
        uint64_t index = json_is_integer(at)
                             ? (uint64_t)json_integer_value(at)
                             : strtoull(json_string_value(at), NULL, 10);
        assert_true(index < file->size);
        file->bytes[index] ^= 0xff;
    }
    for (uint64_t i = 0; i < file->chunks; i++) {
        items[i] = (struct hash_item){
            file->bytes + cid_chunk_offset(file->chunk_log2, i),
            cid_chunk_len(file->size, file->chunk_log2, i),
            file->digests + i * HASH_LEN,
        };
    }
    assert_int_equal(hash_sha256_many(hasher, items, file->chunks), 0);
    free(items);
}

static void file_free(struct file *file)
{
    free(file->bytes);
    free(file->digests);
}

/* ---- merkle.json */

static int run_tree(const json_t *input, const json_t *expected)
{
    size_t count;
    uint8_t *leaves = get_hashes(input, "leaves", &count);
    uint8_t root[HASH_LEN];
    struct merkle_stack stack;
    merkle_stack_init(&stack);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(
            merkle_stack_add(&stack, hasher, leaves + i * HASH_LEN), 0);
    }
    assert_int_equal(merkle_stack_root(&stack, hasher, root), 0);
    expect_hash(expected, "root", root);
    free(leaves);
    return 0;
}

static int run_file(const json_t *input, const json_t *expected)
{
    struct file file;
    file_make(&file, input);
    assert_int_equal(file.chunks, get_number(expected, "chunks"));
    uint64_t last_len = 0;
    if (file.chunks > 0) {
        last_len = cid_chunk_len(file.size, file.chunk_log2, file.chunks - 1);
    }
    assert_int_equal(last_len, get_number(expected, "last_len"));

    size_t count;
    uint8_t *digests = get_hashes(expected, "digests", &count);
    assert_int_equal(count, file.chunks);
    assert_memory_equal(digests, file.digests, count * HASH_LEN);
    uint8_t *leaves = get_hashes(expected, "leaves", &count);
    assert_int_equal(count, file.chunks);
    for (uint64_t i = 0; i < file.chunks; i++) {
        uint8_t leaf[HASH_LEN];
        assert_int_equal(
            merkle_leaf(hasher, cid_chunk_offset(file.chunk_log2, i),
                        cid_chunk_len(file.size, file.chunk_log2, i),
                        file.digests + i * HASH_LEN, leaf), 0);
        assert_memory_equal(leaf, leaves + i * HASH_LEN, HASH_LEN);
    }
    uint8_t root[HASH_LEN];
    assert_int_equal(merkle_root(hasher, file.size, file.chunk_log2,
                                 file.digests, file.chunks, root), 0);
    expect_hash(expected, "root", root);
    free(digests);
    free(leaves);
    file_free(&file);
    return 0;
}

static int run_proof(const json_t *input, const json_t *expected)
{
    uint8_t root[HASH_LEN];
    uint8_t entry[HASH_LEN];
    struct merkle_proof proof = {
        .index = get_number(input, "block_index"),
        .count = get_number(input, "block_count"),
        .entry = entry,
        .root = root,
    };
    get_hash(input, "root", root);
    get_hash(input, "block_hash", entry);
    uint8_t *path = get_hashes(input, "path", &proof.path_len);
    proof.path = path;
    int err = merkle_verify(hasher, &proof);
    if (err == 0) {
        assert_int_equal(proof.path_len, get_number(expected, "path_len"));
    }
    free(path);
    return err;
}

static int run_path_len(const json_t *input, const json_t *expected)
{
    uint64_t index = get_number(input, "block_index");
    uint64_t count = get_number(input, "block_count");
    /* The caller's part of the contract. */
    if (index >= count || count > MERKLE_ENTRIES_MAX) {
        return ERR_RANGE;
    }
    assert_int_equal(merkle_path_len(index, count),
                     get_number(expected, "path_len"));
    return 0;
}

/* ---- cid.json */

static void expect_cid(const json_t *expected, uint8_t chunk_log2,
                       const uint8_t *cid)
{
    char text[CID_TEXT_LEN + 1];
    expect_hash(expected, "cid", cid);
    cid_encode(chunk_log2, cid, text);
    assert_string_equal(text, get_text(expected, "text"));
}

static int run_cid_file(const json_t *input, const json_t *expected)
{
    struct file file;
    uint8_t hash[HASH_LEN];
    file_make(&file, input);
    assert_int_equal(merkle_root(hasher, file.size, file.chunk_log2,
                                 file.digests, file.chunks, hash), 0);
    assert_int_equal(cid_from_root(hasher, file.size, file.chunk_log2, hash,
                                   hash), 0);
    expect_cid(expected, file.chunk_log2, hash);
    file_free(&file);
    return 0;
}

static int run_cid_parts(const json_t *input, const json_t *expected)
{
    uint8_t hash[HASH_LEN];
    uint64_t size = get_number(input, "size");
    uint64_t chunk_log2 = get_number(input, "chunk_log2");
    if (chunk_log2 > UINT8_MAX ||
        !cid_geometry_ok(size, (unsigned int)chunk_log2)) {
        return ERR_RANGE;
    }
    get_hash(input, "root", hash);
    assert_int_equal(cid_from_root(hasher, size, (uint8_t)chunk_log2, hash,
                                   hash), 0);
    expect_cid(expected, (uint8_t)chunk_log2, hash);
    return 0;
}

static int run_cid_text(const json_t *input, const json_t *expected)
{
    const char *text = get_text(input, "text");
    uint8_t cid[HASH_LEN];
    uint8_t chunk_log2;
    int err = cid_parse(text, strlen(text), &chunk_log2, cid);
    if (err == 0) {
        assert_int_equal(chunk_log2, get_number(expected, "chunk_log2"));
        expect_hash(expected, "cid", cid);
    }
    return err;
}

static int run_cid_default(const json_t *input, const json_t *expected)
{
    assert_int_equal(cid_recommended_chunk_log2(get_number(input, "size")),
                     get_number(expected, "chunk_log2"));
    return 0;
}

/* ---- path.json */

static void expect_parts(const char *path, size_t len, const json_t *expected)
{
    const json_t *parts = json_object_get(expected, "parts");
    size_t count = 0;
    size_t pos = 0;
    struct relpath_part part;
    while (relpath_next(path, len, &pos, &part)) {
        char hex[2 * LIMIT_COMPONENT + 1];
        assert_true(part.len <= LIMIT_COMPONENT);
        cid_hex_encode((const uint8_t *)part.name, part.len, hex);
        const char *want = json_string_value(json_array_get(parts, count++));
        assert_non_null(want);
        assert_string_equal(hex, want);
    }
    assert_int_equal(count, json_array_size(parts));
}

static int run_path(const json_t *input, const json_t *expected)
{
    size_t len;
    uint8_t *bytes = from_hex(get_text(input, "bytes"), &len);
    int err = relpath_check((const char *)bytes, len);
    if (err == 0) {
        expect_parts((const char *)bytes, len, expected);
    }
    free(bytes);
    return err;
}

static int run_name(const json_t *input, const json_t *expected,
                    enum relpath_rules rules)
{
    size_t len;
    uint8_t *bytes = from_hex(get_text(input, "bytes"), &len);
    bool ok = relpath_name_ok((const char *)bytes, len, rules);
    if (ok) {
        expect_parts((const char *)bytes, len, expected);
    }
    free(bytes);
    return ok ? 0 : ERR_PATH;
}

static int run_posix(const json_t *input, const json_t *expected)
{
    return run_name(input, expected, RELPATH_POSIX);
}

static int run_windows(const json_t *input, const json_t *expected)
{
    return run_name(input, expected, RELPATH_WINDOWS);
}

/* ---- chunk.json */

/* The raw bytes of a chunk, as a receiver gets at them. */
static int decode(struct zpack *zpack, uint8_t codec, const uint8_t *stored,
                  size_t stored_len, uint8_t *raw, size_t raw_len)
{
    if (!zpack_stored_len_ok(codec, stored_len, raw_len)) {
        return ERR_CODEC;
    }
    switch (codec) {
    case CODEC_RAW:
        memcpy(raw, stored, raw_len);
        return 0;
    case CODEC_ZERO:
        memset(raw, 0, raw_len);
        return zpack_is_zero(raw, raw_len) ? 0 : ERR_INTERNAL;
    default:
        return zpack_inflate(zpack, stored, stored_len, raw, raw_len);
    }
}

static int run_codec(const json_t *input, const json_t *expected)
{
    size_t stored_len;
    uint8_t *stored = from_hex(get_text(input, "stored"), &stored_len);
    size_t raw_len = get_number(input, "raw_len");
    uint8_t *raw = malloc(raw_len);
    int errs[2];
    assert_non_null(raw);
    for (size_t i = 0; i < 2; i++) {
        errs[i] = decode(packs[i], (uint8_t)get_number(input, "codec"),
                         stored, stored_len, raw, raw_len);
        if (errs[i] == 0) {
            uint8_t digest[HASH_LEN];
            assert_int_equal(hash_sha256(hasher, raw, raw_len, digest), 0);
            expect_hash(expected, "raw_sha256", digest);
        }
    }
    assert_int_equal(errs[0], errs[1]);
    free(stored);
    free(raw);
    return errs[0];
}

/* ---- All files */

static const struct {
    const char *file;
    const char *kind;
    run_fn *run;  /* NULL: another test runs these. */
} kinds[] = {
    {"merkle", "tree", run_tree},
    {"merkle", "file", run_file},
    {"merkle", "proof", run_proof},
    {"merkle", "path_len", run_path_len},
    {"cid", "file", run_cid_file},
    {"cid", "parts", run_cid_parts},
    {"cid", "text", run_cid_text},
    {"cid", "default", run_cid_default},
    {"path", "path", run_path},
    {"path", "posix", run_posix},
    {"path", "windows", run_windows},
    {"chunk", "codec", run_codec},
    {"chunk", "gate", NULL},
};

static void run_vector(const char *file, const json_t *vector)
{
    const json_t *input = json_object_get(vector, "input");
    const char *kind = get_text(input, "kind");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].file, file) != 0 ||
            strcmp(kinds[i].kind, kind) != 0) {
            continue;
        }
        const char *result = get_text(vector, "result");
        if (kinds[i].run == NULL || strcmp(result, "acceptable") == 0) {
            return;
        }
        int err = kinds[i].run(input, json_object_get(vector, "expected"));
        if ((err == 0) != (strcmp(result, "valid") == 0)) {
            fail_msg("%s: %s, but the result is %s", get_text(vector, "id"),
                     result, err_name(err));
        }
        return;
    }
    fail_msg("%s: unknown kind %s", file, kind);
}

static void run_vectors(const char *file)
{
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof path, "%s/spec/vectors/%s.json", TEST_SOURCE_DIR,
             file);
    json_t *root = json_load_file(path, 0, &error);
    if (root == NULL) {
        fail_msg("%s: %s", path, error.text);
    }
    const json_t *vectors = json_object_get(root, "vectors");
    size_t count = json_array_size(vectors);
    assert_int_equal(get_number(root, "version"), 1);
    assert_int_equal(get_number(root, "count"), count);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        run_vector(file, json_array_get(vectors, i));
    }
    json_decref(root);
}

static void test_merkle(void **state)
{
    (void)state;
    run_vectors("merkle");
}

static void test_cid(void **state)
{
    (void)state;
    run_vectors("cid");
}

static void test_path(void **state)
{
    (void)state;
    run_vectors("path");
}

static void test_chunk(void **state)
{
    (void)state;
    run_vectors("chunk");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merkle),
        cmocka_unit_test(test_cid),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_chunk),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
