/* A bounded builder into the caller's memory.
 *
 * The first error sticks: a write that does not fit writes nothing, and
 * neither does any write after it. One look at writer_err before the bytes
 * are used is enough. Integers are big-endian.
 *
 * The writer owns nothing; the buffer outlives it. Pure; one owner at a
 * time. */

#ifndef PROTO_BASE_WRITER_H
#define PROTO_BASE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"

/* Fields are private to writer.c. */
struct writer {
    uint8_t *buf;
    size_t cap;
    size_t len;
    int err;
};

/* Build into cap bytes at buf. buf may be NULL when cap is 0. */
void writer_init(struct writer *w, uint8_t *buf, size_t cap);

void writer_u8(struct writer *w, uint8_t v);
void writer_u16(struct writer *w, uint16_t v);
void writer_u32(struct writer *w, uint32_t v);
void writer_u64(struct writer *w, uint64_t v);
void writer_i64(struct writer *w, int64_t v);

/* Append len bytes; data may be NULL when len is 0. */
void writer_bytes(struct writer *w, const uint8_t *data, size_t len);

/* Append len zero bytes. */
void writer_zeros(struct writer *w, size_t len);

/* Overwrite bytes written before. The place must not reach beyond writer_len
 * (asserted); nothing happens after an error. */
void writer_fill_u16(struct writer *w, size_t at, uint16_t v);
void writer_fill_u32(struct writer *w, size_t at, uint32_t v);
void writer_fill(struct writer *w, size_t at, const uint8_t *data, size_t len);

/* Drop all bytes from len on (len <= writer_len, asserted) and the error:
 * the caller takes back what did not fit. */
void writer_rewind(struct writer *w, size_t len);

/* Bytes written so far, from the start of the buffer. After an error: those
 * before it. */
size_t writer_len(const struct writer *w);

/* Bytes that still fit; 0 after an error. */
size_t writer_left(const struct writer *w);

/* The start of the buffer, borrowed. */
const uint8_t *writer_data(const struct writer *w);

bool writer_ok(const struct writer *w);

/* Make err (negative) the sticky error, unless there is one already. */
void writer_fail(struct writer *w, int err);

/* BELAY_OK, ERR_SPACE, or the error given to writer_fail. */
MUST_USE int writer_err(const struct writer *w);

#endif
