/* Transfer: several servers with one content. */
#include "tests/unit/transfer_fixture.h"

#define K4 (4 * KIB)

/* `count` servers, each with its own path, so that an OPEN tells whom it was
 * meant for. */
static void start(struct bench *b, unsigned count)
{
    static const char *const paths[] = {"zero", "one", "two", "three"};

    bench_init(b);
    b->config.path = (const uint8_t *)paths[0];
    b->config.path_len = strlen(paths[0]);
    b->config.conns = 0;
    b->config.mirror_count = count - 1;
    for (unsigned k = 1; k < count; k++) {
        b->config.mirror[k - 1].path = (const uint8_t *)paths[k];
        b->config.mirror[k - 1].path_len = strlen(paths[k]);
    }
}

static void begin(struct bench *b)
{
    bench_start(b);
    pump(b);
}

/* What a server has still to send. */
struct sending {
    struct peer_request get;
    uint64_t mask; /* chunks */
    uint64_t chunks; /* sent */
    uint64_t bytes;
    bool active;
    bool refused; /* the last OPEN */
};

static void answer(struct bench *b, unsigned i, struct sending *s,
                   const struct version *v)
{
    struct peer_request *q = peek(b, i);

    if (q == NULL) {
        return;
    }
    b->peer[i].answered++;
    if (q->type == FRAME_OPEN) {
        s->refused = !expectations_hold(q, v);
        if (s->refused) {
            peer_error(&b->peer[i], q->id, WIRE_CHANGED);
        } else {
            say_info(b, i, q, v);
        }
    } else if (q->type == FRAME_GET && s->refused) {
        peer_error(&b->peer[i], q->id, WIRE_BAD_HANDLE);
    } else if (q->type == FRAME_GET) {
        s->get = *q;
        s->mask = asked_chunks(q, v);
        s->chunks = 0;
        s->bytes = 0;
        s->active = true;
    } else if (q->type == FRAME_DIGEST) {
        say_list(b, i, q, v);
    } else if (q->type == FRAME_CLOSE) {
        peer_done(&b->peer[i], q->id, 0, 0, NULL, NULL);
    }
    feed(b, i);
}

/* One chunk, or the answer to one request. */
static void serve_some(struct bench *b, unsigned i, struct sending *s,
                       const struct version *v)
{
    if (s->active && s->mask != 0) {
        unsigned k = (unsigned)__builtin_ctzll(s->mask);

        s->mask &= s->mask - 1;
        s->chunks++;
        s->bytes += cid_chunk_len(v->size, v->chunk_log2, k);
        say_chunk(b, i, &s->get, v, k);
        feed(b, i);
    } else if (s->active) {
        s->active = false;
        peer_done(&b->peer[i], s->get.id, s->chunks, s->bytes, v->token,
                  v->names_cid ? v->cid : NULL);
        feed(b, i);
    } else {
        answer(b, i, s, v);
    }
}

/* Everybody who is to be dialled, is; and each server answers with its own
 * version, until nothing more happens.  NULL: that server cannot be
 * reached. */
static void run(struct bench *b, const struct version *const *has)
{
    struct sending sending[BENCH_CONNS] = {0};

    for (unsigned n = 0; n < 400 && !b->finished && !b->failed; n++) {
        for (unsigned i = 0; i < BENCH_CONNS && !b->failed; i++) {
            const struct version *v;

            if (!b->dial[i] && !b->up[i]) {
                continue;
            }
            v = has[transfer_conn_source(b->t, i)];
            if (b->dial[i] && v == NULL) {
                b->dial[i] = false;
                transfer_dial_failed(b->t, i, "unreachable", b->now);
                pump(b);
            } else if (b->dial[i]) {
                join(b, i);
                greet(b, i);
                sending[i].active = false;
            }
        }
        for (unsigned i = 0; i < BENCH_CONNS && !b->failed; i++) {
            if (b->up[i] && !b->finished) {
                serve_some(b, i, &sending[i],
                           has[transfer_conn_source(b->t, i)]);
            }
        }
        if (!b->finished && !b->failed) {
            pass(b, 20);
        }
    }
}

