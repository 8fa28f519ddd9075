#include "proto/wire/frame.h"

#include "proto/base/err.h"
#include "proto/wire/crc.h"

struct frame_row {
    const char *name;
    uint8_t senders;
    uint8_t zero_senders;
    enum frame_id_rule id_rule;
    enum frame_end_rule end_rule;
    uint32_t payload_max;
};

/* Types that are not assigned have no name. */
static const struct frame_row frame_rows[256] = {
#define FRAME_ROW(name, senders, zero_senders, id_rule, end_rule, max) \
    [FRAME_##name] = { #name, senders, zero_senders, id_rule, end_rule, max },
    REGISTRY_FRAMES(FRAME_ROW)
#undef FRAME_ROW
};

BELAY_STATIC_ASSERT(LIMIT_CHUNK_PAYLOAD ==
                        LAYOUT_CHUNK_LEN + (1u << LIMIT_CHUNK_LOG2_MAX),
                    "the largest CHUNK is its fields and the largest chunk");
BELAY_STATIC_ASSERT(LAYOUT_HEADER_CRC_OFF + 4 == LAYOUT_HEADER_LEN,
                    "the CRC covers all of the header before it");

static uint32_t frame_payload_max(uint8_t type)
{
    const struct frame_row *row = &frame_rows[type];
    return row->name != NULL ? row->payload_max : LIMIT_CONTROL_PAYLOAD;
}

/* Rule F1. */
static uint32_t frame_covered(uint8_t type, uint32_t length)
{
    if (type == FRAME_CHUNK && length > LAYOUT_CHUNK_LEN) {
        return LAYOUT_CHUNK_LEN;
    }
    return length;
}

static uint32_t frame_crc(const uint8_t *head, const uint8_t *covered,
                          size_t covered_len)
{
    uint32_t crc = crc_update(CRC_START, head, LAYOUT_HEADER_CRC_OFF);
    return crc_update(crc, covered, covered_len);
}

int frame_scan(const uint8_t *data, size_t avail, struct frame *f,
               size_t *need)
{
    *need = FRAME_HEADER_LEN;
    if (avail < *need) {
        return ERR_AGAIN;
    }
    struct reader r;
    struct layout_header v;
    reader_init(&r, data, FRAME_HEADER_LEN);
    layout_header_get(&r, &v);

    f->length = v.length;
    f->type = v.type;
    f->flags = v.flags;
    f->request_id = v.request_id;
    if (v.length > frame_payload_max(v.type)) {
        f->covered = 0;
        return ERR_TOO_LARGE;
    }
    f->covered = frame_covered(v.type, v.length);
    *need += f->covered;
    if (avail < *need) {
        return ERR_AGAIN;
    }
    if (v.crc != frame_crc(data, data + FRAME_HEADER_LEN, f->covered)) {
        return ERR_CRC;
    }
    return BELAY_OK;
}

/* Rule F5 for types that this version does not define. */
static int frame_classify_unknown(const struct frame *f, uint8_t sender,
                                  enum frame_verdict *verdict)
{
    if (f->type >= 0x80) {
        *verdict = FRAME_SKIP;
        return BELAY_OK;
    }
    bool request = f->type >= 0x10 && f->type <= 0x3F;
    bool answer = f->type >= 0x40;
    if ((sender == FRAME_FROM_CLIENT && request) ||
        (sender == FRAME_FROM_SERVER && answer)) {
        return ERR_UNSUPPORTED;
    }
    return ERR_DIRECTION;
}

static bool frame_id_fits(enum frame_id_rule rule, uint32_t id)
{
    switch (rule) {
    case FRAME_ID_ZERO:
        return id == 0;
    case FRAME_ID_NEW:
        return id != 0 && id != REQUEST_ID_NEVER;
    case FRAME_ID_ANSWER:
        return id != 0;
    case FRAME_ID_TARGET:
    case FRAME_ID_ANSWER_OR_ZERO:
        return true;
    }
    BELAY_UNREACHABLE();
}

static bool frame_end_fits(enum frame_end_rule rule, bool end)
{
    if (rule == FRAME_END_ALWAYS) {
        return end;
    }
    return rule != FRAME_END_NEVER || !end;
}

int frame_classify(const struct frame *f, uint8_t sender,
                   enum frame_verdict *verdict)
{
    BELAY_ASSERT(sender == FRAME_FROM_CLIENT || sender == FRAME_FROM_SERVER);
    const struct frame_row *row = &frame_rows[f->type];
    if (row->name == NULL) {
        return frame_classify_unknown(f, sender, verdict);
    }
    uint8_t senders = f->request_id == 0 ? row->zero_senders : row->senders;
    if ((senders & sender) == 0) {
        return ERR_DIRECTION;
    }
    if (!frame_id_fits(row->id_rule, f->request_id)) {
        return ERR_REQUEST_ID;
    }
    if (!frame_end_fits(row->end_rule, frame_is_end(f))) {
        return ERR_MALFORMED;
    }
    *verdict = FRAME_ACCEPT;
    return BELAY_OK;
}

const char *frame_name(uint8_t type)
{
    return frame_rows[type].name;
}

size_t frame_begin(struct writer *w)
{
    size_t start = writer_len(w);
    writer_zeros(w, FRAME_HEADER_LEN);
    return start;
}

void frame_header_encode(uint8_t out[FRAME_HEADER_LEN], const struct frame *f,
                         const uint8_t *covered)
{
    BELAY_ASSERT(f->length <= frame_payload_max(f->type));
    BELAY_ASSERT(f->covered == frame_covered(f->type, f->length));
    struct layout_header v = {
        .length = f->length,
        .type = f->type,
        .flags = f->flags,
        .request_id = f->request_id,
    };
    struct writer w;
    writer_init(&w, out, FRAME_HEADER_LEN);
    layout_header_put(&w, &v);
    BELAY_ASSERT(writer_ok(&w));
    writer_fill_u32(&w, LAYOUT_HEADER_CRC_OFF,
                    frame_crc(out, covered, f->covered));
}

int frame_finish(struct writer *w, size_t start, uint8_t type, uint8_t flags,
                 uint32_t request_id)
{
    int err = writer_err(w);
    if (err == BELAY_OK) {
        size_t length = writer_len(w) - start - FRAME_HEADER_LEN;
        if (length <= frame_payload_max(type)) {
            struct frame f = {
                .length = (uint32_t)length,
                .covered = frame_covered(type, (uint32_t)length),
                .request_id = request_id,
                .type = type,
                .flags = flags,
            };
            uint8_t head[FRAME_HEADER_LEN];
            const uint8_t *payload =
                writer_data(w) + start + FRAME_HEADER_LEN;
            frame_header_encode(head, &f, payload);
            writer_fill(w, start, head, sizeof head);
            return BELAY_OK;
        }
        err = ERR_TOO_LARGE;
    }
    writer_rewind(w, start);
    return err;
}

int frame_encode_grease(struct writer *w, uint32_t index, uint32_t request_id,
                        struct bytes_view payload)
{
    BELAY_ASSERT(payload.len <= LIMIT_GREASE);
    uint32_t type = GREASE_FRAME_FIRST +
                    GREASE_FRAME_STEP * (index % GREASE_FRAME_COUNT);
    size_t start = frame_begin(w);
    writer_bytes(w, payload.ptr, payload.len);
    return frame_finish(w, start, (uint8_t)type, 0, request_id);
}
