#include "proto/wire/layout.h"
#include "proto/wire/msg_internal.h"

/* ---- LIST */

static int list_take_tlvs(struct bytes_view bytes, struct msg_list *out)
{
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, TLV_IN_LIST, ERR_UNSUPPORTED);
    while (tlv_next(&t, &one)) {
        if (one.type == TLV_CURSOR) {
            out->cursor = one.value;
        } else {
            out->has_max_entries = true;
            out->max_entries = tlv_u32(&one);
        }
    }
    return tlv_reader_err(&t);
}

int msg_list_decode(const uint8_t *payload, size_t len, struct msg_list *out)
{
    struct reader r;
    struct layout_list v;
    reader_init(&r, payload, len);
    layout_list_get(&r, &v);
    *out = (struct msg_list){
        .flags = v.flags & LIST_WITH_CID,
        .path = reader_view(&r, v.path_len),
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    return list_take_tlvs(reader_rest(&r), out);
}

int msg_list_encode(const struct msg_list *m, uint32_t request_id,
                    struct writer *w)
{
    BELAY_ASSERT(m->path.len <= LIMIT_PATH);
    struct layout_list v = {
        .flags = m->flags,
        .path_len = (uint16_t)m->path.len,
    };
    size_t start = frame_begin(w);
    layout_list_put(w, &v);
    writer_bytes(w, m->path.ptr, m->path.len);
    struct tlv_writer t;
    tlv_writer_init(&t, w, &m->grease);
    tlv_put_present(&t, TLV_CURSOR, m->cursor);
    if (m->has_max_entries) {
        tlv_put_u32(&t, TLV_MAX_ENTRIES, m->max_entries);
    }
    tlv_writer_end(&t);
    return frame_finish(w, start, FRAME_LIST, 0, request_id);
}

/* ---- ENTRIES */

static int entry_take_tlvs(struct bytes_view bytes, struct msg_entry *out)
{
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, TLV_IN_ENTRY, ERR_MALFORMED);
    while (tlv_next(&t, &one)) {
        if (one.type == TLV_CID) {
            out->cid = one.value;
        } else {
            out->link_target = one.value;
        }
    }
    return tlv_reader_err(&t);
}

/* One entry: its length field counts what follows it, name and TLVs too. */
static int entry_take(struct reader *r, struct msg_entry *out)
{
    struct reader inner = *r;
    struct layout_entry v;
    size_t len = LAYOUT_ENTRY_FILE_TYPE_OFF + (size_t)reader_u16(&inner);
    struct bytes_view whole = reader_view(r, len);
    if (!reader_ok(r)) {
        return reader_err(r);
    }
    reader_init(&inner, whole.ptr, whole.len);
    layout_entry_get(&inner, &v);
    *out = (struct msg_entry){
        .file_type = v.file_type,
        .size = v.size,
        .mtime_s = v.mtime_s,
        .mtime_ns = v.mtime_ns,
        .mode = v.mode,
        .name = reader_view(&inner, v.name_len),
    };
    if (!reader_ok(&inner)) {
        return reader_err(&inner);
    }
    return entry_take_tlvs(reader_rest(&inner), out);
}

static bool entry_fits(const struct msg_entry *m)
{
    return msg_file_type_known(m->file_type) && m->mtime_ns < MSG_NS_PER_S &&
           m->name.len >= 1 && m->name.len <= LIMIT_COMPONENT;
}

/* Does name a sort before name b, byte by byte? */
static bool entry_before(struct bytes_view a, struct bytes_view b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;
    return order < 0 || (order == 0 && a.len < b.len);
}

/* Take count entries; r stops behind the last one. */
static int entries_check(struct reader *r, uint16_t count)
{
    struct bytes_view last = { NULL, 0 };
    for (uint16_t i = 0; i < count; i++) {
        struct msg_entry one;
        int err = entry_take(r, &one);
        if (err != BELAY_OK) {
            return err;
        }
        /* The empty name before the first one sorts before every name. */
        if (!entry_fits(&one) || !entry_before(last, one.name)) {
            return ERR_MALFORMED;
        }
        last = one.name;
    }
    return BELAY_OK;
}