static void assert_source(struct bench *b, unsigned s, bool aside,
                          unsigned bad, bool useful)
{
    struct transfer_source_stats stats;

    transfer_source_stats(b->t, s, &stats);
    assert_int_equal(stats.aside, aside);
    assert_int_equal(stats.bad_chunks, bad);
    assert_int_equal(stats.fresh > 0, useful);
    assert_true(stats.wire >= stats.fresh);
}

/* Which server does the OPEN of this connection mean? */
static void assert_path(const struct peer_request *q, const char *path)
{
    assert_int_equal(q->open.path.len, strlen(path));
    assert_memory_equal(q->open.path.ptr, path, strlen(path));
}

/* A large file, so that several connections are worth it. */
static struct version large(const char *token, bool names_cid)
{
    struct version v = version_new(token, 62 * 128 * KIB, 17);

    v.names_cid = names_cid;
    return v;
}

/* The first one tells what it is; the second proves it, and is asked by its
 * own path, without the first one's version. */
static void test_step_by_step(void **state)
{
    struct version v = large("v@zero", true);
    struct version w = large("v@one", true);
    struct peer_request *q;
    struct bench b;

    (void)state;
    start(&b, 2);
    begin(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    assert_path(q, "zero");
    say_info(&b, 0, q, &v);
    q = expect(&b, 0, FRAME_GET);
    feed(&b, 0);
    assert_false(b.dial[1]); /* nobody else before the list is here */
    q = expect(&b, 0, FRAME_DIGEST);
    say_list(&b, 0, q, &v);
    feed(&b, 0);
    assert_true(b.dial[1]);
    assert_int_equal(transfer_conn_source(b.t, 1), 1);
    join(&b, 1);
    greet(&b, 1);
    q = expect(&b, 1, FRAME_OPEN);
    assert_path(q, "one");
    assert_int_equal(q->open.expect_version.len, 0);
    assert_int_equal(q->open.expect_cid.len, HASH_LEN);
    say_info(&b, 1, q, &w);
    feed(&b, 1);
    bench_free(&b);
    version_free(&v);
    version_free(&w);
}

/* Who has what, and who is left in the end. */
static void test_worlds(void **state)
{
    enum has { SAME, SAME_UNHASHED, OTHER, DEAD, LYING };
    static const struct {
        const char *name;
        enum has has[3];
        bool aside[3];
        bool useful[3];
        enum transfer_reason reason; /* TRANSFER_OK: finished */
    } cases[] = {
        {"all good", {SAME, SAME, SAME}, {0}, {1, 1, 1}, TRANSFER_OK},
        {"nobody names a content id",
         {SAME_UNHASHED, SAME_UNHASHED, SAME_UNHASHED},
         {0}, {1, 1, 1}, TRANSFER_OK},
        {"a mirror has not hashed it", {SAME, SAME_UNHASHED, SAME}, {0},
         {1, 1, 1}, TRANSFER_OK},
        {"the first has not hashed it", {SAME_UNHASHED, SAME, SAME}, {0},
         {1, 1, 1}, TRANSFER_OK},
        {"a dead one", {SAME, DEAD, SAME}, {0}, {1, 0, 1}, TRANSFER_OK},
        {"the first is dead", {DEAD, SAME, SAME}, {0}, {0, 1, 1},
         TRANSFER_OK},
        {"all but one are dead", {DEAD, DEAD, SAME}, {0}, {0, 0, 1},
         TRANSFER_OK},
        {"all are dead", {DEAD, DEAD, DEAD}, {0}, {0}, TRANSFER_UNREACHABLE},
        {"a stale one", {SAME, OTHER, SAME}, {0, 1, 0}, {1, 0, 1},
         TRANSFER_OK},
        {"a lying one", {SAME, LYING, SAME}, {0, 1, 0}, {1, 0, 1},
         TRANSFER_OK},
        {"two lying ones", {SAME, LYING, LYING}, {0, 1, 1}, {1, 0, 0},
         TRANSFER_OK},
    };

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        static const char *const tokens[] = {"v@0", "v@1", "v@2"};
        struct version v[3];
        const struct version *has[3];
        struct bench b;

        print_message("%s\n", cases[k].name);
        start(&b, 3);
        for (unsigned s = 0; s < 3; s++) {
            enum has what = cases[k].has[s];

            v[s] = large(tokens[s], what != SAME_UNHASHED);
            has[s] = what == DEAD ? NULL : &v[s];
            if (what == OTHER || what == LYING) {
                uint8_t cid[HASH_LEN];

                memcpy(cid, v[s].cid, HASH_LEN);
                for (uint64_t at = 0; at < v[s].size; at += KIB) {
                    v[s].data[at] ^= 1;
                }
                version_seal(&v[s]);
                if (what == LYING) {
                    memcpy(v[s].cid, cid, HASH_LEN);
                }
            }
        }
        begin(&b);
        run(&b, has);
        if (cases[k].reason != TRANSFER_OK) {
            assert_failed(&b, cases[k].reason);
        } else {
            struct version right = large("", true);

            right.names_cid = true;
            assert_finished(&b, &right);
            version_free(&right);
            for (unsigned s = 0; s < 3; s++) {
                struct transfer_source_stats stats;

                transfer_source_stats(b.t, s, &stats);
                if (stats.aside != cases[k].aside[s] ||
                    (stats.fresh > 0) != cases[k].useful[s]) {
                    fail_msg("source %u: %s, %d bytes", s,
                             stats.aside ? "aside" : "in use",
                             (int)stats.fresh);
                }
            }
        }
        for (unsigned s = 0; s < 3; s++) {
            version_free(&v[s]);
        }
        bench_free(&b);
    }
}

