/* Receipts: the published vectors, both ways, and texts that are none
 * (RC1-F1, RC1-F2, RC1-F3, RC1-F4, RC1-U1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/data/merkle.h"
#include "proto/data/receipt.h"

#define VECTORS TEST_SOURCE_DIR "/spec/vectors/receipt"
#define TEXT_MAX ((size_t)1 << 20)

/* Exactly as many bytes as there are, so that reading on is found out. */
static char *load(const char *name, size_t *len)
{
    char path[1024];
    char *text = malloc(TEXT_MAX);
    FILE *file;

    assert_non_null(text);
    (void)snprintf(path, sizeof path, "%s/%s", VECTORS, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    *len = fread(text, 1, TEXT_MAX, file);
    fclose(file);
    char *exact = malloc(*len > 0 ? *len : 1);

    assert_non_null(exact);
    memcpy(exact, text, *len);
    free(text);
    return exact;
}

/* What is written for this receipt. */
static char *render(const struct receipt *r, size_t *len)
{
    char *out = malloc(RECEIPT_HEAD_MAX + r->chunks * RECEIPT_LINE_LEN + 8);
    uint8_t digest[HASH_LEN];
    size_t at;

    assert_non_null(out);
    at = receipt_head(r, out, RECEIPT_HEAD_MAX);
    for (uint64_t k = 0; k < r->chunks; k++) {
        receipt_digest(r, k, digest);
        receipt_line(digest, out + at);
        at += RECEIPT_LINE_LEN;
    }
    memcpy(out + at, RECEIPT_END, strlen(RECEIPT_END));
    *len = at + strlen(RECEIPT_END);
    return out;
}

/* The plain name behind an encoded one. */
static size_t decode_name(const struct receipt *r, char *out)
{
    size_t n = 0;

    for (size_t k = 0; k < r->name_len; k++) {
        if (r->name[k] == '%') {
            char hex[3] = {r->name[k + 1], r->name[k + 2], '\0'};

            out[n++] = (char)strtoul(hex, NULL, 16);
            k += 2;
        } else {
            out[n++] = r->name[k];
        }
    }
    return n;
}

/* Accepted bytes are what is written for their meaning. */
static void check_good(const char *file, struct hasher *hasher)
{
    struct receipt_error where = {0};
    struct receipt r;
    char name[RECEIPT_NAME_MAX];
    size_t len, again_len;
    char *text = load(file, &len);
    char *again;

    if (receipt_parse(text, len, &r, &where) != 0) {
        fail_msg("%s: line %d: %s", file, (int)where.line, where.reason);
    }
    assert_int_equal(receipt_check(&r, hasher), 0);
    r.name_len = decode_name(&r, name);
    r.name = name;
    again = render(&r, &again_len);
    assert_int_equal(again_len, len);
    assert_memory_equal(again, text, len);
    free(again);
    free(text);
}

static void check_bad(const char *file)
{
    struct receipt_error where = {0};
    struct receipt r;
    size_t len;
    char *text = load(file, &len);

    if (receipt_parse(text, len, &r, &where) != ERR_SYNTAX) {
        fail_msg("%s: accepted", file);
    }
    assert_true(where.line > 0);
    assert_non_null(where.reason);
    free(text);
}

static void check_tampered(const char *file, struct hasher *hasher)
{
    struct receipt r;
    size_t len;
    char *text = load(file, &len);

    assert_int_equal(receipt_parse(text, len, &r, NULL), 0);
    assert_int_equal(receipt_check(&r, hasher), ERR_DIGEST);
    free(text);
}

static void test_vectors(void **state)
{
    struct hasher *hasher = hasher_new();
    DIR *dir = opendir(VECTORS);
    unsigned good = 0, bad = 0, tampered = 0;
    struct dirent *entry;

    (void)state;
    assert_non_null(hasher);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, "good-", 5) == 0) {
            check_good(entry->d_name, hasher);
            good++;
        } else if (strncmp(entry->d_name, "bad-", 4) == 0) {
            check_bad(entry->d_name);
            bad++;
        } else if (strncmp(entry->d_name, "tampered-", 9) == 0) {
            check_tampered(entry->d_name, hasher);
            tampered++;
        }
    }
    closedir(dir);
    hasher_free(hasher);
    assert_int_equal(good, 4);
    assert_int_equal(bad, 20);
    assert_int_equal(tampered, 2);
}

/* Every receipt that is cut off, anywhere, is none; and no byte of one can
 * be changed unnoticed, but in what is said for people only. */
