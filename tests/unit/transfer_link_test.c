/* Transfer: links that break, stall and damage; waits; several connections;
 * smaller chunks; output in order. */
#include "tests/unit/transfer_fixture.h"

#define K4 (4 * KIB)

/* ---- chunks that do not fit. */

/* The data of one chunk is not what its header says. */
static void say_bad_chunk(struct bench *b, unsigned i,
                          const struct peer_request *q,
                          const struct version *v, uint64_t index)
{
    say_chunk(b, i, q, v, index);
    b->chunk_fails = true;
    feed(b, i);
    b->chunk_fails = false;
}

/* Rule R9: three times in all.  What is on its way there still counts after
 * the first time; after the second it is another connection's turn. */
static void test_bad_chunk(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct peer_request *all;
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    all = expect(&b, 0, FRAME_GET);
    say_bad_chunk(&b, 0, all, &v, 0);
    assert_true(b.up[0]);
    assert_int_equal(b.notes[TRANSFER_NOTE_BAD_CHUNK], 1);
    say_chunk(&b, 0, all, &v, 1);
    say_chunk(&b, 0, all, &v, 2);
    feed(&b, 0);
    assert_int_equal(transfer_ledger(b.t)->have, 2 * K4);
    q = expect(&b, 0, FRAME_GET);
    assert_int_equal(asked_chunks(q, &v), 1);
    say_bad_chunk(&b, 0, q, &v, 0);
    assert_false(b.up[0]);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    assert_int_equal(asked_chunks(q, &v), 1);
    assert_false(b.failed);
    say_bad_chunk(&b, 0, q, &v, 0);
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    assert_int_equal(b.notes[TRANSFER_NOTE_BAD_CHUNK],
                     LIMIT_CHUNK_ATTEMPTS - 1);
    assert_int_equal(transfer_ledger(b.t)->bad_chunks, LIMIT_CHUNK_ATTEMPTS);
    assert_int_equal(transfer_ledger(b.t)->wasted,
                     LIMIT_CHUNK_ATTEMPTS * K4);
    assert_int_equal(transfer_ledger(b.t)->repeated, 0);
    version_free(&v);
    bench_free(&b);
}

/* The smallest of all: what is measured in KiB is nothing here. */
static void test_bad_small_chunk(void **state)
{
    struct version v = version_new("v1", 100, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    say_bad_chunk(&b, 0, expect(&b, 0, FRAME_GET), &v, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->wasted, 100);
    version_free(&v);
    bench_free(&b);
}

/* Damage is the rule on this connection: another one may take another way. */
static void test_bad_chunks_in_a_row(void **state)
{
    struct version v = version_new("v1", 8 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    say_bad_chunk(&b, 0, q, &v, 0);
    say_bad_chunk(&b, 0, q, &v, 1);
    say_chunk(&b, 0, q, &v, 2);
    feed(&b, 0);
    say_bad_chunk(&b, 0, q, &v, 3);
    say_bad_chunk(&b, 0, q, &v, 4);
    assert_true(b.up[0]);
    say_bad_chunk(&b, 0, q, &v, 5);
    assert_false(b.up[0]);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->connects, 2);
    assert_int_equal(transfer_ledger(b.t)->wasted, 5 * K4);
    version_free(&v);
    bench_free(&b);
}

/* Each wrong bit costs a chunk: where there are many, chunks become smaller,
 * and the connection stays for that, too. */
static void test_damage_shrinks(void **state)
{
    struct version v = version_new("v1", 256 * K4, 16);
    struct version finer = version_new("v1", 256 * K4, 14);
    struct peer_request *q;
    struct peer_request *c;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    say_chunk(&b, 0, q, &v, 0);
    feed(&b, 0);
    say_bad_chunk(&b, 0, q, &v, 1);
    say_bad_chunk(&b, 0, q, &v, 2);
    say_chunk(&b, 0, q, &v, 3);
    feed(&b, 0);
    c = expect(&b, 0, FRAME_GET);
    assert_int_equal(asked_chunks(c, &v), 2); /* what failed, again */
    expect_none(&b, 0);
    say_bad_chunk(&b, 0, q, &v, 4);
    /* What was asked for ends early, and the file is opened again. */
    assert_int_equal(expect(&b, 0, FRAME_CANCEL)->id, q->id);
    assert_int_equal(expect(&b, 0, FRAME_CANCEL)->id, c->id);
    peer_error(&b.peer[0], q->id, WIRE_CANCELLED);
    feed(&b, 0);
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 0);
    peer_error(&b.peer[0], c->id, WIRE_CANCELLED);
    feed(&b, 0);
    assert_int_equal(b.note_count[TRANSFER_NOTE_SHRUNK], 14);
    assert_true(b.up[0]);
    serve(&b, 0, &finer);
    assert_finished(&b, &finer);
    assert_int_equal(transfer_ledger(b.t)->connects, 1);
    assert_int_equal(transfer_ledger(b.t)->wasted, 3 << 16);
    assert_int_equal(transfer_ledger(b.t)->repeated, 0);
    version_free(&v);
    version_free(&finer);
    bench_free(&b);
}

