/* Lines: when to dial, how long to wait, when to give up, what is said. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/session/line.h"
#include "proto/session/retry.h"
#include "proto/wire/preface.h"

struct bench {
    struct line_set set;
    struct line_config config;
};

static void bench_init(struct bench *b, unsigned goal)
{
    line_init(&b->set, &b->config, 1000);
    line_want(&b->set, goal);
}

static struct bench bench_new(unsigned goal)
{
    struct bench b = {
        .config = {.agent = "test", .max_chunk_log2 = 22, .seed = 3}};

    bench_init(&b, goal);
    return b;
}

/* The next dial, time passing until it comes; it is that of line i. */
static void await_dial(struct bench *b, unsigned i)
{
    unsigned at = LINE_MAX;

    for (unsigned n = 0; n < 1000; n++) {
        enum line_order order = line_next(&b->set, true, &at);

        if (order == LINE_DIAL) {
            assert_int_equal(at, i);
            return;
        }
        if (order == LINE_NOTHING) {
            uint64_t next = line_deadline(&b->set, true);

            b->set.now = next > b->set.now ? next : b->set.now + 1;
        }
    }
    fail_msg("line %u is never dialled", i);
}

static void hello(struct bench *b, unsigned i)
{
    struct receiver_event event = {.type = RECEIVER_HELLO};

    line_event(&b->set, i, &event);
}

static void up(struct bench *b, unsigned i)
{
    await_dial(b, i);
    assert_true(line_connected(&b->set, i));
}

static void error(struct bench *b, unsigned i, uint16_t code, bool wait,
                  uint32_t ms)
{
    struct receiver_event event = {
        .type = RECEIVER_ERROR,
        .error = {.code = code,
                  .has_retry_after = wait,
                  .retry_after_ms = ms}};

    line_event(&b->set, i, &event);
}

/* Takes all notes; how many are of this type. */
static unsigned notes(struct bench *b, enum line_note_type type)
{
    struct line_note note;
    unsigned count = 0;

    while (line_next_note(&b->set, &note)) {
        count += note.type == type;
    }
    return count;
}

/* ---- how many, and in what order. */

static void test_want(void **state)
{
    struct bench b = bench_new(3);
    unsigned at;

    (void)state;
    assert_int_equal(line_next(&b.set, false, &at), LINE_NOTHING);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(line_next(&b.set, true, &at), LINE_DIAL);
        assert_int_equal(at, i);
    }
    assert_int_equal(line_next(&b.set, true, &at), LINE_NOTHING);
    line_want(&b.set, 2); /* never falls */
    assert_int_equal(b.set.goal, 3);
    line_want(&b.set, 1000);
    assert_int_equal(b.set.goal, LINE_MAX);
    for (unsigned i = 3; i < LINE_MAX; i++) {
        assert_int_equal(line_next(&b.set, true, &at), LINE_DIAL);
        assert_int_equal(at, i);
    }
    assert_int_equal(line_next(&b.set, true, &at), LINE_NOTHING);
    assert_int_equal(line_count_up(&b.set), 0);
    line_clear(&b.set);
}

/* ---- no server at all. */

static void test_no_contact(void **state)
{
    struct bench b = bench_new(1);

    (void)state;
    await_dial(&b, 0);
    line_dial_failed(&b.set, 0, "refused");
    assert_int_equal(b.set.failed, TRANSFER_UNREACHABLE);
    assert_string_equal(b.set.detail, "refused");
    line_fail(&b.set, TRANSFER_ACCESS, "later");
    assert_int_equal(b.set.failed, TRANSFER_UNREACHABLE); /* first stays */
    line_clear(&b.set);

    b = bench_new(1); /* connects, but is never greeted */
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(b.set.failed, TRANSFER_OK);
        up(&b, 0);
        line_lost(&b.set, 0, "cut");
    }
    assert_int_equal(b.set.failed, TRANSFER_UNREACHABLE);
    line_clear(&b.set);
}

