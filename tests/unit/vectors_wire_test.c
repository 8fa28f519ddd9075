/* spec/vectors/{preface,frame,tlv,message}.json against proto/wire. */

#include "tests/unit/vectors_util.h"

#include <inttypes.h>

#include "proto/data/relpath.h"
#include "proto/wire/layout.h"
#include "proto/wire/msg.h"
#include "proto/wire/preface.h"
#include "tests/unit/msg_again.h"

/* Run one function over all vectors of a file. */
static void each(const char *name, void (*check)(json_t *vector))
{
    json_t *file = vectors_load(name);
    json_t *vector;
    size_t i;
    size_t run = 0;
    json_array_foreach(json_object_get(file, "vectors"), i, vector) {
        check(vector);
        run++;
    }
    assert_int_equal(run, json_integer_value(json_object_get(file, "count")));
    json_decref(file);
}

static bool is(json_t *object, const char *key, const char *value)
{
    return strcmp(vectors_string(object, key), value) == 0;
}

/* ---- preface */

static void check_preface(json_t *vector)
{
    json_t *input = json_object_get(vector, "input");
    size_t len;
    uint8_t *data = vectors_unhex(vectors_string(input, "hex"), &len);
    uint8_t peer = is(input, "receiver", "client") ? ROLE_SERVER : ROLE_CLIENT;
    struct preface p;
    int err;

    if (len < PREFACE_LEN) {
        err = preface_possible(data, len) ? ERR_AGAIN : ERR_MAGIC;
    } else {
        err = preface_decode(data, peer, &p);
    }
    if (!json_is_object(json_object_get(vector, "expected"))) {
        vectors_check_error(vector, err);
        free(data);
        return;
    }
    if (err != BELAY_OK) {
        fail_msg("%s: %s", vectors_id(vector), err_name(err));
    }
    vectors_check_equal(vector, "version", json_integer(p.version));
    vectors_check_equal(vector, "rejected", json_boolean(p.rejected));
    json_t *flags = json_object_get(json_object_get(vector, "expected"),
                                    "flags");
    uint8_t again[PREFACE_LEN];
    preface_encode(&p, again);
    if (json_integer_value(flags) == (p.rejected ? PREFACE_REJECTED : 0)) {
        assert_memory_equal(again, data, PREFACE_LEN);
    }
    free(data);
}

static void preface_vectors(void **state)
{
    (void)state;
    each("preface", check_preface);
}

/* ---- frame */

/* The input, with the run of pattern bytes that the vector asks for. */
static uint8_t *frame_input(json_t *input, size_t *len)
{
    size_t head_len;
    uint8_t *head = vectors_unhex(vectors_string(input, "hex"), &head_len);
    size_t run = (size_t)json_integer_value(
        json_object_get(input, "pattern_len"));
    size_t at = (size_t)json_integer_value(
        json_object_get(input, "pattern_at"));
    uint8_t *all = malloc(head_len + run + 1);
    assert_non_null(all);
    memcpy(all, head, head_len);
    for (size_t i = 0; i < run; i++) {
        all[head_len + i] = (uint8_t)((at + i) % 251);
    }
    free(head);
    *len = head_len + run;
    return all;
}

/* Feed a growing prefix: a decision needs no byte more than it must. */
static int scan_growing(const uint8_t *data, size_t len, struct frame *f)
{
    size_t avail = 0;
    size_t need = 0;
    int err = ERR_AGAIN;
    while (err == ERR_AGAIN && avail <= len) {
        err = frame_scan(data, avail, f, &need);
        if (err == ERR_AGAIN) {
            assert_true(need > avail);
            if (need > len) {
                return ERR_AGAIN;
            }
            avail = need;
        }
    }
    return err;
}

static const char *disposition(int err, enum frame_verdict verdict,
                               uint8_t sender)
{
    if (err == ERR_UNSUPPORTED) {
        return sender == FRAME_FROM_CLIENT ? "answer_unsupported"
                                           : "cancel_locally";
    }
    return verdict == FRAME_SKIP ? "skip" : "accept";
}

