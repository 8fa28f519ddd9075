/* Transfer: the file changes; digest lists. */
#include "tests/unit/transfer_fixture.h"

#define K4 (4 * KIB)

/* Nothing on disk but `mask` of `old`; the server has `v`.  Runs to the
 * end. */
static void change_run(struct bench *b, const struct version *old,
                       uint64_t mask, const struct version *v)
{
    bench_init(b);
    bench_start(b);
    resume(b, old, mask);
    pump(b);
    join(b, 0);
    greet(b, 0);
    serve(b, 0, v);
    pass(b, 1000);
    serve(b, 0, v);
    assert_finished(b, v);
    assert_int_equal(transfer_ledger(b->t)->changes, 1);
    assert_int_equal(b->notes[TRANSFER_NOTE_CHANGED], 1);
}

/* Step 4 in its simplest form: two chunks differ, the rest stays. */
static void test_reuse_in_place(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct bench b;

    (void)state;
    v.data[K4] ^= 1;
    v.data[5 * K4] ^= 1;
    version_seal(&v);
    change_run(&b, &old, 0x1F, &v);
    assert_int_equal(transfer_ledger(b.t)->reused, 4 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 2 * K4);
    assert_int_equal(transfer_ledger(b.t)->kept, 0);
    assert_int_equal(b.copies, 0);
    assert_int_equal(b.rebases, 1);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* The requests of a change, one by one. */
static void test_change_step_by_step(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    version_seal(&v);
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x07);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_CHANGED);
    q = expect(&b, 0, FRAME_GET);
    peer_error(&b.peer[0], q->id, WIRE_BAD_HANDLE);
    feed(&b, 0);
    q = expect(&b, 0, FRAME_OPEN); /* plain, but on the same grid (R4a) */
    assert_int_equal(q->open.expect_version.len, 0);
    assert_int_equal(q->open.expect_cid.len, 0);
    assert_int_equal(q->open.want_chunk_log2, 12);
    expect_none(&b, 0);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    q = expect(&b, 0, FRAME_DIGEST); /* the complete list (R4b) */
    assert_int_equal(q->digest.block_log2, LIMIT_BLOCK_LOG2);
    assert_int_equal(q->digest.first_block, 0);
    assert_int_equal(q->digest.block_count, 1);
    assert_int_equal(q->digest.flags, 0);
    expect_none(&b, 0);
    assert_int_equal(b.rebases, 0); /* the record stays until the list */
    say_list(&b, 0, q, &v);
    feed(&b, 0);
    assert_int_equal(b.rebases, 1);
    q = expect(&b, 0, FRAME_GET);
    assert_int_equal(asked_chunks(q, &v), 0x39);
    say_get(&b, 0, q, &v);
    feed(&b, 0);
    assert_finished(&b, &v);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* Data that moved by whole chunks, up or down, is copied and not fetched. */
static void test_moved_chunks(void **state)
{
    struct version old = version_new("v1", 10 * K4, 12);
    struct version up = version_new("v2", 12 * K4, 12);
    struct version down = version_new("v3", 7 * K4, 12);
    struct version swap = version_new("v4", 10 * K4, 12);
    struct bench b;

    (void)state;
    memset(up.data, 0x11, K4);
    memset(up.data + K4, 0x22, K4);
    memcpy(up.data + 2 * K4, old.data, 10 * K4);
    version_seal(&up);
    change_run(&b, &old, 0x3FF, &up);
    assert_int_equal(b.copies, 10);
    assert_int_equal(transfer_ledger(b.t)->reused, 10 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 2 * K4);
    bench_free(&b);

    memcpy(down.data, old.data + 3 * K4, 7 * K4);
    version_seal(&down);
    change_run(&b, &old, 0x3FF, &down);
    assert_int_equal(transfer_ledger(b.t)->reused, 7 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 0);
    bench_free(&b);

    /* Two chunks change places: one copy destroys the source of the other,
     * which is found out and fetched. */
    memcpy(swap.data, old.data + 9 * K4, K4);
    memcpy(swap.data + 9 * K4, old.data, K4);
    version_seal(&swap);
    change_run(&b, &old, 0x3FF, &swap);
    assert_int_equal(b.copies, 2);
    assert_int_equal(transfer_ledger(b.t)->reused, 9 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, K4);
    bench_free(&b);
    version_free(&old);
    version_free(&up);
    version_free(&down);
    version_free(&swap);
}

