/* The sender against whole conversations: the worked exchanges of the text,
 * byte for byte, and every conversation of the vectors in which a client
 * breaks a rule. Each runs with the input in one piece and byte by byte. */

#include <stdio.h>

#include "tests/unit/sender_fixture.h"
#include "tests/unit/vectors_util.h"

static const struct sender_config worked = {
    .max_chunk_log2 = 22,
    .max_requests = 0x40,
    .idle_timeout_s = 0x78,
    .compression = true,
    .agent = "belayd/1",
};

static json_t *
find_vector(json_t *file, const char *id)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(file, "vectors"), i, v) {
        if (strcmp(json_string_value(json_object_get(v, "id")), id) == 0) {
            return v;
        }
    }
    fail_msg("no vector %s", id);
    return NULL;
}

static bool
is_from(json_t *segment, const char *who)
{
    return strcmp(json_string_value(json_object_get(segment, "from")), who) ==
           0;
}

static uint8_t *
segment_bytes(json_t *segment, size_t *len)
{
    return vectors_unhex(json_string_value(json_object_get(segment, "hex")),
                         len);
}

/* Feeds the client's segments: those that nothing of the server separates
 * arrive in one read, or every byte arrives alone. */
static void
feed_client(struct fixture *f, json_t *vector, bool bytewise)
{
    json_t *segments =
        json_object_get(json_object_get(vector, "input"), "segments");
    size_t i;
    json_t *segment;
    bool fed = false;
    json_array_foreach(segments, i, segment) {
        if (!is_from(segment, "client")) {
            fixture_pump(f);
            continue;
        }
        size_t len = 0;
        uint8_t *bytes = segment_bytes(segment, &len);
        for (size_t k = 0; bytewise && k < len; k++) {
            fixture_feed(f, bytes + k, 1);
        }
        if (!bytewise) {
            sender_recv(f->s, f->now, bytes, len);
        }
        free(bytes);
        fed = true;
    }
    assert_true(fed);
    fixture_pump(f);
}

static void
check_server_stream(struct fixture *f, json_t *vector)
{
    json_t *input = json_object_get(vector, "input");
    size_t len = 0;
    uint8_t *want = vectors_unhex(
        json_string_value(json_object_get(input, "server_sha256")), &len);
    uint8_t got[HASH_LEN];
    assert_int_equal(len, HASH_LEN);
    assert_int_equal(
        strtoull(json_string_value(json_object_get(input, "server_len")), NULL,
                 10),
        f->out_len);
    assert_int_equal(hash_sha256(f->hasher, f->out, f->out_len, got), 0);
    assert_memory_equal(got, want, HASH_LEN);
    free(want);
}

struct worked_case {
    const char *file;
    const char *id;
    uint64_t size;
    uint64_t inverted;
    uint8_t version;
    int64_t mtime_s;
    bool cid_known;
};

static void
run_worked(const struct worked_case *c, bool bytewise)
{
    struct fixture f;
    json_t *file = vectors_load(c->file);
    json_t *vector = find_vector(file, c->id);

    fixture_init(&f, &worked);
    f.files[0].size = c->size;
    f.files[0].inverted = c->inverted;
    f.files[0].version = c->version;
    f.files[0].mtime_s = c->mtime_s;
    f.files[0].cid_known = c->cid_known;
    feed_client(&f, vector, bytewise);
    check_server_stream(&f, vector);
    assert_int_equal(f.pieces, 0);
    json_decref(file);
    fixture_clear(&f);
}

static void
test_worked(void **state)
{
    static const struct worked_case cases[] = {
        { "streams/fresh", "worked-17-1", 20000, UINT64_MAX, 0x18,
          0x6955b900, false },
        { "streams/resume", "worked-17-2", 20000, UINT64_MAX, 0x18,
          0x6955b900, true },
        { "streams/changed", "worked-17-3", 20100, 9000, 0x19, 0x6955b93c,
          true },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_worked(&cases[i], false);
        run_worked(&cases[i], true);
    }
}

static void
test_version_rejected(void **state)
{
    struct fixture f;
    json_t *file = vectors_load("streams/errors");
    json_t *vector = find_vector(file, "version-2-to-server");
    (void)state;
    for (unsigned bytewise = 0; bytewise < 2; bytewise++) {
        fixture_init(&f, &worked);
        feed_client(&f, vector, bytewise == 1);
        check_server_stream(&f, vector);
        assert_true(sender_finished(f.s));
        fixture_clear(&f);
    }
    json_decref(file);
}

/* ---- Clients that break a rule. */

/* The code of the ERROR with request id 0 in the output, 0 when there is
 * none; GOAWAY follows it and nothing else. */
