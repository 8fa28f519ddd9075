/* The sender and time: greeting, deadlines, idleness, progress, pings, blocked
 * writes, draining. */

#include "tests/unit/sender_talk.h"

static void
tick(struct fixture *f, uint64_t ms)
{
    f->now += ms;
    sender_tick(f->s, f->now);
    fixture_pump(f);
}

static void
test_greeting_for_who_waits(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, &usual);
    fixture_pump(&f);
    assert_int_equal(f.out_len, 0);
    assert_int_equal(sender_deadline(f.s), f.now + TIMER_PREFACE_WAIT_MS);
    tick(&f, TIMER_PREFACE_WAIT_MS - 1);
    assert_int_equal(f.out_len, 0);
    tick(&f, 1);
    fixture_skip_greeting(&f);
    expect_nothing(&f);
    tick(&f, TIMER_HANDSHAKE_MS - TIMER_PREFACE_WAIT_MS - 1);
    assert_false(sender_finished(f.s));
    tick(&f, 1);
    assert_true(sender_finished(f.s));
    expect_nothing(&f); /* no preface came, so nothing is said (T2) */
    fixture_clear(&f);
}

static void
test_handshake_timeout_behind_a_preface(void **state)
{
    struct preface p = { .version = PROTO_VERSION, .role = ROLE_CLIENT };
    uint8_t bytes[PREFACE_LEN];
    struct fixture f;
    (void)state;
    preface_encode(&p, bytes);
    fixture_init(&f, &usual);
    fixture_feed(&f, bytes, sizeof(bytes));
    fixture_skip_greeting(&f);
    assert_int_equal(sender_deadline(f.s), f.now + TIMER_HANDSHAKE_MS);
    tick(&f, TIMER_HANDSHAKE_MS);
    expect_last_words(&f, WIRE_HANDSHAKE_TIMEOUT);
    fixture_clear(&f);
}

/* B1-W1a: before the client has said anything. */
static void
test_refusal(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, &usual);
    sender_refuse(f.s, WIRE_INSECURE, "not-tls");
    fixture_pump(&f);
    f.out_read = PREFACE_LEN; /* no HELLO follows */
    expect_last_words(&f, WIRE_INSECURE);
    assert_string_equal(sender_reason(f.s), "not-tls");
    fixture_clear(&f);
}

static void
test_idle(void **state)
{
    struct fixture f;
    struct seen seen;
    (void)state;
    begin(&f, &usual);
    tick(&f, 119999);
    expect_nothing(&f);
    say_ping();
    say_end(&f);
    expect(&f, FRAME_PONG, 0);
    tick(&f, 119999);
    expect_nothing(&f);
    assert_int_equal(sender_deadline(f.s), f.now + 1);
    tick(&f, 1);
    assert_true(next(&f, &seen));
    assert_int_equal(seen.type, FRAME_GOAWAY);
    assert_int_equal(seen.code, 0);
    assert_int_equal(seen.last_id, 1);
    assert_true(sender_finished(f.s));
    fixture_clear(&f);
}

/* B1-T8: whoever waits for disk or hashing hears every ten seconds. */
static void
test_progress(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_DIGEST | 1u << SENDER_JOB_CHUNK;
    say_digest(2, 32, 0, 1, 0);
    say_end(&f);
    for (int i = 0; i < 3; i++) {
        tick(&f, TIMER_PROGRESS_MS - 1);
        expect_nothing(&f);
        sender_job_progress(f.s, f.held[0].id, 4096, 20000);
        tick(&f, 1);
        expect(&f, FRAME_PROGRESS, 2);
    }
    fixture_release(&f, 0);
    expect(&f, FRAME_DIGESTS, 2);
    say_get_all(3, 1);
    say_end(&f);
    tick(&f, TIMER_PROGRESS_MS);
    expect(&f, FRAME_PROGRESS, 3);
    fixture_clear(&f);
}

