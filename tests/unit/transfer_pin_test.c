/* Transfer: the content is known beforehand. */
#include "tests/unit/transfer_fixture.h"

#define K4 (4 * KIB)

static void pin(struct bench *b, const struct version *v)
{
    bench_init(b);
    b->config.pinned = true;
    b->config.pin_log2 = v->chunk_log2;
    memcpy(b->config.pin_cid, v->cid, HASH_LEN);
}

static void test_pin_right(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    for (unsigned named = 0; named < 2; named++) {
        v.names_cid = named != 0;
        pin(&b, &v);
        bench_start(&b);
        join(&b, 0);
        greet(&b, 0);
        q = peek(&b, 0);
        assert_int_equal(q->open.want_chunk_log2, 12);
        assert_memory_equal(q->open.expect_cid.ptr, v.cid, HASH_LEN);
        serve(&b, 0, &v);
        assert_finished(&b, &v);
        bench_free(&b);
    }
    version_free(&v);
}

static void test_pin_wrong(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct version other = version_new("v1", 6 * K4, 12);
    struct bench b;

    (void)state;
    other.data[0] ^= 1;
    version_seal(&other);
    /* The server says so. */
    pin(&b, &v);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &other);
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    bench_free(&b);
    /* It did not compare; INFO names another CID. */
    pin(&b, &v);
    bench_start(&b);
    join_file(&b, 0, &other);
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    bench_free(&b);
    /* It knows no CID at all: the bytes tell. */
    other.names_cid = false;
    pin(&b, &v);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &other);
    assert_false(b.finished);
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    bench_free(&b);
    /* ... even if it names the pin. */
    other.names_cid = true;
    memcpy(other.cid, v.cid, HASH_LEN);
    pin(&b, &v);
    bench_start(&b);
    for (unsigned k = 0; k < 9 && !b.failed; k++) {
        join(&b, 0);
        greet(&b, 0);
        serve(&b, 0, &other);
    }
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    bench_free(&b);
    version_free(&v);
    version_free(&other);
}

/* Transferred on another grid, the pin is checked on its own (R11c). */
static void test_pin_on_another_grid(void **state)
{
    struct version v = version_new("v1", 6 * K4 + 5, 12);
    struct version other = version_new("v1", 6 * K4 + 5, 12);
    struct version coarse = version_new("v1", 6 * K4 + 5, 14);
    struct bench b;

    (void)state;
    for (unsigned right = 0; right < 2; right++) {
        pin(&b, &coarse);
        b.config.want_chunk_log2 = 12;
        b.hold_hashes = true;
        bench_start(&b);
        join(&b, 0);
        greet(&b, 0);
        assert_int_equal(peek(&b, 0)->open.expect_cid.len, 0);
        other.data[7] = (uint8_t)(v.data[7] ^ (right != 0 ? 0 : 1));
        version_seal(&other);
        serve(&b, 0, &other);
        assert_false(b.finished);
        assert_int_equal(b.held_count, 1);
        assert_int_equal(b.held[0].chunk_log2, 14);
        /* Hashing takes its time, and no timer runs wild meanwhile. */
        assert_true(transfer_deadline(b.t) > b.now);
        pass(&b, 2000);
        release_hashes(&b);
        pump(&b);
        if (right != 0) {
            assert_finished(&b, &other);
        } else {
            assert_failed(&b, TRANSFER_WRONG_CONTENT);
        }
        bench_free(&b);
    }
    version_free(&v);
    version_free(&other);
    version_free(&coarse);
}

/* The file changes while the old content is hashed for the pin: what comes of
 * that is of no more use, and does not keep anybody from asking the server. */
