/* Transfer: fresh downloads, resume, completion, refusals. */
#include "tests/unit/transfer_fixture.h"

#define K4 (4 * KIB)

/* ---- fresh. */

static void test_fresh(void **state)
{
    struct version v = version_new("v1", 5 * K4 - 100, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    pump(&b);
    assert_int_equal(b.dials, 1);
    join(&b, 0);
    /* Everything in one flight, before the server said a word. */
    q = expect(&b, 0, FRAME_OPEN);
    assert_int_equal(q->open.want_chunk_log2, 0);
    assert_int_equal(q->open.expect_version.len, 0);
    assert_int_equal(q->open.expect_cid.len, 0);
    assert_int_equal(q->open.path.len, 4);
    greet(&b, 0);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    assert_int_equal(b.begins, 1);
    assert_int_equal(transfer_chunks(b.t), 5);
    q = expect(&b, 0, FRAME_GET);
    assert_int_equal(msg_get_range(&q->get, 0).offset, 0);
    assert_int_equal(asked_chunks(q, &v), 0x1F);
    say_get(&b, 0, q, &v);
    feed(&b, 0);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->fresh, v.size);
    assert_int_equal(b.rebases, 0);
    expect_none(&b, 0);
    version_free(&v);
    bench_free(&b);
}

static void test_awkward_sizes(void **state)
{
    static const uint64_t sizes[] = {0,          1,          K4 - 1,
                                     K4,         K4 + 1,     2 * K4 - 1,
                                     2 * K4 + 1, 3 * K4,     5 * K4,
                                     7 * K4,     11 * K4 + 3, 13 * K4};

    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct version v = version_new("v1", sizes[i], 12);
            struct bench b;

            v.names_cid = (how & 1) != 0;
            v.weak = (how & 2) != 0;
            bench_init(&b);
            bench_start(&b);
            pump(&b);
            join(&b, 0);
            greet(&b, 0);
            serve(&b, 0, &v);
            pass(&b, 3000);
            serve(&b, 0, &v);
            assert_finished(&b, &v);
            /* Weak, and no CID: only the list can tell (R5c). */
            assert_int_equal(b.notes[TRANSFER_NOTE_RECHECK],
                             v.weak && !v.names_cid);
            version_free(&v);
            bench_free(&b);
        }
    }
}