static void test_bad_chunk_once(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    say_chunk(&b, 0, q, &v, 0);
    feed(&b, 0);
    say_bad_chunk(&b, 0, q, &v, 1);
    say_chunk(&b, 0, q, &v, 2);
    feed(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->wasted, K4);
    assert_int_equal(transfer_ledger(b.t)->connects, 1);
    assert_int_equal(transfer_ledger(b.t)->losses, 0);
    version_free(&v);
    bench_free(&b);
}

/* Larger chunks become smaller before it is given up. */
static void test_bad_chunk_shrinks(void **state)
{
    struct version v = version_new("v1", 48 * K4, 16);
    struct version finer = version_new("v1", 48 * K4, 14);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    for (unsigned k = 0; k < 2; k++) {
        struct peer_request *q;

        join_file(&b, 0, &v);
        q = expect(&b, 0, FRAME_GET);
        say_chunk(&b, 0, q, &v, 0);
        b.chunk_fails = true;
        feed(&b, 0);
        b.chunk_fails = false;
    }
    assert_false(b.failed);
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &finer);
    assert_finished(&b, &finer);
    version_free(&v);
    version_free(&finer);
    bench_free(&b);
}

/* ---- smaller chunks. */

/* Rule R6a: three connections that bring bytes but no chunk. */
static void test_barren_link(void **state)
{
    struct version v = version_new("v1", 48 * K4, 16);
    struct version finer = version_new("v1", 48 * K4, 14);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.names_cid = false;
    finer.names_cid = false;
    bench_init(&b);
    b.hold_hashes = true;
    bench_start(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    say_chunk(&b, 0, q, &v, 0);
    feed(&b, 0);
    cut(&b, 0); /* this one brought something */
    for (unsigned k = 0; k < LIMIT_SHRINK_AFTER; k++) {
        assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 0);
        join_file(&b, 0, &v);
        cut(&b, 0);
    }
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    assert_int_equal(b.note_count[TRANSFER_NOTE_SHRUNK], 14);
    /* What is held is hashed on the new grid before the record changes; no
     * timer runs wild meanwhile, and nothing is dialled. */
    assert_int_equal(b.rebases, 0);
    assert_false(transfer_have(b.t, 0));
    assert_int_equal(b.held_count, 1);
    assert_int_equal(b.held[0].chunk_log2, 14);
    assert_int_equal(b.held[0].count, 4);
    assert_true(transfer_deadline(b.t) > b.now);
    pass(&b, 5000);
    assert_false(b.dial[0]);
    release_hashes(&b);
    assert_false(transfer_have(b.t, 0));
    pump(&b);
    assert_int_equal(b.rebases, 1);
    assert_true(transfer_have(b.t, 3));
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &finer);
    assert_finished(&b, &finer);
    assert_int_equal(transfer_ledger(b.t)->fresh, finer.size);
    assert_int_equal(transfer_ledger(b.t)->repeated, 0);
    version_free(&v);
    version_free(&finer);
    bench_free(&b);
}

