/* A bounded cursor over borrowed bytes.
 *
 * The first error sticks: a read that asks for more than is left takes
 * nothing, returns zero (or NULL), and so does every read after it. A caller
 * may therefore read a whole message and ask once, before any value is used.
 * Integers are big-endian.
 *
 * The reader holds no memory; pointers it returns are borrowed from the input
 * and live as long as it. Pure; one owner at a time. */

#ifndef PROTO_BASE_READER_H
#define PROTO_BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"

/* Bytes that somebody else owns. ptr may be NULL only when len is 0. */
struct bytes_view {
    const uint8_t *ptr;
    size_t len;
};

/* Fields are private to reader.c. */
struct reader {
    const uint8_t *next;
    size_t left;
    int err;
};

/* Start at the first of len bytes. data may be NULL when len is 0. */
void reader_init(struct reader *r, const uint8_t *data, size_t len);

uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
int64_t reader_i64(struct reader *r);

/* Take len bytes without copying. NULL after an error; with len 0 and no
 * error the pointer is the current position. */
const uint8_t *reader_bytes(struct reader *r, size_t len);

/* The same as a view; len 0 after an error. */
struct bytes_view reader_view(struct reader *r, size_t len);

/* Take all that is left. */
struct bytes_view reader_rest(struct reader *r);

/* Copy len bytes to out; after an error out is filled with zeros. */
void reader_copy(struct reader *r, uint8_t *out, size_t len);

/* Pass over len bytes. */
void reader_skip(struct reader *r, size_t len);

/* Bytes not taken yet; 0 after an error. */
size_t reader_left(const struct reader *r);

/* No error so far. */
bool reader_ok(const struct reader *r);

/* Make err (negative) the sticky error, unless there is one already. */
void reader_fail(struct reader *r, int err);

/* BELAY_OK, ERR_TRUNCATED, or the error given to reader_fail. */
MUST_USE int reader_err(const struct reader *r);

/* As reader_err, and ERR_TRAILING when bytes are left. Sticks. */
MUST_USE int reader_end(struct reader *r);

#endif