static void test_each_byte(void **state)
{
    struct hasher *hasher = hasher_new();
    struct receipt r;
    size_t len;
    char *text = load("good-least.txt", &len);

    (void)state;
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(receipt_parse(text, cut, &r, NULL), ERR_SYNTAX);
    }
    for (size_t at = 0; at < len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            text[at] = (char)(text[at] ^ (1 << bit));
            if (receipt_parse(text, len, &r, NULL) == 0 &&
                receipt_check(&r, hasher) == 0) {
                fail_msg("bit %u of byte %zu does not matter", bit, at);
            }
            text[at] = (char)(text[at] ^ (1 << bit));
        }
    }
    assert_int_equal(receipt_parse(text, len, &r, NULL), 0);
    free(text);
    hasher_free(hasher);
}

/* What a writer leaves out rather than write what no reader accepts. */
static void test_left_out(void **state)
{
    static char long_name[RECEIPT_NAME_MAX + 1];
    struct receipt r = {.chunk_log2 = 18, .url = "a b", .url_len = 3};
    char out[RECEIPT_HEAD_MAX + 8];
    struct receipt again;
    size_t len;

    (void)state;
    memset(long_name, 'x', sizeof long_name);
    r.name = long_name;
    r.name_len = sizeof long_name;
    for (unsigned n = 0; n < 2; n++) {
        len = receipt_head(&r, out, RECEIPT_HEAD_MAX);
        memcpy(out + len, RECEIPT_END, 4);
        assert_int_equal(receipt_parse(out, len + 4, &again, NULL), 0);
        assert_int_equal(again.url_len, 0);
        assert_int_equal(again.name_len, n == 0 ? 0 : RECEIPT_NAME_MAX);
        r.name_len = RECEIPT_NAME_MAX;
    }
    /* 255 bytes, the longest file name, fit in any case. */
    memset(long_name, 0xFF, 255);
    r.name_len = 255;
    len = receipt_head(&r, out, RECEIPT_HEAD_MAX);
    memcpy(out + len, RECEIPT_END, 4);
    assert_int_equal(receipt_parse(out, len + 4, &again, NULL), 0);
    assert_int_equal(again.name_len, RECEIPT_NAME_MAX);
}

/* ---- one line that is another. */

#define HEX16 "0123456789abcdef"
#define HEX64 HEX16 HEX16 HEX16 HEX16

static const char *const good_lines[] = {
    "belay receipt 1", "cid bl1-12-" HEX64, "size 4000", "sha256 " HEX64,
    "time 2026-11-23T12:00:00Z", "url https://host/a%41", "name a%20b",
    "chunks 1", HEX64, "end"};

#define LINES (sizeof good_lines / sizeof good_lines[0])

#define NO_CID "a content id should be here"
#define NO_SIZE "the size should be here"
#define NO_SHA "a SHA-256 is 64 lower-case hexadecimal digits"
#define NO_TIME "a time looks like 2026-11-23T12:00:00Z"
#define NO_URL "the URL is too long, or holds other bytes than printable ones"
#define NO_NAME                                                              \
    "the name is too long, or holds other bytes than printable ones"
#define NO_CHUNKS "the number of chunks that fits the size should be here"
#define NO_DIGEST "a digest is 64 lower-case hexadecimal digits"
#define NO_END "the word end should be here, and nothing behind"

/* NULL: it is accepted. */
static const struct {
    unsigned line; /* 1 is the first */
    const char *text;
    const char *reason;
} replaced[] = {
    {1, "belay receipt 2",
     "it is no receipt of a version that is known"},
    {1, "belay receipt 1 ",
     "it is no receipt of a version that is known"},
    {2, "cid", NO_CID},
    {2, "cid ", NO_CID},
    {2, "cidx" HEX64, NO_CID},
    {2, "size 4000", NO_CID},
    {3, "size ", NO_SIZE},
    {3, "size 04000", NO_SIZE},
    {3, "size 4000/", NO_SIZE},
    {3, "size 4000:", NO_SIZE},
    {3, "size 9223372036854775808", NO_SIZE},
    {3, "size 92233720368547758070", NO_SIZE},
    {4, "sha256 " HEX16 HEX16 HEX16, NO_SHA},
    {4, "sha256 " HEX16 HEX16 HEX16 "0123456789ABCDEF", NO_SHA},
    {4, "sha256 " HEX16 HEX16 HEX16 "0123456789abcdeg", NO_SHA},
    {5, "time 2026-11-23T12:00:00", NO_TIME},
    {5, "time 2026-11-23T12:00:00Zx", NO_TIME},
    {5, "time 2026/11-23T12:00:00Z", NO_TIME},
    {5, "time 202/-11-23T12:00:00Z", NO_TIME},
    {5, "time 202:-11-23T12:00:00Z", NO_TIME},
    {5, "time 2026-00-23T12:00:00Z", NO_TIME},
    {5, "time 2026-13-23T12:00:00Z", NO_TIME},
    {5, "time 2026-11-00T12:00:00Z", NO_TIME},
    {5, "time 2026-11-32T12:00:00Z", NO_TIME},
    {5, "time 2026-11-23T24:00:00Z", NO_TIME},
    {5, "time 2026-11-23T12:60:00Z", NO_TIME},
    {5, "time 2026-11-23T12:00:61Z", NO_TIME},
    {5, "time 0000-01-01T00:00:00Z", NULL},
    {5, "time 9999-12-31T23:59:60Z", NULL},
    {6, "url a b", NO_URL},
    {6, "url a\x7f", NO_URL},
    {6, "url a\xc3\xa4", NO_URL},
    {6, "url ", NO_URL},
    {7, "name ", NO_NAME},
    {7, "name a\x7f", NO_NAME},
    {7, "name a%2", NO_NAME},
    {7, "name a%/0", NO_NAME},
    {7, "name a%:0", NO_NAME},
    {7, "name a%@0", NO_NAME},
    {7, "name a%G0", NO_NAME},
    {7, "name a%2/", NO_NAME},
    {7, "name a%2a", NO_NAME},
    {7, "name a%41", NO_NAME},
    {7, "name a%25%FF%7F", NULL},
    {8, "chunks 2", NO_CHUNKS},
    {8, "chunks ", NO_CHUNKS},
    {8, "chunks 01", NO_CHUNKS},
    {8, "end", NO_CHUNKS},
    {9, HEX16, NO_DIGEST},
    {9, HEX16 HEX16 HEX16 "0123456789abcdeF", NO_DIGEST},
    {9, HEX16 HEX16 HEX16 "0123456789abcde/", NO_DIGEST},
    {9, HEX64 "0", NO_DIGEST},
    {10, "ende", NO_END},
    {10, "en", NO_END},
    {10, "eNd", NO_END},
    {10, "end\nend", NO_END},
};