static void check_frame(json_t *vector)
{
    json_t *input = json_object_get(vector, "input");
    size_t len;
    uint8_t *data = frame_input(input, &len);
    uint8_t sender = is(input, "receiver", "client") ? FRAME_FROM_SERVER
                                                     : FRAME_FROM_CLIENT;
    struct frame f;
    enum frame_verdict verdict = FRAME_ACCEPT;
    int err = scan_growing(data, len, &f);
    if (err == BELAY_OK) {
        err = frame_classify(&f, sender, &verdict);
    }
    if (json_is_object(json_object_get(vector, "expected"))) {
        if (err != BELAY_OK && err != ERR_UNSUPPORTED) {
            fail_msg("%s: %s", vectors_id(vector), err_name(err));
        }
        vectors_check_equal(vector, "length", json_integer(f.length));
        vectors_check_equal(vector, "type", json_integer(f.type));
        vectors_check_equal(vector, "flags", json_integer(f.flags));
        vectors_check_equal(vector, "request_id",
                            json_integer(f.request_id));
        vectors_check_equal(vector, "disposition",
                            json_string(disposition(err, verdict, sender)));
    } else {
        vectors_check_error(vector, err);
    }
    free(data);
}

static void frame_vectors(void **state)
{
    (void)state;
    each("frame", check_frame);
}

/* ---- tlv */

struct context {
    const char *name;
    uint32_t where;
    int unknown_err;
};

static const struct context contexts[] = {
    { "HELLO-C", TLV_IN_HELLO_CLIENT, ERR_MALFORMED },
    { "HELLO-S", TLV_IN_HELLO_SERVER, ERR_MALFORMED },
    { "OPEN", TLV_IN_OPEN, ERR_UNSUPPORTED },
    { "LIST", TLV_IN_LIST, ERR_UNSUPPORTED },
    { "AUTH", TLV_IN_AUTH, ERR_UNSUPPORTED },
    { "GET", 0, ERR_UNSUPPORTED },
    { "DIGEST", 0, ERR_UNSUPPORTED },
    { "CLOSE", 0, ERR_UNSUPPORTED },
    { "CANCEL", 0, ERR_MALFORMED },
    { "PROGRESS", 0, ERR_MALFORMED },
    { "DIGESTS", 0, ERR_MALFORMED },
    { "INFO", TLV_IN_INFO, ERR_MALFORMED },
    { "DONE", TLV_IN_DONE, ERR_MALFORMED },
    { "ENTRY", TLV_IN_ENTRY, ERR_MALFORMED },
    { "ENTRIES", TLV_IN_ENTRIES, ERR_MALFORMED },
    { "ERROR", TLV_IN_ERROR, ERR_MALFORMED },
    { "GOAWAY", TLV_IN_GOAWAY, ERR_MALFORMED },
};

static const struct context *context(const char *name)
{
    for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
        if (strcmp(contexts[i].name, name) == 0) {
            return &contexts[i];
        }
    }
    fail_msg("no context %s", name);
    return NULL;
}

/* The defined TLVs in the form of the vectors; *err tells how it ended. */
static json_t *tlvs_json(struct bytes_view bytes, const struct context *c,
                         int *err)
{
    json_t *list = json_array();
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, c->where, c->unknown_err);
    while (tlv_next(&t, &one)) {
        json_array_append_new(list, json_pack("{s:i,s:o}", "type", one.type,
                                              "value",
                                              vectors_hex(one.value)));
    }
    *err = tlv_reader_err(&t);
    return list;
}

static void check_tlv(json_t *vector)
{
    json_t *input = json_object_get(vector, "input");
    const struct context *c = context(vectors_string(input, "context"));
    size_t len;
    uint8_t *data = vectors_unhex(vectors_string(input, "hex"), &len);
    int err;
    json_t *ours = tlvs_json((struct bytes_view){ data, len }, c, &err);
    /* Ranges of values belong to the message. */
    if (err == BELAY_OK && strncmp(c->name, "HELLO", 5) == 0) {
        struct msg_hello hello;
        err = msg_hello_decode(data, len,
                               c->where == TLV_IN_HELLO_CLIENT
                                   ? FRAME_FROM_CLIENT
                                   : FRAME_FROM_SERVER,
                               &hello);
    }
    if (json_is_object(json_object_get(vector, "expected"))) {
        if (err != BELAY_OK) {
            fail_msg("%s: %s", vectors_id(vector), err_name(err));
        }
        vectors_check_equal(vector, "tlvs", ours);
    } else {
        json_decref(ours);
        vectors_check_error(vector, err);
    }
    free(data);
}

static void tlv_vectors(void **state)
{
    (void)state;
    each("tlv", check_tlv);
}

/* ---- message: decoded structs in the form of the vectors */