static void test_shrunk_and_grown(void **state)
{
    struct version big = version_new("v1", 9 * K4 + 5, 12);
    struct version small = version_new("v2", 4 * K4 + 1, 12);
    struct version none = version_new("v3", 0, 12);
    struct bench b;

    (void)state;
    change_run(&b, &big, 0x3FF, &small);
    assert_int_equal(transfer_ledger(b.t)->reused, 4 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 1);
    bench_free(&b);
    change_run(&b, &small, 0x1F, &big);
    assert_int_equal(transfer_ledger(b.t)->reused, 4 * K4);
    bench_free(&b);
    change_run(&b, &small, 0x1F, &none);
    bench_free(&b);
    change_run(&b, &none, 0, &small);
    bench_free(&b);
    version_free(&big);
    version_free(&small);
    version_free(&none);
}

/* Next to nothing held of a large file: no list, just the file. */
static void test_not_worth_comparing(void **state)
{
    struct version old = version_new("v1", 300 * K4, 12);
    struct version v = version_new("v2", 300 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.data[9] ^= 1;
    version_seal(&v);
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 1);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_CHANGED);
    feed(&b, 0);
    b.peer[0].answered = b.peer[0].count - 1;
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    feed(&b, 0);
    assert_int_equal(expect(&b, 0, FRAME_GET)->get.count, 1);
    assert_int_equal(b.rebases, 1);
    assert_int_equal(transfer_ledger(b.t)->have, 0);
    assert_int_equal(transfer_ledger(b.t)->kept, 0);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* The server did not look (I2); the client does (N2b). */
static void test_client_compares(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct version touched = version_new("v2", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    version_seal(&v);
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x3E);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    q = expect(&b, 0, FRAME_GET);
    say_get(&b, 0, q, &v); /* of the wrong version: read, thrown away */
    feed(&b, 0);
    assert_int_equal(b.stored, 0);
    /* The handle is given back before the next one is opened. */
    q = expect(&b, 0, FRAME_CLOSE);
    assert_int_equal(q->handle, 1);
    peer_done(&b.peer[0], q->id, 0, 0, NULL, NULL);
    feed(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    bench_free(&b);

    /* Another token, the same CID: the same file. */
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x3E);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &touched);
    assert_finished(&b, &touched);
    assert_int_equal(transfer_ledger(b.t)->changes, 0);
    assert_int_equal(transfer_ledger(b.t)->kept, 5 * K4);
    assert_int_equal(b.identities, 1);
    bench_free(&b);
    version_free(&old);
    version_free(&v);
    version_free(&touched);
}

/* R8: equal names with another size contradict each other. */
static void test_size_contradicts(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v1", 5 * K4, 12);
    struct bench b;

    (void)state;
    memcpy(v.cid, old.cid, HASH_LEN);
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x3F);
    pump(&b);
    join_file(&b, 0, &v);
    assert_int_equal(b.notes[TRANSFER_NOTE_CHANGED], 1);
    assert_int_equal(b.rebases, 0); /* nothing was cut off */
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

static void test_changed_again(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version mid = version_new("v2", 7 * K4, 12);
    struct version v = version_new("v3", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    mid.data[0] ^= 1;
    v.data[K4] ^= 1;
    version_seal(&mid);
    version_seal(&v);
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x3F);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_CHANGED);
    feed(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &mid);
    feed(&b, 0);
    q = expect(&b, 0, FRAME_DIGEST);
    /* ... and changes once more while the list is made. */
    peer_error(&b.peer[0], q->id, WIRE_CHANGED_DURING);
    feed(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->changes, 2);
    assert_int_equal(transfer_ledger(b.t)->reused, 5 * K4);
    assert_int_equal(b.rebases, 1);
    bench_free(&b);

    /* The same, told by OPEN after the connection was lost. */
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x3F);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_CHANGED);
    feed(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &mid);
    feed(&b, 0);
    (void)expect(&b, 0, FRAME_DIGEST);
    cut(&b, 0);
    join(&b, 0);
    greet(&b, 0);
    q = peek(&b, 0);
    assert_memory_equal(q->open.expect_version.ptr, "v2", 2);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->reused, 5 * K4);
    bench_free(&b);
    version_free(&old);
    version_free(&mid);
    version_free(&v);
}