/* The last of the barren connections brings news of the file, too: they wait
 * for the record of the new grid, since the old one cannot hold them. */
static void test_barren_link_with_news(void **state)
{
    struct version v = version_new("v1", 48 * K4, 16);
    struct version finer = version_new("v1", 48 * K4, 14);
    struct bench b;
    size_t used;

    (void)state;
    v.names_cid = false;
    bench_init(&b);
    b.hold_hashes = true;
    bench_start(&b);
    join_file(&b, 0, &v);
    say_chunk(&b, 0, expect(&b, 0, FRAME_GET), &v, 0);
    feed(&b, 0);
    cut(&b, 0);
    for (unsigned k = 1; k < LIMIT_SHRINK_AFTER; k++) {
        join_file(&b, 0, &v);
        cut(&b, 0);
    }
    join(&b, 0);
    greet(&b, 0);
    v.names_cid = true;
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    transfer_feed(b.t, 0, b.peer[0].buf, writer_len(&b.peer[0].w), &used,
                  &b.chunk[0], b.now);
    assert_int_equal(used, writer_len(&b.peer[0].w));
    peer_clear(&b.peer[0]);
    cut(&b, 0); /* before the runner asked what is new */
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    assert_int_equal(b.rebases, 0);
    assert_int_equal(b.identities, 0);
    release_hashes(&b);
    pump(&b);
    assert_int_equal(b.rebases, 1);
    assert_int_equal(b.identities, 0);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &finer);
    assert_finished(&b, &finer);
    version_free(&v);
    version_free(&finer);
    bench_free(&b);
}

/* Also when a list was verified: its CID stays a promise. */
static void test_barren_link_after_a_change(void **state)
{
    struct version old = version_new("v0", 48 * K4, 14);
    struct version v = version_new("v1", 48 * K4, 14);
    struct version finer = version_new("v1", 48 * K4, 12);
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    finer.data[0] ^= 1;
    version_seal(&v);
    version_seal(&finer);
    finer.names_cid = false;
    bench_init(&b);
    bench_start(&b);
    resume(&b, &old, 0xFF);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    peer_error(&b.peer[0], expect(&b, 0, FRAME_OPEN)->id, WIRE_CHANGED);
    feed(&b, 0);
    b.peer[0].answered = b.peer[0].count - 1;
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    feed(&b, 0);
    say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
    feed(&b, 0);
    cut(&b, 0);
    for (unsigned k = 0; b.notes[TRANSFER_NOTE_SHRUNK] == 0; k++) {
        assert_true(k < 5);
        join_file(&b, 0, &v);
        cut(&b, 0);
    }
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &finer);
    assert_finished(&b, &finer);
    version_free(&old);
    version_free(&v);
    version_free(&finer);
    bench_free(&b);
}

/* ---- waiting. */

/* Section 15.3: at once after progress, else full jitter up to a bound that
 * doubles, at most 30 s. */
