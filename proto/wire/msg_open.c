#include "proto/wire/layout.h"
#include "proto/wire/msg_internal.h"

/* ---- OPEN */

static bool open_want_fits(uint8_t want)
{
    return want == 0 ||
           (want >= LIMIT_CHUNK_LOG2_MIN && want <= LIMIT_CHUNK_LOG2_MAX);
}

/* OPEN_NO_HANDLE and handle 0 belong together. */
static bool open_handle_fits(uint32_t handle, uint8_t flags)
{
    return ((flags & OPEN_NO_HANDLE) != 0) == (handle == 0);
}

static int open_take_tlvs(struct bytes_view bytes, struct msg_open *out)
{
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, TLV_IN_OPEN, ERR_UNSUPPORTED);
    while (tlv_next(&t, &one)) {
        if (one.type == TLV_EXPECT_VERSION) {
            out->expect_version = one.value;
        } else {
            out->expect_cid = one.value;
        }
    }
    return tlv_reader_err(&t);
}

int msg_open_decode(const uint8_t *payload, size_t len, struct msg_open *out)
{
    struct reader r;
    struct layout_open v;
    reader_init(&r, payload, len);
    layout_open_get(&r, &v);
    *out = (struct msg_open){
        .handle = v.handle,
        .flags = v.flags & OPEN_NO_HANDLE,
        .want_chunk_log2 = v.want_chunk_log2,
        .path = reader_view(&r, v.path_len),
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    if (!open_handle_fits(out->handle, out->flags)) {
        return ERR_BAD_REQUEST;
    }
    if (!open_want_fits(out->want_chunk_log2)) {
        return ERR_UNSUPPORTED;
    }
    return open_take_tlvs(reader_rest(&r), out);
}

int msg_open_encode(const struct msg_open *m, uint32_t request_id,
                    struct writer *w)
{
    BELAY_ASSERT(open_handle_fits(m->handle, m->flags));
    BELAY_ASSERT(open_want_fits(m->want_chunk_log2));
    BELAY_ASSERT(m->path.len <= LIMIT_PATH);
    struct layout_open v = {
        .handle = m->handle,
        .flags = m->flags,
        .want_chunk_log2 = m->want_chunk_log2,
        .path_len = (uint16_t)m->path.len,
    };
    size_t start = frame_begin(w);
    layout_open_put(w, &v);
    writer_bytes(w, m->path.ptr, m->path.len);
    struct tlv_writer t;
    tlv_writer_init(&t, w, &m->grease);
    tlv_put_present(&t, TLV_EXPECT_VERSION, m->expect_version);
    tlv_put_present(&t, TLV_EXPECT_CID, m->expect_cid);
    tlv_writer_end(&t);
    return frame_finish(w, start, FRAME_OPEN, 0, request_id);
}

/* ---- INFO */

static bool info_fixed_fits(const struct msg_info *m)
{
    if (!msg_file_type_known(m->file_type) || m->mtime_ns >= MSG_NS_PER_S) {
        return false;
    }
    return m->file_type != FILE_REGULAR ||
           (m->chunk_log2 >= LIMIT_CHUNK_LOG2_MIN &&
            m->chunk_log2 <= LIMIT_CHUNK_LOG2_MAX);
}

static bool info_version_fits(const struct msg_info *m)
{
    return m->file_type != FILE_REGULAR || m->version.len > 0;
}

static int info_take_tlvs(struct bytes_view bytes, struct msg_info *out)
{
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, TLV_IN_INFO, ERR_MALFORMED);
    while (tlv_next(&t, &one)) {
        if (one.type == TLV_VERSION) {
            out->version = one.value;
        } else if (one.type == TLV_CID) {
            out->cid = one.value;
        } else {
            out->whole_sha256 = one.value;
        }
    }
    return tlv_reader_err(&t);
}

int msg_info_decode(const uint8_t *payload, size_t len, struct msg_info *out)
{
    const uint16_t known = INFO_VERSION_STRONG | INFO_CID_PENDING;
    struct reader r;
    struct layout_info v;
    reader_init(&r, payload, len);
    layout_info_get(&r, &v);
    *out = (struct msg_info){
        .handle = v.handle,
        .file_type = v.file_type,
        .chunk_log2 = v.chunk_log2,
        .info_flags = v.info_flags & known,
        .size = v.size,
        .mtime_s = v.mtime_s,
        .mtime_ns = v.mtime_ns,
        .mode = v.mode,
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    if (!info_fixed_fits(out)) {
        return ERR_MALFORMED;
    }
    int err = info_take_tlvs(reader_rest(&r), out);
    if (err != BELAY_OK) {
        return err;
    }
    return info_version_fits(out) ? BELAY_OK : ERR_MALFORMED;
}

int msg_info_encode(const struct msg_info *m, uint32_t request_id,
                    struct writer *w)
{
    BELAY_ASSERT(info_fixed_fits(m) && info_version_fits(m));
    struct layout_info v = {
        .handle = m->handle,
        .file_type = m->file_type,
        .chunk_log2 = m->chunk_log2,
        .info_flags = m->info_flags,
        .size = m->size,
        .mtime_s = m->mtime_s,
        .mtime_ns = m->mtime_ns,
        .mode = m->mode,
    };
    size_t start = frame_begin(w);
    layout_info_put(w, &v);
    struct tlv_writer t;
    tlv_writer_init(&t, w, &m->grease);
    tlv_put_present(&t, TLV_VERSION, m->version);
    tlv_put_present(&t, TLV_CID, m->cid);
    tlv_put_present(&t, TLV_WHOLE_SHA256, m->whole_sha256);
    tlv_writer_end(&t);
    return frame_finish(w, start, FRAME_INFO, FRAME_FLAG_END, request_id);
}