static void test_wait_first(void **state)
{
    struct bench b = bench_new(1);

    (void)state;
    b.config.wait_first = true;
    bench_init(&b, 1);
    for (unsigned n = 0; n < 50; n++) {
        uint64_t before = b.set.now;

        await_dial(&b, 0);
        assert_true(b.set.now - before <= TIMER_BACKOFF_CAP_MS);
        line_dial_failed(&b.set, 0, "refused");
        assert_int_equal(b.set.failed, TRANSFER_OK);
    }
    /* It waits, on the whole: this is no busy loop. */
    assert_true(b.set.now > 20 * TIMER_BACKOFF_BASE_MS);
    line_clear(&b.set);
}

/* ---- after contact. */

static void test_tries(void **state)
{
    struct bench b = bench_new(1);

    (void)state;
    b.config.tries_max = 4;
    bench_init(&b, 1);
    for (unsigned n = 0; n < 3; n++) {
        up(&b, 0);
        hello(&b, 0);
        line_lost(&b.set, 0, "cut");
    }
    assert_int_equal(b.set.fruitless, 3);
    up(&b, 0);
    hello(&b, 0);
    b.set.line[0].delivered = 1;
    line_progress(&b.set); /* the budget is whole again */
    line_lost(&b.set, 0, "cut");
    assert_int_equal(b.set.fruitless, 0);
    for (unsigned n = 0; n < 4; n++) {
        assert_int_equal(b.set.failed, TRANSFER_OK);
        up(&b, 0);
        hello(&b, 0);
        line_lost(&b.set, 0, "cut");
    }
    assert_int_equal(b.set.failed, TRANSFER_UNREACHABLE);
    line_clear(&b.set);
}

/* What brought something is dialled again at once; and losses count only
 * while nothing else works. */
static void test_at_once(void **state)
{
    struct bench b = bench_new(2);
    unsigned at;

    (void)state;
    up(&b, 0);
    up(&b, 1);
    hello(&b, 0);
    hello(&b, 1);
    b.set.line[1].delivered = 1;
    line_lost(&b.set, 1, "cut");
    assert_int_equal(line_next(&b.set, true, &at), LINE_DIAL);
    assert_int_equal(at, 1);
    line_dial_failed(&b.set, 1, "refused");
    assert_int_equal(b.set.fruitless, 0);
    line_lost(&b.set, 1, "is not up"); /* no effect */
    assert_int_equal(b.set.losses, 2);
    line_clear(&b.set);
}

static void test_pause(void **state)
{
    struct bench b = bench_new(1);
    uint64_t before;

    (void)state;
    up(&b, 0);
    hello(&b, 0);
    b.set.line[0].delivered = 1;
    before = b.set.now;
    error(&b, 0, WIRE_BUSY, true, UINT32_MAX);
    assert_int_equal(b.set.failed, TRANSFER_OK);
    assert_true(b.set.line[0].drop);
    line_hurry(&b.set); /* not even then */
    await_dial(&b, 0);
    assert_int_equal(b.set.now - before, RETRY_AFTER_MAX_MS);
    assert_true(line_connected(&b.set, 0));
    line_lost(&b.set, 0, "cut");
    line_lost(&b.set, 0, "cut");
    line_hurry(&b.set);
    before = b.set.now;
    await_dial(&b, 0);
    assert_int_equal(b.set.now, before);
    line_clear(&b.set);
}

static void test_drop(void **state)
{
    struct bench b = bench_new(1);
    unsigned at;

    (void)state;
    up(&b, 0);
    hello(&b, 0);
    line_give_up(&b.set, 0, "of no use", false);
    line_give_up(&b.set, 0, "again", false); /* no effect */
    assert_int_equal(b.set.losses, 1);
    assert_int_equal(notes(&b, LINE_NOTE_LOST), 1);
    /* Closed before it is dialled again. */
    b.set.now += TIMER_BACKOFF_CAP_MS;
    assert_int_equal(line_next(&b.set, true, &at), LINE_DROP);
    assert_int_equal(line_next(&b.set, true, &at), LINE_DIAL);
    line_clear(&b.set);
}

