/* Receiver: the published conversations (spec/vectors/streams), with our
 * receiver in the place of their client.
 *
 * What their client asks we ask too, so that request ids agree; what their
 * server says is fed as it is, whole and byte by byte.  A valid conversation
 * raises no error; one with a fault that a connection can see raises one. */
#include "tests/unit/vectors_util.h"

#include "proto/session/receiver.h"
#include "proto/wire/preface.h"

/* Faults that only a whole file or a whole listing shows: the receiver lets
 * them pass, the transfer and the lister judge. */
static const char *const above[] = {
    "changed/done-other-version",
    "changed/two-digests",
    "changed/cid-differs",
    "digest/bad-proof-flip",
    "digest/bad-proof-short",
    "digest/bad-proof-long",
    "digest/bad-proof-digest",
    "digest/list-not-the-cid",
    "digest/list-gap",
    "digest/list-too-many",
    "digest/list-end-too-early",
    "digest/list-end-missing",
    "digest/crosses-block",
    "faults/chunks-exchanged",
    "faults/flip-first-data",
    "faults/flip-last-data",
    "faults/shifted-data",
    "faults/lost-byte",
    "faults/info-other-grid",
    "faults/info-over-limit",
    "faults/info-too-many-chunks",
    "list/descends-over-frames",
    "list/same-over-frames",
};

/* No client of ours does what these clients do. */
static const char *const foreign[] = {
    "auth/bearer",
    "auth/required-and-refused",
    "auth/insecure",
    "errors/requests-refused",
    "errors/unknown-request",
    "errors/limits",
};