static int entries_take_tlvs(struct bytes_view bytes, struct msg_entries *out)
{
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, TLV_IN_ENTRIES, ERR_MALFORMED);
    while (tlv_next(&t, &one)) {
        out->cursor = one.value;
    }
    return tlv_reader_err(&t);
}

int msg_entries_decode(const uint8_t *payload, size_t len,
                       struct msg_entries *out)
{
    struct reader r;
    struct layout_entries v;
    reader_init(&r, payload, len);
    layout_entries_get(&r, &v);
    struct reader first = r;
    int err = entries_check(&r, v.count);
    if (err != BELAY_OK) {
        return err;
    }
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    size_t entries_len = reader_left(&first) - reader_left(&r);
    *out = (struct msg_entries){
        .count = v.count,
        .entries = reader_view(&first, entries_len),
    };
    return entries_take_tlvs(reader_rest(&r), out);
}

bool msg_entries_next(struct reader *at, struct msg_entry *out)
{
    if (reader_left(at) == 0) {
        return false;
    }
    int err = entry_take(at, out);
    BELAY_ASSERT(err == BELAY_OK);
    return true;
}

/* What follows the entries at most: cursor and grease. */
#define ENTRIES_TAIL_MAX \
    (LAYOUT_TLV_LEN + LIMIT_CURSOR + LAYOUT_TLV_LEN + TLV_GREASE_MAX)

void msg_entries_begin(struct msg_entries_builder *b, struct writer *w)
{
    *b = (struct msg_entries_builder){
        .w = w,
        .start = frame_begin(w),
    };
    writer_zeros(w, LAYOUT_ENTRIES_LEN);
}

static size_t entry_len(const struct msg_entry *m)
{
    size_t len = LAYOUT_ENTRY_LEN + m->name.len;
    if (m->cid.len > 0) {
        len += LAYOUT_TLV_LEN + m->cid.len;
    }
    if (m->link_target.len > 0) {
        len += LAYOUT_TLV_LEN + m->link_target.len;
    }
    return len;
}

int msg_entries_add(struct msg_entries_builder *b,
                    const struct msg_entry *entry)
{
    BELAY_ASSERT(entry_fits(entry));
    BELAY_ASSERT(entry->link_target.len <= LIMIT_LINK_TARGET);
    size_t len = entry_len(entry);
    if (writer_left(b->w) < len) {
        return ERR_SPACE;
    }
    size_t used = writer_len(b->w) - b->start - FRAME_HEADER_LEN;
    if (b->count == UINT16_MAX ||
        len > LIMIT_CONTROL_PAYLOAD - ENTRIES_TAIL_MAX - used) {
        return ERR_LIMIT;
    }
    struct layout_entry v = {
        .length = (uint16_t)(len - LAYOUT_ENTRY_FILE_TYPE_OFF),
        .file_type = entry->file_type,
        .size = entry->size,
        .mtime_s = entry->mtime_s,
        .mtime_ns = entry->mtime_ns,
        .mode = entry->mode,
        .name_len = (uint16_t)entry->name.len,
    };
    layout_entry_put(b->w, &v);
    writer_bytes(b->w, entry->name.ptr, entry->name.len);
    struct tlv_writer t;
    tlv_writer_init(&t, b->w, &MSG_NO_GREASE);
    tlv_put_present(&t, TLV_CID, entry->cid);
    tlv_put_present(&t, TLV_LINK_TARGET, entry->link_target);
    tlv_writer_end(&t);
    b->count++;
    return BELAY_OK;
}

int msg_entries_finish(struct msg_entries_builder *b,
                       struct bytes_view cursor, bool end,
                       uint32_t request_id, const struct tlv *grease)
{
    BELAY_ASSERT(cursor.len <= LIMIT_CURSOR);
    size_t payload = b->start + FRAME_HEADER_LEN;
    writer_fill_u16(b->w, payload + LAYOUT_ENTRIES_COUNT_OFF, b->count);
    struct tlv_writer t;
    tlv_writer_init(&t, b->w, grease);
    tlv_put_present(&t, TLV_CURSOR, cursor);
    tlv_writer_end(&t);
    return frame_finish(b->w, b->start, FRAME_ENTRIES,
                        end ? FRAME_FLAG_END : 0, request_id);
}
