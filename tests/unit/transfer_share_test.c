/* Transfer: work is shared anew when a connection turns out to be slow, and
 * connections are added while that helps.  What counts is bytes that come
 * twice, and how many connections there are. */
#include "tests/unit/transfer_fixture.h"

#define K4 (4 * KIB)
#define K64 (64 * KIB)
#define MIB (1024 * KIB)

/* ---- slow connections. */

/* The GET that left before the size was known asks for everything, on a
 * connection that turns out to be slow. */
static void test_first_get_is_shared(void **state)
{
    struct version v = version_new("v1", 64 * K64, 16);
    struct peer_request *all;
    struct peer_request *q;
    uint64_t asked;
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.conns = 2;
    bench_start(&b);
    join_file(&b, 0, &v);
    all = expect(&b, 0, FRAME_GET);
    join_file(&b, 1, &v);
    expect_none(&b, 1);
    for (uint64_t k = 0; k < 4; k++) {
        pass(&b, 400);
        say_chunk(&b, 0, all, &v, k);
        feed(&b, 0);
    }
    /* The early end is asked for once, and nothing is asked twice. */
    q = expect(&b, 0, FRAME_CANCEL);
    assert_int_equal(q->id, all->id);
    expect_none(&b, 1);
    say_chunk(&b, 0, all, &v, 4);
    feed(&b, 0);
    expect_none(&b, 0);
    peer_error(&b.peer[0], all->id, WIRE_CANCELLED);
    feed(&b, 0);
    asked = asked_chunks(expect(&b, 0, FRAME_GET), &v);
    q = expect(&b, 1, FRAME_GET);
    assert_int_equal(asked & asked_chunks(q, &v), 0);
    assert_int_equal((asked | asked_chunks(q, &v)) & 0x1F, 0);
    b.peer[0].answered--;
    b.peer[1].answered--;
    for (unsigned n = 0; n < 100 && !b.finished; n++) {
        serve(&b, n % 2, &v);
    }
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->repeated, 0);
    assert_int_equal(transfer_ledger(b.t)->losses, 0);
    version_free(&v);
    bench_free(&b);
}