static void test_back_off(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    uint64_t most[12] = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct peer_request *q;
        struct bench b;

        bench_init(&b);
        b.config.seed = seed * 7919;
        bench_start(&b);
        join_file(&b, 0, &v);
        q = expect(&b, 0, FRAME_GET);
        say_chunk(&b, 0, q, &v, 0);
        feed(&b, 0);
        cut(&b, 0);
        pump(&b);
        assert_true(b.dial[0]); /* progress: at once */
        for (unsigned k = 0; k < 12; k++) {
            uint64_t bound = (uint64_t)TIMER_BACKOFF_BASE_MS << k;
            uint64_t wait;

            b.dial[0] = false;
            transfer_dial_failed(b.t, 0, "refused", b.now);
            pump(&b);
            for (wait = 0; !b.dial[0]; wait += 50) {
                pass(&b, 50);
            }
            bound = bound < TIMER_BACKOFF_CAP_MS ? bound
                                                 : TIMER_BACKOFF_CAP_MS;
            assert_true(wait <= bound + 50);
            most[k] = wait > most[k] ? wait : most[k];
        }
        /* A chunk, and the waits begin again. */
        join(&b, 0);
        greet(&b, 0);
        say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
        q = expect(&b, 0, FRAME_GET);
        say_chunk(&b, 0, q, &v, 1);
        feed(&b, 0);
        cut(&b, 0);
        assert_true(b.dial[0]);
        bench_free(&b);
    }
    for (unsigned k = 0; k < 12; k++) { /* the jitter is full */
        uint64_t bound = (uint64_t)TIMER_BACKOFF_BASE_MS << k;

        bound = bound < TIMER_BACKOFF_CAP_MS ? bound : TIMER_BACKOFF_CAP_MS;
        assert_true(most[k] > bound * 9 / 10);
    }
    version_free(&v);
}

static void test_retry_after(void **state)
{
    static const struct {
        uint32_t told;
        uint64_t wait;
    } rows[] = {{5000, 5000}, {60000, 60000}, {UINT32_MAX, 60000}};
    struct version v = version_new("v1", 3 * K4, 12);

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct peer_request *q;
        struct bench b;

        bench_init(&b);
        bench_start(&b);
        join_file(&b, 0, &v); /* the first contact */
        q = expect(&b, 0, FRAME_GET);
        /* For a request: on this connection, after that time. */
        peer_error_wait(&b.peer[0], q->id, WIRE_BUSY, rows[i].told);
        feed(&b, 0);
        pass(&b, rows[i].wait - 10);
        expect_none(&b, 0);
        pass(&b, 600);
        q = expect(&b, 0, FRAME_GET);
        say_chunk(&b, 0, q, &v, 0);
        feed(&b, 0);
        /* For the connection: no dial before, progress or not. */
        peer_error_wait(&b.peer[0], 0, WIRE_BUSY, rows[i].told);
        feed(&b, 0);
        assert_false(b.up[0]);
        transfer_hurry(b.t, b.now); /* even if we are in a hurry */
        pass(&b, rows[i].wait - 10);
        assert_false(b.dial[0]);
        pass(&b, 20);
        assert_true(b.dial[0]);
        bench_free(&b);
    }
    version_free(&v);
}

static void test_open_busy(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_TOO_MANY_HANDLES);
    q = expect(&b, 0, FRAME_GET);
    peer_error(&b.peer[0], q->id, WIRE_BAD_HANDLE);
    feed(&b, 0);
    pass(&b, TIMER_RETRY_AFTER_MS - 10);
    expect_none(&b, 0);
    pass(&b, 600);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    assert_int_equal(b.dials, 1);
    version_free(&v);
    bench_free(&b);
}

static void test_hurry(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    cut(&b, 0);
    for (unsigned k = 0; k < 8; k++) {
        await_dial(&b, 0);
        b.dial[0] = false;
        transfer_dial_failed(b.t, 0, "refused", b.now);
        pump(&b);
    }
    if (!b.dial[0]) {
        transfer_hurry(b.t, b.now);
        pump(&b);
    }
    assert_true(b.dial[0]);
    assert_true(b.notes[TRANSFER_NOTE_WAIT] <= 1); /* said once */
    join(&b, 0);
    greet(&b, 0);
    assert_int_equal(b.notes[TRANSFER_NOTE_BACK],
                     b.notes[TRANSFER_NOTE_WAIT]);
    version_free(&v);
    bench_free(&b);
}

