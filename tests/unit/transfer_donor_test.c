/* Transfer: local files that hold some of the content. */
#include "tests/unit/transfer_fixture.h"

#define K4 (4 * KIB)

static void start(struct bench *b)
{
    bench_start(b);
    pump(b);
    join(b, 0);
    greet(b, 0);
}

/* Until the server has answered all that is asked. */
static void run(struct bench *b, const struct version *v)
{
    for (unsigned n = 0; n < 8 && !b->finished && !b->failed; n++) {
        serve(b, 0, v);
        pass(b, 1000);
    }
}

static void with_donor(struct bench *b, const uint8_t *data, uint64_t size)
{
    unsigned n = b->config.donor_count++;

    b->donor[n] = data;
    b->config.donors[n].size = size;
}

static void with_self(struct bench *b, const uint8_t *data, uint64_t size)
{
    memcpy(b->disk, data, size);
    b->config.donors[0] = (struct transfer_donor){.size = size, .self = true};
    b->config.donor_count = 1;
}

static void assert_bytes(struct bench *b, uint64_t kept, uint64_t reused,
                         uint64_t fresh)
{
    const struct transfer_ledger *l = transfer_ledger(b->t);

    assert_int_equal(l->kept, kept);
    assert_int_equal(l->reused, reused);
    assert_int_equal(l->fresh, fresh);
}

/* The requests one by one: the list first, then only what is missing. */
static void test_step_by_step(void **state)
{
    struct version old = version_new("v1", 6 * K4, 12);
    struct version v = version_new("v2", 6 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    old.data[2 * K4] ^= 1;
    bench_init(&b);
    with_donor(&b, old.data, old.size);
    start(&b);
    q = expect(&b, 0, FRAME_OPEN);
    expect_none(&b, 0);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    q = expect(&b, 0, FRAME_DIGEST);
    expect_none(&b, 0);
    say_list(&b, 0, q, &v);
    feed(&b, 0);
    q = expect(&b, 0, FRAME_GET);
    assert_int_equal(asked_chunks(q, &v), 0x04);
    say_get(&b, 0, q, &v);
    feed(&b, 0);
    assert_finished(&b, &v);
    assert_bytes(&b, 0, 5 * K4, K4);
    assert_int_equal(b.copies, 5);
    assert_int_equal(b.notes[TRANSFER_NOTE_DONOR], 1);
    assert_int_equal(b.note_count[TRANSFER_NOTE_DONOR], 5);
    bench_free(&b);
    version_free(&old);
    version_free(&v);
}

/* Where the donors' bytes stand, and what that saves. */
static void test_donors(void **state)
{
    static const struct {
        const char *name;
        uint64_t size;    /* of the wanted file */
        uint64_t skip[2]; /* of its bytes, at the beginning of a donor */
        uint64_t len[2];  /* of a donor; 0: there is none */
        uint64_t reused;
    } cases[] = {
        {"the same file", 6 * K4, {0}, {6 * K4}, 6 * K4},
        {"a shorter one", 6 * K4, {0}, {3 * K4 + 5}, 3 * K4},
        {"with a short last chunk", 5 * K4 + 7, {0}, {5 * K4 + 7}, 5 * K4 + 7},
        {"other chunk offsets", 6 * K4, {2 * K4}, {4 * K4}, 4 * K4},
        {"no chunk at a border", 6 * K4, {5}, {4 * K4}, 0},
        {"an empty one", 6 * K4, {0}, {0, 2 * K4}, 2 * K4},
        {"two that overlap", 6 * K4, {0, 2 * K4}, {3 * K4, 4 * K4}, 6 * K4},
        {"an empty file", 0, {0}, {K4}, 0},
    };

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct version v = version_new("v", cases[k].size, 12);
        struct version src = version_new("s", 8 * K4, 12);
        struct bench b;

        bench_init(&b);
        for (unsigned d = 0; d < 2; d++) {
            with_donor(&b, src.data + cases[k].skip[d], cases[k].len[d]);
        }
        start(&b);
        run(&b, &v);
        assert_finished(&b, &v);
        if (transfer_ledger(b.t)->reused != cases[k].reused) {
            fail_msg("%s: %d reused", cases[k].name,
                     (int)transfer_ledger(b.t)->reused);
        }
        bench_free(&b);
        version_free(&src);
        version_free(&v);
    }
}