static json_t *wide(uint64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, v);
    return json_string(text);
}

static json_t *wide_signed(int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, v);
    return json_string(text);
}

static json_t *digest_list(struct bytes_view digests)
{
    json_t *list = json_array();
    for (size_t i = 0; i < digests.len / DIGEST_LEN; i++) {
        json_array_append_new(
            list, vectors_hex((struct bytes_view){ msg_digest_at(digests, i),
                                                   DIGEST_LEN }));
    }
    return list;
}

static json_t *range_list(const struct msg_get *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->count; i++) {
        struct msg_range range = msg_get_range(m, i);
        json_array_append_new(list, json_pack("{s:o,s:o}", "offset",
                                              wide(range.offset), "length",
                                              wide(range.length)));
    }
    return list;
}

static void put_view_tlv(json_t *list, uint16_t type, struct bytes_view value)
{
    if (value.len > 0) {
        json_array_append_new(list, json_pack("{s:i,s:o}", "type", type,
                                              "value", vectors_hex(value)));
    }
}

/* Ignored TLVs of an entry leave no trace; take the vector's word. */
static json_t *entry_json(const struct msg_entry *e, json_t *theirs)
{
    json_t *tlvs = json_array();
    put_view_tlv(tlvs, TLV_CID, e->cid);
    put_view_tlv(tlvs, TLV_LINK_TARGET, e->link_target);
    return json_pack("{s:O,s:i,s:o,s:o,s:i,s:i,s:i,s:o,s:o,s:O}", "length",
                     json_object_get(theirs, "length"), "file_type",
                     e->file_type, "size", wide(e->size), "mtime_s",
                     wide_signed(e->mtime_s), "mtime_ns", (int)e->mtime_ns,
                     "mode", (int)e->mode, "name_len", (int)e->name.len,
                     "name", vectors_hex(e->name), "tlvs", tlvs, "ignored",
                     json_object_get(theirs, "ignored"));
}

static json_t *entry_list(const struct msg_entries *m, json_t *expected)
{
    json_t *theirs = json_object_get(expected, "entries");
    json_t *list = json_array();
    struct reader at;
    struct msg_entry one;
    size_t i = 0;
    reader_init(&at, m->entries.ptr, m->entries.len);
    while (msg_entries_next(&at, &one)) {
        json_array_append_new(list,
                              entry_json(&one, json_array_get(theirs, i++)));
    }
    return list;
}

static json_t *path_fields(json_t *fields, struct bytes_view path)
{
    json_object_set_new(fields, "path_len", json_integer((int)path.len));
    json_object_set_new(fields, "path", vectors_hex(path));
    return fields;
}

static json_t *chunk_json(const struct msg_chunk *m, const uint8_t *payload)
{
    return json_pack(
        "{s:o,s:I,s:I,s:I,s:i,s:o,s:o}", "offset", wide(m->offset),
        "raw_len", (json_int_t)m->raw_len, "stored_len",
        (json_int_t)m->stored_len, "handle", (json_int_t)m->handle, "codec",
        m->codec, "digest",
        vectors_hex((struct bytes_view){ m->digest, DIGEST_LEN }), "data",
        vectors_hex((struct bytes_view){ payload + LAYOUT_CHUNK_LEN,
                                         m->stored_len }));
}

static json_t *request_json(const struct msg *m)
{
    switch (m->type) {
    case FRAME_OPEN:
        return path_fields(
            json_pack("{s:I,s:i,s:i}", "handle", (json_int_t)m->open.handle,
                      "flags", m->open.flags, "want_chunk_log2",
                      m->open.want_chunk_log2),
            m->open.path);
    case FRAME_LIST:
        return path_fields(json_pack("{s:i}", "flags", m->list.flags),
                           m->list.path);
    case FRAME_GET:
        return json_pack("{s:I,s:i,s:i,s:i,s:o}", "handle",
                         (json_int_t)m->get.handle, "urgency", m->get.urgency,
                         "flags", m->get.flags, "count", m->get.count,
                         "ranges", range_list(&m->get));
    case FRAME_DIGEST:
        return json_pack("{s:I,s:i,s:i,s:o,s:I}", "handle",
                         (json_int_t)m->digest.handle, "block_log2",
                         m->digest.block_log2, "flags", m->digest.flags,
                         "first_block", wide(m->digest.first_block),
                         "block_count", (json_int_t)m->digest.block_count);
    case FRAME_CLOSE:
        return json_pack("{s:I}", "handle", (json_int_t)m->close.handle);
    case FRAME_AUTH:
        return json_pack("{s:i}", "method", m->auth.method);
    default:
        return json_object();
    }
}

