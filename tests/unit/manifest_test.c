/* proto/data/manifest.h: order of paths against a slow oracle, times, writing,
 * damage at every byte, and a large file.  Known answers are in
 * vectors_manifest_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proto/base/limits.h"
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

/* ---- Order. */

/* What manifest_order_add() says about a list, by the definition. */
static int slow_order(char paths[][8], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(paths[i], paths[i - 1]) == 0) {
            return ERR_EXISTS;
        }
        if (i > 0 && strcmp(paths[i], paths[i - 1]) < 0) {
            return ERR_STATE;
        }
        for (size_t j = 0; j < i; j++) {
            size_t len = strlen(paths[j]);
            if (strncmp(paths[i], paths[j], len) == 0 &&
                paths[i][len] == '/') {
                return ERR_NOT_A_DIRECTORY;
            }
        }
    }
    return 0;
}

static int fast_order(char paths[][8], size_t count)
{
    struct manifest_order order;
    manifest_order_init(&order);
    for (size_t i = 0; i < count; i++) {
        int err = manifest_order_add(&order, paths[i], strlen(paths[i]));
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void random_path(uint32_t *seed, char path[8])
{
    static const char *const parts[] = {"a", "a!", "b", "ab", "a0"};
    size_t len = (size_t)snprintf(path, 8, "%s",
                                  parts[next_random(seed) % 5]);
    while (next_random(seed) % 2 == 0 && len < 4) {
        len += (size_t)snprintf(path + len, 8 - len, "/%s",
                                parts[next_random(seed) % 5]);
    }
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void order_like_the_oracle(void **state)
{
    uint32_t seed = 1;
    unsigned seen[2] = {0, 0};
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        char paths[5][8];
        for (size_t i = 0; i < 5; i++) {
            random_path(&seed, paths[i]);
        }
        if (round % 4 != 0) {
            qsort(paths, 5, sizeof paths[0], by_bytes);
        }
        int expected = slow_order(paths, 5);
        assert_int_equal(fast_order(paths, 5), expected);
        seen[0] += expected == 0;
        seen[1] += expected == ERR_NOT_A_DIRECTORY;
    }
    assert_true(seen[0] > 100 && seen[1] > 100);
}

static void longest_paths(void **state)
{
    static struct manifest_order order;
    char path[LIMIT_PATH + 1];
    (void)state;
    for (size_t i = 0; i < sizeof path; i++) {
        path[i] = i % 200 == 199 ? '/' : 'p';
    }
    manifest_order_init(&order);
    assert_int_equal(manifest_order_add(&order, path, 1), 0);
    for (size_t len = 2; len < 200; len++) {
        assert_int_equal(manifest_order_add(&order, path, len), 0);
    }
    assert_int_equal(manifest_order_add(&order, path, LIMIT_PATH),
                     ERR_NOT_A_DIRECTORY);
    assert_int_equal(manifest_order_add(&order, path, LIMIT_PATH + 1),
                     ERR_PATH);
    assert_int_equal(manifest_order_add(&order, path, 0), ERR_PATH);
    manifest_order_init(&order);
    assert_int_equal(manifest_order_add(&order, path, LIMIT_PATH), 0);
    assert_int_equal(manifest_order_add(&order, "p!", 2), ERR_STATE);
    assert_int_equal(manifest_order_add(&order, "q", 1), 0);
}

/* ---- Times. */

static void times_like_the_library(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (unsigned round = 0; round < 20000; round++) {
        /* The years 1 to 9999. */
        uint64_t wide = (uint64_t)next_random(&seed) << 32 |
                        (uint64_t)next_random(&seed) << 16 |
                        next_random(&seed);
        time_t now = (time_t)(wide % UINT64_C(315537897600)) - 62135596800;
        struct tm tm;
        char text[MANIFEST_TIME_LEN + 1], expected[64];
        int64_t back;
        assert_non_null(gmtime_r(&now, &tm));
        snprintf(expected, sizeof expected,
                 "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                 tm.tm_sec);
        assert_int_equal(manifest_time_encode(now, text), 0);
        assert_string_equal(text, expected);
        assert_int_equal(manifest_time_parse(text, 20, &back), 0);
        assert_int_equal(back, now);
    }
}

static void times_at_the_ends(void **state)
{
    static const char *const bad[] = {
        "0000-01-01T00:00:00Z", "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z", "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-01-00T00:00:00Z",
        "2026-04-31T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z",
        "2026-01-01 00:00:00Z", "2026-01-01T00:00:00z",
        "+026-01-01T00:00:00Z", "2026-1-01T00:00:000Z",
    };
    char text[MANIFEST_TIME_LEN + 1];
    int64_t seconds;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(manifest_time_parse(bad[i], strlen(bad[i]),
                                             &seconds), ERR_SYNTAX);
    }
    assert_int_equal(
        manifest_time_parse("2026-01-01T00:00:00Z", 19, &seconds),
        ERR_SYNTAX);
    assert_int_equal(
        manifest_time_parse("2000-02-29T00:00:00Z", 20, &seconds), 0);
    assert_int_equal(manifest_time_encode(-62135596800, text), 0);
    assert_string_equal(text, "0001-01-01T00:00:00Z");
    assert_int_equal(manifest_time_encode(253402300799, text), 0);
    assert_string_equal(text, "9999-12-31T23:59:59Z");
    assert_int_equal(manifest_time_encode(-62135596801, text), ERR_RANGE);
    assert_int_equal(manifest_time_encode(253402300800, text), ERR_RANGE);
    assert_int_equal(manifest_time_encode(INT64_MAX, text), ERR_RANGE);
    assert_int_equal(manifest_time_encode(INT64_MIN, text), ERR_RANGE);
}

/* ---- A manifest of many files. */

struct signed_text {
    uint8_t *bytes;
    size_t len;
    struct note_key key;
};

static void make_manifest(size_t files, struct signed_text *out)
{
    size_t cap = 512 + files * 100;
    uint8_t seed[SIGN_SEED_LEN] = {9}, public_key[SIGN_PUBLIC_LEN];
    uint8_t signature[SIGN_LEN];
    char line[NOTE_LINE_MAX];
    struct writer w;
    out->bytes = malloc(cap);
    assert_non_null(out->bytes);
    writer_init(&w, out->bytes, cap);
    manifest_write_head(&w, "here", 4, 7, 4102444800);
    for (size_t i = 0; i < files; i++) {
        char path[32];
        struct manifest_entry entry = {
            .path = path, .size = i, .chunk_log2 = 12};
        memset(entry.cid, (int)(i % 251), sizeof entry.cid);
        entry.path_len = (size_t)snprintf(path, sizeof path, "d %% /%08zu",
                                          i);
        manifest_write_file(&w, &entry);
    }
    assert_int_equal(sign_public(seed, public_key), 0);
    assert_int_equal(note_key_init(hasher, "key", 3, public_key, &out->key),
                     0);
    assert_int_equal(sign_make(seed, out->bytes, writer_len(&w), signature),
                     0);
    note_line_encode(&out->key, signature, line);
    writer_u8(&w, '\n');
    writer_bytes(&w, (const uint8_t *)line, strlen(line));
    assert_int_equal(writer_err(&w), 0);
    out->len = writer_len(&w);
}

static void a_million_files(void **state)
{
    static struct manifest_walk walk;
    struct signed_text text;
    struct manifest manifest;
    struct manifest_entry entry;
    struct note_fault fault;
    bool verified;
    uint64_t count = 0;
    (void)state;
    make_manifest(1000000, &text);
    assert_int_equal(manifest_open(hasher,
                                   (struct bytes_view){text.bytes, text.len},
                                   &text.key, 1, &verified, &manifest,
                                   &fault), 0);
    assert_true(verified);
    assert_int_equal(manifest.count, 1000000);
    manifest_walk_init(&walk, &manifest);
    while (manifest_walk_next(&walk, &entry) == 0) {
        assert_int_equal(entry.size, count);
        count++;
    }
    assert_int_equal(count, 1000000);
    assert_int_equal(entry.path_len, 13);
    assert_memory_equal(entry.path, "d % /00999999", 13);
    free(text.bytes);
}

/* No single byte can be changed, added or lost without being noticed. */
static void damage_at_every_byte(void **state)
{
    struct signed_text text;
    struct manifest manifest;
    struct note_fault fault;
    bool verified;
    (void)state;
    make_manifest(3, &text);
    size_t base64_end = text.len - 1;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t *copy = malloc(text.len);
        assert_non_null(copy);
        memcpy(copy, text.bytes, text.len);
        copy[i] ^= 1;
        int err = manifest_open(hasher, (struct bytes_view){copy, text.len},
                                &text.key, 1, &verified, &manifest, &fault);
        /* The last digit of the base64 holds two bits that say nothing. */
        if (i + 2 != base64_end) {
            assert_true(err == ERR_MANIFEST || err == ERR_SIGNATURE ||
                        err == ERR_NO_KEY);
            assert_non_null(fault.reason);
        }
        memcpy(copy, text.bytes, i);
        err = manifest_open(hasher, (struct bytes_view){copy, i}, &text.key,
                            1, &verified, &manifest, &fault);
        assert_int_equal(err, ERR_MANIFEST);
        free(copy);
    }
    free(text.bytes);
}

static void text_before_signing(void **state)
{
    static const char head[] = "belay-manifest/1\norigin o\nserial 0\n"
                               "expires 2027-01-01T00:00:00Z\n";
    struct manifest manifest;
    struct note_fault fault;
    uint8_t other[HASH_LEN];
    char line[sizeof head + 40];
    (void)state;
    struct bytes_view text = {(const uint8_t *)head, strlen(head)};
    assert_int_equal(manifest_open_text(hasher, text, &manifest, &fault), 0);
    assert_int_equal(manifest.count, 0);
    memcpy(other, manifest.digest, sizeof other);
    /* The empty line is not part of what is signed. */
    size_t len = (size_t)snprintf(line, sizeof line, "%s\n", head);
    text = (struct bytes_view){(const uint8_t *)line, len};
    assert_int_equal(manifest_open_text(hasher, text, &manifest, &fault), 0);
    assert_memory_equal(other, manifest.digest, sizeof other);
    len = (size_t)snprintf(line, sizeof line, "%sjunk\n", head);
    text.len = len;
    assert_int_equal(manifest_open_text(hasher, text, &manifest, &fault),
                     ERR_MANIFEST);
    assert_int_equal(fault.line, 5);
    text.len = 0;
    assert_int_equal(manifest_open_text(hasher, text, &manifest, &fault),
                     ERR_MANIFEST);
}

static void what_cannot_be_written(void **state)
{
    uint8_t buffer[64];
    struct writer w;
    struct manifest_entry entry = {.path = "p", .path_len = 1,
                                   .chunk_log2 = 11};
    (void)state;
    writer_init(&w, buffer, sizeof buffer);
    manifest_write_head(&w, "a b", 3, 1, 0);
    assert_int_equal(writer_err(&w), ERR_SYNTAX);
    writer_init(&w, buffer, sizeof buffer);
    manifest_write_head(&w, "a", 1, 1, INT64_MAX);
    assert_int_equal(writer_err(&w), ERR_SYNTAX);
    writer_init(&w, buffer, 40);
    manifest_write_head(&w, "a", 1, 1, 0);
    assert_int_equal(writer_err(&w), ERR_SPACE);
    writer_init(&w, buffer, sizeof buffer);
    manifest_write_file(&w, &entry);
    assert_int_equal(writer_err(&w), ERR_SYNTAX);
}

/* ---- One line that is another. */

#define HEX16 "0123456789abcdef"
#define FILE_CID HEX16 HEX16 HEX16 HEX16

static const char *const good_lines[] = {
    "belay-manifest/1", "origin o", "serial 7",
    "expires 2027-01-01T00:00:00Z", FILE_CID " 12 5000 dir/a"};

#define LINES (sizeof good_lines / sizeof good_lines[0])

/* NULL: it is accepted. */
static const struct {
    unsigned line; /* 1 is the first */
    const char *text;
    const char *reason;
} replaced[] = {
    {1, "belay-manifest/1x", "this is not \"belay-manifest/1\""},
    {1, "belay-manifest/", "this is not \"belay-manifest/1\""},
    {1, "Belay-manifest/1", "this is not \"belay-manifest/1\""},
    {2, "origin ", "this is no origin"},
    {2, "origin", "this is no origin"},
    {2, "serial 7", "this is no origin"},
    {3, "serial ", "this is no serial"},
    {3, "serial 07", "this is no serial"},
    {3, "serial 7:", "this is no serial"},
    {3, "serial 7/", "this is no serial"},
    {3, "serial -7", "this is no serial"},
    {3, "serial 0", NULL},
    {3, "serial 18446744073709551615", NULL},
    {3, "serial 18446744073709551616", "this is no serial"},
    {3, "serial 184467440737095516150", "this is no serial"},
    {4, "expires 2027-01-01T00:00:00", "this is no time of expiry"},
    {5, FILE_CID " 12 5000 ", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000", "this is no file line"},
    {5, FILE_CID " 12 ", "this is no file line"},
    {5, FILE_CID "_12 5000 a", "this is no file line"},
    {5, FILE_CID " 12_5000 a", "this is no file line"},
    {5, FILE_CID " /2 5000 a", "this is no file line"},
    {5, FILE_CID " :2 5000 a", "this is no file line"},
    {5, FILE_CID " 1/ 5000 a", "this is no file line"},
    {5, FILE_CID " 1: 5000 a", "this is no file line"},
    {5, FILE_CID " 12 5000x a", "this is no file line"},
    {5, HEX16 HEX16 HEX16 "/123456789abcdef 12 5000 a",
     "this is no file line"},
    {5, HEX16 HEX16 HEX16 ":123456789abcdef 12 5000 a",
     "this is no file line"},
    {5, HEX16 HEX16 HEX16 "A123456789abcdef 12 5000 a",
     "this is no file line"},
    {5, HEX16 HEX16 HEX16 "g123456789abcdef 12 5000 a",
     "this is no file line"},
    {5, FILE_CID " 11 5000 a",
     "this file cannot have that size and chunk size"},
    {5, FILE_CID " 12 9223372036854775808 a",
     "this file cannot have that size and chunk size"},
    {5, FILE_CID " 12 5000 a%20%25%7F%0A", NULL},
    {5, FILE_CID " 12 5000 a%2", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a%/0", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a%0/", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a%:0", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a%@0", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a%G0", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a%7f", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a%41", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a b", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 a\x7f", "the path is not written as it has to be"},
    {5, FILE_CID " 12 5000 ../a", "this path is not acceptable"},
};

/* Opens the good lines with one of them replaced; `end` stands behind all. */
static int open_with(unsigned line, const char *text, const char *end,
                     struct manifest *m, struct note_fault *fault)
{
    static char all[LIMIT_PATH + 1000];
    size_t at = 0;

    for (unsigned k = 0; k < LINES; k++) {
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s",
                               k + 1 == line ? text : good_lines[k],
                               k + 1 < LINES ? "\n" : end);
    }
    assert_true(at < sizeof all);
    return manifest_open_text(hasher,
                              (struct bytes_view){(const uint8_t *)all, at},
                              m, fault);
}

static void each_line_replaced(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof replaced / sizeof replaced[0]; k++) {
        struct note_fault fault = {0};
        struct manifest m;
        int err = open_with(replaced[k].line, replaced[k].text, "\n", &m,
                            &fault);

        if (replaced[k].reason == NULL) {
            if (err != 0) {
                fail_msg("%s: %s", replaced[k].text, fault.reason);
            }
            assert_int_equal(m.count, 1);
            continue;
        }
        if (err != ERR_MANIFEST || fault.line != replaced[k].line ||
            strcmp(fault.reason, replaced[k].reason) != 0) {
            fail_msg("%s: %d in line %u: %s", replaced[k].text, err,
                     (unsigned)fault.line, fault.reason);
        }
    }
}

static void ends_and_lengths(void **state)
{
    static char line[LIMIT_PATH + 200];
    const struct bytes_view huge = {(const uint8_t *)line,
                                    MAX_MANIFEST_BYTES + 1};
    struct manifest_entry entry;
    struct manifest_walk walk;
    struct note_fault fault;
    struct manifest m;
    size_t at;

    (void)state;
    assert_int_equal(open_with(0, "", "", &m, &fault), ERR_MANIFEST);
    assert_int_equal(fault.line, 5);
    assert_string_equal(fault.reason, "its last line has no end");
    assert_int_equal(open_with(0, "", "\n\n", &m, &fault), 0);
    assert_int_equal(m.serial, 7);
    assert_int_equal(m.count, 1);
    manifest_walk_init(&walk, &m);
    assert_int_equal(manifest_walk_next(&walk, &entry), 0);
    assert_int_equal(entry.size, 5000);
    assert_int_equal(entry.chunk_log2, 12);
    assert_int_equal(entry.path_len, 5);
    assert_memory_equal(entry.path, "dir/a", 5);
    assert_int_equal(manifest_walk_next(&walk, &entry), ERR_EOF);
    /* The longest path, and one byte more. */
    at = (size_t)snprintf(line, sizeof line, FILE_CID " 12 5000 ");
    for (size_t k = 0; k <= LIMIT_PATH; k++) {
        line[at + k] = k % 200 == 199 ? '/' : 'p';
    }
    line[at + LIMIT_PATH] = '\0';
    assert_int_equal(open_with(5, line, "\n", &m, &fault), 0);
    line[at + LIMIT_PATH] = 'p';
    assert_int_equal(open_with(5, line, "\n", &m, &fault), ERR_MANIFEST);
    assert_string_equal(fault.reason,
                        "the path is not written as it has to be");
    /* It is not even looked at. */
    assert_int_equal(manifest_open_text(hasher, huge, &m, &fault), ERR_LIMIT);
    assert_int_equal(manifest_open(hasher, huge, NULL, 0, NULL, &m, &fault),
                     ERR_LIMIT);
    assert_string_equal(fault.reason, "it is too large");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_like_the_oracle),
        cmocka_unit_test(longest_paths),
        cmocka_unit_test(times_like_the_library),
        cmocka_unit_test(times_at_the_ends),
        cmocka_unit_test(a_million_files),
        cmocka_unit_test(damage_at_every_byte),
        cmocka_unit_test(text_before_signing),
        cmocka_unit_test(what_cannot_be_written),
        cmocka_unit_test(each_line_replaced),
        cmocka_unit_test(ends_and_lengths),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
