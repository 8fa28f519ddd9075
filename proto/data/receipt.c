#include "proto/data/receipt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/data/merkle.h"

#define MAGIC "belay receipt 1"
#define HEX_LEN ((size_t)2 * HASH_LEN)
/* Digests that are put into the tree at once. */
#define GROUP 64u

/* ---- reading. */

struct lines {
    const char *at;
    const char *end;
    uint64_t number; /* of the line that was taken last */
    const char *reason;
};

/* Takes one line, without its end; false when there is no whole one. */
static bool take_line(struct lines *in, const char **line, size_t *len)
{
    const char *newline = in->at == in->end
                              ? NULL
                              : memchr(in->at, '\n',
                                       (size_t)(in->end - in->at));

    in->number++;
    if (newline == NULL) {
        in->reason = "the text ends too early";
        return false;
    }
    *line = in->at;
    *len = (size_t)(newline - in->at);
    in->at = newline + 1;
    return true;
}

/* Takes the value of the line that begins with `key` and a space; when it
 * does not, nothing. */
static bool take_field(struct lines *in, const char *key, const char **value,
                       size_t *len)
{
    struct lines after = *in;
    size_t key_len = strlen(key);
    const char *line;
    size_t line_len;

    if (!take_line(&after, &line, &line_len) || line_len <= key_len ||
        memcmp(line, key, key_len) != 0 || line[key_len] != ' ') {
        return false; /* another field stands here */
    }
    *in = after;
    *value = line + key_len + 1;
    *len = line_len - key_len - 1;
    return true;
}

/* The same for a field that has to be there: an error is of its line. */
static bool need_field(struct lines *in, const char *key, const char **value,
                       size_t *len)
{
    if (take_field(in, key, value, len)) {
        return true;
    }
    in->number++;
    return false;
}

static bool fail(struct lines *in, const char *reason)
{
    in->reason = reason;
    return false;
}

