/* Transfer: what a server may answer, but seldom does. */
#include "tests/unit/transfer_fixture.h"

#define K4 (4 * KIB)

/* Up and greeted; OPEN and the first GET are out. */
static void begin(struct bench *b)
{
    bench_init(b);
    bench_start(b);
    join(b, 0);
    greet(b, 0);
}

static void say_error(struct bench *b, uint32_t id, struct msg_error m)
{
    assert_int_equal(msg_error_encode(&m, id, &b->peer[0].w), 0);
    feed(b, 0);
}

/* Lost until then, and dialled at once behind it. */
static void assert_down_for(struct bench *b, uint64_t ms)
{
    assert_false(b->failed);
    assert_false(b->up[0]);
    if (ms > 0) {
        pass(b, ms - 1);
        assert_false(b->dial[0]);
    }
    join(b, 0);
    greet(b, 0);
}

static void finish(struct bench *b, const struct version *v)
{
    for (unsigned n = 0; n < 8 && !b->finished && !b->failed; n++) {
        serve(b, 0, v);
        pass(b, 1000);
    }
    assert_finished(b, v);
}

/* ---- ERROR. */

/* The server has trouble: another connection, when it likes. */
static void test_trouble(void **state)
{
    static const struct {
        bool get; /* GET fails, else OPEN */
        uint16_t code;
        uint32_t wait_ms; /* 0: it does not say */
    } rows[] = {
        {false, WIRE_INTERNAL, 0},     {false, WIRE_INTERNAL, 9000},
        {false, WIRE_IO_ERROR, 0},     {false, WIRE_SHUTTING_DOWN, 7000},
        {true, WIRE_INTERNAL, 0},      {true, WIRE_INTERNAL, 9000},
        {true, WIRE_SHUTTING_DOWN, 0}, {true, WIRE_SHUTTING_DOWN, 7000},
    };
    struct version v = version_new("v1", 3 * K4, 12);

    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct peer_request *open;
        struct bench b;

        begin(&b);
        open = expect(&b, 0, FRAME_OPEN);
        if (rows[k].get) {
            say_info(&b, 0, open, &v);
            feed(&b, 0);
        }
        say_error(&b, rows[k].get ? expect(&b, 0, FRAME_GET)->id : open->id,
                  (struct msg_error){.code = rows[k].code,
                                     .has_retry_after = rows[k].wait_ms > 0,
                                     .retry_after_ms = rows[k].wait_ms});
        assert_int_equal(b.drops, 1);
        assert_down_for(&b, rows[k].wait_ms);
        finish(&b, &v);
        bench_free(&b);
    }
    version_free(&v);
}

/* The GET that went out before anything was known. */
static void test_first_get_refused(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct peer_request *open;
    struct bench b;

    (void)state;
    begin(&b);
    open = expect(&b, 0, FRAME_OPEN);
    say_error(&b, expect(&b, 0, FRAME_GET)->id,
              (struct msg_error){.code = WIRE_BUSY,
                                 .has_retry_after = true,
                                 .retry_after_ms = 3000});
    say_info(&b, 0, open, &v);
    feed(&b, 0);
    pass(&b, 2900);
    expect_none(&b, 0);
    pass(&b, 1000);
    assert_int_equal(peek(&b, 0)->type, FRAME_GET);
    finish(&b, &v);
    bench_free(&b);
    version_free(&v);
}

/* A disk that cannot be read there: where, if it says so. */
static void test_unreadable_there(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);

    (void)state;
    for (unsigned where = 0; where < 2; where++) {
        struct bench b;

        begin(&b);
        say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
        feed(&b, 0);
        for (unsigned k = 0; k < 3; k++) {
            assert_false(b.failed);
            say_error(&b, expect(&b, 0, FRAME_GET)->id,
                      (struct msg_error){.code = WIRE_IO_ERROR,
                                         .has_offset = where != 0,
                                         .offset = where * 5000});
            pass(&b, 1000);
        }
        assert_failed(&b, TRANSFER_SERVER);
        assert_int_equal(strstr(transfer_detail(b.t),
                                "(at byte 5000 of its file)") != NULL,
                         where != 0);
        bench_free(&b);
    }
    version_free(&v);
}

/* ---- DONE. */

/* No CID, and DONE does not name the version: the server has to look again
 * before the last chunk can be believed (R5e). */
