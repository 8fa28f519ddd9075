#include "proto/wire/tlv.h"

#include "proto/base/err.h"
#include "proto/wire/layout.h"

struct tlv_row {
    uint16_t type;
    uint16_t len_min;
    uint16_t len_max;
    uint32_t where;
    uint8_t unit; /* the length is a multiple of this */
};

static const struct tlv_row tlv_rows[] = {
#define TLV_ROW(name, where, len_min, len_max, unit) \
    { TLV_##name, len_min, len_max, where, unit },
    REGISTRY_TLVS(TLV_ROW)
#undef TLV_ROW
};

static const struct tlv_row *tlv_row(uint16_t type, uint32_t where)
{
    for (size_t i = 0; i < sizeof tlv_rows / sizeof tlv_rows[0]; i++) {
        if (tlv_rows[i].type == type && (tlv_rows[i].where & where) != 0) {
            return &tlv_rows[i];
        }
    }
    return NULL;
}

/* The part of a type that decides the order. */
static uint16_t tlv_order(uint16_t type)
{
    return (uint16_t)(type & ~TLV_CRITICAL);
}

static struct tlv tlv_take(struct reader *r)
{
    struct layout_tlv head;
    layout_tlv_get(r, &head);
    return (struct tlv){ head.type, reader_view(r, head.length) };
}

/* Structure first: a frame that cannot be cut into TLVs is malformed,
 * whatever the TLVs before the fault mean. */
static int tlv_check_structure(struct bytes_view bytes)
{
    struct reader r;
    uint32_t next_order = 0;
    reader_init(&r, bytes.ptr, bytes.len);
    while (reader_left(&r) > 0) {
        struct tlv t = tlv_take(&r);
        if (!reader_ok(&r)) {
            break;
        }
        if (tlv_order(t.type) < next_order) {
            return ERR_MALFORMED;
        }
        next_order = tlv_order(t.type) + 1u;
    }
    return reader_err(&r);
}

void tlv_reader_init(struct tlv_reader *t, struct bytes_view bytes,
                     uint32_t where, int unknown_err)
{
    reader_init(&t->r, bytes.ptr, bytes.len);
    t->where = where;
    t->unknown_err = unknown_err;
    int err = tlv_check_structure(bytes);
    if (err != BELAY_OK) {
        reader_fail(&t->r, err);
    }
}

bool tlv_next(struct tlv_reader *t, struct tlv *out)
{
    while (reader_left(&t->r) > 0) {
        struct tlv one = tlv_take(&t->r);
        BELAY_ASSERT(reader_ok(&t->r));
        const struct tlv_row *row = tlv_row(one.type, t->where);
        if (row == NULL) {
            if ((one.type & TLV_CRITICAL) != 0) {
                reader_fail(&t->r, t->unknown_err);
            }
            continue;
        }
        if (one.value.len < row->len_min || one.value.len > row->len_max ||
            one.value.len % row->unit != 0) {
            reader_fail(&t->r, ERR_MALFORMED);
            return false;
        }
        *out = one;
        return true;
    }
    return false;
}

int tlv_reader_err(const struct tlv_reader *t)
{
    return reader_err(&t->r);
}

int tlv_skip_all(struct bytes_view bytes, int unknown_err)
{
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, 0, unknown_err);
    while (tlv_next(&t, &one)) {
        BELAY_UNREACHABLE();
    }
    return tlv_reader_err(&t);
}

/* A reader over a value whose length tlv_next has checked. */
static struct reader tlv_value(const struct tlv *t, size_t width)
{
    struct reader r;
    BELAY_ASSERT(t->value.len == width);
    reader_init(&r, t->value.ptr, t->value.len);
    return r;
}

uint8_t tlv_u8(const struct tlv *t)
{
    struct reader r = tlv_value(t, 1);
    return reader_u8(&r);
}

uint16_t tlv_u16(const struct tlv *t)
{
    struct reader r = tlv_value(t, 2);
    return reader_u16(&r);
}

uint32_t tlv_u32(const struct tlv *t)
{
    struct reader r = tlv_value(t, 4);
    return reader_u32(&r);
}

uint64_t tlv_u64(const struct tlv *t)
{
    struct reader r = tlv_value(t, 8);
    return reader_u64(&r);
}

void tlv_writer_init(struct tlv_writer *t, struct writer *w,
                     const struct tlv *grease)
{
    BELAY_ASSERT(grease->type == 0 || tlv_is_grease(grease->type));
    BELAY_ASSERT(grease->value.len <= TLV_GREASE_MAX);
    t->w = w;
    t->grease = *grease;
    t->next_order = 0;
}

/* The head of a TLV; its value of len bytes is written next. */
static void tlv_put_head(struct tlv_writer *t, uint16_t type, size_t len)
{
    BELAY_ASSERT(tlv_order(type) >= t->next_order);
    BELAY_ASSERT(len <= UINT16_MAX);
    struct layout_tlv head = { .type = type, .length = (uint16_t)len };
    layout_tlv_put(t->w, &head);
    t->next_order = tlv_order(type) + 1u;
}

static void tlv_put_grease(struct tlv_writer *t)
{
    struct tlv grease = t->grease;
    t->grease.type = 0;
    tlv_put_head(t, grease.type, grease.value.len);
    writer_bytes(t->w, grease.value.ptr, grease.value.len);
}

/* The head of a meaningful TLV, after the grease if that comes first. */
static void tlv_start(struct tlv_writer *t, uint16_t type, size_t len)
{
    if (t->grease.type != 0 && tlv_order(t->grease.type) < tlv_order(type)) {
        tlv_put_grease(t);
    }
    tlv_put_head(t, type, len);
}

void tlv_put(struct tlv_writer *t, uint16_t type, struct bytes_view value)
{
    tlv_start(t, type, value.len);
    writer_bytes(t->w, value.ptr, value.len);
}

void tlv_put_present(struct tlv_writer *t, uint16_t type,
                     struct bytes_view value)
{
    if (value.len > 0) {
        tlv_put(t, type, value);
    }
}

void tlv_put_u8(struct tlv_writer *t, uint16_t type, uint8_t v)
{
    tlv_start(t, type, 1);
    writer_u8(t->w, v);
}

void tlv_put_u16(struct tlv_writer *t, uint16_t type, uint16_t v)
{
    tlv_start(t, type, 2);
    writer_u16(t->w, v);
}

void tlv_put_u32(struct tlv_writer *t, uint16_t type, uint32_t v)
{
    tlv_start(t, type, 4);
    writer_u32(t->w, v);
}

void tlv_put_u64(struct tlv_writer *t, uint16_t type, uint64_t v)
{
    tlv_start(t, type, 8);
    writer_u64(t->w, v);
}

void tlv_writer_end(struct tlv_writer *t)
{
    if (t->grease.type != 0) {
        tlv_put_grease(t);
    }
}

struct tlv tlv_grease(uint32_t index, struct bytes_view value)
{
    uint32_t type = GREASE_TLV_FIRST +
                    GREASE_TLV_STEP * (index % GREASE_TLV_COUNT);
    return (struct tlv){ (uint16_t)type, value };
}

bool tlv_is_grease(uint16_t type)
{
    uint32_t last = GREASE_TLV_FIRST + GREASE_TLV_STEP * (GREASE_TLV_COUNT - 1);
    return type >= GREASE_TLV_FIRST && type <= last &&
           (type - GREASE_TLV_FIRST) % GREASE_TLV_STEP == 0;
}