/* A partial of an earlier run, and a donor for the rest. */
static void test_resumed(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct version old = version_new("v0", 4 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    with_donor(&b, old.data, old.size);
    bench_start(&b);
    resume(&b, &v, 0x23);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    run(&b, &v);
    assert_finished(&b, &v);
    assert_bytes(&b, 3 * K4, 2 * K4, K4);
    bench_free(&b);
    version_free(&old);
    version_free(&v);
}

/* The record of a weak version names other bytes than the list. */
static void test_resumed_stale(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct version stale = version_new("v1", 4 * K4, 12);
    struct bench b;

    (void)state;
    v.weak = true;
    v.names_cid = false;
    stale.weak = true;
    stale.names_cid = false;
    stale.data[K4] ^= 1;
    version_seal(&stale);
    bench_init(&b);
    with_donor(&b, v.data, 2 * K4);
    bench_start(&b);
    resume(&b, &stale, 0x07);
    b.hold_hashes = true;
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    release_hashes(&b);
    run(&b, &v);
    assert_finished(&b, &v);
    assert_bytes(&b, 2 * K4, K4, K4);
    bench_free(&b);
    version_free(&stale);
    version_free(&v);
}

/* The donor changes between hashing and copying: nothing of it counts. */
static void test_donor_lies(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    with_donor(&b, v.data, v.size);
    b.donor_lies = true;
    start(&b);
    run(&b, &v);
    assert_finished(&b, &v);
    assert_bytes(&b, 0, 0, 4 * K4);
    bench_free(&b);
    version_free(&v);
}

/* Chunks that cannot be read are chunks that are not there. */
static void test_unreadable(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    with_donor(&b, v.data, v.size);
    bench_start(&b);
    b.hold_hashes = true;
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_int_equal(b.held_count, 1);
    for (uint64_t i = 0; i < 4; i++) {
        transfer_hashed(b.t, i, i == 2 ? v.digest[2] : NULL, b.now);
    }
    b.hold_hashes = false;
    b.held_count = 0;
    pump(&b);
    run(&b, &v);
    assert_finished(&b, &v);
    assert_bytes(&b, 0, K4, 3 * K4);
    assert_int_equal(b.notes[TRANSFER_NOTE_HINTS_BAD], 0);
    bench_free(&b);
    version_free(&v);
}

/* ---- the file itself. */

/* What is damaged in how it stands there, and what repairing costs. */
static void test_self(void **state)
{
    static const struct {
        const char *name;
        uint64_t size;
        uint64_t there; /* length of the damaged file */
        uint64_t shift; /* its first byte is the right one's byte `shift` */
        uint64_t flip;  /* this byte is wrong; beyond the end: none */
        uint64_t kept, reused, fresh;
    } cases[] = {
        {"nothing", 5 * K4 + 9, 5 * K4 + 9, 0, 99 * K4, 5 * K4 + 9, 0, 0},
        {"one bit", 5 * K4, 5 * K4, 0, K4 + 7, 4 * K4, 0, K4},
        {"cut", 5 * K4, 2 * K4 + 1, 0, 99 * K4, 2 * K4, 0, 3 * K4},
        {"too long", 3 * K4, 7 * K4, 0, 99 * K4, 3 * K4, 0, 0},
        {"the last, short chunk", 2 * K4 + 9, 2 * K4 + 9, 0, 2 * K4 + 8,
         2 * K4, 0, 9},
        {"shifted", 6 * K4, 5 * K4, K4, 99 * K4, 0, 5 * K4, K4},
        {"empty", 3 * K4, 0, 0, 99 * K4, 0, 0, 3 * K4},
        {"should be empty", 0, 2 * K4, 0, 99 * K4, 0, 0, 0},
    };

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct version v = version_new("v", cases[k].size, 12);
        struct version src = version_new("s", 9 * K4, 12);
        struct bench b;

        bench_init(&b);
        if (cases[k].flip < src.size) {
            src.data[cases[k].flip] ^= 0x40;
        }
        with_self(&b, src.data + cases[k].shift, cases[k].there);
        start(&b);
        run(&b, &v);
        print_message("%s\n", cases[k].name);
        assert_finished(&b, &v);
        assert_bytes(&b, cases[k].kept, cases[k].reused, cases[k].fresh);
        bench_free(&b);
        version_free(&src);
        version_free(&v);
    }
}