/* CHANGED_DURING under a GET: all its chunks so far are of the old version. */
static void test_changed_during(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    version_seal(&v);
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &old);
    q = expect(&b, 0, FRAME_GET);
    for (uint64_t i = 0; i < 3; i++) {
        say_chunk(&b, 0, q, &old, i);
    }
    peer_error(&b.peer[0], q->id, WIRE_CHANGED_DURING);
    feed(&b, 0);
    q = peek(&b, 0);
    assert_int_equal(q->type, FRAME_OPEN); /* nothing to CLOSE */
    assert_memory_equal(q->open.expect_version.ptr, "v1", 2);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->reused, 2 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 4 * K4);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* Old chunks that are still on their way to the disk are waited for, whoever
 * is connected again meanwhile. */
static void test_change_waits_for_the_disk(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    version_seal(&v);
    bench_init(&b);
    b.hold_chunks = true;
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &old);
    q = expect(&b, 0, FRAME_GET);
    say_chunk(&b, 0, q, &old, 0);
    say_chunk(&b, 0, q, &old, 1);
    feed(&b, 0);
    cut(&b, 0);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_CHANGED);
    q = expect(&b, 0, FRAME_GET);
    peer_error(&b.peer[0], q->id, WIRE_BAD_HANDLE);
    feed(&b, 0);
    pass(&b, 5000);
    expect_none(&b, 0);
    cut(&b, 0);
    join(&b, 0);
    greet(&b, 0);
    pass(&b, 5000);
    expect_none(&b, 0);
    b.hold_chunks = false;
    for (unsigned k = 0; k < b.held_chunks; k++) {
        bench_store(&b, &b.held_chunk[k]);
    }
    pump(&b);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->reused, K4);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

static void test_stop_on_change(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.stop_on_change = true;
    bench_start(&b);
    resume(&b, &old, 0x3E);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    peer_error(&b.peer[0], 1, WIRE_CHANGED);
    peer_error(&b.peer[0], 2, WIRE_BAD_HANDLE);
    feed(&b, 0);
    assert_failed(&b, TRANSFER_CHANGED);
    version_free(&old);
    bench_free(&b);
}

/* ---- lists. */

/* Digests that do not make the CID: once is an accident, twice a lie. */
static void test_list_contradicts(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    version_seal(&v);
    v.cid[5] ^= 1;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x3F);
    pump(&b);
    for (unsigned k = 0; k < 2; k++) {
        assert_false(b.failed);
        join(&b, 0);
        greet(&b, 0);
        serve(&b, 0, &v);
    }
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* Rule D9: contiguous, from where it was asked to where it was asked. */
static void test_list_with_a_gap(void **state)
{
    static const struct {
        uint64_t first;
        uint32_t count;
        uint8_t block_log2;
        bool end;
    } rows[] = {
        {1, 5, LIMIT_BLOCK_LOG2, true},  /* begins too late */
        {0, 5, LIMIT_BLOCK_LOG2, true},  /* ends too early */
        {0, 6, 0, true},                 /* other blocks than asked for */
        {3, 3, LIMIT_BLOCK_LOG2, false}, /* a gap in the middle */
        {0, 7, LIMIT_BLOCK_LOG2, true},  /* more than there are */
    };
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct peer_request *q;
        struct bench b;

        bench_init(&b);
        bench_start(&b);
        resume(&b, &old, 0x3F);
        pump(&b);
        join(&b, 0);
        greet(&b, 0);
        q = expect(&b, 0, FRAME_OPEN);
        peer_error(&b.peer[0], q->id, WIRE_CHANGED);
        feed(&b, 0);
        say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
        feed(&b, 0);
        q = expect(&b, 0, FRAME_DIGEST);
        peer_digests(&b.peer[0], q->id, rows[i].first, rows[i].count,
                     rows[i].block_log2, v.digest, rows[i].end);
        feed(&b, 0);
        assert_false(b.up[0]); /* given up */
        join(&b, 0);
        greet(&b, 0);
        serve(&b, 0, &v);
        assert_finished(&b, &v);
        bench_free(&b);
    }
    version_free(&old);
    version_free(&v);
}