static void test_tries(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    /* Nobody there at all: say so at once. */
    bench_init(&b);
    bench_start(&b);
    pump(&b);
    b.dial[0] = false;
    transfer_dial_failed(b.t, 0, "no route", b.now);
    pump(&b);
    assert_failed(&b, TRANSFER_UNREACHABLE);
    assert_non_null(strstr(transfer_detail(b.t), "no route"));
    bench_free(&b);
    /* Told to wait for it. */
    bench_init(&b);
    b.config.wait_first = true;
    bench_start(&b);
    for (unsigned k = 0; k < 20; k++) {
        await_dial(&b, 0);
        b.dial[0] = false;
        transfer_dial_failed(b.t, 0, "no route", b.now);
        pump(&b);
        assert_false(b.failed);
    }
    bench_free(&b);
    /* A limit counts from the last new chunk. */
    bench_init(&b);
    b.config.tries_max = 4;
    bench_start(&b);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned k = 0; k < 3; k++) {
            join_file(&b, 0, &v);
            cut(&b, 0);
            assert_false(b.failed);
        }
        if (round == 0) {
            join_file(&b, 0, &v);
            q = expect(&b, 0, FRAME_GET);
            say_chunk(&b, 0, q, &v, 0);
            feed(&b, 0);
            cut(&b, 0);
        }
    }
    join_file(&b, 0, &v);
    cut(&b, 0);
    assert_failed(&b, TRANSFER_UNREACHABLE);
    bench_free(&b);
    version_free(&v);
}

/* ---- trouble of the server. */

static void test_io_error(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    for (unsigned k = 0; k < 2; k++) {
        peer_error(&b.peer[0], q->id, WIRE_IO_ERROR);
        feed(&b, 0);
        pass(&b, 1000);
        q = expect(&b, 0, FRAME_GET); /* on the same connection */
    }
    say_chunk(&b, 0, q, &v, 0); /* progress: counted from the start again */
    for (unsigned k = 0; k < 3; k++) {
        assert_false(b.failed);
        peer_error(&b.peer[0], q->id, WIRE_IO_ERROR);
        feed(&b, 0);
        if (!b.failed) {
            pass(&b, 1000);
            q = expect(&b, 0, FRAME_GET);
            assert_int_equal(asked_chunks(q, &v), 0x6);
        }
    }
    assert_failed(&b, TRANSFER_SERVER);
    version_free(&v);
    bench_free(&b);
}

static void test_get_errors(void **state)
{
    static const struct {
        uint16_t code;
        bool fails;
        bool drops;
    } rows[] = {
        {WIRE_INTERNAL, false, true},
        {WIRE_SHUTTING_DOWN, false, true},
        {WIRE_CANCELLED, false, false},
        {WIRE_BAD_HANDLE, false, false},
        {WIRE_DENIED, true, false},
        {WIRE_AUTH_EXPIRED, true, false},
        {WIRE_BAD_REQUEST, true, false},
    };
    struct version v = version_new("v1", 3 * K4, 12);

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b;

        bench_init(&b);
        bench_start(&b);
        join_file(&b, 0, &v);
        peer_error(&b.peer[0], expect(&b, 0, FRAME_GET)->id, rows[i].code);
        feed(&b, 0);
        assert_int_equal(b.failed, rows[i].fails);
        if (!rows[i].fails) {
            assert_int_equal(b.up[0], !rows[i].drops);
            if (rows[i].drops) {
                join(&b, 0);
                greet(&b, 0);
            }
            pass(&b, 1000);
            serve(&b, 0, &v);
            assert_finished(&b, &v);
        }
        bench_free(&b);
    }
    version_free(&v);
}

