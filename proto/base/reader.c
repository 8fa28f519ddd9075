#include "proto/base/reader.h"

#include <string.h>

#include "proto/base/endian.h"
#include "proto/base/err.h"

void reader_init(struct reader *r, const uint8_t *data, size_t len)
{
    BELAY_ASSERT(data != NULL || len == 0);
    r->next = data;
    r->left = len;
    r->err = BELAY_OK;
}

void reader_fail(struct reader *r, int err)
{
    BELAY_ASSERT(err < 0);
    if (r->err == BELAY_OK) {
        r->err = err;
        r->left = 0;
    }
}

const uint8_t *reader_bytes(struct reader *r, size_t len)
{
    if (r->err != BELAY_OK) {
        return NULL;
    }
    if (len > r->left) {
        reader_fail(r, ERR_TRUNCATED);
        return NULL;
    }
    const uint8_t *taken = r->next;
    /* An empty input has no address to move on from. */
    if (len > 0) {
        r->next += len;
        r->left -= len;
    }
    return taken;
}

uint8_t reader_u8(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 1);
    return p != NULL ? p[0] : 0;
}

uint16_t reader_u16(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 2);
    return p != NULL ? endian_load_u16(p) : 0;
}

uint32_t reader_u32(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 4);
    return p != NULL ? endian_load_u32(p) : 0;
}

uint64_t reader_u64(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 8);
    return p != NULL ? endian_load_u64(p) : 0;
}

int64_t reader_i64(struct reader *r)
{
    uint64_t raw = reader_u64(r);
    int64_t value;
    memcpy(&value, &raw, sizeof value);
    return value;
}

struct bytes_view reader_view(struct reader *r, size_t len)
{
    const uint8_t *p = reader_bytes(r, len);
    return (struct bytes_view){ p, p != NULL ? len : 0 };
}

struct bytes_view reader_rest(struct reader *r)
{
    return reader_view(r, r->left);
}

void reader_copy(struct reader *r, uint8_t *out, size_t len)
{
    const uint8_t *p = reader_bytes(r, len);
    if (len == 0) {
        return;
    }
    if (p != NULL) {
        memcpy(out, p, len);
    } else {
        memset(out, 0, len);
    }
}

void reader_skip(struct reader *r, size_t len)
{
    (void)reader_bytes(r, len);
}

size_t reader_left(const struct reader *r)
{
    return r->left;
}

bool reader_ok(const struct reader *r)
{
    return r->err == BELAY_OK;
}

int reader_err(const struct reader *r)
{
    return r->err;
}

int reader_end(struct reader *r)
{
    if (r->left > 0) {
        reader_fail(r, ERR_TRAILING);
    }
    return r->err;
}