static struct version small(const char *token)
{
    return version_new(token, 8 * K4, 12);
}

/* The bytes do not fit the digest that came with them: once may be the line,
 * twice is the mirror. */
static void test_damaged_chunks(void **state)
{
    struct version v = small("v");
    const struct version *has[2] = {&v, &v};
    struct peer_request *q;
    struct bench b;

    (void)state;
    start(&b, 2);
    begin(&b);
    join(&b, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_true(b.finished); /* alone it would do it all */
    bench_free(&b);

    start(&b, 2);
    begin(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    for (uint64_t n = 0; n < 2; n++) {
        assert_true(b.up[0]);
        b.chunk_fails = true;
        say_chunk(&b, 0, q, &v, n);
        feed(&b, 0);
        b.chunk_fails = false;
        assert_int_equal(b.notes[TRANSFER_NOTE_BAD_CHUNK], n + 1);
    }
    assert_false(b.up[0]);
    pump(&b);
    assert_true(b.dial[0]);
    assert_int_equal(transfer_conn_source(b.t, 0), 1);
    assert_int_equal(b.notes[TRANSFER_NOTE_ASIDE], 1);
    run(&b, has);
    assert_finished(&b, &v);
    assert_source(&b, 0, true, 2, false);
    assert_source(&b, 1, false, 0, true);
    bench_free(&b);
    version_free(&v);
}

/* What one server damaged is not held against another that damages it once:
 * this one has another content now, and it is all that is left. */
static void test_blame_stays(void **state)
{
    struct version v = small("v1");
    struct version next = small("v2");
    const struct version *has[2] = {&next, NULL};
    struct bench b;

    (void)state;
    v.names_cid = false;
    next.names_cid = false;
    next.data[0] ^= 1;
    version_seal(&next);
    start(&b, 2);
    begin(&b);
    while (b.notes[TRANSFER_NOTE_BAD_CHUNK] < 3) {
        struct peer_request *q;

        await_dial(&b, 0);
        if (transfer_conn_source(b.t, 0) == 0 &&
            b.notes[TRANSFER_NOTE_BAD_CHUNK] < 2) {
            b.dial[0] = false;
            transfer_dial_failed(b.t, 0, "unreachable", b.now);
            pump(&b);
            continue;
        }
        join_file(&b, 0, &v);
        q = expect(&b, 0, FRAME_GET);
        if (b.notes[TRANSFER_NOTE_BAD_CHUNK] == 0) {
            say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
        }
        b.chunk_fails = true;
        say_chunk(&b, 0, q, &v, 0);
        feed(&b, 0);
        b.chunk_fails = false;
        pump(&b);
    }
    assert_source(&b, 1, true, 2, false);
    run(&b, has);
    assert_finished(&b, &next);
    assert_source(&b, 0, false, 2, true);
    bench_free(&b);
    version_free(&next);
    version_free(&v);
}

/* A chunk that failed is not counted against who sends it next: the slot
 * waits until all of it is judged. */
static void test_blame_waits(void **state)
{
    struct version v = small("v");
    struct peer_request *q;
    struct bench b;

    (void)state;
    start(&b, 2);
    begin(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    q = expect(&b, 0, FRAME_GET);
    b.hold_chunks = true;
    say_chunk(&b, 0, q, &v, 0);
    feed(&b, 0);
    assert_int_equal(b.held_chunks, 1);
    cut(&b, 0);
    pass(&b, 3000);
    assert_false(b.dial[0]);
    transfer_chunk_done(b.t, 0, 0, b.held_chunk[0].digest, false, b.now);
    b.hold_chunks = false;
    pump(&b);
    assert_true(b.dial[0]);
    assert_source(&b, 0, false, 1, false);
    assert_source(&b, 1, false, 0, false);
    bench_free(&b);
    version_free(&v);
}

/* Nobody says no, but the first one says nothing: another is asked, and its
 * answer counts. */
static void test_silent_first(void **state)
{
    struct version v = small("v");
    const struct version *has[2] = {&v, &v};
    struct bench b;

    (void)state;
    start(&b, 2);
    begin(&b);
    join(&b, 0);
    pass(&b, 2000);
    assert_false(b.dial[1]);
    pass(&b, 2000);
    assert_true(b.dial[1]);
    assert_int_equal(transfer_conn_source(b.t, 1), 1);
    join(&b, 1);
    greet(&b, 1);
    serve(&b, 1, &v);
    assert_finished(&b, &v);
    assert_source(&b, 1, false, 0, true);
    (void)has;
    bench_free(&b);
    version_free(&v);
}

/* The pinned content decides, not who answers first. */
static void test_pin(void **state)
{
    struct version v = large("v", true);
    struct version other = large("o", true);
    const struct version *has[2] = {&other, &v};
    struct bench b;

    (void)state;
    other.data[5] ^= 1;
    version_seal(&other);
    start(&b, 2);
    b.config.pinned = true;
    b.config.pin_log2 = v.chunk_log2;
    memcpy(b.config.pin_cid, v.cid, HASH_LEN);
    begin(&b);
    run(&b, has);
    assert_finished(&b, &v);
    assert_source(&b, 0, true, 0, false);
    bench_free(&b);

    start(&b, 2);
    b.config.pinned = true;
    b.config.pin_log2 = v.chunk_log2;
    memset(b.config.pin_cid, 7, HASH_LEN);
    begin(&b);
    run(&b, has);
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    bench_free(&b);
    version_free(&other);
    version_free(&v);
}

/* The pin is of another grid: that the first one has something else shows
 * only when all of it is there. */
static void test_pin_of_other_grid(void **state)
{
    struct version v = large("v", true);
    struct version coarse = version_new("v", v.size, 18);
    struct version other = large("o", true);
    const struct version *has[2] = {&other, &v};
    struct bench b;

    (void)state;
    other.data[5] ^= 1;
    version_seal(&other);
    for (unsigned stop = 0; stop < 2; stop++) {
        start(&b, 2);
        b.config.pinned = true;
        b.config.pin_log2 = coarse.chunk_log2;
        b.config.want_chunk_log2 = v.chunk_log2;
        b.config.stop_on_change = stop != 0;
        memcpy(b.config.pin_cid, coarse.cid, HASH_LEN);
        begin(&b);
        run(&b, has);
        if (stop != 0) {
            assert_failed(&b, TRANSFER_WRONG_CONTENT);
        } else {
            assert_finished(&b, &v);
            assert_source(&b, 0, true, 0, true);
        }
        bench_free(&b);
    }
    /* Both have it: then there is nobody else to ask. */
    has[1] = &other;
    start(&b, 2);
    b.config.pinned = true;
    b.config.pin_log2 = coarse.chunk_log2;
    b.config.want_chunk_log2 = v.chunk_log2;
    memcpy(b.config.pin_cid, coarse.cid, HASH_LEN);
    begin(&b);
    run(&b, has);
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    bench_free(&b);
    version_free(&other);
    version_free(&coarse);
    version_free(&v);
}

/* What was begun in an earlier run is of one that cannot prove it.  Who has
 * another version than that may well have the pinned content. */
static void test_pin_and_record(void **state)
{
    struct version v = large("v", false);
    struct version other = large("o", false);
    const struct version *has[2] = {&v, &other};
    struct bench b;

    (void)state;
    other.data[5] ^= 1;
    version_seal(&other);
    start(&b, 2);
    b.config.pinned = true;
    b.config.pin_log2 = v.chunk_log2;
    memcpy(b.config.pin_cid, v.cid, HASH_LEN);
    bench_start(&b);
    resume(&b, &other, 3);
    pump(&b);
    run(&b, has);
    assert_finished(&b, &v);
    assert_source(&b, 0, false, 0, true);
    bench_free(&b);
    version_free(&other);
    version_free(&v);
}

static void half_way(struct bench *b, const struct version *v)
{
    struct peer_request *q;

    begin(b);
    join(b, 0);
    greet(b, 0);
    q = expect(b, 0, FRAME_OPEN);
    say_info(b, 0, q, v);
    q = expect(b, 0, FRAME_GET);
    feed(b, 0);
    for (uint64_t k = 0; k < 10; k++) {
        say_chunk(b, 0, q, v, k);
        feed(b, 0);
    }
    q = expect(b, 0, FRAME_DIGEST);
    say_list(b, 0, q, v);
    feed(b, 0);
    cut(b, 0);
}

/* The first server gets another version: what was begun is finished with
 * the other one, if that has it; else the new version is fetched. */
static void test_changes(void **state)
{
    struct version v = large("v1", true);
    struct version next = large("v2", true);
    const struct version *one_left[2] = {&next, &v};
    const struct version *none_left[2] = {&next, &next};
    struct bench b;

    (void)state;
    next.data[20 * K4] ^= 1;
    version_seal(&next);
    start(&b, 2);
    half_way(&b, &v);
    run(&b, one_left);
    assert_finished(&b, &v);
    assert_source(&b, 0, true, 0, true);
    assert_int_equal(transfer_ledger(b.t)->changes, 0);
    bench_free(&b);

    start(&b, 2);
    half_way(&b, &v);
    run(&b, none_left);
    assert_finished(&b, &next);
    assert_int_equal(transfer_ledger(b.t)->changes, 1);
    bench_free(&b);
    version_free(&next);
    version_free(&v);
}

/* Dials to the first server fail, but one connection to it is up: nothing
 * that another server has instead is begun. */
static void test_first_is_up(void **state)
{
    struct version v = large("v1", true);
    unsigned asked = BENCH_CONNS;
    struct bench b;

    (void)state;
    start(&b, 2);
    begin(&b);
    join_file(&b, 0, &v);
    (void)expect(&b, 0, FRAME_GET);
    say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
    feed(&b, 0);
    pump(&b);
    for (unsigned i = 1; i < BENCH_CONNS; i++) {
        if (b.dial[i] && transfer_conn_source(b.t, i) == 0) {
            b.dial[i] = false;
            transfer_dial_failed(b.t, i, "unreachable", b.now);
        } else if (b.dial[i]) {
            asked = i;
        }
    }
    assert_true(asked < BENCH_CONNS);
    pump(&b);
    join(&b, asked);
    greet(&b, asked);
    peer_error(&b.peer[asked], expect(&b, asked, FRAME_OPEN)->id,
               WIRE_CHANGED);
    feed(&b, asked);
    pump(&b);
    assert_source(&b, 1, true, 0, false);
    assert_int_equal(b.notes[TRANSFER_NOTE_CHANGED], 0);
    assert_true(b.up[0]);
    bench_free(&b);
    version_free(&v);
}

/* One of two is refused for good: the other one does it; both: the end. */
static void test_refused(void **state)
{
    struct version v = small("v");
    struct bench b;

    (void)state;
    for (unsigned refusals = 1; refusals <= 2; refusals++) {
        start(&b, 2);
        begin(&b);
        for (unsigned n = 0; n < refusals; n++) {
            join(&b, 0);
            greet(&b, 0);
            peer_error(&b.peer[0], expect(&b, 0, FRAME_OPEN)->id,
                       WIRE_NOT_FOUND);
            feed(&b, 0);
        }
        if (refusals == 1) {
            assert_source(&b, 0, true, 0, false);
            join(&b, 0);
            greet(&b, 0);
            assert_int_equal(transfer_conn_source(b.t, 0), 1);
            serve(&b, 0, &v);
            assert_finished(&b, &v);
        } else {
            assert_failed(&b, TRANSFER_REFUSED);
        }
        bench_free(&b);
    }
    version_free(&v);
}

/* A server all of whose chunks are damaged: it is given up, whichever of them
 * it sends.  (Each chunk alone would have its three tries.) */
static void test_nothing_good(void **state)
{
    struct version v = version_new("v", 62 * K4, 12);
    struct bench b;

    (void)state;
    start(&b, 1);
    begin(&b);
    b.chunk_fails = true;
    for (unsigned n = 0; n < 2000 && !b.failed; n++) {
        join(&b, 0);
        greet(&b, 0);
        serve(&b, 0, &v);
    }
    assert_failed(&b, TRANSFER_WRONG_CONTENT);
    assert_true(transfer_ledger(b.t)->bad_chunks <= 256);
    bench_free(&b);
    version_free(&v);
}

/* The list overtakes chunks on their way to the disk: those that are not as
 * listed do not count; their server's file may have changed: it is asked. */
static void test_list_overtakes(void **state)
{
    struct version v = version_new("v", 8 * K4, 12);
    struct version lie = version_new("v", 8 * K4, 12);
    const struct version *has[2] = {&v, &v};
    struct peer_request *get;
    struct peer_request *q;
    struct bench b;

    (void)state;
    lie.data[0] ^= 1;
    version_seal(&lie);
    start(&b, 2);
    begin(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    get = expect(&b, 0, FRAME_GET);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    b.hold_chunks = true;
    say_chunk(&b, 0, get, &lie, 0);
    feed(&b, 0);
    say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
    feed(&b, 0);
    b.hold_chunks = false;
    transfer_chunk_done(b.t, 0, 0, b.held_chunk[0].digest, true, b.now);
    pump(&b);
    assert_source(&b, 0, false, 1, false);
    run(&b, has);
    assert_finished(&b, &v);
    assert_source(&b, 0, false, 1, true);
    bench_free(&b);
    version_free(&lie);
    version_free(&v);
}

/* A line that breaks within the digest list: whoever named the content is
 * asked for the rest of it.  With another server all would begin again, and
 * with the next break once more, for ever. */
static void test_list_in_parts(void **state)
{
    struct version v = large("v@zero", false);
    struct peer_request *q;
    struct bench b;

    (void)state;
    start(&b, 3);
    begin(&b);
    for (uint64_t parts = 0; parts < 4; parts++) {
        join(&b, 0);
        assert_int_equal(transfer_conn_source(b.t, 0), 0);
        greet(&b, 0);
        say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &v);
        feed(&b, 0);
        while ((q = peek(&b, 0)) != NULL && q->type != FRAME_DIGEST) {
            b.peer[0].answered++;
        }
        q = expect(&b, 0, FRAME_DIGEST);
        assert_int_equal(q->digest.first_block, 9 * parts);
        peer_digests(&b.peer[0], q->id, 9 * parts, 9, q->digest.block_log2,
                     v.digest, false);
        feed(&b, 0);
        cut(&b, 0);
        /* It was of use, so it is dialled again at once. */
        pass(&b, 0);
        assert_true(b.dial[0]);
    }
    bench_free(&b);
    version_free(&v);
}

/* Ordered output cannot wait for that, as what is good waits for its turn: a
 * chunk that fails is held against who sent it, whoever has the slot by then
 * (and is not bothered). */
static void test_blame_in_order(void **state)
{
    struct version v = small("v");
    struct transfer_source_stats zero, one;
    struct peer_request *q;
    struct bench b;

    (void)state;
    start(&b, 2);
    b.config.in_order = true;
    b.config.window_chunks_bytes = 1u << 20;
    b.config.conns = 1;
    begin(&b);
    join_file(&b, 0, &v);
    say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
    feed(&b, 0);
    q = expect(&b, 0, FRAME_GET);
    b.hold_chunks = true;
    say_chunk(&b, 0, q, &v, 0);
    say_chunk(&b, 0, q, &v, 1);
    feed(&b, 0);
    assert_int_equal(b.held_chunks, 2);
    transfer_distrust(b.t, 0, "another key", b.now);
    pump(&b);
    join(&b, 0);
    assert_int_equal(transfer_conn_source(b.t, 0), 1);
    transfer_chunk_done(b.t, 0, 0, b.held_chunk[0].digest, false, b.now);
    transfer_chunk_done(b.t, 0, 1, b.held_chunk[1].digest, true, b.now);
    b.hold_chunks = false;
    pump(&b);
    assert_true(b.up[0]);
    transfer_source_stats(b.t, 0, &zero);
    transfer_source_stats(b.t, 1, &one);
    assert_int_equal(zero.bad_chunks, 1);
    assert_int_equal(zero.fresh, cid_chunk_len(v.size, v.chunk_log2, 1));
    assert_int_equal(one.bad_chunks, 0);
    assert_int_equal(one.fresh, 0);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    bench_free(&b);
    version_free(&v);
}

/* Who took over what another had begun may turn out to have another content
 * only on smaller chunks, when there is no list any more: that is finished
 * then, if nobody has what was begun. */
static void test_another_content_on_smaller_chunks(void **state)
{
    struct version v = version_new("v", 16 * K4, 14);
    struct version w = version_new("w", 16 * K4, 14);
    struct version finer = version_new("w", 16 * K4, 12);
    struct peer_request *q;
    struct bench b;

    (void)state;
    w.names_cid = false;
    finer.names_cid = false;
    w.data[15 * K4] ^= 1;
    finer.data[15 * K4] ^= 1;
    version_seal(&w);
    version_seal(&finer);
    start(&b, 2);
    b.config.conns = 1;
    begin(&b);
    join_file(&b, 0, &v);
    q = expect(&b, 0, FRAME_GET);
    say_list(&b, 0, expect(&b, 0, FRAME_DIGEST), &v);
    say_chunk(&b, 0, q, &v, 0);
    feed(&b, 0);
    transfer_distrust(b.t, 0, "another key", b.now);
    pump(&b);
    join_file(&b, 0, &w);
    assert_int_equal(transfer_conn_source(b.t, 0), 1);
    cut(&b, 0);
    join(&b, 0);
    peer_preface(&b.peer[0]);
    peer_hello(&b.peer[0], 64, 12);
    peer_error(&b.peer[0], expect(&b, 0, FRAME_OPEN)->id, WIRE_UNSUPPORTED);
    peer_error(&b.peer[0], expect(&b, 0, FRAME_GET)->id, WIRE_BAD_HANDLE);
    feed(&b, 0);
    assert_int_equal(b.notes[TRANSFER_NOTE_SHRUNK], 1);
    for (unsigned n = 0; n < 5 && !b.finished && !b.failed; n++) {
        if (!b.up[0]) {
            join(&b, 0);
            greet(&b, 0);
        }
        serve(&b, 0, &finer);
        pass(&b, 1000);
    }
    assert_finished(&b, &finer);
    bench_free(&b);
    version_free(&finer);
    version_free(&w);
    version_free(&v);
}

/* In order: nothing is put out before the list is there to judge it. */
static void test_in_order(void **state)
{
    struct version v = large("v", true);
    struct peer_request *q;
    struct bench b;

    (void)state;
    start(&b, 2);
    b.config.in_order = true;
    b.config.window_chunks_bytes = 1u << 20;
    begin(&b);
    join(&b, 0);
    greet(&b, 0);
    q = expect(&b, 0, FRAME_OPEN);
    say_info(&b, 0, q, &v);
    feed(&b, 0);
    q = expect(&b, 0, FRAME_DIGEST);
    expect_none(&b, 0);
    say_list(&b, 0, q, &v);
    feed(&b, 0);
    (void)expect(&b, 0, FRAME_GET);
    bench_free(&b);
    version_free(&v);
}

/* ... and of a new version that is found before anything was put out as
 * well. */
static void test_in_order_after_change(void **state)
{
    struct version v = large("v", false);
    struct version w = large("w", false);
    struct peer_request *q;
    struct bench b;

    (void)state;
    start(&b, 2);
    b.config.in_order = true;
    b.config.window_chunks_bytes = 1u << 20;
    begin(&b);
    join_file(&b, 0, &v);
    (void)expect(&b, 0, FRAME_DIGEST);
    cut(&b, 0);
    /* Now only the other one answers, with its own version. */
    do {
        join(&b, 0);
        greet(&b, 0);
        if (transfer_conn_source(b.t, 0) == 0) {
            cut(&b, 0);
        }
    } while (!b.up[0]);
    for (unsigned times = 0; times < 2; times++) {
        while ((q = peek(&b, 0)) != NULL && q->type == FRAME_CLOSE) {
            b.peer[0].answered++;
        }
        say_info(&b, 0, expect(&b, 0, FRAME_OPEN), &w);
        feed(&b, 0);
    }
    while ((q = peek(&b, 0)) != NULL && q->type == FRAME_CLOSE) {
        b.peer[0].answered++;
    }
    q = expect(&b, 0, FRAME_DIGEST);
    expect_none(&b, 0);
    say_list(&b, 0, q, &w);
    feed(&b, 0);
    (void)expect(&b, 0, FRAME_GET);
    bench_free(&b);
    version_free(&w);
    version_free(&v);
}

/* ... and whoever has not the pinned content is found out before that, even
 * where chunks of another size were wanted. */
static void test_pin_in_order(void **state)
{
    struct version v = version_new("v", 4 * K4, 13);
    struct version w = version_new("w", 4 * K4, 13);
    struct bench b;

    (void)state;
    w.data[0] ^= 1;
    version_seal(&w);
    start(&b, 2);
    b.config.in_order = true;
    b.config.window_chunks_bytes = 1u << 20;
    b.config.pinned = true;
    b.config.pin_log2 = 13;
    b.config.want_chunk_log2 = 12;
    memcpy(b.config.pin_cid, v.cid, HASH_LEN);
    begin(&b);
    join(&b, 0);
    greet(&b, 0);
    assert_int_equal(peek(&b, 0)->open.want_chunk_log2, 13);
    serve(&b, 0, &w);
    assert_int_equal(b.stored, 0);
    join(&b, 0);
    assert_int_equal(transfer_conn_source(b.t, 0), 1);
    greet(&b, 0);
    serve(&b, 0, &v);
    assert_finished(&b, &v);
    bench_free(&b);
    version_free(&w);
    version_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_by_step),
        cmocka_unit_test(test_worlds),
        cmocka_unit_test(test_damaged_chunks),
        cmocka_unit_test(test_blame_stays),
        cmocka_unit_test(test_blame_waits),
        cmocka_unit_test(test_blame_in_order),
        cmocka_unit_test(test_another_content_on_smaller_chunks),
        cmocka_unit_test(test_silent_first),
        cmocka_unit_test(test_pin),
        cmocka_unit_test(test_pin_of_other_grid),
        cmocka_unit_test(test_pin_and_record),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_first_is_up),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nothing_good),
        cmocka_unit_test(test_list_overtakes),
        cmocka_unit_test(test_list_in_parts),
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_in_order_after_change),
        cmocka_unit_test(test_pin_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