static void test_change_while_pin_is_hashed(void **state)
{
    struct version v = version_new("v1", 6 * K4 + 5, 12);
    struct version coarse = version_new("v1", 6 * K4 + 5, 14);
    struct peer_request *q;
    struct bench b;

    (void)state;
    pin(&b, &coarse);
    b.config.want_chunk_log2 = 12;
    b.hold_hashes = true;
    bench_start(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    for (uint64_t k = 0; k < v.count; k++) {
        b.hold_chunks = k + 1 == v.count;
        say_chunk(&b, 0, q, &v, k);
        feed(&b, 0);
    }
    cut(&b, 0);
    await_dial(&b, 0);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    transfer_chunk_done(b.t, 0, v.count - 1, b.held_chunk[0].digest, true,
                        b.now);
    pump(&b);
    assert_int_equal(b.held_count, 1);
    peer_error(&b.peer[0], q->id, WIRE_CHANGED);
    feed(&b, 0);
    cut(&b, 0);
    release_hashes(&b);
    pump(&b);
    await_dial(&b, 0);
    bench_free(&b);
    version_free(&v);
    version_free(&coarse);
}

/* Where the disk does not give it back, nobody knows: the content is not
 * called wrong. */
static void test_pin_of_unreadable(void **state)
{
    struct version v = version_new("v1", 6 * K4 + 5, 12);
    struct version coarse = version_new("v1", 6 * K4 + 5, 14);
    struct bench b;

    (void)state;
    pin(&b, &coarse);
    b.config.want_chunk_log2 = 12;
    b.hold_hashes = true;
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_int_equal(b.held[0].count, 2);
    transfer_hashed(b.t, 0, coarse.digest[0], b.now);
    transfer_hashed(b.t, 1, NULL, b.now);
    pump(&b);
    assert_failed(&b, TRANSFER_UNREADABLE);
    bench_free(&b);
    version_free(&v);
    version_free(&coarse);
}

/* The record is of a mirror's other content: that mirror is out of the
 * question then, not the first server, which had not been reached. */
static void test_pin_and_record_of_a_mirror(void **state)
{
    struct version v = version_new("v1", 6 * K4 + 5, 12);
    struct version w = version_new("w1", 6 * K4 + 5, 12);
    struct version coarse = version_new("v1", 6 * K4 + 5, 14);
    struct bench b;

    (void)state;
    w.data[0] ^= 1;
    version_seal(&w);
    pin(&b, &coarse);
    b.config.wait_first = true;
    b.config.mirror_count = 1;
    b.config.mirror[0].path = (const uint8_t *)"two";
    b.config.mirror[0].path_len = 3;
    bench_start(&b);
    resume(&b, &w, 0x7F);
    await_dial(&b, 0);
    b.dial[0] = false;
    transfer_dial_failed(b.t, 0, "unreachable", b.now);
    pump(&b);
    join(&b, 0);
    assert_int_equal(transfer_conn_source(b.t, 0), 1);
    greet(&b, 0);
    serve(&b, 0, &w);
    join(&b, 0);
    assert_int_equal(transfer_conn_source(b.t, 0), 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    bench_free(&b);
    version_free(&v);
    version_free(&w);
    version_free(&coarse);
}

/* ---- ordered output. */

/* With a pin the list comes first, and nothing unverified leaves (R11b). */
static void test_pinned_in_order(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.names_cid = false;
    bench_init(&b);
    b.config.in_order = true;
    b.config.window_chunks_bytes = 16 << 20;
    b.config.pinned = true;
    b.config.pin_log2 = 12;
    memcpy(b.config.pin_cid, v.cid, HASH_LEN);
    bench_start(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_DIGEST);
    expect_none(&b, 0);
    say_list(&b, 0, q, &v);
    feed(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

/* Output in order cannot be hashed again on the pin's grid: so the pin's
 * chunks are asked for, whatever was wanted, and nothing else will do. */
static void test_pin_chooses_grid_in_order(void **state)
{
    struct version v = version_new("v1", 4 * K4, 13);

    (void)state;
    for (unsigned refused = 0; refused < 2; refused++) {
        struct peer_request *q;
        struct bench b;

        bench_init(&b);
        b.config.in_order = true;
        b.config.window_chunks_bytes = 16 << 20;
        b.config.pinned = true;
        b.config.pin_log2 = 13;
        b.config.want_chunk_log2 = 14;
        memcpy(b.config.pin_cid, v.cid, HASH_LEN);
        bench_start(&b);
        join(&b, 0);
        peer_preface(&b.peer[0]);
        peer_hello(&b.peer[0], 64, refused != 0 ? 12 : 22);
        feed(&b, 0);
        q = peek(&b, 0);
        assert_int_equal(q->open.want_chunk_log2, 13);
        assert_int_equal(q->open.expect_cid.len, HASH_LEN);
        if (refused != 0) {
            peer_error(&b.peer[0], expect(&b, 0, FRAME_OPEN)->id,
                       WIRE_UNSUPPORTED);
            feed(&b, 0);
            assert_failed(&b, TRANSFER_REFUSED);
            assert_non_null(strstr(transfer_detail(b.t), "content id"));
        } else {
            serve(&b, 0, &v);
            assert_finished(&b, &v);
        }
        bench_free(&b);
    }
    version_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pin_right),
        cmocka_unit_test(test_pin_wrong),
        cmocka_unit_test(test_pin_on_another_grid),
        cmocka_unit_test(test_pin_of_unreadable),
        cmocka_unit_test(test_change_while_pin_is_hashed),
        cmocka_unit_test(test_pin_and_record_of_a_mirror),
        cmocka_unit_test(test_pinned_in_order),
        cmocka_unit_test(test_pin_chooses_grid_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