/* GOAWAY: what was asked is still answered, then another connection. */
static void test_goaway(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    peer_goaway(&b.peer[0], GOAWAY_ANNOUNCE, WIRE_SHUTTING_DOWN);
    say_chunk(&b, 0, q, &v, 0);
    peer_goaway(&b.peer[0], q->id, WIRE_SHUTTING_DOWN);
    feed(&b, 0);
    assert_true(b.up[0]);
    say_chunk(&b, 0, q, &v, 1);
    peer_error(&b.peer[0], q->id, WIRE_IO_ERROR);
    feed(&b, 0);
    assert_false(b.up[0]); /* nothing is outstanding: left */
    expect_none(&b, 0);
    join(&b, 0);
    greet(&b, 0);
    say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
    q = expect(&b, 0, FRAME_GET);
    assert_int_equal(asked_chunks(q, &v), 0x4);
    /* The GET was not taken any more: somewhere else at once. */
    peer_goaway(&b.peer[0], 1, WIRE_SHUTTING_DOWN);
    feed(&b, 0);
    cut(&b, 0);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

/* A full server says so before HELLO. */
static void test_goaway_before_hello(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    peer_goaway(&b.peer[0], 0, WIRE_BUSY);
    feed(&b, 0);
    assert_false(b.failed);
    assert_false(b.up[0]);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

static void test_silence(void **state)
{
    struct version v = version_new("v1", 3 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b);
    join_file(&b, 0, &v);
    pass(&b, TIMER_SILENCE_MS + 600);
    assert_int_equal(b.peer[0].pings, 1);
    assert_true(b.up[0]);
    pass(&b, TIMER_PING_WAIT_MS + 600);
    assert_int_equal(transfer_ledger(b.t)->losses, 1);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

/* ---- several connections. */

/* No connection carries a whole chunk, but there is always one that has
 * nothing to do and lives: the chunks become smaller all the same. */
static void test_barren_beside_idle(void **state)
{
    struct version v = version_new("v1", 75 * 4 * K4, 14);
    struct bench b;

    (void)state;
    v.names_cid = false;
    two_conns(&b, &v);
    for (unsigned k = 0; k < LIMIT_SHRINK_AFTER; k++) {
        unsigned i = k % 2;

        assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 0);
        say_chunk(&b, i, expect(&b, i, FRAME_GET), &v, 0);
        feed_bytes(&b, i, b.peer[i].buf, 4 * K4 - 100);
        peer_clear(&b.peer[i]);
        cut(&b, i);
        if (k + 1 < LIMIT_SHRINK_AFTER) {
            assert_true(b.up[1 - i]);
            join_file(&b, i, &v);
        }
    }
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    assert_int_equal(b.note_count[TRANSFER_NOTE_SHRUNK], 12);
    join(&b, 0);
    greet(&b, 0);
    assert_int_equal(expect(&b, 0, FRAME_OPEN)->open.want_chunk_log2, 12);
    version_free(&v);
    bench_free(&b);
}

/* Rule R12b: one connection reports CHANGED, all others are left. */
static void test_change_stops_all(void **state)
{
    struct version v = version_new("v1", 300 * K4, 12);
    struct bench b;

    (void)state;
    two_conns(&b, &v);
    peer_error(&b.peer[0], expect(&b, 0, FRAME_GET)->id,
               WIRE_CHANGED_DURING);
    feed(&b, 0);
    assert_true(b.up[1]);
    peer_error(&b.peer[0], expect(&b, 0, FRAME_OPEN)->id, WIRE_CHANGED);
    feed(&b, 0);
    assert_false(b.up[1]);
    assert_int_equal(b.notes[TRANSFER_NOTE_CHANGED], 1);
    version_free(&v);
    bench_free(&b);
}

/* ---- output in order. */

static void test_window(void **state)
{
    struct version v = version_new("v1", 32 * K4, 12);
    struct peer_request *q;
    uint64_t asked = 0;
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.in_order = true;
    b.config.window_chunks_bytes = 4 * (uint32_t)K4;
    b.hold_chunks = true;
    bench_start(&b);
    join_file(&b, 0, &v);
    while ((q = peek(&b, 0)) != NULL) {
        assert_int_equal(q->type, FRAME_GET);
        b.peer[0].answered++;
        asked |= asked_chunks(q, &v);
        say_get(&b, 0, q, &v);
    }
    assert_int_equal(asked, 0xF); /* and not a chunk more */
    feed(&b, 0);
    expect_none(&b, 0);
    /* The first is put out: one more may come. */
    transfer_chunk_done(b.t, 0, 0, v.digest[0], true, b.now);
    pump(&b);
    assert_int_equal(asked_chunks(expect(&b, 0, FRAME_GET), &v), 0x10);
    version_free(&v);
    bench_free(&b);
}

/* What was put out cannot be taken back, nor what waits for its turn. */
static void test_changed_in_order(void **state)
{
    struct version v = version_new("v1", 8 * K4, 12);
    struct version other = version_new("v2", 8 * K4, 12);

    (void)state;
    for (uint64_t first = 0; first < 2; first++) {
        struct peer_request *q;
        struct bench b;

        bench_init(&b);
        b.config.in_order = true;
        b.config.window_chunks_bytes = 16 << 20;
        b.hold_chunks = true;
        bench_start(&b);
        join_file(&b, 0, &v);
        q = expect(&b, 0, FRAME_GET);
        say_chunk(&b, 0, q, &v, 0);
        feed(&b, 0);
        if (first == 0) {
            transfer_chunk_done(b.t, 0, 0, v.digest[0], true, b.now);
        }
        cut(&b, 0);
        join(&b, 0);
        greet(&b, 0);
        peer_error(&b.peer[0], expect(&b, 0, FRAME_OPEN)->id, WIRE_CHANGED);
        feed(&b, 0);
        assert_failed(&b, TRANSFER_CHANGED);
        bench_free(&b);
    }
    version_free(&v);
    version_free(&other);
}

/* Nothing was put out yet: begin with the new version. */
static void test_changed_before_output(void **state)
{
    struct version v = version_new("v1", 8 * K4, 12);
    struct version other = version_new("v2", 8 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.in_order = true;
    b.config.window_chunks_bytes = 16 << 20;
    bench_start(&b);
    join_file(&b, 0, &v);
    cut(&b, 0);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &other);
    assert_finished(&b, &other);
    version_free(&v);
    version_free(&other);
    bench_free(&b);
}

/* A weak version turns out to be two: too late for ordered output. */
static void test_weak_in_order(void **state)
{
    struct version first = version_new("v1", 4 * K4, 12);
    struct version v = version_new("v1", 4 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    v.data[0] ^= 1;
    version_seal(&v);
    first.weak = true;
    first.names_cid = false;
    v.weak = true;
    v.names_cid = false;
    bench_init(&b);
    b.config.in_order = true;
    b.config.window_chunks_bytes = 16 << 20;
    bench_start(&b);
    join_file(&b, 0, &first);
    q = expect(&b, 0, FRAME_GET);
    say_get(&b, 0, q, &first);
    feed(&b, 0);
    pass(&b, 2000);
    serve(&b, 0, &v);
    assert_failed(&b, TRANSFER_CHANGED);
    version_free(&first);
    version_free(&v);
    bench_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_chunk),
        cmocka_unit_test(test_bad_chunk_once),
        cmocka_unit_test(test_bad_small_chunk),
        cmocka_unit_test(test_bad_chunks_in_a_row),
        cmocka_unit_test(test_damage_shrinks),
        cmocka_unit_test(test_bad_chunk_shrinks),
        cmocka_unit_test(test_barren_link),
        cmocka_unit_test(test_barren_link_with_news),
        cmocka_unit_test(test_barren_link_after_a_change),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_open_busy),
        cmocka_unit_test(test_hurry),
        cmocka_unit_test(test_tries),
        cmocka_unit_test(test_io_error),
        cmocka_unit_test(test_get_errors),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_goaway_before_hello),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_barren_beside_idle),
        cmocka_unit_test(test_change_stops_all),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_changed_in_order),
        cmocka_unit_test(test_changed_before_output),
        cmocka_unit_test(test_weak_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
