/* The sender: limits, order, failing, cancelling, digests. Time is in
 * sender_time_test.c, whole conversations are in sender_stream_test.c. */

#include "proto/base/limits.h"
#include "tests/unit/sender_talk.h"

/* ---- Limits. */

static void
test_requests_limit(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK;
    for (uint32_t id = 2; id < 2 + 20; id++) {
        say_get_all(id, 1);
    }
    say_end(&f);
    expect_nothing(&f);
    say_get_all(22, 1);
    say_open(23, 2, "..");
    say_end(&f);
    expect_error(&f, 22, WIRE_TOO_MANY_REQUESTS);
    expect_error(&f, 23, WIRE_TOO_MANY_REQUESTS);
    /* One that ends makes room for one. */
    say_cancel(5);
    say_end(&f);
    expect_error(&f, 5, WIRE_CANCELLED);
    say_get_all(24, 1);
    say_end(&f);
    expect_nothing(&f);
    fixture_clear(&f);
}

static void
test_stops_reading_behind_refusals(void **state)
{
    struct fixture f;
    uint32_t id = 2;
    (void)state;
    begin(&f, &usual);
    f.blocked = true;
    while (sender_wants_read(f.s)) {
        assert_true(id < 200);
        say_get_all(id++, 1);
        say_end(&f);
    }
    assert_true(id > 20 + 60);
    /* What came in the same read waits, and is answered later in order. */
    f.blocked = false;
    fixture_pump(&f);
    assert_true(sender_wants_read(f.s));
    unsigned refused = 0;
    unsigned done = 0;
    struct seen seen;
    while (next(&f, &seen)) {
        refused += seen.type == FRAME_ERROR;
        done += seen.type == FRAME_DONE;
    }
    assert_int_equal(done, 20);
    assert_int_equal(done + refused, id - 2);
    fixture_clear(&f);
}

static void
test_handles_limit(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, &usual);
    say_greeting(&f, true);
    for (uint32_t id = 1; id <= 17; id++) {
        say_open(id, id, "iso/demo.bin");
    }
    say_end(&f);
    struct seen seen;
    unsigned infos = 0;
    while (next(&f, &seen)) {
        infos += seen.type == FRAME_INFO;
        if (seen.type == FRAME_ERROR) {
            assert_int_equal(seen.id, 17);
            assert_int_equal(seen.code, WIRE_TOO_MANY_HANDLES);
        }
    }
    assert_int_equal(infos, 16);
    assert_int_equal(f.opens, 16);
    /* No handle is needed to describe. */
    say_open(18, 0, "iso/demo.bin");
    say_close(19, 3);
    say_open(20, 3, "iso/demo.bin");
    say_end(&f);
    expect(&f, FRAME_DONE, 19);
    expect(&f, FRAME_INFO, 18);
    expect(&f, FRAME_INFO, 20);
    assert_int_equal(f.opens, 16);
    fixture_clear(&f);
}

#define DEEP_16 "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"

/* What OPEN asks for is judged before anything is opened. */
static void
test_opens_refused(void **state)
{
    static const char *const paths[] = {
        "/iso", "..", "../iso", "iso/../x", "./iso", "iso//x", "iso/",
        "a" DEEP_16 DEEP_16 DEEP_16 DEEP_16,
    };
    uint32_t id = 1;
    struct fixture f;
    (void)state;
    fixture_init(&f, &usual);
    say_greeting(&f, true);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++, id++) {
        say_open(id, id, paths[i]);
        say_end(&f);
        expect_error(&f, id, WIRE_BAD_PATH);
    }
    /* Chunks larger than the client says it takes. */
    struct msg_open m = {
        .handle = id,
        .path = { (const uint8_t *)"iso/demo.bin", 12 },
        .want_chunk_log2 = 21,
    };
    assert_int_equal(msg_open_encode(&m, id, &say), 0);
    say_end(&f);
    expect_error(&f, id, WIRE_UNSUPPORTED);
    assert_int_equal(f.opens, 0);
    fixture_clear(&f);
}