static void list_until_digest(struct bench *b, const struct version *old,
                              const struct version *v)
{
    struct peer_request *q;

    bench_init(b);
    bench_start(b);
    resume(b, old, 0x3F);
    pump(b);
    join(b, 0);
    greet(b, 0);
    q = expect(b, 0, FRAME_OPEN);
    peer_error(&b->peer[0], q->id, WIRE_CHANGED);
    feed(b, 0);
    say_info(b, 0, expect(b, 0, FRAME_OPEN), v);
    feed(b, 0);
}

static void test_list_errors(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    version_seal(&v);
    /* Not now: asked again, on the same connection, after that time. */
    list_until_digest(&b, &old, &v);
    q = expect(&b, 0, FRAME_DIGEST);
    peer_error_wait(&b.peer[0], q->id, WIRE_DIGEST_PENDING, 3000);
    feed(&b, 0);
    pass(&b, 2900);
    expect_none(&b, 0);
    pass(&b, 700);
    q = expect(&b, 0, FRAME_DIGEST);
    /* For a month?  A minute is enough. */
    peer_error_wait(&b.peer[0], q->id, WIRE_DIGEST_PENDING, UINT32_MAX);
    feed(&b, 0);
    pass(&b, 61000);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    bench_free(&b);
    /* The handle is gone: OPEN tells why. */
    list_until_digest(&b, &old, &v);
    q = expect(&b, 0, FRAME_DIGEST);
    peer_error(&b.peer[0], q->id, WIRE_BAD_HANDLE);
    feed(&b, 0);
    assert_int_equal(peek(&b, 0)->type, FRAME_OPEN);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    bench_free(&b);
    /* A broken disk there, or nobody knows why: another connection. */
    for (unsigned k = 0; k < 2; k++) {
        list_until_digest(&b, &old, &v);
        q = expect(&b, 0, FRAME_DIGEST);
        peer_error(&b.peer[0], q->id, k == 0 ? WIRE_IO_ERROR
                                             : WIRE_CANCELLED);
        feed(&b, 0);
        assert_false(b.up[0]);
        join(&b, 0);
        greet(&b, 0);
        serve(&b, 0, &v);
        assert_finished(&b, &v);
        bench_free(&b);
    }
    /* Never. */
    list_until_digest(&b, &old, &v);
    q = expect(&b, 0, FRAME_DIGEST);
    peer_error(&b.peer[0], q->id, WIRE_DENIED);
    feed(&b, 0);
    assert_failed(&b, TRANSFER_REFUSED);
    bench_free(&b);
    version_free(&old);
    version_free(&v);
}

/* A list that is cut off goes on where it ended, if it is one list. */
static void test_list_in_pieces(void **state)
{
    for (unsigned weak = 0; weak < 2; weak++) {
        struct version old = version_new("v1", 6 * K4, 12);
        struct version v = version_new("v2", 6 * K4, 12);
        struct peer_request *q;
        struct bench b;

        (void)state;
        v.data[0] ^= 1;
        version_seal(&v);
        v.names_cid = false;
        v.weak = weak != 0;
        list_until_digest(&b, &old, &v);
        q = expect(&b, 0, FRAME_DIGEST);
        peer_digests(&b.peer[0], q->id, 0, 2, LIMIT_BLOCK_LOG2, v.digest,
                     false);
        feed(&b, 0);
        cut(&b, 0);
        join_file(&b, 0, &v);
        q = expect(&b, 0, FRAME_DIGEST);
        if (v.weak) { /* two halves of a weak version may be two files */
            assert_int_equal(q->digest.block_log2, LIMIT_BLOCK_LOG2);
        } else {
            assert_int_equal(q->digest.block_log2, 0);
            assert_int_equal(q->digest.first_block, 2);
            assert_int_equal(q->digest.block_count, 4);
        }
        say_list(&b, 0, q, &v);
        feed(&b, 0);
        serve(&b, 0, &v);
        assert_finished(&b, &v);
        assert_int_equal(transfer_ledger(b.t)->reused, 5 * K4);
        bench_free(&b);
        version_free(&old);
        version_free(&v);
    }
}