static uint16_t
connection_error(struct fixture *f)
{
    struct frame frame;
    const uint8_t *payload = NULL;
    uint16_t code = 0;

    /* Its own HELLO may be missing (H1a). */
    assert_true(f->out_len >= PREFACE_LEN);
    f->out_read = PREFACE_LEN;
    while (fixture_frame(f, &frame, &payload)) {
        struct msg_error m;
        struct msg_goaway bye;
        if (code != 0) {
            assert_int_equal(frame.type, FRAME_GOAWAY);
            assert_int_equal(
                msg_goaway_decode(payload, frame.length, &bye), 0);
            assert_int_equal(bye.code, code);
        } else if (frame.type == FRAME_ERROR && frame.request_id == 0) {
            assert_int_equal(msg_error_decode(payload, frame.length, &m), 0);
            code = m.code;
        }
    }
    return code;
}

static void
run_fault(json_t *vector, bool bytewise)
{
    struct fixture f;
    json_t *error = json_object_get(vector, "error");

    fixture_init(&f, &worked);
    feed_client(&f, vector, bytewise);
    uint16_t code = connection_error(&f);
    /* A server that had nothing to do may have closed before the fault. */
    bool left = bytewise && strcmp(sender_reason(f.s), "done") == 0;
    json_int_t class = json_integer_value(json_object_get(error, "class"));
    if (!left && code >> 8 != class) {
        fail_msg("%s: code %04x",
                 json_string_value(json_object_get(vector, "id")), code);
    }
    assert_true(sender_finished(f.s));
    assert_false(sender_wants_read(f.s));
    assert_int_equal(f.pieces, 0);
    fixture_clear(&f);
}

static bool
is_client_fault(json_t *vector)
{
    json_t *error = json_object_get(vector, "error");
    json_t *segments =
        json_object_get(json_object_get(vector, "input"), "segments");
    json_t *last = json_array_get(segments, json_array_size(segments) - 1);
    return json_is_object(error) && is_from(last, "client") &&
           strcmp(json_string_value(json_object_get(error, "scope")),
                  "connection") == 0;
}

static void
test_client_faults(void **state)
{
    static const char *const files[] = { "streams/faults", "streams/goaway" };
    unsigned ran = 0;
    (void)state;
    for (size_t k = 0; k < sizeof(files) / sizeof(files[0]); k++) {
        json_t *file = vectors_load(files[k]);
        size_t i;
        json_t *vector;
        json_array_foreach(json_object_get(file, "vectors"), i, vector) {
            if (is_client_fault(vector)) {
                run_fault(vector, false);
                run_fault(vector, true);
                ran++;
            }
        }
        json_decref(file);
    }
    assert_true(ran >= 9);
}

/* The worked download, cut after every byte: the sender closes without a
 * word and loses nothing. */
static void
test_cut_everywhere(void **state)
{
    json_t *file = vectors_load("streams/fresh");
    json_t *vector = find_vector(file, "worked-17-1");
    json_t *segments =
        json_object_get(json_object_get(vector, "input"), "segments");
    uint8_t whole[256];
    size_t total = 0;
    size_t i;
    json_t *segment;
    (void)state;
    json_array_foreach(segments, i, segment) {
        if (is_from(segment, "client")) {
            size_t len = 0;
            uint8_t *bytes = segment_bytes(segment, &len);
            assert_true(total + len <= sizeof(whole));
            memcpy(whole + total, bytes, len);
            total += len;
            free(bytes);
        }
    }
    json_decref(file);
    for (size_t cut = 0; cut < total; cut++) {
        struct fixture f;
        fixture_init(&f, &worked);
        if (cut > 0) {
            fixture_feed(&f, whole, cut);
        }
        sender_eof(f.s, f.now);
        fixture_pump(&f);
        assert_true(sender_finished(f.s));
        assert_int_equal(f.pieces, 0);
        fixture_clear(&f);
    }
}

/* Any single flipped bit of the client's stream: never a crash, and always
 * an orderly state. */
static void
test_flip_everywhere(void **state)
{
    json_t *file = vectors_load("streams/fresh");
    json_t *vector = find_vector(file, "worked-17-1");
    json_t *segments =
        json_object_get(json_object_get(vector, "input"), "segments");
    (void)state;
    for (size_t bit = 0; bit < 161 * 8; bit++) {
        struct fixture f;
        size_t at = 0;
        size_t i;
        json_t *segment;
        fixture_init(&f, &worked);
        json_array_foreach(segments, i, segment) {
            size_t len = 0;
            uint8_t *bytes = segment_bytes(segment, &len);
            if (is_from(segment, "client") && sender_wants_read(f.s)) {
                if (bit / 8 >= at && bit / 8 < at + len) {
                    bytes[bit / 8 - at] ^= (uint8_t)(1u << (bit % 8));
                }
                at += len;
                fixture_feed(&f, bytes, len);
            }
            free(bytes);
        }
        sender_eof(f.s, f.now);
        fixture_pump(&f);
        assert_true(sender_finished(f.s));
        assert_int_equal(f.pieces, 0);
        fixture_clear(&f);
    }
    json_decref(file);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked),
        cmocka_unit_test(test_version_rejected),
        cmocka_unit_test(test_client_faults),
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_flip_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