static void test_done_without_version(void **state)
{
    struct version v = version_new("v1", 2 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.names_cid = false;
    begin(&b);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    q = expect(&b, 0, FRAME_GET);
    say_chunk(&b, 0, q, &v, 0);
    say_chunk(&b, 0, q, &v, 1);
    peer_done(&b.peer[0], q->id, 2, v.size, NULL, NULL);
    feed(&b, 0);
    assert_int_equal(transfer_ledger(b.t)->have, v.size);
    assert_false(b.finished);
    q = peek(&b, 0);
    while (q != NULL && q->type == FRAME_CLOSE) {
        b.peer[0].answered++;
        q = peek(&b, 0);
    }
    assert_non_null(q);
    assert_int_equal(q->type, FRAME_OPEN);
    assert_int_equal(q->open.expect_version.len, 2);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    assert_finished(&b, &v);
    bench_free(&b);
    version_free(&v);
}

/* GETs of what came from elsewhere were cancelled; up to the next OPEN. */
static void cancel_rest(struct bench *b, unsigned i)
{
    struct peer_request *q;

    while ((q = peek(b, i)) != NULL && q->type != FRAME_OPEN) {
        b->peer[i].answered++;
        if (q->type == FRAME_GET) {
            peer_error(&b->peer[i], q->id, WIRE_CANCELLED);
            feed(b, i);
        }
    }
}

/* ... and with several connections it is asked on the one whose data came
 * last, among those that still take requests. */
static void test_who_looks_again(void **state)
{
    static const struct {
        unsigned last;  /* brings the last chunk */
        bool drains;    /* and is told that it ends */
        unsigned asked; /* to look */
    } rows[] = {{0, false, 0}, {1, false, 1}, {1, true, 0}, {0, true, 1}};

    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct version v = version_new("v1", 300 * K4, 12);
        unsigned first = 1 - rows[k].last;
        struct peer_request *q[2];
        struct bench b;

        v.names_cid = false;
        bench_init(&b);
        b.config.conns = 2;
        bench_start(&b);
        resume(&b, &v, 0);
        for (uint64_t i = 1; i + 1 < v.count; i++) {
            memcpy(b.disk + i * K4, v.data + i * K4, K4);
            transfer_hint(b.t, i, v.digest[i]);
        }
        b.hold_hashes = true;
        for (unsigned i = 0; i < 2; i++) {
            join_file(&b, i, &v);
        }
        release_hashes(&b);
        pump(&b);
        q[0] = expect(&b, 0, FRAME_GET); /* chunks 0 and 299 */
        say_chunk(&b, 0, q[0], &v, 0);
        feed(&b, 0);
        await_ping(&b, 1); /* it stalls, and the other takes over */
        say_pong(&b, 1);
        q[1] = expect(&b, 1, FRAME_GET);
        if (rows[k].drains) {
            peer_goaway(&b.peer[rows[k].last], GOAWAY_ANNOUNCE, 0);
        }
        say_chunk(&b, first, q[first], &v, 299);
        feed(&b, first);
        pass(&b, 10);
        say_chunk(&b, rows[k].last, q[rows[k].last], &v, 299);
        feed(&b, rows[k].last);
        for (unsigned i = 0; i < 2; i++) {
            peer_done(&b.peer[i], q[i]->id, i == 0 ? 2 : 1,
                      i == 0 ? 2 * K4 : K4, NULL, NULL);
        }
        feed(&b, first);
        assert_false(b.finished);
        feed(&b, rows[k].last);
        assert_false(b.finished);
        assert_int_equal(transfer_ledger(b.t)->have, v.size);
        pass(&b, 100);
        cancel_rest(&b, 0);
        cancel_rest(&b, 1);
        expect_none(&b, 1 - rows[k].asked);
        say_info(&b, rows[k].asked,
                 expect(&b, rows[k].asked, FRAME_OPEN), &v);
        feed(&b, rows[k].asked);
        assert_finished(&b, &v);
        bench_free(&b);
        version_free(&v);
    }
}

/* ---- INFO. */