/* Rule R5d: the bytes do not make the CID that is named at last. */
static void test_cid_differs(void **state)
{
    struct version first = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v1", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.data[4 * K4] ^= 1; /* changed unseen, under the same weak token */
    version_seal(&v);
    first.weak = true;
    first.names_cid = false;
    v.weak = true;
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &first);
    q = expect(&b, 0, FRAME_GET);
    for (uint64_t i = 0; i < 6; i++) {
        say_chunk(&b, 0, q, &first, i);
    }
    peer_done(&b.peer[0], q->id, 6, 6 * K4, "v1", v.cid);
    feed(&b, 0);
    assert_int_equal(b.notes[TRANSFER_NOTE_RECHECK], 1);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->fresh, 6 * K4);
    assert_int_equal(transfer_ledger(b.t)->wasted, K4);
    version_free(&first);
    version_free(&v);
    bench_free(&b);
}

/* The CID that we know is of an earlier day, the weak token did not tell:
 * the list is that of a new version. */
static void test_cid_of_yesterday(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v1", 6 * K4, 12);
    struct bench b;

    (void)state;
    v.data[4 * K4] ^= 1;
    version_seal(&v);
    old.weak = true;
    v.names_cid = false;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x0F);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    pass(&b, 2000);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->changes, 1);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* ... and so the list is asked for even if all is there and makes that CID. */
static void test_cid_of_weak_record(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v1", 6 * K4, 12);
    struct bench b;

    (void)state;
    old.weak = true;
    v.names_cid = false;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x3F);
    pump(&b);
    join_file(&b, 0, &v);
    assert_false(b.finished);
    say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
    feed(&b, 0);
    assert_finished(&b, &v);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* A weak version is another one when its chunks become smaller: that is no
 * wrong content. */
static void test_weak_on_smaller_chunks(void **state)
{
    struct version old = version_new("v1", 3 * 4 * K4, 14);
    struct version v = version_new("v1", 3 * 4 * K4, 12);
    struct bench b;

    (void)state;
    old.weak = true;
    v.data[6 * K4] ^= 1;
    version_seal(&v);
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x5);
    pump(&b);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    peer_hello(&b.peer[0], 64, 12);
    peer_error(&b.peer[0], expect(&b, 0, FRAME_OPEN)->id, WIRE_UNSUPPORTED);
    peer_error(&b.peer[0], expect(&b, 0, FRAME_GET)->id, WIRE_BAD_HANDLE);
    feed(&b, 0);
    for (unsigned n = 0; n < 5 && !b.finished && !b.failed; n++) {
        if (!b.up[0]) {
            join(&b, 0);
            greet(&b, 0);
        }
        serve(&b, 0, &v);
        pass(&b, 1000);
    }
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->changes, 1);
    version_free(&old);
    version_free(&v);
    bench_free(&b);
}

/* Rule R10: a chunk that is not what the list said. */
static void test_chunk_not_as_listed(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct version lie = version_new("v2", 6 * K4, 12);
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    version_seal(&v);
    lie.data[0] ^= 2;
    version_seal(&lie);
    list_until_digest(&b, &old, &v);
    say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
    feed(&b, 0);
    for (unsigned k = 0; k < LIMIT_CHUNK_ATTEMPTS; k++) {
        struct peer_request *q;

        assert_false(b.failed);
        if (!b.up[0]) {
            join_file(&b, 0, &v);
        }
        q = expect(&b, 0, FRAME_GET);
        say_chunk(&b, 0, q, &lie, 0);
        feed(&b, 0);
        assert_int_equal(b.stored, 0);
    }
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    version_free(&old);
    version_free(&v);
    version_free(&lie);
    bench_free(&b);
}

/* A weak version that is not as listed was changed within one tick: no fault
 * of the server, which is asked again less and less often.  For ever it is a
 * trouble that may pass. */