static void test_goaway(void **state)
{
    struct receiver_event event = {.type = RECEIVER_GOAWAY};
    struct bench b = bench_new(1);

    (void)state;
    up(&b, 0);
    hello(&b, 0);
    line_event(&b.set, 0, &event);
    assert_true(b.set.line[0].draining);
    line_lost(&b.set, 0, "closed"); /* as it said: nobody has to be told */
    assert_int_equal(b.set.losses, 0);
    assert_int_equal(notes(&b, LINE_NOTE_LOST), 0);
    up(&b, 0);
    assert_false(b.set.line[0].draining);
    line_clear(&b.set);
}

/* ---- ERROR of the connection. */

static void test_errors(void **state)
{
    static const struct {
        uint16_t code;
        enum transfer_reason first, second;
    } table[] = {
        {WIRE_BUSY, TRANSFER_OK, TRANSFER_OK},
        {WIRE_INTERNAL, TRANSFER_OK, TRANSFER_OK},
        {WIRE_SHUTTING_DOWN, TRANSFER_OK, TRANSFER_OK},
        {WIRE_CANCELLED, TRANSFER_OK, TRANSFER_OK},
        {WIRE_DENIED, TRANSFER_REFUSED, TRANSFER_REFUSED},
        {WIRE_AUTH_FAILED, TRANSFER_ACCESS, TRANSFER_ACCESS},
        {WIRE_VERSION_REJECTED, TRANSFER_VERSION, TRANSFER_VERSION},
        {WIRE_PROTOCOL_ERROR, TRANSFER_OK, TRANSFER_PROTOCOL},
    };

    (void)state;
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        struct bench b = bench_new(1);

        up(&b, 0);
        hello(&b, 0);
        error(&b, 0, table[k].code, false, 0);
        assert_int_equal(b.set.failed, table[k].first);
        assert_int_equal(b.set.line[0].state, LINE_WAITING);
        if (table[k].first == TRANSFER_OK) {
            up(&b, 0);
            hello(&b, 0);
            error(&b, 0, table[k].code, false, 0);
            assert_int_equal(b.set.failed, table[k].second);
        }
        line_clear(&b.set);
    }
}

/* ---- what the receiver refuses. */

/* Before any greeting the peer may be anybody; behind one it is a server that
 * makes a mistake, or a link that does. */
static void test_broken(void **state)
{
    static const struct {
        int err;
        enum transfer_reason stranger, known;
    } table[] = {
        {ERR_AUTH, TRANSFER_ACCESS, TRANSFER_ACCESS},
        {ERR_VERSION, TRANSFER_VERSION, TRANSFER_OK},
        {ERR_MAGIC, TRANSFER_NOT_BELAY, TRANSFER_OK},
        {ERR_CRC, TRANSFER_OK, TRANSFER_OK},
    };

    (void)state;
    for (size_t k = 0; k < 2 * sizeof table / sizeof table[0]; k++) {
        bool known = k % 2 != 0;
        struct bench b = bench_new(1);

        up(&b, 0);
        if (known) {
            hello(&b, 0);
        }
        line_broken(&b.set, 0, table[k / 2].err);
        assert_int_equal(b.set.failed, known ? table[k / 2].known
                                             : table[k / 2].stranger);
        assert_int_equal(b.set.line[0].state, LINE_WAITING);
        assert_true(b.set.line[0].drop);
        assert_int_equal(b.set.losses, 1);
        assert_int_equal(notes(&b, LINE_NOTE_LOST), 1);
        line_clear(&b.set);
    }
}