/* Rule R5e: without a CID, all chunks are not enough. */
static void test_last_look(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.names_cid = false;
    bench_init(&b);
    bench_start(&b);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    q = expect(&b, 0, FRAME_GET);
    for (uint64_t i = 0; i < 3; i++) {
        say_chunk(&b, 0, q, &v, i);
    }
    feed(&b, 0);
    assert_int_equal(transfer_ledger(b.t)->have, v.size);
    assert_false(b.finished);
    cut(&b, 0); /* DONE never comes */
    join(&b, 0);
    greet(&b, 0);
    assert_false(b.finished);
    q = expect(&b, 0, FRAME_OPEN);
    assert_int_equal(q->open.expect_version.len, 2);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

/* The look must come after the read: a DONE that was sent before the last
 * chunk, on another connection, says nothing about it. */
static void test_done_of_another_get(void **state)
{
    struct version v = version_new("v1", 300 * K4, 12);
    struct peer_request *a;
    struct peer_request *c;
    struct bench b;

    (void)state;
    v.names_cid = false;
    bench_init(&b);
    b.config.conns = 2;
    b.hold_hashes = true;
    bench_start(&b);
    resume(&b, &v, 0);
    for (uint64_t i = 1; i < v.count - 1; i++) {
        memcpy(b.disk + i * K4, v.data + i * K4, K4);
        transfer_hint(b.t, i, v.digest[i]);
    }
    join_file(&b, 0, &v);
    a = expect(&b, 0, FRAME_GET); /* chunks 0 and 299 */
    assert_int_equal(a->get.count, 2);
    join_file(&b, 1, &v);
    release_hashes(&b);
    pump(&b);
    say_chunk(&b, 0, a, &v, 0);
    feed(&b, 0);
    expect_none(&b, 1);
    await_ping(&b, 1); /* conn 0 stalls, conn 1 takes over */
    say_pong(&b, 1);
    c = expect(&b, 1, FRAME_GET);
    assert_int_equal(msg_get_range(&c->get, 0).offset, 299 * K4);
    say_chunk(&b, 1, c, &v, 299);
    feed(&b, 1);
    assert_int_equal(transfer_ledger(b.t)->have, v.size);
    assert_false(b.finished);
    /* Conn 0 goes on: what it says was said before that chunk was read. */
    say_chunk(&b, 0, a, &v, 299);
    peer_done(&b.peer[0], a->id, 2, 2 * K4, "v1", NULL);
    feed(&b, 0);
    assert_false(b.finished);
    assert_int_equal(transfer_ledger(b.t)->repeated, K4);
    peer_done(&b.peer[1], c->id, 1, K4, "v1", NULL);
    feed(&b, 1);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

/* What comes behind a verified file changes nothing any more. */
static void test_nothing_after_the_end(void **state)
{
    struct version v = version_new("v1", 2 * K4, 12);
    struct version other = version_new("v2", 3 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    peer_error(&b.peer[0], 0, WIRE_NOT_FOUND);
    feed(&b, 0);
    transfer_lost(b.t, 0, "cut", b.now);
    pass(&b, 600000);
    assert_false(b.failed);
    assert_finished(&b, &v);
    version_free(&v);
    version_free(&other);
    bench_free(&b);
}

/* ---- resume. */

static void test_resume_strong(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &v, 0x2D); /* 0, 2, 3, 5 */
    pump(&b);
    join(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    assert_int_equal(q->open.want_chunk_log2, 12);
    assert_memory_equal(q->open.expect_version.ptr, "v1", 2);
    assert_int_equal(q->open.expect_cid.len, HASH_LEN);
    assert_memory_equal(q->open.expect_cid.ptr, v.cid, HASH_LEN);
    /* The missing ranges went out with it. */
    assert_int_equal(asked_chunks(peek(&b, 0), &v), 0x12);
    greet(&b, 0);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->kept, 4 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 2 * K4);
    assert_int_equal(b.begins, 0);
    version_free(&v);
    bench_free(&b);
}

/* Nothing is trusted but the bytes. */
static void test_false_hints(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &v, 0x3F);
    b.disk[K4 + 7] ^= 1;
    memset(b.disk + 3 * K4, 0, K4);
    pump(&b);
    assert_int_equal(b.notes[TRANSFER_NOTE_HINTS_BAD], 1);
    assert_int_equal(b.note_count[TRANSFER_NOTE_HINTS_BAD], 2);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->kept, 4 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 2 * K4);
    version_free(&v);
    bench_free(&b);
}

/* Everything is there: only the server's word is missing. */
static void test_resume_complete(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &v, 0x3F);
    pump(&b);
    assert_false(b.finished);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->fresh, 0);
    version_free(&v);
    bench_free(&b);
}

/* Rule R3: a weak version does not vouch for kept chunks; the list does. */
static void test_resume_weak(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v1", 6 * K4, 12);
    struct bench b;

    (void)state;
    v.data[2 * K4] ^= 1; /* changed within one tick: the same token */
    version_seal(&v);
    old.weak = true;
    old.names_cid = false;
    v.names_cid = false;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x0F);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v); /* strong by now */
    pass(&b, 2000);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(b.notes[TRANSFER_NOTE_RECHECK], 1);
    assert_int_equal(transfer_ledger(b.t)->kept, 3 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 3 * K4);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* Local work is bounded, however scattered the chunks are. */
