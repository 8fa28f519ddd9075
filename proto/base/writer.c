#include "proto/base/writer.h"

#include <string.h>

#include "proto/base/endian.h"
#include "proto/base/err.h"

void writer_init(struct writer *w, uint8_t *buf, size_t cap)
{
    BELAY_ASSERT(buf != NULL || cap == 0);
    w->buf = buf;
    w->cap = cap;
    w->len = 0;
    w->err = BELAY_OK;
}

void writer_fail(struct writer *w, int err)
{
    BELAY_ASSERT(err < 0);
    if (w->err == BELAY_OK) {
        w->err = err;
    }
}

/* Room for len more bytes, already counted as written; NULL if there is
 * none. len is not 0. */
static uint8_t *writer_grow(struct writer *w, size_t len)
{
    if (w->err != BELAY_OK) {
        return NULL;
    }
    if (len > w->cap - w->len) {
        writer_fail(w, ERR_SPACE);
        return NULL;
    }
    uint8_t *room = w->buf + w->len;
    w->len += len;
    return room;
}

void writer_u8(struct writer *w, uint8_t v)
{
    uint8_t *p = writer_grow(w, 1);
    if (p != NULL) {
        *p = v;
    }
}

void writer_u16(struct writer *w, uint16_t v)
{
    uint8_t *p = writer_grow(w, 2);
    if (p != NULL) {
        endian_store_u16(p, v);
    }
}

void writer_u32(struct writer *w, uint32_t v)
{
    uint8_t *p = writer_grow(w, 4);
    if (p != NULL) {
        endian_store_u32(p, v);
    }
}

void writer_u64(struct writer *w, uint64_t v)
{
    uint8_t *p = writer_grow(w, 8);
    if (p != NULL) {
        endian_store_u64(p, v);
    }
}

void writer_i64(struct writer *w, int64_t v)
{
    writer_u64(w, (uint64_t)v);
}

void writer_bytes(struct writer *w, const uint8_t *data, size_t len)
{
    if (len == 0) {
        return;
    }
    BELAY_ASSERT(data != NULL);
    uint8_t *p = writer_grow(w, len);
    if (p != NULL) {
        memcpy(p, data, len);
    }
}

void writer_zeros(struct writer *w, size_t len)
{
    if (len == 0) {
        return;
    }
    uint8_t *p = writer_grow(w, len);
    if (p != NULL) {
        memset(p, 0, len);
    }
}

void writer_fill(struct writer *w, size_t at, const uint8_t *data, size_t len)
{
    if (w->err == BELAY_OK && len > 0) {
        BELAY_ASSERT(at <= w->len && w->len - at >= len);
        memcpy(w->buf + at, data, len);
    }
}

void writer_fill_u16(struct writer *w, size_t at, uint16_t v)
{
    uint8_t raw[2];
    endian_store_u16(raw, v);
    writer_fill(w, at, raw, sizeof raw);
}

void writer_fill_u32(struct writer *w, size_t at, uint32_t v)
{
    uint8_t raw[4];
    endian_store_u32(raw, v);
    writer_fill(w, at, raw, sizeof raw);
}

void writer_rewind(struct writer *w, size_t len)
{
    BELAY_ASSERT(len <= w->len);
    w->len = len;
    w->err = BELAY_OK;
}

size_t writer_len(const struct writer *w)
{
    return w->len;
}

size_t writer_left(const struct writer *w)
{
    return w->err == BELAY_OK ? w->cap - w->len : 0;
}

const uint8_t *writer_data(const struct writer *w)
{
    return w->buf;
}

bool writer_ok(const struct writer *w)
{
    return w->err == BELAY_OK;
}

int writer_err(const struct writer *w)
{
    return w->err;
}
