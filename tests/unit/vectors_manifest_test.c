/* Runs every case of spec/vectors/manifest.json.  The names of its errors
 * stand for those of err.h as the table says. */
#include "tests/unit/vectors_util.h"

#include "proto/base/limits.h"
#include "proto/data/cid.h"
#include "proto/data/manifest.h"

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

static int code_of(const char *name)
{
    static const struct {
        const char *name;
        int err;
    } rows[] = {
        {"MALFORMED", ERR_MANIFEST},     {"BAD_SIGNATURE", ERR_SIGNATURE},
        {"NO_KNOWN_KEY", ERR_NO_KEY},    {"ROLLBACK", ERR_ROLLBACK},
        {"EXPIRED", ERR_EXPIRED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].err;
        }
    }
    fail_msg("no code %s", name);
    return 0;
}

struct known {
    struct note_key keys[MAX_NOTE_KEYS];
    bool verified[MAX_NOTE_KEYS];
    size_t count;
};

static void read_keys(json_t *input, struct known *known)
{
    json_t *list = json_object_get(input, "keys");
    known->count = json_array_size(list);
    assert_true(known->count <= MAX_NOTE_KEYS);
    for (size_t i = 0; i < known->count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        assert_int_equal(note_key_parse(hasher, text, strlen(text),
                                        &known->keys[i]), 0);
    }
}

static int accept(json_t *input, const struct manifest *manifest)
{
    const char *serial = vectors_string(input, "stored_serial");
    const char *digest = vectors_string(input, "stored_sha256");
    struct manifest_memory memory = {0};
    if (*serial != '\0') {
        memory.serial = strtoull(serial, NULL, 10);
        assert_int_equal(cid_hex_decode(digest, HASH_LEN, memory.digest), 0);
    }
    return manifest_accept(manifest, *serial != '\0' ? &memory : NULL,
                           strtoll(vectors_string(input, "now"), NULL, 10));
}

static json_t *number(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return json_string(text);
}

static json_t *hex(const void *bytes, size_t len)
{
    return vectors_hex((struct bytes_view){bytes, len});
}

static json_t *files_of(const struct manifest *manifest)
{
    struct manifest_walk walk;
    struct manifest_entry entry;
    json_t *list = json_array();
    int err;
    manifest_walk_init(&walk, manifest);
    while ((err = manifest_walk_next(&walk, &entry)) == 0) {
        json_t *row = json_object();
        json_object_set_new(row, "path", hex(entry.path, entry.path_len));
        json_object_set_new(row, "chunk_log2",
                            json_integer(entry.chunk_log2));
        json_object_set_new(row, "size", number(entry.size));
        json_object_set_new(row, "cid", hex(entry.cid, HASH_LEN));
        json_array_append_new(list, row);
    }
    assert_int_equal(err, ERR_EOF);
    assert_int_equal(json_array_size(list), manifest->count);
    return list;
}

static bool is_signer(const struct known *known, json_t *signers, size_t k)
{
    for (size_t i = 0; i < json_array_size(signers); i++) {
        const char *name = json_string_value(json_array_get(signers, i));
        if (strlen(name) == known->keys[k].name_len &&
            memcmp(name, known->keys[k].name, strlen(name)) == 0) {
            return true;
        }
    }
    return false;
}

/* What is written again is the same text, byte for byte. */
static void check_writing(const struct manifest *manifest)
{
    size_t cap = manifest->text.len;
    uint8_t *text = malloc(cap);
    struct manifest_walk walk;
    struct manifest_entry entry;
    struct manifest_order order;
    struct writer w;
    assert_non_null(text);
    writer_init(&w, text, cap);
    manifest_order_init(&order);
    manifest_write_head(&w, manifest->origin, manifest->origin_len,
                        manifest->serial, manifest->expires);
    manifest_walk_init(&walk, manifest);
    while (manifest_walk_next(&walk, &entry) == 0) {
        assert_int_equal(
            manifest_order_add(&order, entry.path, entry.path_len), 0);
        manifest_write_file(&w, &entry);
    }
    assert_int_equal(writer_err(&w), 0);
    assert_int_equal(writer_len(&w), cap);
    assert_memory_equal(text, manifest->text.ptr, cap);
    free(text);
}

static void check_good(json_t *vector, const struct known *known,
                       const struct manifest *manifest)
{
    json_t *signers = json_object_get(json_object_get(vector, "expected"),
                                      "signers");
    vectors_check_equal(vector, "origin",
                        hex(manifest->origin, manifest->origin_len));
    vectors_check_equal(vector, "serial", number(manifest->serial));
    vectors_check_equal(vector, "expires",
                        number((uint64_t)manifest->expires));
    vectors_check_equal(vector, "files", files_of(manifest));
    for (size_t k = 0; k < known->count; k++) {
        assert_int_equal(known->verified[k], is_signer(known, signers, k));
    }
    check_writing(manifest);
}

static void run(json_t *vector)
{
    json_t *input = json_object_get(vector, "input");
    const char *result = vectors_string(vector, "result");
    struct known known = {.count = 0};
    struct manifest manifest;
    struct note_fault fault;
    size_t len;
    uint8_t *data = vectors_unhex(vectors_string(input, "data"), &len);
    read_keys(input, &known);
    int err = manifest_open(hasher, (struct bytes_view){data, len},
                            known.keys, known.count, known.verified,
                            &manifest, &fault);
    bool opened = err == 0;
    if (opened) {
        err = accept(input, &manifest);
    } else {
        assert_non_null(fault.reason);
    }
    if (strcmp(result, "valid") == 0) {
        if (err != 0) {
            fail_msg("%s: %s", vectors_id(vector), err_name(err));
        }
        check_good(vector, &known, &manifest);
    } else {
        /* The one case that is "acceptable" is about a grace of time, which
         * this reader does not grant. */
        const char *code = vectors_string(json_object_get(vector, "error"),
                                          "code");
        if (err != code_of(code)) {
            fail_msg("%s: %s instead of %s", vectors_id(vector),
                     err_name(err), code);
        }
    }
    free(data);
}

static void vectors(void **state)
{
    json_t *file = vectors_load("manifest");
    json_t *list = json_object_get(file, "vectors");
    size_t index;
    json_t *vector;
    size_t count = 0;
    (void)state;
    json_array_foreach(list, index, vector) {
        run(vector);
        count++;
    }
    assert_int_equal(count,
                     json_integer_value(json_object_get(file, "count")));
    json_decref(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