/* One that is fast enough is left alone, whoever has nothing to do. */
static void test_fast_keeps_its_work(void **state)
{
    struct version v = version_new("v1", 64 * K64, 16);
    struct peer_request *all;
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.conns = 2;
    bench_start(&b);
    join_file(&b, 0, &v);
    all = expect(&b, 0, FRAME_GET);
    join_file(&b, 1, &v);
    for (uint64_t k = 0; k < 64; k++) {
        pass(&b, 2);
        say_chunk(&b, 0, all, &v, k);
        feed(&b, 0);
    }
    expect_none(&b, 0);
    expect_none(&b, 1);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

/* Near the end a slow connection asks for no more than it is bringing. */
static void test_slow_asks_late(void **state)
{
    struct version v = version_new("v1", 16 * K64, 16);
    struct peer_request *q[2];
    struct bench b;

    (void)state;
    for (unsigned slow = 0; slow < 2; slow++) {
        bench_init(&b);
        b.config.conns = 2;
        bench_start(&b);
        resume(&b, &v, 0);
        pump(&b);
        for (unsigned i = 0; i < 2; i++) {
            join_file(&b, i, &v);
            q[i] = expect(&b, i, FRAME_GET);
        }
        assert_int_equal(asked_chunks(q[0], &v), 0xFF);
        assert_int_equal(asked_chunks(expect(&b, 0, FRAME_GET), &v), 0xF00);
        assert_int_equal(asked_chunks(q[1], &v), 0x1000);
        assert_int_equal(asked_chunks(expect(&b, 1, FRAME_GET), &v), 0x2000);
        pass(&b, slow ? 2000 : 100);
        say_get(&b, 0, q[0], &v);
        feed(&b, 0);
        assert_int_equal(asked_chunks(expect(&b, 0, FRAME_GET), &v), 0x4000);
        say_get(&b, 1, q[1], &v);
        feed(&b, 1);
        if (slow) { /* the other one will be done long before */
            expect_none(&b, 1);
        } else {
            assert_int_equal(asked_chunks(expect(&b, 1, FRAME_GET), &v),
                             0x8000);
        }
        bench_free(&b);
    }
    version_free(&v);
}

/* ---- silent connections. */

static void test_steal(void **state)
{
    struct version v = version_new("v1", 300 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    two_conns(&b, &v);
    expect_none(&b, 1);
    pass(&b, 2500);
    assert_int_equal(b.peer[1].pings, 0); /* patience first */
    await_ping(&b, 1);
    expect_none(&b, 1); /* is it only the other one? */
    say_pong(&b, 1);
    q = expect(&b, 1, FRAME_GET);
    assert_int_equal(msg_get_range(&q->get, 0).length, 2 * K4);
    say_chunk(&b, 1, q, &v, 0);
    say_chunk(&b, 1, q, &v, 1);
    feed(&b, 1);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

/* The whole link stands still: nothing could come sooner, only twice. */
static void test_darkness(void **state)
{
    struct version v = version_new("v1", 300 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    two_conns(&b, &v);
    pass(&b, 10000);
    assert_int_equal(b.peer[1].pings, 1); /* and no more without an answer */
    expect_none(&b, 1);
    say_pong(&b, 1); /* the first sign of life: the other's may come, too */
    expect_none(&b, 1);
    pass(&b, 1000);
    expect_none(&b, 1);
    q = expect(&b, 0, FRAME_GET);
    say_chunk(&b, 0, q, &v, 0);
    feed(&b, 0);
    say_chunk(&b, 0, q, &v, 1);
    feed(&b, 0);
    assert_finished(&b, &v);
    assert_int_equal(transfer_ledger(b.t)->repeated, 0);
    assert_int_equal(transfer_ledger(b.t)->losses, 0);
    version_free(&v);
    bench_free(&b);
}

/* ... and after it one connection stays silent. */
static void test_after_darkness(void **state)
{
    struct version v = version_new("v1", 300 * K4, 12);
    struct bench b;

    (void)state;
    two_conns(&b, &v);
    pass(&b, 10000);
    say_pong(&b, 1);
    pass(&b, 2500);
    assert_int_equal(b.peer[1].pings, 0);
    await_ping(&b, 1);
    say_pong(&b, 1);
    assert_int_equal(asked_chunks(expect(&b, 1, FRAME_GET), &v), 3);
    version_free(&v);
    bench_free(&b);
}

/* No server is asked more often than every server has to bear (C4). */
static void test_probes_end(void **state)
{
    struct version v = version_new("v1", 300 * K4, 12);
    unsigned pings = 0;
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.silence_ms = 1 << 30;
    two_conns_of(&b, &v);
    for (unsigned k = 0; k < 100; k++) {
        pass(&b, 5000);
        if (b.peer[1].pings > 0) {
            pings++;
            say_pong(&b, 1);
        }
    }
    assert_in_range(pings, 2, LIMIT_PINGS_TOLERATED);
    expect_none(&b, 1);
    version_free(&v);
    bench_free(&b);
}

/* Stuck half-way through a chunk: only a new connection helps. */
static void test_steal_from_the_middle(void **state)
{
    struct version v = version_new("v1", 300 * K4, 12);
    struct peer_request *q;
    struct bench b;
    size_t half;

    (void)state;
    two_conns(&b, &v);
    q = expect(&b, 0, FRAME_GET);
    say_chunk(&b, 0, q, &v, 0);
    say_chunk(&b, 0, q, &v, 1);
    half = writer_len(&b.peer[0].w) - 100;
    feed_bytes(&b, 0, b.peer[0].buf, half);
    await_ping(&b, 1);
    say_pong(&b, 1);
    assert_int_equal(transfer_ledger(b.t)->wasted, K4 - 100);
    q = expect(&b, 1, FRAME_GET);
    assert_int_equal(msg_get_range(&q->get, 0).offset, K4);
    say_chunk(&b, 1, q, &v, 1);
    feed(&b, 1);
    assert_finished(&b, &v);
    version_free(&v);
    bench_free(&b);
}

/* While we ourselves do not read, nobody is silent. */
static void test_no_theft_in_a_pause(void **state)
{
    struct version v = version_new("v1", 300 * K4, 12);
    struct bench b;

    (void)state;
    two_conns(&b, &v);
    receiver_pause(transfer_receiver(b.t, 0), true, b.now);
    pass(&b, 60000);
    expect_none(&b, 1);
    assert_true(b.up[0]);
    version_free(&v);
    bench_free(&b);
}

/* ---- how many. */

static bool cancelled(struct bench *b, unsigned i, uint32_t id)
{
    const struct peer *p = &b->peer[i];

    for (size_t k = p->answered; k < p->count; k++) {
        if (p->request[k].type == FRAME_CANCEL && p->request[k].id == id) {
            return true;
        }
    }
    return false;
}

/* The next GET of connection i is answered; returns how many chunks came. */
static uint64_t bring(struct bench *b, unsigned i, const struct version *v)
{
    const struct peer_request *q = peek(b, i);
    uint64_t count = 0;

    while (q != NULL && q->type == FRAME_CANCEL) {
        b->peer[i].answered++;
        q = peek(b, i);
    }
    if (q == NULL) {
        return 0;
    }
    q = expect(b, i, FRAME_GET);
    if (cancelled(b, i, q->id)) {
        peer_error(&b->peer[i], q->id, WIRE_CANCELLED);
        feed(b, i);
        return 0;
    }
    for (uint64_t k = 0; k < v->count; k++) {
        if ((asked_chunks(q, v) >> k & 1) != 0) {
            say_chunk(b, i, q, v, k);
            feed(b, i);
            count++;
        }
    }
    peer_done(&b->peer[i], q->id, count, count << v->chunk_log2, v->token,
              v->cid);
    feed(b, i);
    return count;
}

static void far_start(struct bench *b, const struct version *v)
{
    bench_init(b);
    b->config.conns = 0;
    bench_start(b);
    for (unsigned i = 0; i < 8; i++) {
        await_dial(b, i);
        pass(b, 40); /* a long way */
        join_file(b, i, v);
    }
    (void)bring(b, 0, v); /* the first GET */
    assert_int_equal(b->dials, 8);
}

/* Twelve connections bring half as much more than eight: they stay. */
static void test_more_help(void **state)
{
    struct version v = version_new("v1", 56 * MIB, 20);
    struct bench b;

    (void)state;
    far_start(&b, &v);
    pass(&b, 500);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(bring(&b, i, &v) > 0);
    }
    pass(&b, 1000);
    assert_int_equal(b.dials, 12);
    pass(&b, 40);
    for (unsigned i = 8; i < 12; i++) {
        join_file(&b, i, &v);
    }
    pass(&b, 500);
    for (unsigned i = 0; i < 12; i++) {
        assert_true(bring(&b, i, &v) > 0);
    }
    for (unsigned n = 0; n < 100 && !b.finished; n++) {
        for (unsigned i = 0; i < 12; i++) {
            (void)bring(&b, i, &v);
        }
        pass(&b, 50);
    }
    assert_finished(&b, &v);
    assert_int_equal(b.drops, 0);
    assert_int_equal(transfer_ledger(b.t)->repeated, 0);
    version_free(&v);
    bench_free(&b);
}

/* They bring no more: four leave again, when they have brought what they were
 * asked for, and no others are tried. */
static void test_more_do_not_help(void **state)
{
    struct version v = version_new("v1", 56 * MIB, 20);
    struct bench b;

    (void)state;
    far_start(&b, &v);
    pass(&b, 500);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(bring(&b, i, &v) > 0);
    }
    pass(&b, 1000);
    pass(&b, 40);
    for (unsigned i = 8; i < 12; i++) {
        join_file(&b, i, &v);
    }
    pass(&b, 500);
    for (unsigned i = 0; i < 12; i++) {
        if (i % 3 != 0) {
            assert_true(bring(&b, i, &v) > 0);
        }
    }
    pass(&b, 1000);
    assert_int_equal(b.drops, 0);
    for (unsigned n = 0; n < 100 && !b.finished; n++) {
        for (unsigned i = 0; i < 12; i++) {
            (void)bring(&b, i, &v);
        }
        pass(&b, 300);
    }
    assert_finished(&b, &v);
    assert_int_equal(b.drops, 4);
    assert_int_equal(b.dials, 12);
    assert_int_equal(transfer_ledger(b.t)->losses, 0);
    assert_int_equal(transfer_ledger(b.t)->repeated, 0);
    version_free(&v);
    bench_free(&b);
}

/* On a short way a connection has no such limit: eight are enough. */
static void test_near(void **state)
{
    struct version v = version_new("v1", 56 * MIB, 20);
    struct bench b;

    (void)state;
    bench_init(&b);
    b.config.conns = 0;
    bench_start(&b);
    join_file(&b, 0, &v);
    (void)bring(&b, 0, &v);
    for (unsigned n = 0; n < 1000; n++) {
        pass(&b, 4);
        for (unsigned i = 0; i < BENCH_CONNS; i++) {
            if (b.dial[i]) {
                join_file(&b, i, &v);
            } else if (b.up[i] && n % 125 == 0) {
                (void)bring(&b, i, &v);
            }
        }
    }
    assert_int_equal(b.dials, 8);
    version_free(&v);
    bench_free(&b);
}

/* No connection carries a whole chunk, but they are lost one by one, so that
 * there is always another one at work: the chunks become smaller. */
static void test_barren_in_turns(void **state)
{
    struct version v = version_new("v1", 75 * 4 * K4, 14);
    struct bench b;

    (void)state;
    v.names_cid = false;
    bench_init(&b);
    b.config.conns = 2;
    bench_start(&b);
    resume(&b, &v, 0);
    for (unsigned k = 0; k < 2 + 2 * LIMIT_SHRINK_AFTER; k++) {
        unsigned i = k % 2;

        assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 0);
        if (k >= 2) {
            cut(&b, i);
            assert_true(b.up[1 - i]);
        }
        if (k < 1 + 2 * LIMIT_SHRINK_AFTER) {
            struct peer_request *q;

            join_file(&b, i, &v);
            q = expect(&b, i, FRAME_GET);
            say_chunk(&b, i, q, &v, msg_get_range(&q->get, 0).offset >> 14);
            feed_bytes(&b, i, b.peer[i].buf, 4 * K4 - 100);
            peer_clear(&b.peer[i]);
        }
    }
    cut(&b, 0); /* nothing may use the old chunks then */
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    version_free(&v);
    bench_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_get_is_shared),
        cmocka_unit_test(test_fast_keeps_its_work),
        cmocka_unit_test(test_slow_asks_late),
        cmocka_unit_test(test_steal),
        cmocka_unit_test(test_darkness),
        cmocka_unit_test(test_after_darkness),
        cmocka_unit_test(test_probes_end),
        cmocka_unit_test(test_steal_from_the_middle),
        cmocka_unit_test(test_no_theft_in_a_pause),
        cmocka_unit_test(test_more_help),
        cmocka_unit_test(test_more_do_not_help),
        cmocka_unit_test(test_near),
        cmocka_unit_test(test_barren_in_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