static void test_odd_info(void **state)
{
    static const struct {
        uint8_t type, log2, most_log2;
        uint64_t size, max_size;
        enum transfer_reason reason;
    } rows[] = {
        {FILE_SYMLINK, 12, 22, 5, 0, TRANSFER_NOT_A_FILE},
        {FILE_OTHER, 12, 22, 5, 0, TRANSFER_NOT_A_FILE},
        {FILE_REGULAR, 13, 12, 5, 0, TRANSFER_PROTOCOL},
        {FILE_REGULAR, 12, 22, 6, 5, TRANSFER_TOO_LARGE},
        {FILE_REGULAR, 12, 22, (TRANSFER_CHUNKS_MAX + 1) << 12, 0,
         TRANSFER_TOO_LARGE},
        {FILE_REGULAR, 12, 22, (TRANSFER_CHUNKS_MAX + 1) << 12, INT64_MAX,
         TRANSFER_TOO_LARGE},
        {FILE_REGULAR, 12, 22, 5, 5, TRANSFER_OK},
    };

    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct msg_info m = {.file_type = rows[k].type,
                             .chunk_log2 = rows[k].log2,
                             .info_flags = INFO_CID_PENDING,
                             .size = rows[k].size};
        struct bench b;

        if (rows[k].type == FILE_REGULAR) {
            m.version = peer_text("v1");
        } else {
            m.info_flags = 0;
            m.chunk_log2 = 0;
        }
        bench_init(&b);
        b.config.max_size = rows[k].max_size;
        b.config.max_chunk_log2 = rows[k].most_log2;
        bench_start(&b);
        /* The second time nothing excuses it. */
        for (unsigned n = 0; n < 2 && !b.failed && b.begins == 0; n++) {
            struct peer_request *q;

            join(&b, 0);
            greet(&b, 0);
            q = expect(&b, 0, FRAME_OPEN);
            m.handle = q->handle;
            assert_int_equal(msg_info_encode(&m, q->id, &b.peer[0].w), 0);
            feed(&b, 0);
        }
        assert_int_equal(b.begins, rows[k].reason == TRANSFER_OK);
        if (rows[k].reason != TRANSFER_OK) {
            assert_failed(&b, rows[k].reason);
        }
        bench_free(&b);
    }
}

/* ---- the connection. */

static void test_goaway_says_when(void **state)
{
    struct msg_goaway m = {.code = WIRE_SHUTTING_DOWN,
                           .message = {(const uint8_t *)"bye", 3},
                           .has_retry_after = true,
                           .retry_after_ms = 6000};
    struct version v = version_new("v1", 2 * K4, 12);
    struct bench b;

    (void)state;
    begin(&b);
    assert_int_equal(msg_goaway_encode(&m, &b.peer[0].w), 0);
    feed(&b, 0);
    assert_int_equal(b.notes[TRANSFER_NOTE_LOST], 1);
    assert_down_for(&b, 6000);
    finish(&b, &v);
    bench_free(&b);
    version_free(&v);
}

/* Text and progress change nothing; of a flood the beginning is told. */
static void test_notices(void **state)
{
    struct msg_progress progress = {.done = 1, .total = 2};
    struct msg_notice notice = {.text = peer_text("hello")};
    struct version v = version_new("v1", 2 * K4, 12);
    struct transfer_chunk chunk;
    size_t used, len;
    struct bench b;

    (void)state;
    begin(&b);
    for (unsigned k = 0; k < 100; k++) {
        assert_int_equal(msg_notice_encode(&notice, &b.peer[0].w), 0);
    }
    assert_int_equal(msg_progress_encode(&progress, 1, &b.peer[0].w), 0);
    len = writer_len(&b.peer[0].w);
    transfer_feed(b.t, 0, b.peer[0].buf, len, &used, &chunk, b.now);
    assert_int_equal(used, len);
    assert_false(chunk.present);
    peer_clear(&b.peer[0]);
    pump(&b);
    assert_int_equal(b.notes[TRANSFER_NOTE_SERVER], 32);
    finish(&b, &v);
    bench_free(&b);
    version_free(&v);
}

/* ---- what the runner says too much. */

static void test_said_for_nothing(void **state)
{
    struct version v = version_new("v1", 2 * K4, 12);
    uint8_t other[HASH_LEN] = {7};
    struct transfer_ledger before;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &v, 0x1);
    transfer_hint(b.t, 0, other); /* the first word counts */
    transfer_hint(b.t, 2, other); /* no such chunk */
    before = *transfer_ledger(b.t);
    transfer_chunk_done(b.t, 0, 2, other, false, b.now);
    transfer_chunk_done(b.t, 0, 1, other, false, b.now);
    transfer_copied(b.t, true, b.now);
    transfer_chunk_data(b.t, 0, 5, b.now);
    assert_memory_equal(transfer_ledger(b.t), &before, sizeof before);
    assert_false(transfer_have(b.t, 0));
    assert_false(transfer_have(b.t, 1));
    assert_false(transfer_have(b.t, 2));
    join(&b, 0);
    greet(&b, 0);
    finish(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->kept, K4);
    assert_true(transfer_have(b.t, 1));
    assert_false(transfer_have(b.t, 2));
    bench_free(&b);
    version_free(&v);
}

/* ---- chunks that all fail. */

#define RUN 256u /* in a row: this is no damage on the way */

