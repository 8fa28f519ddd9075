/* The sender under random clients: any mixture of requests, cancels, pings
 * and ends, jobs that finish in any order and fail in any way, and input cut
 * anywhere. Whatever happens, every request gets exactly one END, chunks of a
 * GET ascend, and nothing is lost. A failing seed is printed. */

#include "tests/unit/sender_fixture.h"

#define SEEDS 400
#define STEPS 300
#define IDS_MAX 2000

static const struct sender_config config = {
    .max_chunk_log2 = 22,
    .max_requests = 24,
    .max_handles = 16,
    .idle_timeout_s = 120,
    .compression = true,
    .grease = true,
    .agent = "test",
};

struct world {
    struct fixture f;
    uint64_t random;
    uint32_t next_id;
    unsigned ends[IDS_MAX];
    uint64_t chunk_from[IDS_MAX]; /* the next chunk is at or after this */
    uint8_t wire[4096];           /* said, not yet delivered */
    size_t wire_len;
};

static uint32_t
pick(struct world *w, uint32_t bound)
{
    w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(w->random >> 33) % bound;
}

/* ---- A client that asks for anything. */

static void
put_open(struct world *w, struct writer *out)
{
    static const char *const paths[] = { "iso/demo.bin", "two", "none", "..",
                                         "" };
    const char *path = paths[pick(w, 5)];
    uint32_t handle = pick(w, 6);
    struct msg_open m = {
        .handle = handle,
        .flags = handle == 0 ? OPEN_NO_HANDLE : 0,
        .want_chunk_log2 = pick(w, 3) == 0 ? 13 : 12,
        .path = { (const uint8_t *)path, strlen(path) },
    };
    assert_int_equal(msg_open_encode(&m, w->next_id++, out), 0);
}

static void
put_get(struct world *w, struct writer *out)
{
    uint8_t packed[MSG_RANGES_BYTES(3)];
    struct msg_range ranges[3];
    uint16_t count = (uint16_t)(1 + pick(w, 3));
    uint64_t at = pick(w, 9000);
    for (uint16_t i = 0; i < count; i++) {
        ranges[i].offset = at;
        ranges[i].length = 1 + pick(w, 9000);
        at += ranges[i].length + pick(w, 5000);
    }
    if (pick(w, 3) == 0) {
        ranges[count - 1].length = GET_TO_END;
    }
    struct msg_get m = {
        .handle = 1 + pick(w, 5),
        .urgency = (uint8_t)pick(w, 8),
        .flags = pick(w, 6) == 0 ? GET_CLOSE_AFTER : 0,
    };
    msg_ranges_pack(&m, ranges, count, packed);
    assert_int_equal(msg_get_encode(&m, w->next_id++, out), 0);
}

static void
put_other(struct world *w, struct writer *out)
{
    switch (pick(w, 5)) {
    case 0: {
        struct msg_digest m = {
            .handle = 1 + pick(w, 5),
            .block_log2 = (uint8_t)pick(w, 4),
            .flags = (uint8_t)pick(w, 4),
            .first_block = pick(w, 6),
            .block_count = pick(w, 4),
        };
        assert_int_equal(msg_digest_encode(&m, w->next_id++, out), 0);
        return;
    }
    case 1: {
        struct msg_close m = { .handle = 1 + pick(w, 5) };
        assert_int_equal(msg_close_encode(&m, w->next_id++, out), 0);
        return;
    }
    case 2: {
        struct msg_list m = { .path = { (const uint8_t *)"d", 1 } };
        assert_int_equal(msg_list_encode(&m, w->next_id++, out), 0);
        return;
    }
    case 3: {
        struct msg_cancel m = { .grease = { .type = 0 } };
        uint32_t id = w->next_id > 12 ? w->next_id - pick(w, 12) : 1;
        /* Not so many that they are a flood. */
        if (pick(w, 2) == 0) {
            assert_int_equal(msg_cancel_encode(&m, id, out), 0);
        }
        return;
    }
    default: {
        size_t start = frame_begin(out);
        writer_u64(out, w->random);
        uint8_t type = (uint8_t)(pick(w, 2) == 0 ? 0x2A : 0xC3);
        uint32_t id = type == 0x2A ? w->next_id++ : pick(w, 100);
        assert_int_equal(frame_finish(out, start, type, 0, id), 0);
        return;
    }
    }
}

static void
client_step(struct world *w)
{
    struct writer out;
    writer_init(&out, w->wire + w->wire_len, sizeof(w->wire) - w->wire_len);
    if (w->next_id + 1 < IDS_MAX && writer_left(&out) > 300) {
        uint32_t what = pick(w, 10);
        if (what < 3) {
            put_open(w, &out);
        } else if (what < 7) {
            put_get(w, &out);
        } else {
            put_other(w, &out);
        }
    }
    w->wire_len += writer_len(&out);
}

static void
deliver(struct world *w)
{
    if (w->wire_len == 0 || !sender_wants_read(w->f.s)) {
        return;
    }
    size_t len = 1 + pick(w, (uint32_t)w->wire_len);
    sender_recv(w->f.s, w->f.now, w->wire, len);
    w->wire_len -= len;
    memmove(w->wire, w->wire + len, w->wire_len);
}