/* A server that wants to know who we are, when we cannot say. */
static void test_auth_required(void **state)
{
    static const uint8_t methods[] = {AUTH_BEARER};
    static const uint8_t codecs[] = {CODEC_RAW};
    struct preface preface = {.version = PROTO_VERSION, .role = ROLE_SERVER};
    struct msg_hello m = {.codecs = {codecs, sizeof codecs},
                          .auth_methods = {methods, sizeof methods}};
    struct bench b = bench_new(1);
    struct receiver_event event;
    uint8_t bytes[500];
    struct writer w;
    size_t used;

    (void)state;
    up(&b, 0);
    preface_encode(&preface, bytes);
    writer_init(&w, bytes + PREFACE_LEN, sizeof bytes - PREFACE_LEN);
    assert_int_equal(msg_hello_encode(&m, FRAME_FROM_SERVER, &w), 0);
    assert_int_equal(receiver_feed(b.set.line[0].receiver, b.set.now, bytes,
                                   PREFACE_LEN + writer_len(&w), &used,
                                   &event), 0);
    assert_int_equal(event.type, RECEIVER_HELLO);
    line_event(&b.set, 0, &event);
    assert_int_equal(b.set.failed, TRANSFER_ACCESS);
    assert_string_equal(b.set.detail,
                        receiver_auth_text(b.set.line[0].receiver));
    line_clear(&b.set);
}

/* What is not for lines, or comes too late, changes nothing. */
static void test_no_effect(void **state)
{
    struct receiver_event event = {.type = RECEIVER_CHUNK};
    struct bench b = bench_new(1);
    struct line_set before;
    unsigned at;

    (void)state;
    up(&b, 0);
    hello(&b, 0);
    before = b.set;
    line_event(&b.set, 0, &event);
    line_dial_failed(&b.set, 0, "it succeeded long ago");
    assert_memory_equal(&b.set, &before, sizeof before);
    line_clear(&b.set);

    b = bench_new(0); /* nothing is wanted: nothing is waited for */
    b.set.contact = true;
    before = b.set;
    assert_int_equal(line_next(&b.set, true, &at), LINE_NOTHING);
    assert_memory_equal(&b.set, &before, sizeof before);
    line_clear(&b.set);
}

/* ---- what is said. */

static void test_notes(void **state)
{
    struct receiver_event event = {
        .type = RECEIVER_NOTICE,
        .notice = {.text = {(const uint8_t *)"hi\x1b[2J\n", 7}}};
    struct bench b = bench_new(1);
    struct line_note note;

    (void)state;
    up(&b, 0);
    hello(&b, 0);
    for (unsigned n = 0; n < 100; n++) {
        line_event(&b.set, 0, &event); /* a flood */
    }
    assert_true(line_next_note(&b.set, &note));
    assert_int_equal(note.type, LINE_NOTE_SERVER);
    for (const char *c = note.text; *c != '\0'; c++) {
        assert_in_range((unsigned char)*c, 0x20, 0x7e);
    }
    assert_int_equal(notes(&b, LINE_NOTE_SERVER), LINE_NOTES - 1);
    line_clear(&b.set);
}

/* A long wait is told once, and so is its end. */
static void test_waiting(void **state)
{
    struct bench b = bench_new(1);
    unsigned at;

    (void)state;
    up(&b, 0);
    hello(&b, 0);
    error(&b, 0, WIRE_BUSY, true, 30000);
    assert_int_equal(line_next(&b.set, true, &at), LINE_DROP);
    for (unsigned n = 0; n < 10; n++) {
        assert_int_equal(line_next(&b.set, true, &at), LINE_NOTHING);
    }
    assert_int_equal(notes(&b, LINE_NOTE_WAIT), 1);
    up(&b, 0);
    hello(&b, 0);
    hello(&b, 0);
    assert_int_equal(notes(&b, LINE_NOTE_BACK), 1);
    line_clear(&b.set);
}

static void test_silence(void **state)
{
    struct bench b = bench_new(1);

    (void)state;
    up(&b, 0);
    assert_int_equal(line_silent(&b.set), LINE_MAX);
    b.set.now += 600000;
    assert_int_equal(line_silent(&b.set), 0);
    line_give_up(&b.set, 0, receiver_error_text(b.set.line[0].receiver),
                 false);
    assert_int_equal(line_silent(&b.set), LINE_MAX);
    line_clear(&b.set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_want),
        cmocka_unit_test(test_no_contact),
        cmocka_unit_test(test_wait_first),
        cmocka_unit_test(test_tries),
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_auth_required),
        cmocka_unit_test(test_no_effect),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_silence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