static void
test_memory_limit(void **state)
{
    static const struct sender_config many = {
        .max_chunk_log2 = 22,
        .max_requests = 1000,
        .max_handles = 500,
        .agent = "test",
    };
    static char path[4000];
    struct fixture f;
    (void)state;
    fixture_init(&f, &many);
    say_greeting(&f, true);
    f.hold = 1u << SENDER_JOB_OPEN;
    for (size_t i = 0; i < sizeof(path) - 1; i++) {
        path[i] = i % 100 == 99 ? '/' : 'a';
    }
    path[sizeof(path) - 1] = '\0';
    for (uint32_t id = 1; id <= 200; id++) {
        say_open(id, id, path);
        say_end(&f);
    }
    struct seen seen;
    unsigned refused = 0;
    while (next(&f, &seen)) {
        assert_int_equal(seen.code, WIRE_BUSY);
        refused++;
    }
    assert_in_range(refused, 60, 100);
    fixture_clear(&f);
}

static void
test_requests_total(void **state)
{
    struct sender_config few = usual;
    struct fixture f;
    struct seen seen;
    (void)state;
    few.requests_total_max = 3;
    begin(&f, &few);
    say_get_all(2, 1);
    say_get_all(3, 1);
    say_end(&f);
    bool announced = false;
    while (next(&f, &seen)) {
        announced |= seen.type == FRAME_GOAWAY &&
                     seen.last_id == GOAWAY_ANNOUNCE;
    }
    assert_true(announced);
    fixture_clear(&f);
}

/* ---- Order and urgency. */

static void
test_close_waits_for_what_is_before(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    say_get_all(2, 1);
    say_close(3, 1);
    say_get_all(4, 1);
    say_open(5, 1, "iso/demo.bin");
    say_end(&f);
    expect_error(&f, 4, WIRE_BAD_HANDLE);
    expect_error(&f, 5, WIRE_BAD_HANDLE);
    for (uint64_t i = 0; i < 5; i++) {
        expect_chunk(&f, 2, i * 4096);
    }
    expect(&f, FRAME_DONE, 2);
    expect(&f, FRAME_DONE, 3);
    expect_nothing(&f);
    assert_int_equal(f.opens, 0);
    say_open(6, 1, "iso/demo.bin");
    say_end(&f);
    expect(&f, FRAME_INFO, 6);
    fixture_clear(&f);
}

static void
test_urgent_first_and_turns_among_equals(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    say_open(2, 2, "iso/demo.bin");
    say_end(&f);
    expect(&f, FRAME_INFO, 2);
    say_get(3, &(struct get){ 1, 5, 0, 0, 8192 });
    say_get(4, &(struct get){ 2, 5, 0, 0, 8192 });
    say_get(5, &(struct get){ 1, 0, 0, 16384, GET_TO_END });
    say_end(&f);
    expect_chunk(&f, 5, 16384);
    struct seen seen;
    uint32_t order[4];
    size_t n = 0;
    while (next(&f, &seen)) {
        if (seen.type == FRAME_CHUNK) {
            assert_true(n < 4);
            order[n++] = seen.id;
        }
    }
    assert_int_equal(n, 4);
    assert_int_not_equal(order[0], order[1]);
    assert_int_equal(order[0], order[2]);
    assert_int_equal(order[1], order[3]);
    fixture_clear(&f);
}

static void
test_chunks_ascend_when_prepared_out_of_order(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK;
    say_get(2, &(struct get){ 1, 3, 0, 0, 8192 });
    say_end(&f);
    assert_int_equal(f.held_count, 2); /* SENDER_CHUNKS_AHEAD */
    fixture_release(&f, 1);
    expect_nothing(&f);
    fixture_release(&f, 0);
    expect_chunk(&f, 2, 0);
    expect_chunk(&f, 2, 4096);
    expect(&f, FRAME_DONE, 2);
    fixture_clear(&f);
}

static void
test_pong_is_a_fence(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_OPEN;
    say_open(2, 2, "iso/demo.bin");
    say_get_all(3, 9);
    say_ping();
    say_get_all(4, 9);
    say_end(&f);
    expect_error(&f, 3, WIRE_BAD_HANDLE);
    expect(&f, FRAME_PONG, 0);
    expect_error(&f, 4, WIRE_BAD_HANDLE);
    expect_nothing(&f);
    fixture_clear(&f);
}

/* ---- Failing. */

static void
test_open_fails_with_what_follows(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, &usual);
    say_greeting(&f, true);
    say_open(1, 1, "none");
    say_get_all(2, 1);
    say_digest(3, 32, 0, 1, 0);
    say_close(4, 1);
    say_end(&f);
    expect_error(&f, 1, WIRE_NOT_FOUND);
    expect_error(&f, 2, WIRE_BAD_HANDLE);
    expect_error(&f, 3, WIRE_BAD_HANDLE);
    expect_error(&f, 4, WIRE_BAD_HANDLE);
    expect_nothing(&f);
    fixture_clear(&f);
}