/* ---- What comes back. */

static void
look(struct world *w)
{
    struct frame frame;
    const uint8_t *payload = NULL;
    while (fixture_frame(&w->f, &frame, &payload)) {
        uint32_t id = frame.request_id;
        if (frame.type >= 0x80 || id == 0) {
            continue;
        }
        assert_true(id < w->next_id);
        assert_int_equal(w->ends[id], 0);
        w->ends[id] += frame_is_end(&frame);
        if (frame.type == FRAME_CHUNK) {
            struct msg_chunk m;
            assert_int_equal(msg_chunk_decode(&frame, payload, &m), 0);
            assert_true(m.offset >= w->chunk_from[id]);
            w->chunk_from[id] = m.offset + m.raw_len;
        }
    }
}

/* ---- Jobs end at any time and in any way. */

static void
finish_some(struct world *w)
{
    struct fixture *f = &w->f;
    if (f->held_count == 0) {
        return;
    }
    size_t i = pick(w, (uint32_t)f->held_count);
    struct fixture_file *file = &f->files[0];
    static const uint16_t codes[] = { WIRE_IO_ERROR, WIRE_CHANGED_DURING,
                                      WIRE_BUSY };
    file->read_code = pick(w, 12) == 0 ? codes[pick(w, 3)] : 0;
    file->check_code = pick(w, 12) == 0 ? WIRE_CHANGED_DURING : 0;
    struct sender_job job = f->held[i];
    f->held_count--;
    memmove(&f->held[i], &f->held[i + 1],
            (f->held_count - i) * sizeof(f->held[0]));
    fixture_finish(f, &job);
}

static void
run_jobs(struct world *w)
{
    struct sender_job job;
    while (sender_next_job(w->f.s, w->f.now, &job)) {
        fixture_job(&w->f, &job);
    }
}

static void
step(struct world *w)
{
    switch (pick(w, 6)) {
    case 0:
    case 1:
        client_step(w);
        break;
    case 2:
        deliver(w);
        break;
    case 3:
        finish_some(w);
        break;
    case 4:
        w->f.now += pick(w, 3000);
        sender_tick(w->f.s, w->f.now);
        break;
    default:
        run_jobs(w);
        if (fixture_emit(&w->f)) {
            look(w);
        }
        break;
    }
    run_jobs(w);
}

static void
finish_all(struct world *w)
{
    struct fixture *f = &w->f;
    while (!sender_finished(f->s) &&
           (w->wire_len > 0 || f->held_count > 0 || !sender_is_idle(f->s))) {
        deliver(w);
        finish_some(w);
        fixture_pump(f);
        look(w);
    }
}

static void
greet(struct world *w)
{
    struct preface p = { .version = PROTO_VERSION, .role = ROLE_CLIENT };
    struct msg_hello hello = { .has = 0 };
    struct writer out;
    uint8_t bytes[PREFACE_LEN];
    preface_encode(&p, bytes);
    writer_init(&out, w->wire, sizeof(w->wire));
    writer_bytes(&out, bytes, sizeof(bytes));
    assert_int_equal(msg_hello_encode(&hello, FRAME_FROM_CLIENT, &out), 0);
    w->wire_len = writer_len(&out);
    while (w->wire_len > 0) {
        deliver(w);
    }
    fixture_pump(&w->f);
    fixture_skip_greeting(&w->f);
}

static void
run_seed(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->random = seed * 2654435761u + 1;
    w->next_id = 1;
    fixture_init(&w->f, &config);
    w->f.files[1].path = "two";
    w->f.files[1].size = 12345;
    w->f.hold = pick(w, 64);
    greet(w);
    for (unsigned i = 0; i < STEPS && !sender_finished(w->f.s); i++) {
        step(w);
    }
    w->f.files[0].read_code = 0;
    finish_all(w);
    if (!sender_finished(w->f.s)) {
        for (uint32_t id = 1; id < w->next_id; id++) {
            if (w->ends[id] != 1) {
                fail_msg("seed %lu: request %u has %u ENDs",
                         (unsigned long)seed, id, w->ends[id]);
            }
        }
        assert_int_equal(w->f.pieces, 0);
    } else {
        assert_string_equal(sender_reason(w->f.s), "cancel-flood");
    }
    fixture_clear(&w->f);
    free(w);
}

static void
test_random_clients(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed);
    }
}

/* Bytes without sense: never more than an orderly end. */
static void
test_random_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = calloc(1, sizeof(*w));
        assert_non_null(w);
        w->random = seed;
        fixture_init(&w->f, &config);
        if (seed % 2 == 0) {
            greet(w);
        }
        for (unsigned i = 0; i < 50 && sender_wants_read(w->f.s); i++) {
            uint8_t noise[64];
            size_t len = 1 + pick(w, sizeof(noise));
            for (size_t k = 0; k < len; k++) {
                noise[k] = (uint8_t)pick(w, pick(w, 2) == 0 ? 4 : 256);
            }
            fixture_feed(&w->f, noise, len);
        }
        fixture_pump(&w->f);
        fixture_clear(&w->f);
        free(w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_clients),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