static void test_hashing_is_bounded(void **state)
{
    struct version v = version_new("v1", 64 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    b.hold_hashes = true;
    bench_start(&b);
    resume(&b, &v, UINT64_C(0x5555555555555555));
    pump(&b);
    assert_int_equal(b.held_count, TRANSFER_HASHES_MAX);
    for (unsigned k = 0; k < b.held_count; k++) {
        struct transfer_action a = b.held[k];

        bench_hash(&b, &a);
        pump(&b);
        assert_true(b.held_count - k <= TRANSFER_HASHES_MAX + 1);
    }
    assert_int_equal(b.held_count, 32);
    assert_int_equal(transfer_ledger(b.t)->kept, 32 * K4);
    version_free(&v);
    bench_free(&b);
}

static void test_probe(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.probe = true;
    bench_start(&b);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    expect_none(&b, 0);
    feed(&b, 0);
    assert_int_equal(b.begins, 1);
    assert_false(b.failed);
    assert_int_equal(transfer_identity(b.t)->size, v.size);
    assert_int_equal(transfer_deadline(b.t), UINT64_MAX);
    version_free(&v);
    bench_free(&b);
}

/* ---- refusals. */

static void test_open_refused(void **state)
{
    static const struct {
        uint16_t code;
        enum transfer_reason reason;
    } rows[] = {
        {WIRE_NOT_FOUND, TRANSFER_REFUSED},
        {WIRE_DENIED, TRANSFER_REFUSED},
        {WIRE_NOT_A_FILE, TRANSFER_NOT_A_FILE},
        {WIRE_AUTH_REQUIRED, TRANSFER_ACCESS},
        {WIRE_PROTOCOL_ERROR, TRANSFER_PROTOCOL},
        {WIRE_UNSUPPORTED, TRANSFER_REFUSED},
        {0x01FF, TRANSFER_REFUSED}, /* unknown code */
        {0x7701, TRANSFER_REFUSED}, /* unknown class */
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b;

        bench_init(&b);
        bench_start(&b);
        pump(&b);
        join(&b, 0);
        peer_greeting(&b.peer[0]);
        peer_error(&b.peer[0], 1, rows[i].code);
        peer_error(&b.peer[0], 2, WIRE_BAD_HANDLE); /* in the same packet */
        feed(&b, 0);
        assert_failed(&b, rows[i].reason);
        bench_free(&b);
    }
}

static void test_connection_refused(void **state)
{
    static const struct {
        uint16_t code;
        enum transfer_reason reason;
        unsigned times;
    } rows[] = {
        {WIRE_DENIED, TRANSFER_REFUSED, 1},
        {WIRE_AUTH_FAILED, TRANSFER_ACCESS, 1},
        {WIRE_VERSION_REJECTED, TRANSFER_VERSION, 1},
        {WIRE_PROTOCOL_ERROR, TRANSFER_PROTOCOL, 2},
        {WIRE_BUSY, TRANSFER_UNREACHABLE, 3}, /* no contact so far */
        {WIRE_INTERNAL, TRANSFER_UNREACHABLE, 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b;

        bench_init(&b);
        bench_start(&b);
        for (unsigned k = 0; k < rows[i].times; k++) {
            assert_false(b.failed);
            join(&b, 0);
            peer_preface(&b.peer[0]);
            peer_error(&b.peer[0], 0, rows[i].code);
            feed(&b, 0);
        }
        assert_failed(&b, rows[i].reason);
        bench_free(&b);
    }
}

static void test_strangers(void **state)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    struct preface echo = {.version = PROTO_VERSION, .role = ROLE_CLIENT};
    struct preface newer = {.version = 2, .role = ROLE_SERVER,
                            .rejected = true};
    uint8_t bytes[PREFACE_LEN];
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    feed_bytes(&b, 0, (const uint8_t *)text, sizeof text - 1);
    assert_failed(&b, TRANSFER_NOT_BELAY);
    assert_non_null(strstr(transfer_detail(b.t), "HTTP/1.1"));
    bench_free(&b);

    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    preface_encode(&echo, bytes);
    feed_bytes(&b, 0, bytes, sizeof bytes);
    assert_failed(&b, TRANSFER_NOT_BELAY);
    bench_free(&b);

    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    preface_encode(&newer, bytes);
    feed_bytes(&b, 0, bytes, sizeof bytes);
    assert_failed(&b, TRANSFER_VERSION);
    bench_free(&b);
}

/* A damaged greeting is the network's doing: try again. */
static void test_damaged_greeting(void **state)
{
    struct version v = version_new("v1", K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    peer_greeting(&b.peer[0]);
    b.peer[0].buf[PREFACE_LEN + 20] ^= 4;
    feed(&b, 0);
    assert_false(b.failed);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

static void test_bad_info(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct version grid = version_new("v1", 4 * K4, 13);
    struct peer_request *q;
    struct msg_info directory = {.handle = 1, .file_type = FILE_DIRECTORY};
    struct bench b;

    (void)state;
    bench_init(&b); /* another grid than asked for, twice */
    bench_start(&b);
    resume(&b, &v, 1);
    for (unsigned k = 0; k < 2; k++) {
        assert_false(b.failed);
        join(&b, 0);
        greet(&b, 0);
        q = expect(&b, 0, FRAME_OPEN);
        say_info(&b, 0, q, &grid);
        feed(&b, 0);
    }
    assert_failed(&b, TRANSFER_PROTOCOL);
    bench_free(&b);

    bench_init(&b);
    b.config.max_size = 4 * K4 - 1;
    bench_start(&b);
    join_file(&b, 0, &v);
    assert_failed(&b, TRANSFER_TOO_LARGE);
    bench_free(&b);

    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    assert_int_equal(msg_info_encode(&directory, 1, &b.peer[0].w), 0);
    feed(&b, 0);
    assert_failed(&b, TRANSFER_NOT_A_FILE);
    bench_free(&b);
    version_free(&v);
    version_free(&grid);
}

/* More chunks than digests fit in memory. */
static void test_too_many_chunks(void **state)
{
    struct peer_file huge = {.size = (TRANSFER_CHUNKS_MAX + 1) << 12,
                             .chunk_log2 = 12,
                             .version = "v1"};
    struct peer_file most = {.size = TRANSFER_CHUNKS_MAX << 12,
                             .chunk_log2 = 12,
                             .version = "v1"};
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    peer_info(&b.peer[0], 1, 1, &huge);
    feed(&b, 0);
    assert_failed(&b, TRANSFER_TOO_LARGE);
    bench_free(&b);

    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    peer_info(&b.peer[0], 1, 1, &most);
    feed(&b, 0);
    assert_false(b.failed);
    assert_int_equal(transfer_chunks(b.t), TRANSFER_CHUNKS_MAX);
    bench_free(&b);
}

static void test_auth(void **state)
{
    static const uint8_t methods[] = {AUTH_BEARER};
    struct msg_hello hello = {.auth_methods = {methods, 1},
                              .agent = peer_text("peer")};
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    assert_int_equal(
        msg_hello_encode(&hello, FRAME_FROM_SERVER, &b.peer[0].w), 0);
    feed(&b, 0);
    assert_failed(&b, TRANSFER_ACCESS);
    bench_free(&b);
}

/* Text of a server is shown, and can do no harm. */
static void test_peer_text(void **state)
{
    struct msg_error m = {.code = WIRE_NOT_FOUND,
                          .message = peer_text("gone\033[2J\nfor good")};
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    assert_int_equal(msg_error_encode(&m, 1, &b.peer[0].w), 0);
    feed(&b, 0);
    assert_failed(&b, TRANSFER_REFUSED);
    assert_non_null(strstr(transfer_detail(b.t), "gone"));
    assert_null(strchr(transfer_detail(b.t), '\033'));
    assert_null(strchr(transfer_detail(b.t), '\n'));
    bench_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fresh),
        cmocka_unit_test(test_awkward_sizes),
        cmocka_unit_test(test_last_look),
        cmocka_unit_test(test_done_of_another_get),
        cmocka_unit_test(test_nothing_after_the_end),
        cmocka_unit_test(test_resume_strong),
        cmocka_unit_test(test_false_hints),
        cmocka_unit_test(test_resume_complete),
        cmocka_unit_test(test_resume_weak),
        cmocka_unit_test(test_hashing_is_bounded),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_open_refused),
        cmocka_unit_test(test_connection_refused),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_damaged_greeting),
        cmocka_unit_test(test_bad_info),
        cmocka_unit_test(test_too_many_chunks),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_peer_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