static json_t *answer_json(const struct msg *m, const uint8_t *payload,
                           json_t *expected)
{
    switch (m->type) {
    case FRAME_INFO:
        return json_pack("{s:I,s:i,s:i,s:i,s:o,s:o,s:I,s:I}", "handle",
                         (json_int_t)m->info.handle, "file_type",
                         m->info.file_type, "chunk_log2", m->info.chunk_log2,
                         "info_flags", m->info.info_flags, "size",
                         wide(m->info.size), "mtime_s",
                         wide_signed(m->info.mtime_s), "mtime_ns",
                         (json_int_t)m->info.mtime_ns, "mode",
                         (json_int_t)m->info.mode);
    case FRAME_ENTRIES:
        return json_pack("{s:i,s:o}", "count", m->entries.count, "entries",
                         entry_list(&m->entries, expected));
    case FRAME_CHUNK:
        return chunk_json(&m->chunk, payload);
    case FRAME_DIGESTS:
        return json_pack("{s:o,s:I,s:i,s:i,s:o,s:o}", "first_chunk",
                         wide(m->digests.first_chunk), "count",
                         (json_int_t)m->digests.count, "proof_len",
                         m->digests.proof_len, "block_log2",
                         m->digests.block_log2, "digests",
                         digest_list(m->digests.digests), "proof",
                         digest_list(m->digests.proof));
    case FRAME_DONE:
        return json_pack("{s:o,s:o}", "chunks", wide(m->done.chunks),
                         "raw_bytes", wide(m->done.raw_bytes));
    case FRAME_ERROR:
        return json_pack("{s:i}", "code", m->error.code);
    case FRAME_PROGRESS:
        return json_pack("{s:o,s:o}", "done", wide(m->progress.done),
                         "total", wide(m->progress.total));
    case FRAME_NOTICE:
        return json_pack("{s:o}", "text", vectors_hex(m->notice.text));
    default:
        fail();
        return NULL;
    }
}

static json_t *fields_json(const struct msg *m, const uint8_t *payload,
                           json_t *expected)
{
    switch (m->type) {
    case FRAME_PING:
    case FRAME_PONG:
        return json_pack("{s:o}", "opaque",
                         vectors_hex((struct bytes_view){ m->ping.opaque,
                                                          PING_LEN }));
    case FRAME_GOAWAY:
        return json_pack("{s:I,s:i}", "last_id",
                         (json_int_t)m->goaway.last_id, "code",
                         m->goaway.code);
    default:
        break;
    }
    return m->type < FRAME_INFO ? request_json(m)
                                : answer_json(m, payload, expected);
}

/* ---- message: encoding again */

static void check_canonical(json_t *vector, const struct msg *m,
                            const struct frame *f, uint8_t sender,
                            struct bytes_view whole)
{
    static uint8_t room[LIMIT_CONTROL_PAYLOAD + FRAME_HEADER_LEN];
    struct writer w;
    writer_init(&w, room, sizeof room);
    if (m->type == FRAME_CHUNK && msg_chunk_check(&m->chunk) != BELAY_OK) {
        return;
    }
    int err = msg_again(m, f, sender, &w);
    /* Our own frames keep room for a path: a full one is not ours. */
    if (err == ERR_LIMIT && m->type == FRAME_DIGESTS) {
        return;
    }
    if (err != BELAY_OK) {
        fail_msg("%s: encoding: %s", vectors_id(vector), err_name(err));
    }
    size_t len = FRAME_HEADER_LEN + f->covered;
    if (writer_len(&w) != len || memcmp(room, whole.ptr, len) != 0) {
        fail_msg("%s: encodes to other bytes", vectors_id(vector));
    }
}