static bool listed(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

struct replay {
    struct receiver *r;
    const char *name;
    bool dead;
    bool draining;
    size_t step;
    uint32_t last_id;
    unsigned events;
};

/* The bytes of one segment: literal, then a pattern. */
static uint8_t *segment_bytes(const json_t *segment, size_t *len)
{
    size_t literal;
    size_t pattern = (size_t)json_integer_value(
        json_object_get(segment, "pattern_len"));
    size_t at =
        (size_t)json_integer_value(json_object_get(segment, "pattern_at"));
    uint8_t *hex = vectors_unhex(
        json_string_value(json_object_get(segment, "hex")), &literal);
    uint8_t *out = malloc(literal + pattern + 1);

    assert_non_null(out);
    memcpy(out, hex, literal);
    for (size_t i = 0; i < pattern; i++) {
        out[literal + i] = (uint8_t)((at + i) % 251);
    }
    free(hex);
    *len = literal + pattern;
    return out;
}

/* ---- their client. */

/* Their ids may leave gaps: fill them with requests that get no answer. */
static void skip_ids(struct replay *p, uint32_t wanted)
{
    uint32_t id = p->last_id;

    while (id + 1 < wanted && id < p->last_id + 10) {
        assert_int_equal(receiver_close_handle(p->r, 999, 0, &id), 0);
    }
    p->last_id = wanted;
}

static void ask(struct replay *p, const struct frame *f,
                const uint8_t *payload)
{
    uint32_t id = 0;
    int err = 0;
    struct msg m;

    if (f->type == FRAME_HELLO || f->type >= 0x80 ||
        f->type == FRAME_PING || f->type == FRAME_PONG || p->draining) {
        return; /* behind GOAWAY we ask nothing more, whatever they did */
    }
    assert_int_equal(msg_decode(f, payload, FRAME_FROM_CLIENT,
                                LIMIT_RANGES_MIN, &m),
                     0);
    if (f->type != FRAME_CANCEL && f->type != FRAME_GOAWAY) {
        skip_ids(p, f->request_id);
    }
    switch (f->type) {
    case FRAME_OPEN:
        err = receiver_open(p->r, &m.open, 0, &id);
        break;
    case FRAME_GET:
        err = receiver_get(p->r, &m.get, 0, &id);
        break;
    case FRAME_DIGEST:
        err = receiver_digest(p->r, &m.digest, 0, &id);
        break;
    case FRAME_LIST:
        err = receiver_list(p->r, &m.list, 0, &id);
        break;
    case FRAME_CLOSE:
        err = receiver_close_handle(p->r, m.close.handle, 0, &id);
        break;
    case FRAME_CANCEL:
        id = f->request_id;
        err = receiver_cancel(p->r, id);
        break;
    case FRAME_GOAWAY:
        receiver_goaway(p->r);
        id = f->request_id;
        break;
    default:
        fail_msg("%s: a client frame of type %u", p->name, f->type);
    }
    if (err != 0 || id != f->request_id) {
        fail_msg("%s: request %u became %u, error %d", p->name,
                 f->request_id, id, err);
    }
}

static void client_segment(struct replay *p, const uint8_t *data, size_t len)
{
    if (len >= PREFACE_LEN && preface_possible(data, PREFACE_LEN)) {
        return;
    }
    while (len > 0 && !p->dead) {
        const uint8_t *drop;
        struct frame f;
        size_t need;

        assert_int_equal(frame_scan(data, len, &f, &need), 0);
        ask(p, &f, data + FRAME_HEADER_LEN);
        receiver_sent(p->r, receiver_out(p->r, &drop), 0);
        data += need;
        len -= need;
    }
}

/* ---- their server. */

static void server_segment(struct replay *p, const uint8_t *data, size_t len)
{
    while (len > 0 && !p->dead) {
        struct receiver_event event = {.type = RECEIVER_NONE};
        size_t n = len < p->step ? len : p->step;
        size_t left = receiver_chunk_left(p->r);
        size_t used;

        if (left > 0) {
            used = n < left ? n : left;
            receiver_chunk_data(p->r, 0, used);
        } else {
            p->dead =
                receiver_feed(p->r, 0, data, n, &used, &event) != 0;
        }
        p->events += event.type != RECEIVER_NONE;
        p->draining |= event.type == RECEIVER_GOAWAY;
        data += used;
        len -= used;
    }
}

/* ---- one conversation. */

/* Does the fault lie in what the client says?  Then it is not for us. */
static bool clients_fault(const json_t *vector)
{
    const json_t *segments = json_object_get(
        json_object_get(vector, "input"), "segments");
    const json_t *last =
        json_array_get(segments, json_array_size(segments) - 1);
    const char *from = json_string_value(json_object_get(last, "from"));

    return strcmp(json_string_value(json_object_get(vector, "result")),
                  "invalid") == 0 &&
           strcmp(from, "client") == 0;
}

static void replay(const json_t *vector, const char *name, size_t step,
                   struct replay *p)
{
    struct receiver_config config = {.max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX,
                                     .compression = true,
                                     .agent = "demo/1"};
    const json_t *segments = json_object_get(
        json_object_get(vector, "input"), "segments");
    const json_t *segment;
    const uint8_t *drop;
    size_t at;

    memset(p, 0, sizeof *p);
    p->name = name;
    p->step = step;
    p->r = receiver_new();
    assert_non_null(p->r);
    receiver_start(p->r, &config, 0);
    receiver_sent(p->r, receiver_out(p->r, &drop), 0);
    json_array_foreach((json_t *)(uintptr_t)segments, at, segment) {
        size_t len;
        uint8_t *bytes = segment_bytes(segment, &len);

        if (strcmp(json_string_value(json_object_get(segment, "from")),
                   "client") == 0) {
            client_segment(p, bytes, len);
        } else {
            server_segment(p, bytes, len);
        }
        free(bytes);
    }
    receiver_free(p->r);
}

static bool must_fail(const json_t *vector, const char *name)
{
    const char *result =
        json_string_value(json_object_get(vector, "result"));
    const char *code = json_string_value(
        json_object_get(json_object_get(vector, "error"), "code"));

    if (strcmp(name, "errors/version-1-rejected") == 0) {
        return true; /* valid, and the end all the same */
    }
    if (strcmp(result, "invalid") != 0 ||
        listed(above, sizeof above / sizeof above[0], name)) {
        return false;
    }
    /* A stream that ends too early is the transport's to tell. */
    return code == NULL || strcmp(code, "RESET") != 0;
}

static unsigned run_file(const char *file)
{
    static const size_t steps[] = {1, 13, 1 << 20};
    char path[64];
    json_t *root;
    const json_t *vector;
    unsigned ran = 0;
    size_t at;

    snprintf(path, sizeof path, "streams/%s", file);
    root = vectors_load(path);
    json_array_foreach(json_object_get(root, "vectors"), at, vector) {
        char name[128];
        struct replay p;
        unsigned events = 0;

        snprintf(name, sizeof name, "%s/%s", file,
                 json_string_value(json_object_get(vector, "id")));
        if (clients_fault(vector) ||
            listed(foreign, sizeof foreign / sizeof foreign[0], name)) {
            continue;
        }
        for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
            bool acceptable =
                strcmp(json_string_value(json_object_get(vector, "result")),
                       "acceptable") == 0;

            replay(vector, name, steps[k], &p);
            if (!acceptable && p.dead != must_fail(vector, name)) {
                fail_msg("%s, %zu bytes at a time: %s", name, steps[k],
                         p.dead ? "refused" : "accepted");
            }
            assert_true(k == 0 || p.events == events);
            events = p.events;
        }
        ran++;
    }
    json_decref(root);
    return ran;
}

static void test_streams(void **state)
{
    static const struct {
        const char *file;
        unsigned least;
    } files[] = {
        {"fresh", 13},  {"resume", 7},  {"changed", 7}, {"digest", 22},
        {"cancel", 6},  {"errors", 3},  {"faults", 25}, {"goaway", 4},
        {"grease", 2},  {"list", 4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_true(run_file(files[i].file) >= files[i].least);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