/* The server has another version while the donor is hashed: all over. */
static void test_changes_meanwhile(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct version next = version_new("v2", 6 * K4, 12);
    struct version there = version_new("v0", 6 * K4, 12);
    struct bench b;

    (void)state;
    there.data[0] ^= 1;
    next.data[3 * K4] ^= 1;
    version_seal(&next);
    bench_init(&b);
    with_self(&b, there.data, there.size);
    b.hold_hashes = true;
    start(&b);
    serve(&b, 0, &v);
    assert_int_equal(b.held_count, 1);
    cut(&b, 0);
    release_hashes(&b);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    run(&b, &next);
    assert_finished(&b, &next);
    assert_int_equal(transfer_ledger(b.t)->fresh, 2 * K4);
    assert_int_equal(b.notes[TRANSFER_NOTE_CHANGED], 1);
    bench_free(&b);
    version_free(&there);
    version_free(&next);
    version_free(&v);
}

/* Copies are made one at a time and need no connection: none is dialled for
 * them.  That the file has changed meanwhile shows behind them. */
static void test_changes_while_copying(void **state)
{
    struct version v = version_new("v1", 6 * K4, 12);
    struct version next = version_new("v2", 6 * K4, 12);
    struct bench b;

    (void)state;
    next.data[0] ^= 1;
    version_seal(&next);
    bench_init(&b);
    with_donor(&b, v.data, 4 * K4);
    b.hold_copies = true;
    start(&b);
    serve(&b, 0, &v);
    assert_int_equal(b.copies, 1);
    assert_int_equal(b.held_copy.first, 0);
    cut(&b, 0);
    pass(&b, 60000);
    assert_int_equal(b.copies, 1);
    assert_false(b.dial[0]);
    b.hold_copies = false;
    bench_copy(&b, &b.held_copy);
    pump(&b);
    assert_int_equal(b.copies, 4);
    join(&b, 0);
    greet(&b, 0);
    run(&b, &next);
    assert_finished(&b, &next);
    assert_bytes(&b, 0, 3 * K4, 3 * K4);
    bench_free(&b);
    version_free(&next);
    version_free(&v);
}

/* A donor of which no digests fit into memory is none. */
static void test_huge_donor(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    with_donor(&b, v.data, (TRANSFER_CHUNKS_MAX + 1) << 12);
    with_donor(&b, v.data, 2 * K4);
    start(&b);
    run(&b, &v);
    assert_finished(&b, &v);
    assert_bytes(&b, 0, 2 * K4, 2 * K4);
    assert_int_equal(b.notes[TRANSFER_NOTE_DONOR], 1);
    bench_free(&b);
    version_free(&v);
}

/* Comparing only: nothing is asked for, and what is wrong is known. */
static void test_compare(void **state)
{
    struct version v = version_new("v1", 5 * K4, 12);
    struct version there = version_new("v0", 4 * K4, 12);
    struct bench b;

    (void)state;
    there.data[K4] ^= 1;
    bench_init(&b);
    with_self(&b, there.data, there.size);
    b.config.compare_only = true;
    start(&b);
    serve(&b, 0, &v);
    pump(&b);
    assert_true(b.compared);
    assert_false(b.finished);
    assert_false(b.failed);
    assert_int_equal(b.copies, 0);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(transfer_have(b.t, i), i != 1 && i != 4);
    }
    bench_free(&b);
    version_free(&v);

    v = version_new("v1", 0, 12); /* nothing at all should be there */
    bench_init(&b);
    with_self(&b, there.data, there.size);
    b.config.compare_only = true;
    start(&b);
    serve(&b, 0, &v);
    pump(&b);
    assert_true(b.compared);
    assert_false(b.finished);
    assert_false(b.failed);
    bench_free(&b);
    version_free(&there);
    version_free(&v);
}

/* A local file with more chunks than anybody holds is compared all the same:
 * what is behind them is wrong anyway. */