static void test_each_line(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof replaced / sizeof replaced[0]; k++) {
        struct receipt_error where = {0};
        struct receipt r;
        char text[2000];
        size_t at = 0;
        int err;

        for (unsigned n = 0; n < LINES; n++) {
            at += (size_t)snprintf(text + at, sizeof text - at, "%s\n",
                                   n + 1 == replaced[k].line
                                       ? replaced[k].text
                                       : good_lines[n]);
        }
        err = receipt_parse(text, at, &r, &where);
        if (replaced[k].reason == NULL) {
            assert_int_equal(err, 0);
            assert_int_equal(r.size, 4000);
            assert_int_equal(r.chunks, 1);
            assert_true(r.has_sha256);
            assert_int_equal(r.url_len, strlen("https://host/a%41"));
        } else if (err != ERR_SYNTAX || where.line != replaced[k].line ||
                   strcmp(where.reason, replaced[k].reason) != 0) {
            fail_msg("%s: %d in line %u: %s", replaced[k].text, err,
                     (unsigned)where.line, where.reason);
        }
    }
}

/* ---- many chunks. */

static void test_many_chunks(void **state)
{
    static const uint64_t counts[] = {1, 63, 64, 65, 128, 200};
    static uint8_t digest[200][HASH_LEN];
    struct hasher *hasher = hasher_new();

    (void)state;
    assert_non_null(hasher);
    for (unsigned k = 0; k < 200; k++) {
        memset(digest[k], (int)k, HASH_LEN);
    }
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        struct receipt r = {.chunk_log2 = 12,
                            .size = counts[k] << 12,
                            .chunks = counts[k]};
        char *text = malloc(RECEIPT_HEAD_MAX + 200 * RECEIPT_LINE_LEN + 8);
        uint8_t root[HASH_LEN];
        struct receipt again;
        size_t at;

        assert_non_null(text);
        assert_int_equal(merkle_root(hasher, r.size, 12, digest[0],
                                     counts[k], root), 0);
        assert_int_equal(cid_from_root(hasher, r.size, 12, root, r.cid), 0);
        at = receipt_head(&r, text, RECEIPT_HEAD_MAX);
        for (uint64_t n = 0; n < counts[k]; n++) {
            receipt_line(digest[n], text + at);
            at += RECEIPT_LINE_LEN;
        }
        memcpy(text + at, RECEIPT_END, strlen(RECEIPT_END));
        at += strlen(RECEIPT_END);
        assert_int_equal(receipt_parse(text, at, &again, NULL), 0);
        assert_int_equal(again.chunks, counts[k]);
        assert_int_equal(receipt_check(&again, hasher), 0);
        /* Another digest of the last chunk. */
        char *last = &text[at - strlen(RECEIPT_END) - 2];

        *last = *last == '0' ? '1' : '0';
        assert_int_equal(receipt_parse(text, at, &again, NULL), 0);
        assert_int_equal(receipt_check(&again, hasher), ERR_DIGEST);
        free(text);
    }
    hasher_free(hasher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_each_byte),
        cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_each_line),
        cmocka_unit_test(test_many_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