static void
test_io_error_keeps_what_is_before(void **state)
{
    struct fixture f;
    struct seen seen;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK;
    f.files[0].read_code = WIRE_IO_ERROR;
    f.files[0].read_from = 1;
    say_get_all(2, 1);
    say_end(&f);
    fixture_release(&f, 1); /* chunk 1 fails before chunk 0 is there */
    expect_nothing(&f);
    fixture_release(&f, 0);
    expect_chunk(&f, 2, 0);
    assert_true(next(&f, &seen));
    assert_int_equal(seen.type, FRAME_ERROR);
    assert_int_equal(seen.code, WIRE_IO_ERROR);
    assert_int_equal(seen.offset, 4096);
    /* The handle lives on. */
    f.hold = 0;
    say_get(3, &(struct get){ 1, 3, 0, 0, 1 });
    say_end(&f);
    expect_chunk(&f, 3, 0);
    expect(&f, FRAME_DONE, 3);
    fixture_clear(&f);
}

static void
test_changed_during_ends_all_of_the_handle(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK | 1u << SENDER_JOB_DIGEST;
    f.files[0].read_code = WIRE_CHANGED_DURING;
    f.files[0].read_from = 1;
    say_get_all(2, 1);
    say_digest(3, 32, 0, 1, 0);
    say_get_all(4, 1);
    say_end(&f);
    assert_int_equal(f.held_count, 3);
    fixture_release(&f, 1);
    expect_error(&f, 2, WIRE_CHANGED_DURING);
    expect_error(&f, 3, WIRE_CHANGED_DURING);
    expect_error(&f, 4, WIRE_CHANGED_DURING);
    assert_int_equal(f.abandoned, 1);
    say_get_all(5, 1);
    say_end(&f);
    expect_error(&f, 5, WIRE_BAD_HANDLE);
    assert_int_equal(f.opens, 1); /* jobs still use the file */
    while (f.held_count > 0) {
        fixture_release(&f, 0);
    }
    expect_nothing(&f);
    assert_int_equal(f.opens, 0);
    assert_int_equal(f.pieces, 0);
    fixture_clear(&f);
}

static void
test_change_is_seen_before_done(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.files[0].check_code = WIRE_CHANGED_DURING;
    say_get(2, &(struct get){ 1, 3, 0, 0, 1 });
    say_end(&f);
    expect_chunk(&f, 2, 0);
    expect_error(&f, 2, WIRE_CHANGED_DURING);
    assert_int_equal(f.opens, 0);
    fixture_clear(&f);
}

/* ---- Cancelling. */

static void
test_cancel_everywhere(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK | 1u << SENDER_JOB_OPEN |
             1u << SENDER_JOB_DIGEST;
    say_open(2, 2, "iso/demo.bin");
    say_get_all(3, 2); /* behind an OPEN */
    say_get_all(4, 1); /* being prepared */
    say_digest(5, 32, 0, 1, 0);
    say_end(&f);
    say_cancel(2);
    say_cancel(4);
    say_cancel(5);
    say_cancel(5);
    say_cancel(99);
    say_end(&f);
    expect_error(&f, 2, WIRE_CANCELLED);
    expect_error(&f, 3, WIRE_BAD_HANDLE);
    expect_error(&f, 4, WIRE_CANCELLED);
    expect_error(&f, 5, WIRE_CANCELLED);
    while (f.held_count > 0) {
        fixture_release(&f, 0);
    }
    expect_nothing(&f);
    assert_int_equal(f.pieces, 0);
    assert_int_equal(f.opens, 1);
    fixture_clear(&f);
}

static void
test_cancel_drops_chunks_that_wait(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.blocked = true;
    say_get_all(2, 1);
    say_end(&f);
    assert_int_equal(f.pieces, 2);
    say_cancel(2);
    say_end(&f);
    assert_int_equal(f.pieces, 0);
    f.blocked = false;
    fixture_pump(&f);
    expect_error(&f, 2, WIRE_CANCELLED);
    expect_nothing(&f);
    fixture_clear(&f);
}