static void
test_pings(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    /* A burst, and then for ever at half the interval that was asked for. */
    for (int i = 0; i < 32; i++) {
        say_ping();
        say_end(&f);
        expect(&f, FRAME_PONG, 0);
    }
    for (int i = 0; i < 100; i++) {
        f.now += 5000;
        say_ping();
        say_end(&f);
        expect(&f, FRAME_PONG, 0);
    }
    say_ping();
    say_end(&f);
    expect_last_words(&f, WIRE_TOO_MANY_PINGS);
    fixture_clear(&f);
}

/* Emits into nowhere: the transport takes `taken` bytes. */
static void
emit_blocked(struct fixture *f, uint64_t taken)
{
    static uint8_t buf[SENDER_EMIT_BYTES];
    struct sender_out out;
    sender_emit(f->s, f->now, buf, sizeof(buf), &out);
    assert_true(out.len > 0);
    sender_wrote(f->s, f->now, taken);
}

static void
test_blocked_writes(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.blocked = true;
    say_get_all(2, 1);
    say_end(&f);
    emit_blocked(&f, 10);
    assert_int_equal(sender_deadline(f.s), f.now + TIMER_WRITE_BLOCKED_MS);
    f.now += TIMER_WRITE_BLOCKED_MS - 1;
    sender_tick(f.s, f.now);
    assert_false(sender_finished(f.s));
    sender_wrote(f.s, f.now, 3000);
    f.now += TIMER_WRITE_BLOCKED_MS - 1;
    sender_tick(f.s, f.now); /* B1-L6: the window ends here */
    assert_string_equal(sender_reason(f.s), "slow-reader");
    fixture_clear(&f);

    begin(&f, &usual);
    f.blocked = true;
    say_get_all(2, 1);
    say_end(&f);
    emit_blocked(&f, 0);
    f.now += TIMER_WRITE_BLOCKED_MS;
    sender_tick(f.s, f.now);
    assert_string_equal(sender_reason(f.s), "write-blocked");
    fixture_clear(&f);
}

static void
test_drain(void **state)
{
    struct fixture f;
    struct seen seen;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK;
    say_get(2, &(struct get){ 1, 3, 0, 0, 1 });
    say_end(&f);
    sender_goaway(f.s, f.now);
    fixture_pump(&f);
    assert_true(next(&f, &seen));
    assert_int_equal(seen.type, FRAME_GOAWAY);
    assert_int_equal(seen.last_id, GOAWAY_ANNOUNCE);
    assert_int_equal(seen.code, WIRE_SHUTTING_DOWN);
    say_get(3, &(struct get){ 1, 3, 0, 0, 1 });
    say_end(&f);
    tick(&f, TIMER_GOAWAY_GAP_MS);
    assert_true(next(&f, &seen));
    assert_int_equal(seen.type, FRAME_GOAWAY);
    assert_int_equal(seen.last_id, 3);
    say_get(4, &(struct get){ 1, 3, 0, 0, 1 });
    say_end(&f);
    while (f.held_count > 0) {
        fixture_release(&f, 0);
    }
    expect_chunk(&f, 2, 0);
    expect(&f, FRAME_DONE, 2);
    expect_chunk(&f, 3, 0);
    expect(&f, FRAME_DONE, 3);
    expect_nothing(&f);
    assert_true(sender_finished(f.s));
    fixture_clear(&f);
}

/* B1-T11: requests that do not end do not keep a stopping server. */
static void
test_drain_timeout(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, &usual);
    f.hold = 1u << SENDER_JOB_CHUNK;
    say_get_all(2, 1);
    say_end(&f);
    sender_goaway(f.s, f.now);
    fixture_pump(&f);
    tick(&f, TIMER_GOAWAY_GAP_MS);
    tick(&f, TIMER_DRAIN_MS - 1);
    assert_false(sender_finished(f.s));
    tick(&f, 1);
    assert_true(sender_finished(f.s));
    assert_string_equal(sender_reason(f.s), "drain-timeout");
    fixture_clear(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting_for_who_waits),
        cmocka_unit_test(test_handshake_timeout_behind_a_preface),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_pings),
        cmocka_unit_test(test_blocked_writes),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
