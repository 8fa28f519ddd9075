/* Receipt: a small text that proves later what was received.
 *
 * Content id, size and chunk digests of one file, and where it came from.
 * Implements spec/belay-receipt-1.md.  A receipt is parsed in place: nothing
 * is allocated, all pointers lead into the text that was given.
 *
 * Pure; thread-safe. */
#ifndef PROTO_DATA_RECEIPT_H
#define PROTO_DATA_RECEIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/data/hash.h"

/* "2026-11-23T12:00:00Z" and a NUL. */
#define RECEIPT_TIME_SIZE 21
/* Most characters of the two encoded texts. */
#define RECEIPT_URL_MAX 16384u
#define RECEIPT_NAME_MAX 765u
/* The part before the digests is never longer. */
#define RECEIPT_HEAD_MAX 20480u
/* A digest and the end of its line. */
#define RECEIPT_LINE_LEN ((size_t)2 * HASH_LEN + 1)
#define RECEIPT_END "end\n"
/* As many as a client holds (TRANSFER_CHUNKS_MAX). */
#define RECEIPT_CHUNKS_MAX ((uint64_t)1 << 22)
/* No receipt is longer, so nobody has to read more than this. */
#define RECEIPT_TEXT_MAX \
    (RECEIPT_HEAD_MAX + RECEIPT_CHUNKS_MAX * RECEIPT_LINE_LEN + 4)

struct receipt {
    uint64_t size;
    uint64_t chunks;
    uint8_t chunk_log2;
    uint8_t cid[HASH_LEN];
    bool has_sha256;
    uint8_t sha256[HASH_LEN];
    char time[RECEIPT_TIME_SIZE]; /* "": not known */
    const char *url;  /* url_len printable bytes; empty: not known */
    size_t url_len;
    const char *name; /* name_len bytes, percent-encoded */
    size_t name_len;
    const char *digests; /* `chunks` lines, all of them checked */
};

/* Why and where a text is no receipt. */
struct receipt_error {
    uint64_t line; /* from 1 */
    const char *reason; /* static */
};

/* Parses exactly `len` bytes.  0, or ERR_SYNTAX with `where` (may be NULL)
 * filled in. */
int receipt_parse(const char *text, size_t len, struct receipt *out,
                  struct receipt_error *where) MUST_USE;
/* The digest of chunk `index`, which must be below `chunks`. */
void receipt_digest(const struct receipt *receipt, uint64_t index,
                    uint8_t out[HASH_LEN]);
/* Do size and digests make the content id?  0, ERR_DIGEST, or ERR_INTERNAL
 * when hashing fails.  Nothing of a receipt may be believed before. */
int receipt_check(const struct receipt *receipt,
                  struct hasher *hasher) MUST_USE;

/* Writes everything before the digests; `digests` is not used, `url` and
 * `name` are given as plain bytes and encoded here, or left out where they
 * would be too long.  The bytes written, at most RECEIPT_HEAD_MAX (asserted
 * for `cap`).  A line per digest and RECEIPT_END follow. */
size_t receipt_head(const struct receipt *receipt, char *out, size_t cap);
/* One digest as RECEIPT_LINE_LEN bytes, without a NUL. */
void receipt_line(const uint8_t digest[HASH_LEN], char *out);

#endif