static void
test_cancel_flood(void **state)
{
    struct fixture f;
    uint32_t id = 2;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK;
    while (!sender_finished(f.s)) {
        assert_true(id < 300);
        say_get_all(id, 1);
        say_cancel(id++);
        say_end(&f);
        while (f.held_count > 0) {
            fixture_release(&f, 0);
        }
    }
    assert_in_range(id, LIMIT_CANCEL_WINDOW / 2, LIMIT_CANCEL_WINDOW);
    assert_int_equal(err_wire_class(WIRE_TOO_MANY_REQUESTS),
                     WIRE_CLASS_TRANSIENT);
    fixture_clear(&f);
}

/* ---- Digests. */

static void
test_digest_pages(void **state)
{
    struct fixture f;
    struct frame frame;
    const uint8_t *payload = NULL;
    (void)state;
    fixture_init(&f, &usual);
    f.files[0].size = 4096 * UINT64_C(4000) + 5;
    say_greeting(&f, true);
    say_open(1, 1, "iso/demo.bin");
    say_end(&f);
    expect(&f, FRAME_INFO, 1);
    say_digest(2, 32, 0, 1, 0);
    say_end(&f);
    uint64_t at = 0;
    bool end = false;
    struct fixture_open o = { .file = &f.files[0], .chunk_log2 = 12 };
    while (!end) {
        struct msg_digests m;
        assert_true(fixture_frame(&f, &frame, &payload));
        assert_int_equal(msg_digests_decode(payload, frame.length, &m), 0);
        assert_int_equal(m.first_chunk, at);
        assert_int_equal(m.proof_len, 0);
        uint8_t want[HASH_LEN];
        fixture_digest(&f, &o, at, want);
        assert_memory_equal(msg_digest_at(m.digests, 0), want, HASH_LEN);
        at += m.count;
        end = frame_is_end(&frame);
    }
    assert_int_equal(at, 4001);
    expect_nothing(&f);
    fixture_clear(&f);
}

static void
test_digest_selects_nothing(void **state)
{
    static const struct {
        uint8_t block_log2;
        uint64_t first;
        uint32_t count;
    } cases[] = {
        { 0, 5, 1 }, { 3, 1, 0 }, { 32, 1, 1 }, { 0, UINT64_MAX, 0 },
        { 32, UINT64_MAX, UINT32_MAX },
    };
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        say_digest(2 + i, cases[i].block_log2, cases[i].first,
                   cases[i].count, 0);
        say_end(&f);
        expect(&f, FRAME_DONE, 2 + i);
    }
    expect_nothing(&f);
    fixture_clear(&f);
}

static void
test_digest_proofs_end_blocks(void **state)
{
    struct fixture f;
    struct frame frame;
    const uint8_t *payload = NULL;
    (void)state;
    begin(&f, &usual);
    say_digest(2, 1, 0, 0, DIGEST_WITH_PROOF);
    say_end(&f);
    for (uint64_t block = 0; block < 3; block++) {
        struct msg_digests m;
        assert_true(fixture_frame(&f, &frame, &payload));
        assert_int_equal(msg_digests_decode(payload, frame.length, &m), 0);
        assert_int_equal(m.first_chunk, block * 2);
        assert_int_equal(m.count, block < 2 ? 2 : 1);
        assert_int_equal(m.proof_len, merkle_path_len(block, 3));
        assert_int_equal(frame_is_end(&frame), block == 2);
    }
    expect_nothing(&f);
    fixture_clear(&f);
}

/* ---- The rest. */

static void
test_grease_is_always_there(void **state)
{
    struct sender_config greasy = usual;
    (void)state;
    greasy.grease = true;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct fixture f;
        struct frame frame;
        const uint8_t *payload;
        struct preface p;
        struct msg_hello hello;
        greasy.grease_seed = seed * 77;
        fixture_init(&f, &greasy);
        struct preface mine = { .version = 1, .role = ROLE_CLIENT };
        struct msg_hello client = { .has = 0 };
        uint8_t bytes[PREFACE_LEN];
        preface_encode(&mine, bytes);
        say_begin();
        writer_bytes(&say, bytes, sizeof(bytes));
        assert_int_equal(
            msg_hello_encode(&client, FRAME_FROM_CLIENT, &say), 0);
        say_open(1, 1, "iso/demo.bin");
        say_get_all(2, 1);
        say_end(&f);
        assert_int_equal(preface_decode(f.out, ROLE_SERVER, &p), 0);
        f.out_read = PREFACE_LEN;
        assert_true(fixture_frame(&f, &frame, &payload));
        assert_int_equal(msg_hello_decode(payload, frame.length,
                                          FRAME_FROM_SERVER, &hello),
                         0);
        bool codec = false;
        for (size_t i = 0; i < hello.codecs.len; i++) {
            codec |= hello.codecs.ptr[i] % 16 == 0x0A;
        }
        assert_true(codec);
        assert_int_equal(msg_u16_count(hello.features), 1);
        unsigned grease = 0;
        while (fixture_frame(&f, &frame, &payload)) {
            grease += (frame.type & 0x8F) == 0x8A;
        }
        assert_int_equal(grease, 1);
        fixture_clear(&f);
    }
}