static void test_compare_huge(void **state)
{
    struct version v = version_new("v1", 2 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    with_self(&b, v.data, v.size);
    b.config.donors[0].size = (TRANSFER_CHUNKS_MAX << 12) + 1;
    b.config.compare_only = true;
    b.hold_hashes = true;
    start(&b);
    serve(&b, 0, &v);
    pump(&b);
    assert_true(b.held_count > 0);
    assert_false(b.failed);
    bench_free(&b);
    version_free(&v);
}

/* ---- a server that does not play along. */

static void refuse_list(struct bench *b, const struct version *v)
{
    struct peer_request *q = expect(b, 0, FRAME_OPEN);

    say_info(b, 0, q, v);
    feed(b, 0);
    q = expect(b, 0, FRAME_DIGEST);
    peer_error(&b->peer[0], q->id, WIRE_UNSUPPORTED);
    feed(b, 0);
}

static void test_no_list(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    with_donor(&b, v.data, v.size);
    start(&b);
    refuse_list(&b, &v);
    run(&b, &v);
    assert_finished(&b, &v);
    assert_bytes(&b, 0, 0, 4 * K4);
    assert_int_equal(b.notes[TRANSFER_NOTE_NO_LIST], 1);
    bench_free(&b);

    bench_init(&b);
    with_self(&b, v.data, v.size);
    start(&b);
    refuse_list(&b, &v);
    assert_failed(&b, TRANSFER_REFUSED);
    bench_free(&b);

    bench_init(&b);
    with_donor(&b, v.data, v.size);
    b.config.compare_only = true;
    start(&b);
    refuse_list(&b, &v);
    assert_failed(&b, TRANSFER_REFUSED);
    bench_free(&b);
    version_free(&v);
}

/* A digest list that does not make the CID is never acted upon. */
static void test_list_lies(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct version lie = version_new("v1", 4 * K4, 12);
    struct bench b;

    (void)state;
    lie.data[0] ^= 1;
    version_seal(&lie);
    memcpy(lie.cid, v.cid, HASH_LEN);
    bench_init(&b);
    with_self(&b, v.data, v.size);
    start(&b);
    serve(&b, 0, &lie);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &lie);
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    assert_memory_equal(b.disk, v.data, v.size);
    bench_free(&b);
    version_free(&lie);
    version_free(&v);
}

/* The link dies while only local work is done: nobody is dialled before it
 * ends, and then all goes on. */
static void test_link_dies(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct bench b;

    (void)state;
    bench_init(&b);
    with_donor(&b, v.data, 2 * K4);
    b.hold_hashes = true;
    start(&b);
    serve(&b, 0, &v);
    cut(&b, 0);
    pass(&b, 5000);
    assert_false(b.dial[0]);
    release_hashes(&b);
    pump(&b);
    join(&b, 0);
    greet(&b, 0);
    run(&b, &v);
    assert_finished(&b, &v);
    assert_bytes(&b, 0, 2 * K4, 2 * K4);
    bench_free(&b);
    version_free(&v);
}

/* A server that has become smaller-grained since the partial was begun. */
static void test_smaller_grid(void **state)
{
    struct version v = version_new("v1", 4 * K4, 12);
    struct version old = version_new("v1", 4 * K4, 14);
    struct peer_request *q;
    struct bench b;

    (void)state;
    bench_init(&b);
    with_donor(&b, v.data, 2 * K4);
    bench_start(&b);
    resume(&b, &old, 0);
    pump(&b);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    peer_hello(&b.peer[0], 64, 12);
    q = expect(&b, 0, FRAME_OPEN);
    peer_error(&b.peer[0], q->id, WIRE_UNSUPPORTED);
    feed(&b, 0);
    join(&b, 0);
    greet(&b, 0);
    run(&b, &v);
    assert_finished(&b, &v);
    assert_bytes(&b, 0, 2 * K4, 2 * K4);
    bench_free(&b);
    version_free(&old);
    version_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_by_step),
        cmocka_unit_test(test_donors),
        cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_resumed_stale),
        cmocka_unit_test(test_donor_lies),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_self),
        cmocka_unit_test(test_changes_meanwhile),
        cmocka_unit_test(test_changes_while_copying),
        cmocka_unit_test(test_huge_donor),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_compare_huge),
        cmocka_unit_test(test_no_list),
        cmocka_unit_test(test_list_lies),
        cmocka_unit_test(test_link_dies),
        cmocka_unit_test(test_smaller_grid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