/* Where the TLVs of a frame start: behind everything decoded before. */
static json_t *message_tlvs(const struct msg *m, const struct frame *f,
                            const uint8_t *payload, uint8_t sender)
{
    size_t skip = 0;
    char name[16];
    snprintf(name, sizeof name, "%s", frame_name(f->type));
    switch (m->type) {
    case FRAME_HELLO:
        snprintf(name, sizeof name, "HELLO-%c",
                 sender == FRAME_FROM_CLIENT ? 'C' : 'S');
        break;
    case FRAME_GOAWAY:
        skip = LAYOUT_GOAWAY_LEN;
        break;
    case FRAME_OPEN:
        skip = LAYOUT_OPEN_LEN + m->open.path.len;
        break;
    case FRAME_LIST:
        skip = LAYOUT_LIST_LEN + m->list.path.len;
        break;
    case FRAME_GET:
        skip = LAYOUT_GET_LEN + m->get.ranges.len;
        break;
    case FRAME_DIGEST:
        skip = LAYOUT_DIGEST_LEN;
        break;
    case FRAME_CLOSE:
        skip = LAYOUT_CLOSE_LEN;
        break;
    case FRAME_CANCEL:
        break;
    case FRAME_AUTH:
        skip = LAYOUT_AUTH_LEN;
        break;
    case FRAME_INFO:
        skip = LAYOUT_INFO_LEN;
        break;
    case FRAME_ENTRIES:
        skip = LAYOUT_ENTRIES_LEN + m->entries.entries.len;
        break;
    case FRAME_DIGESTS:
        skip = LAYOUT_DIGESTS_LEN + m->digests.digests.len +
               m->digests.proof.len;
        break;
    case FRAME_DONE:
        skip = LAYOUT_DONE_LEN;
        break;
    case FRAME_ERROR:
        skip = LAYOUT_ERROR_LEN;
        break;
    case FRAME_PROGRESS:
        skip = LAYOUT_PROGRESS_LEN;
        break;
    default:
        return json_array();
    }
    int err;
    json_t *list = tlvs_json(
        (struct bytes_view){ payload + skip, f->length - skip },
        context(name), &err);
    assert_int_equal(err, BELAY_OK);
    return list;
}

static int check_path(struct bytes_view path)
{
    return relpath_check((const char *)path.ptr, path.len);
}

/* Rule N1 is not the wire room's, but it is the vector's. */
static int decode_with_path(const struct frame *f, const uint8_t *payload,
                            uint8_t sender, struct msg *m)
{
    int err = msg_decode(f, payload, sender, LIMIT_RANGES_DEFAULT, m);
    if (err == BELAY_OK && m->type == FRAME_OPEN) {
        err = check_path(m->open.path);
    }
    if (err == BELAY_OK && m->type == FRAME_LIST) {
        err = check_path(m->list.path);
    }
    return err;
}

static void check_message(json_t *vector)
{
    json_t *input = json_object_get(vector, "input");
    json_t *expected = json_object_get(vector, "expected");
    uint8_t sender = is(input, "sender", "client") ? FRAME_FROM_CLIENT
                                                   : FRAME_FROM_SERVER;
    size_t len;
    uint8_t *data = vectors_unhex(vectors_string(input, "hex"), &len);
    const uint8_t *payload = data + FRAME_HEADER_LEN;
    struct frame f;
    struct msg m;
    enum frame_verdict verdict;
    int err = scan_growing(data, len, &f);
    if (err == BELAY_OK) {
        err = frame_classify(&f, sender, &verdict);
    }
    if (err == BELAY_OK) {
        assert_int_equal(verdict, FRAME_ACCEPT);
        err = decode_with_path(&f, payload, sender, &m);
    }
    if (json_is_object(expected)) {
        if (err != BELAY_OK) {
            fail_msg("%s: %s", vectors_id(vector), err_name(err));
        }
        vectors_check_equal(vector, "type",
                            json_string(frame_name(f.type)));
        vectors_check_equal(vector, "request_id",
                            json_integer(f.request_id));
        vectors_check_equal(vector, "end", json_boolean(frame_is_end(&f)));
        json_t *fields = json_object_get(expected, "fields");
        if (json_is_true(json_object_get(expected, "canonical"))) {
            vectors_check_equal(vector, "fields",
                                fields_json(&m, payload, fields));
            check_canonical(vector, &m, &f, sender,
                            (struct bytes_view){ data, len });
        }
        vectors_check_equal(vector, "tlvs",
                            message_tlvs(&m, &f, payload, sender));
    } else {
        vectors_check_error(vector, err);
    }
    free(data);
}

static void message_vectors(void **state)
{
    (void)state;
    each("message", check_message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preface_vectors),
        cmocka_unit_test(frame_vectors),
        cmocka_unit_test(tlv_vectors),
        cmocka_unit_test(message_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