static void test_nothing_good(void **state)
{
    struct version v = version_new("v1", (RUN + 1) * K4, 12);
    static struct bench b;
    unsigned came = 0;

    (void)state;
    begin(&b);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    feed(&b, 0);
    b.hold_chunks = true;
    while (came < RUN) {
        struct peer_request *q = expect(&b, 0, FRAME_GET);

        for (size_t k = 0; k < q->get.count; k++) {
            struct msg_range r = msg_get_range(&q->get, k);

            for (uint64_t at = r.offset; came < RUN && at < v.size &&
                                         at - r.offset < r.length;
                 at += K4) {
                say_chunk(&b, 0, q, &v, at >> 12);
                feed(&b, 0);
                b.held_chunks = 0; /* they are judged below */
                came++;
            }
        }
    }
    for (uint64_t i = 0; i < RUN; i++) {
        assert_false(b.failed);
        transfer_chunk_done(b.t, 0, i, v.digest[i], false, b.now);
        pump(&b);
    }
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    assert_non_null(strstr(transfer_detail(b.t), "256 chunks in a row"));
    assert_int_equal(transfer_ledger(b.t)->bad_chunks, RUN);
    assert_int_equal(transfer_ledger(b.t)->wasted, RUN * K4);
    bench_free(&b);
    version_free(&v);
}

/* ---- smaller chunks. */

/* Of a large file not every grid fits in memory: the nearest that does. */
static void test_nearest_grid(void **state)
{
    struct peer_file f = {.size = (TRANSFER_CHUNKS_SHRINK << 12) + 1,
                          .chunk_log2 = 14,
                          .version = "v1"};
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    for (unsigned k = 0; k < LIMIT_SHRINK_AFTER; k++) {
        struct peer_request *q;

        assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 0);
        join(&b, 0);
        greet(&b, 0);
        q = expect(&b, 0, FRAME_OPEN);
        peer_info(&b.peer[0], q->id, q->handle, &f);
        feed(&b, 0);
        cut(&b, 0);
    }
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    assert_int_equal(b.note_count[TRANSFER_NOTE_SHRUNK], 13);
    bench_free(&b);
}

/* Not before what an earlier run left is looked at. */
static void test_shrinks_behind_hashes(void **state)
{
    struct version old = version_new("v1", 12 * K4, 14);
    struct version v = version_new("v1", 12 * K4, 12);
    struct bench b;

    (void)state;
    old.names_cid = false;
    v.names_cid = false;
    bench_init(&b);
    b.hold_hashes = true;
    bench_start(&b);
    resume(&b, &old, 0x3);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    peer_hello(&b.peer[0], 64, 12);
    peer_error(&b.peer[0], expect(&b, 0, FRAME_OPEN)->id, WIRE_UNSUPPORTED);
    feed(&b, 0);
    assert_int_equal(b.held_count, 1);
    pass(&b, 3000);
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 0);
    release_hashes(&b);
    pump(&b);
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    peer_hello(&b.peer[0], 64, 12);
    feed(&b, 0);
    finish(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->kept, 8 * K4);
    bench_free(&b);
    version_free(&old);
    version_free(&v);
}

/* ---- a pin on another grid. */

/* The bytes cannot be read back when they are hashed once more. */
static void test_pin_unreadable(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct version coarse = version_new("v1", 6 * K4, 14);
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.pinned = true;
    b.config.pin_log2 = coarse.chunk_log2;
    memcpy(b.config.pin_cid, coarse.cid, HASH_LEN);
    b.config.want_chunk_log2 = 12;
    b.hold_hashes = true;
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_int_equal(b.held_count, 1);
    assert_int_equal(b.held[0].count, 2);
    transfer_hashed(b.t, 0, coarse.digest[0], b.now);
    assert_false(b.failed);
    transfer_hashed(b.t, 1, NULL, b.now);
    pump(&b);
    assert_failed(&b, TRANSFER_UNREADABLE);
    assert_string_equal(transfer_detail(b.t),
                        "the bytes received cannot be read back");
    bench_free(&b);
    version_free(&v);
    version_free(&coarse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trouble),
        cmocka_unit_test(test_first_get_refused),
        cmocka_unit_test(test_unreadable_there),
        cmocka_unit_test(test_done_without_version),
        cmocka_unit_test(test_who_looks_again),
        cmocka_unit_test(test_odd_info),
        cmocka_unit_test(test_goaway_says_when),
        cmocka_unit_test(test_notices),
        cmocka_unit_test(test_said_for_nothing),
        cmocka_unit_test(test_nothing_good),
        cmocka_unit_test(test_nearest_grid),
        cmocka_unit_test(test_shrinks_behind_hashes),
        cmocka_unit_test(test_pin_unreadable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