static void
test_chunk_jobs_say_what_is_allowed(void **state)
{
    struct fixture f;
    (void)state;
    for (unsigned zero = 0; zero < 2; zero++) {
        fixture_init(&f, &usual);
        say_greeting(&f, zero == 1);
        f.hold = 1u << SENDER_JOB_CHUNK;
        say_open(1, 1, "iso/demo.bin");
        say_get(2, &(struct get){ 1, 3, 0, 0, 1 });
        say_get(3, &(struct get){ 1, 3, GET_NO_COMPRESSION, 16384, 1 });
        say_end(&f);
        assert_int_equal(f.held_count, 2);
        assert_int_equal(f.held[0].chunk.zero, zero == 1);
        assert_int_equal(f.held[0].chunk.zlib, zero == 1);
        assert_int_equal(f.held[1].chunk.zlib, false);
        assert_int_equal(f.held[1].chunk.raw_len, 20000 - 16384);
        while (f.held_count > 0) {
            fixture_release(&f, 0);
        }
        fixture_clear(&f);
    }
}

static void
test_client_leaves(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK;
    say_get(2, &(struct get){ 1, 3, 0, 0, 1 });
    struct msg_goaway bye = { .last_id = 77 };
    assert_int_equal(msg_goaway_encode(&bye, &say), 0);
    say_end(&f);
    assert_false(sender_finished(f.s));
    say_ping();
    say_end(&f);
    expect(&f, FRAME_PONG, 0);
    fixture_release(&f, 0);
    expect_chunk(&f, 2, 0);
    expect(&f, FRAME_DONE, 2);
    assert_true(sender_finished(f.s));
    assert_string_equal(sender_reason(f.s), "done");
    fixture_clear(&f);
}

/* A large frame in many pieces, then small ones: the stash comes and goes. */
static void
test_large_frames_in_pieces(void **state)
{
    static uint8_t value[60000];
    struct fixture f;
    struct writer w;
    (void)state;
    begin(&f, &usual);
    size_t cap = sizeof(value) + 100;
    uint8_t *bytes = malloc(cap);
    assert_non_null(bytes);
    writer_init(&w, bytes, cap);
    size_t start = frame_begin(&w);
    writer_bytes(&w, value, sizeof(value));
    assert_int_equal(frame_finish(&w, start, 0xA5, 0, 7), 0);
    for (size_t at = 0; at < writer_len(&w); at += 997) {
        size_t left = writer_len(&w) - at;
        fixture_feed(&f, bytes + at, left < 997 ? left : 997);
        assert_true(sender_wants_read(f.s));
    }
    say_ping();
    say_end(&f);
    expect(&f, FRAME_PONG, 0);
    expect_nothing(&f);
    free(bytes);
    fixture_clear(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_limit),
        cmocka_unit_test(test_stops_reading_behind_refusals),
        cmocka_unit_test(test_handles_limit),
        cmocka_unit_test(test_opens_refused),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_requests_total),
        cmocka_unit_test(test_close_waits_for_what_is_before),
        cmocka_unit_test(test_urgent_first_and_turns_among_equals),
        cmocka_unit_test(test_chunks_ascend_when_prepared_out_of_order),
        cmocka_unit_test(test_pong_is_a_fence),
        cmocka_unit_test(test_open_fails_with_what_follows),
        cmocka_unit_test(test_io_error_keeps_what_is_before),
        cmocka_unit_test(test_changed_during_ends_all_of_the_handle),
        cmocka_unit_test(test_change_is_seen_before_done),
        cmocka_unit_test(test_cancel_everywhere),
        cmocka_unit_test(test_cancel_drops_chunks_that_wait),
        cmocka_unit_test(test_cancel_flood),
        cmocka_unit_test(test_digest_pages),
        cmocka_unit_test(test_digest_selects_nothing),
        cmocka_unit_test(test_digest_proofs_end_blocks),
        cmocka_unit_test(test_grease_is_always_there),
        cmocka_unit_test(test_chunk_jobs_say_what_is_allowed),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_large_frames_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