static void test_weak_not_as_listed(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct version lie = version_new("v2", 6 * K4, 12);

    (void)state;
    v.data[0] ^= 1;
    v.weak = true;
    v.names_cid = false;
    version_seal(&v);
    lie.data[0] ^= 2;
    version_seal(&lie);
    for (unsigned calms = 0; calms < 2; calms++) {
        unsigned times = calms != 0 ? 7 : 8;
        struct peer_request *q;
        struct bench b;

        list_until_digest(&b, &old, &v);
        for (unsigned k = 0; k < times; k++) {
            uint64_t from = b.now;

            assert_false(b.failed);
            say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
            feed(&b, 0);
            say_chunk(&b, 0, expect(&b, 0, FRAME_GET), &lie, 0);
            feed(&b, 0);
            assert_int_equal(b.stored, 0);
            if (k + 1 == 8) {
                break;
            }
            join(&b, 0);
            greet(&b, 0);
            while ((q = peek(&b, 0)) == NULL) {
                pass(&b, 100);
            }
            /* Twice as long each time, or half a minute. */
            assert_in_range(b.now - from, k < 6 ? 500u << k : 30000, 31000);
            say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
            feed(&b, 0);
        }
        if (calms != 0) {
            serve(&b, 0, &v);
            assert_finished(&b, &v);
        } else {
            assert_failed(&b, TRANSFER_SERVER);
        }
        bench_free(&b);
    }
    version_free(&old);
    version_free(&v);
    version_free(&lie);
}

/* ---- another grid than asked for. */

/* The server makes no chunks as large as ours any more (R4a). */
static void test_server_wants_smaller(void **state)
{
    struct version old = version_new("v1", 3 * 4 * K4, 14);
    struct version v = version_new("v1", 3 * 4 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0x5);
    pump(&b);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    peer_hello(&b.peer[0], 64, 12);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_UNSUPPORTED);
    q = expect(&b, 0, FRAME_GET);
    peer_error(&b.peer[0], q->id, WIRE_BAD_HANDLE);
    feed(&b, 0);
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    assert_int_equal(transfer_identity(b.t)->chunk_log2, 12);
    assert_int_equal(b.rebases, 1);
    join(&b, 0);
    greet(&b, 0);
    q = peek(&b, 0);
    assert_int_equal(q->open.want_chunk_log2, 12);
    assert_int_equal(q->open.expect_cid.len, 0); /* of another grid (R6c) */
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->kept, 8 * K4);
    assert_int_equal(transfer_ledger(b.t)->fresh, 4 * K4);
    bench_free(&b);
    /* Asked for by the user, nothing held: the server chooses. */
    bench_init(&b);
    b.config.want_chunk_log2 = 20;
    bench_start(&b);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    peer_hello(&b.peer[0], 64, 12);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_UNSUPPORTED);
    q = expect(&b, 0, FRAME_GET);
    peer_error(&b.peer[0], q->id, WIRE_BAD_HANDLE);
    feed(&b, 0);
    q = peek(&b, 0);
    assert_int_equal(q->open.want_chunk_log2, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    bench_free(&b);
    version_free(&old);
    version_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reuse_in_place),
        cmocka_unit_test(test_change_step_by_step),
        cmocka_unit_test(test_moved_chunks),
        cmocka_unit_test(test_shrunk_and_grown),
        cmocka_unit_test(test_not_worth_comparing),
        cmocka_unit_test(test_client_compares),
        cmocka_unit_test(test_size_contradicts),
        cmocka_unit_test(test_changed_again),
        cmocka_unit_test(test_changed_during),
        cmocka_unit_test(test_change_waits_for_the_disk),
        cmocka_unit_test(test_stop_on_change),
        cmocka_unit_test(test_list_contradicts),
        cmocka_unit_test(test_list_with_a_gap),
        cmocka_unit_test(test_list_errors),
        cmocka_unit_test(test_list_in_pieces),
        cmocka_unit_test(test_cid_differs),
        cmocka_unit_test(test_cid_of_yesterday),
        cmocka_unit_test(test_cid_of_weak_record),
        cmocka_unit_test(test_weak_on_smaller_chunks),
        cmocka_unit_test(test_chunk_not_as_listed),
        cmocka_unit_test(test_weak_not_as_listed),
        cmocka_unit_test(test_server_wants_smaller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