/* Decimal, without sign or leading zeros; at most `most`. */
static bool parse_number(const char *text, size_t len, uint64_t most,
                         uint64_t *out)
{
    uint64_t value = 0;

    if (len == 0 || (len > 1 && text[0] == '0')) {
        return false;
    }
    for (size_t k = 0; k < len; k++) {
        unsigned digit = (unsigned)(text[k] - '0');

        if (text[k] < '0' || text[k] > '9' || value > (most - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* Two digits of a time, within bounds. */
static bool two(const char *text, unsigned least, unsigned most)
{
    unsigned value = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');

    return value >= least && value <= most;
}

static bool parse_time(const char *text, size_t len, char *out)
{
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";

    if (len != sizeof form - 1) {
        return false;
    }
    for (size_t k = 0; k < len; k++) {
        if (form[k] == 'd' ? text[k] < '0' || text[k] > '9'
                           : text[k] != form[k]) {
            return false;
        }
    }
    if (!two(text + 5, 1, 12) || !two(text + 8, 1, 31) ||
        !two(text + 11, 0, 23) || !two(text + 14, 0, 59) ||
        !two(text + 17, 0, 60)) {
        return false;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

/* Printable, without spaces, as receipt_head() writes it. */
static bool is_plain(const char *text, size_t len, size_t most)
{
    if (len == 0 || len > most) {
        return false;
    }
    for (size_t k = 0; k < len; k++) {
        if (text[k] <= 0x20 || text[k] >= 0x7F) {
            return false;
        }
    }
    return true;
}

/* What has to be escaped for a name to stay one word of ASCII. */
static bool is_special(uint8_t byte)
{
    return byte <= 0x20 || byte >= 0x7F || byte == '%';
}

static int hex_value(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

/* Only what has to be escaped is, so that a name has one form. */
static bool is_encoded(const char *text, size_t len)
{
    for (size_t k = 0; k < len; k++) {
        int high, low;

        if (text[k] != '%') {
            continue;
        }
        if (len - k < 3) {
            return false;
        }
        high = hex_value(text[k + 1]);
        low = hex_value(text[k + 2]);
        if (high < 0 || low < 0 ||
            !is_special((uint8_t)(high << 4 | low))) {
            return false;
        }
        k += 2;
    }
    return true;
}

/* Hex digits have one form, too. */
static bool parse_digest(const char *text, size_t len,
                         uint8_t digest[HASH_LEN])
{
    for (size_t k = 0; k < len; k++) {
        if (text[k] >= 'A' && text[k] <= 'F') {
            return false;
        }
    }
    return len == HEX_LEN && cid_hex_decode(text, HASH_LEN, digest) == 0;
}

static bool parse_identity(struct lines *in, struct receipt *out)
{
    const char *value;
    size_t len;

    if (!take_line(in, &value, &len) || len != strlen(MAGIC) ||
        memcmp(value, MAGIC, len) != 0) {
        return fail(in, "it is no receipt of a version that is known");
    }
    if (!need_field(in, "cid", &value, &len) ||
        cid_parse(value, len, &out->chunk_log2, out->cid) != 0) {
        return fail(in, "a content id should be here");
    }
    if (!need_field(in, "size", &value, &len) ||
        !parse_number(value, len, INT64_MAX, &out->size)) {
        return fail(in, "the size should be here");
    }
    return true;
}

static bool parse_rest(struct lines *in, struct receipt *out)
{
    const char *value;
    size_t len;

    out->has_sha256 = take_field(in, "sha256", &value, &len);
    if (out->has_sha256 &&
        !parse_digest(value, len, out->sha256)) {
        return fail(in, "a SHA-256 is 64 lower-case hexadecimal digits");
    }
    if (take_field(in, "time", &value, &len) &&
        !parse_time(value, len, out->time)) {
        return fail(in, "a time looks like 2026-11-23T12:00:00Z");
    }
    if (take_field(in, "url", &out->url, &out->url_len) &&
        !is_plain(out->url, out->url_len, RECEIPT_URL_MAX)) {
        return fail(in, "the URL is too long, or holds other bytes than "
                        "printable ones");
    }
    if (take_field(in, "name", &out->name, &out->name_len) &&
        (!is_plain(out->name, out->name_len, RECEIPT_NAME_MAX) ||
         !is_encoded(out->name, out->name_len))) {
        return fail(in, "the name is too long, or holds other bytes than "
                        "printable ones");
    }
    if (!need_field(in, "chunks", &value, &len) ||
        !parse_number(value, len, RECEIPT_CHUNKS_MAX, &out->chunks) ||
        out->chunks != cid_chunk_count(out->size, out->chunk_log2)) {
        return fail(in, "the number of chunks that fits the size should be "
                        "here");
    }
    return true;
}

static bool parse_digests(struct lines *in, struct receipt *out)
{
    uint8_t digest[HASH_LEN];
    const char *line;
    size_t len;

    out->digests = in->at;
    for (uint64_t k = 0; k < out->chunks; k++) {
        if (!take_line(in, &line, &len)) {
            return false;
        }
        if (!parse_digest(line, len, digest)) {
            return fail(in, "a digest is 64 lower-case hexadecimal digits");
        }
    }
    if (!take_line(in, &line, &len) || len != 3 ||
        memcmp(line, "end", 3) != 0 || in->at != in->end) {
        return fail(in, "the word end should be here, and nothing behind");
    }
    return true;
}

int receipt_parse(const char *text, size_t len, struct receipt *out,
                  struct receipt_error *where)
{
    struct lines in = {.at = text,
                       .end = text + len,
                       .reason = "it is no receipt"};
    bool good;

    memset(out, 0, sizeof *out);
    out->url = "";
    out->name = "";
    good = parse_identity(&in, out) && parse_rest(&in, out) &&
           parse_digests(&in, out);
    if (!good && where != NULL) {
        where->line = in.number;
        where->reason = in.reason;
    }
    return good ? 0 : ERR_SYNTAX;
}

void receipt_digest(const struct receipt *receipt, uint64_t index,
                    uint8_t out[HASH_LEN])
{
    int err;

    BELAY_ASSERT(index < receipt->chunks);
    err = cid_hex_decode(receipt->digests + index * RECEIPT_LINE_LEN,
                         HASH_LEN, out);
    BELAY_ASSERT(err == 0); /* receipt_parse() saw it */
}

int receipt_check(const struct receipt *receipt, struct hasher *hasher)
{
    struct merkle_builder tree;
    uint8_t digests[GROUP][HASH_LEN];
    uint8_t root[HASH_LEN];
    uint8_t cid[HASH_LEN];
    int err = 0;

    merkle_builder_init(&tree, receipt->size, receipt->chunk_log2);
    for (uint64_t at = 0; err == 0 && at < receipt->chunks;) {
        uint64_t n = 0;

        while (n < GROUP && at + n < receipt->chunks) {
            receipt_digest(receipt, at + n, digests[n]);
            n++;
        }
        err = merkle_builder_add(&tree, hasher, digests[0], n);
        at += n;
    }
    if (err == 0) {
        err = merkle_builder_root(&tree, hasher, root);
    }
    if (err == 0) {
        err = cid_from_root(hasher, receipt->size, receipt->chunk_log2, root,
                            cid);
    }
    if (err != 0) {
        return ERR_INTERNAL;
    }
    return memcmp(cid, receipt->cid, HASH_LEN) == 0 ? 0 : ERR_DIGEST;
}

/* ---- writing. */

/* A field whose value is encoded; nothing when it would be too long. */
static size_t put_text(char *out, const char *key, const char *text,
                       size_t len, size_t most)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t need = 0;
    size_t at;

    for (size_t k = 0; k < len; k++) {
        need += is_special((uint8_t)text[k]) ? 3 : 1;
    }
    if (need == 0 || need > most) {
        return 0;
    }
    at = strlen(key);
    memcpy(out, key, at);
    out[at++] = ' ';
    for (size_t k = 0; k < len; k++) {
        uint8_t byte = (uint8_t)text[k];

        if (is_special(byte)) {
            out[at++] = '%';
            out[at++] = hex[byte >> 4];
            out[at++] = hex[byte & 15];
        } else {
            out[at++] = text[k];
        }
    }
    out[at++] = '\n';
    return at;
}

/* A URL is printable already, and its own escapes mean something: it is left
 * as it is. */
static size_t put_url(char *out, const char *url, size_t len)
{
    if (!is_plain(url, len, RECEIPT_URL_MAX)) {
        return 0;
    }
    memcpy(out, "url ", 4);
    memcpy(out + 4, url, len);
    out[4 + len] = '\n';
    return len + 5;
}

size_t receipt_head(const struct receipt *receipt, char *out, size_t cap)
{
    char cid[CID_TEXT_LEN + 1];
    char hex[HEX_LEN + 1];
    size_t at;

    BELAY_ASSERT(cap >= RECEIPT_HEAD_MAX);
    cid_encode(receipt->chunk_log2, receipt->cid, cid);
    at = (size_t)snprintf(out, cap, MAGIC "\ncid %s\nsize %" PRIu64 "\n", cid,
                          receipt->size);
    if (receipt->has_sha256) {
        cid_hex_encode(receipt->sha256, HASH_LEN, hex);
        at += (size_t)snprintf(out + at, cap - at, "sha256 %s\n", hex);
    }
    if (receipt->time[0] != '\0') {
        at += (size_t)snprintf(out + at, cap - at, "time %s\n",
                               receipt->time);
    }
    at += put_url(out + at, receipt->url, receipt->url_len);
    at += put_text(out + at, "name", receipt->name, receipt->name_len,
                   RECEIPT_NAME_MAX);
    at += (size_t)snprintf(out + at, cap - at, "chunks %" PRIu64 "\n",
                           receipt->chunks);
    return at;
}

void receipt_line(const uint8_t digest[HASH_LEN], char *out)
{
    char hex[HEX_LEN + 1];

    cid_hex_encode(digest, HASH_LEN, hex);
    memcpy(out, hex, HEX_LEN);
    out[HEX_LEN] = '\n';
}
