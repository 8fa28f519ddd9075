/* Bulk: every answer that a server may give about a file, and those that it
 * may not. */
#include "tests/unit/bulk_talk.h"

#define INFO(i, h, ...) {.say = SAY_INFO, .id = i, .handle = h, __VA_ARGS__}
#define CHUNK(i, h, ...) {.say = SAY_CHUNK, .id = i, .handle = h, __VA_ARGS__}
#define PART(i, h) {.say = SAY_PART, .id = i, .handle = h}
#define DONE(i, ...) {.say = SAY_DONE, .id = i, .handle = 1, __VA_ARGS__}
#define CLOSED(i) {.say = SAY_DONE, .id = i}
#define ERROR(i, c, ...) {.say = SAY_ERROR, .id = i, .code = c, __VA_ARGS__}
#define AFTER(ms) .wait = true, .wait_ms = ms
#define GOAWAY(i, ...) {.say = SAY_GOAWAY, .id = i, __VA_ARGS__}
#define JUDGE(i, ...) {.say = HEAR_JUDGE, .id = i, __VA_ARGS__}
#define MORE .more = true
#define STORED(i, c) {.say = HEAR_STORED, .id = i, .code = c}
#define WAIT(ms) {.say = WAIT_MS, .id = ms}
#define DO(what) {.say = what}

/* The request ids are those of the order in which the client asks: OPEN has
 * 1, its GET 2; then 3, 4, ...  The log names handles: a slot has 1, when it is
 * used again 513. */
static const struct talk_case infos[] = {
    {.name = "a directory",
     .step = {INFO(1, 1, .type = FILE_DIRECTORY), ERROR(2, WIRE_NOT_A_FILE)},
     .log = " dial0 OPEN(1) GET(1) bad0[it is a directory, not a file] end"},
    {.name = "a link",
     .step = {INFO(1, 1, .type = FILE_SYMLINK), ERROR(2, WIRE_NOT_A_FILE)},
     .log = " dial0 OPEN(1) GET(1) bad0[it is not a regular file] end"},
    {.name = "chunks larger than we can hold",
     .step = {INFO(1, 1, .log2 = 21), DO(HEAR_UP), INFO(1, 1, .log2 = 21)},
     .log = " dial0 OPEN(1) GET(1) lost[the server's INFO is not what was"
            " asked for] drop0 dial0 OPEN(1) GET(1) bad0[the server's INFO"
            " is not what was asked for] lost[the server's INFO is not what"
            " was asked for] drop0 end"},
    {.name = "another grid than that of the pin",
     .pinned = true,
     .step = {INFO(1, 1, .log2 = 13), DO(HEAR_UP), INFO(1, 1, .log2 = 13)},
     .log = " dial0 OPEN(1) GET(1) lost[the server's INFO is not what was"
            " asked for] drop0 dial0 OPEN(1) GET(1) bad0[the server's INFO"
            " is not what was asked for] lost[the server's INFO is not what"
            " was asked for] drop0 end"},
    {.name = "another content than the pinned one",
     .pinned = true,
     .step = {INFO(1, 1, .cid = 'x')},
     .log = " dial0 OPEN(1) GET(1) bad0[the server's file is not the pinned"
            " content] end"},
    {.name = "the pinned content",
     .pinned = true,
     .step = {INFO(1, 1, .cid = 'p'), CHUNK(2, 1), DONE(2, .cid = 'p'),
              STORED(0, BULK_STORED)},
     .log = " dial0 OPEN(1) GET(1) chunk0 store0 good0 end"},
};

static const struct talk_case dones[] = {
    {.name = "another version",
     .step = {INFO(1, 1), CHUNK(2, 1), DONE(2, .version = "w"), WAIT(300)},
     .log = " dial0 OPEN(1) GET(1) chunk0 +300ms OPEN(513) GET(513)"},
    {.name = "a longer version",
     .step = {INFO(1, 1), CHUNK(2, 1), DONE(2, .version = "vv"), WAIT(300)},
     .log = " dial0 OPEN(1) GET(1) chunk0 +300ms OPEN(513) GET(513)"},
    {.name = "another content than INFO named",
     .step = {INFO(1, 1, .cid = 'x'), CHUNK(2, 1), DONE(2, .cid = 'y'),
              WAIT(300)},
     .log = " dial0 OPEN(1) GET(1) chunk0 +300ms OPEN(513) GET(513)"},
    {.name = "the content that INFO named",
     .step = {INFO(1, 1, .cid = 'x'), CHUNK(2, 1), DONE(2, .cid = 'x'),
              STORED(0, BULK_LOCAL)},
     .log = " dial0 OPEN(1) GET(1) chunk0 store0 bad0[ok] end"},
    {.name = "pinned, and the whole has another CID",
     .pinned = true,
     .step = {INFO(1, 1), CHUNK(2, 1), DONE(2), STORED(0, BULK_BAD_CID)},
     .log = " dial0 OPEN(1) GET(1) chunk0 store0 bad0[the server's file is"
            " not the pinned content] end"},
};

static const struct talk_case errors[] = {
    {.name = "GET refused, OPEN well",
     .step = {ERROR(2, WIRE_BUSY), INFO(1, 1), CHUNK(3, 1), DONE(3),
              STORED(0, BULK_STORED)},
     .log = " dial0 OPEN(1) GET(1) GET(1) chunk0 store0 good0 end"},
    {.name = "GET refused, then OPEN",
     .step = {ERROR(2, WIRE_BUSY), ERROR(1, WIRE_NOT_FOUND)},
     .log = " dial0 OPEN(1) GET(1) bad0[no such file] end"},
    {.name = "GET refused, then it is large",
     .unknown = true,
     .step = {ERROR(2, WIRE_BUSY), INFO(1, 1, .size = BULK_GUESS_BYTES + 1),
              CLOSED(3)},
     .log = " dial0 OPEN(1) GET(1) handed0 end CLOSE(1)"},
    {.name = "a transient error of GET",
     .step = {INFO(1, 1), ERROR(2, WIRE_BUSY, AFTER(700)), CLOSED(3),
              WAIT(600), WAIT(200)},
     .log = " dial0 OPEN(1) GET(1) CLOSE(1) +600ms +200ms OPEN(513) GET(513)"},
    {.name = "CLOSE fails",
     .step = {INFO(1, 1), ERROR(2, WIRE_BUSY), ERROR(3, WIRE_BAD_HANDLE),
              WAIT(300)},
     .log = " dial0 OPEN(1) GET(1) CLOSE(1) +300ms OPEN(513) GET(513)"},
    {.name = "CLOSE takes its time",
     .step = {INFO(1, 1), ERROR(2, WIRE_BUSY),
              {.say = SAY_PROGRESS, .id = 3}, CLOSED(3), WAIT(300)},
     .log = " dial0 OPEN(1) GET(1) CLOSE(1) +300ms OPEN(513) GET(513)"},
    {.name = "changed while OPEN",
     .step = {ERROR(1, WIRE_CHANGED), ERROR(2, WIRE_BAD_HANDLE), WAIT(300)},
     .log = " dial0 OPEN(1) GET(1) +300ms OPEN(513) GET(513)"},
    {.name = "the handle is not known",
     .step = {INFO(1, 1), ERROR(2, WIRE_BAD_HANDLE), WAIT(300)},
     .log = " dial0 OPEN(1) GET(1) +300ms OPEN(513) GET(513)"},
    {.name = "no access",
     .step = {ERROR(1, WIRE_AUTH_REQUIRED), ERROR(2, WIRE_AUTH_REQUIRED)},
     .log = " dial0 OPEN(1) GET(1) fail-access[authenticate first]"},
    {.name = "our mistake, it says",
     .step = {ERROR(1, WIRE_PROTOCOL_ERROR), DO(HEAR_UP),
              ERROR(1, WIRE_PROTOCOL_ERROR)},
     .log = " dial0 OPEN(1) GET(1) lost[a message broke a rule of the"
            " protocol; update the older side] drop0 dial0 OPEN(1) GET(1)"
            " bad0[a message broke a rule of the protocol; update the older"
            " side] lost[a message broke a rule of the protocol; update the"
            " older side] drop0 end"},
    {.name = "shutting down",
     .step = {ERROR(1, WIRE_SHUTTING_DOWN), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) lost[the server is stopping] drop0 dial0"
            " OPEN(1) GET(1)"},
    {.name = "trouble, and when to ask again",
     .step = {ERROR(1, WIRE_IO_ERROR, AFTER(5000)), ERROR(2, WIRE_BAD_HANDLE),
              WAIT(4900), WAIT(200)},
     .log = " dial0 OPEN(1) GET(1) +4900ms +200ms OPEN(513) GET(513)"},
    {.name = "unsupported without a pin",
     .step = {ERROR(1, WIRE_UNSUPPORTED)},
     .log = " dial0 OPEN(1) GET(1) bad0[the server does not do this] end"},
};

static const struct receiver_auth token = {
    .token = (const uint8_t *)"secret", .token_len = 6, .secure = true};

static const struct talk_case connections[] = {
    {.name = "text, progress, and an error of all",
     .step = {DO(SAY_NOTICE), INFO(1, 1), {.say = SAY_PROGRESS, .id = 2},
              ERROR(0, WIRE_BUSY, AFTER(2000)), WAIT(1900), WAIT(200)},
     .log = " dial0 OPEN(1) GET(1) note[hello] lost[no resources at the"
            " moment] drop0 +1900ms +200ms dial0"},
    {.name = "refused for good",
     .step = {ERROR(0, WIRE_DENIED)},
     .log = " dial0 OPEN(1) GET(1) fail-refused[not allowed]"},
    {.name = "rubbish",
     .step = {DO(SAY_RUBBISH)},
     .log = " dial0 OPEN(1) GET(1) lost[frame longer than its type allows]"
            " drop0"},
    {.name = "cut in a chunk",
     .step = {INFO(1, 1), PART(2, 1), DO(HEAR_LOST), DO(HEAR_LOST)},
     .log = " dial0 OPEN(1) GET(1) chunk0 lost[cut]"},
    {.name = "silence",
     .step = {INFO(1, 1), WAIT(30000), WAIT(15000)},
     .log = " dial0 OPEN(1) GET(1) +30000ms +15000ms lost[nothing came for"
            " 45 seconds, not even an answer to a ping] drop0"},
    {.name = "refused to dial",
     .step = {DO(HEAR_LOST), WAIT(500), DO(HEAR_REFUSED), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) lost[cut] +500ms dial0 lost[refused]"
            " dial0 OPEN(1) GET(1)"},
    {.name = "rubbish behind the end",
     .step = {ERROR(0, WIRE_DENIED, MORE), DO(SAY_RUBBISH)},
     .log = " dial0 OPEN(1) GET(1) fail-refused[not allowed]"},
    {.name = "progress of AUTH",
     .auth = &token,
     .step = {{.say = SAY_PROGRESS, .id = 1}, INFO(2, 1)},
     .log = " dial0 AUTH(1) OPEN(1) GET(1)"},
};

static const struct talk_case goaways[] = {
    {.name = "before anything",
     .step = {GOAWAY(0), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) drop0 dial0 OPEN(1) GET(1)"},
    {.name = "and the answers all the same",
     .step = {GOAWAY(0, MORE), INFO(1, 1, MORE), CHUNK(2, 1, MORE), DONE(2),
              DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) waste drop0 dial0 OPEN(1) GET(1)"},
    {.name = "in a chunk that is of no use",
     .step = {GOAWAY(0, MORE), INFO(1, 1, MORE), PART(2, 1), DO(SAY_REST),
              DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) waste drop0 dial0 OPEN(1) GET(1)"},
    {.name = "before GET",
     .step = {GOAWAY(1), INFO(1, 1), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) drop0 dial0 OPEN(1) GET(1)"},
    {.name = "behind GET",
     .step = {GOAWAY(2), INFO(1, 1), CHUNK(2, 1), DONE(2),
              STORED(0, BULK_STORED)},
     .log = " dial0 OPEN(1) GET(1) chunk0 store0 drop0 good0 end"},
    {.name = "between a refused GET and INFO",
     .step = {ERROR(2, WIRE_BUSY), GOAWAY(2), INFO(1, 1), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) drop0 dial0 OPEN(1) GET(1)"},
    {.name = "then a transient error",
     .step = {INFO(1, 1), GOAWAY(2), ERROR(2, WIRE_BUSY), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) drop0 dial0 OPEN(1) GET(1)"},
    {.name = "before CLOSE",
     .step = {INFO(1, 1), ERROR(2, WIRE_BUSY), GOAWAY(2), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) CLOSE(1) drop0 dial0 OPEN(1) GET(1)"},
    {.name = "while it is judged",
     .probe = true,
     .step = {INFO(1, 1), GOAWAY(1), JUDGE(0), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) probed0 drop0 dial0 OPEN(1) GET(1)"},
    {.name = "while it is left",
     .probe = true,
     .step = {INFO(1, 1), GOAWAY(1), {.say = HEAR_LEAVE}},
     .log = " dial0 OPEN(1) probed0 skipped0 drop0 end"},
    {.name = "behind a GET that was not sent yet",
     .probe = true,
     .step = {INFO(1, 1), JUDGE(0, MORE), GOAWAY(1), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) probed0 drop0 dial0 OPEN(1) GET(1)"},
    {.name = "and a second GET behind it",
     .files = 2,
     .step = {INFO(1, 1), CHUNK(2, 1), GOAWAY(3), DONE(2),
              STORED(0, BULK_STORED), INFO(3, 2), DO(HEAR_UP)},
     .log = " dial0 OPEN(1) GET(1) OPEN(2) GET(2) chunk0 store0 good0 drop0"
            " dial0 OPEN(1) GET(1)"},
};

/* Ten are on their way; the window becomes five. */
static const struct talk_case narrows[] = {
    {.name = "requests",
     .files = 10,
     .step = {ERROR(1, WIRE_TOO_MANY_REQUESTS), ERROR(2, WIRE_BAD_HANDLE),
              WAIT(300), ERROR(3, WIRE_NOT_FOUND), ERROR(4, WIRE_NOT_FOUND),
              ERROR(5, WIRE_NOT_FOUND), ERROR(6, WIRE_NOT_FOUND),
              ERROR(7, WIRE_NOT_FOUND), ERROR(8, WIRE_NOT_FOUND),
              ERROR(9, WIRE_NOT_FOUND), ERROR(10, WIRE_NOT_FOUND),
              ERROR(11, WIRE_NOT_FOUND), ERROR(12, WIRE_NOT_FOUND)},
     .log = " dial0 OPEN(1) GET(1) OPEN(2) GET(2) OPEN(3) GET(3) OPEN(4)"
            " GET(4) OPEN(5) GET(5) OPEN(6) GET(6) OPEN(7) GET(7) OPEN(8)"
            " GET(8) OPEN(9) GET(9) OPEN(10) GET(10) +300ms bad1[no such"
            " file] bad2[no such file] bad3[no such file] bad4[no such file]"
            " bad5[no such file] OPEN(518) GET(518)"},
    {.name = "few are left",
     .files = 3,
     .step = {ERROR(1, WIRE_TOO_MANY_HANDLES), ERROR(2, WIRE_BAD_HANDLE),
              WAIT(300)},
     .log = " dial0 OPEN(1) GET(1) OPEN(2) GET(2) OPEN(3) GET(3) +300ms"
            " OPEN(513) GET(513)"},
};

static void run_all(const struct talk_case *c, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        talk_run(&c[k]);
    }
}

#define ALL(table)                                                           \
    static void test_##table(void **state)                                   \
    {                                                                        \
        (void)state;                                                         \
        run_all(table, sizeof table / sizeof table[0]);                      \
    }

ALL(infos)
ALL(dones)
ALL(errors)
ALL(connections)
ALL(goaways)
ALL(narrows)

/* ---- many at once. */

#define MANY 400u
#define PART_LEN ((uint64_t)256 << 10) /* of each: the guess */

struct many {
    struct talk t;
    uint32_t open[MANY], get[MANY]; /* request ids; 0: not asked for */
    unsigned opens, gets, cancels;
};

static void many_take_frame(struct many *m, const struct frame *f,
                            const uint8_t *payload)
{
    enum frame_verdict verdict;
    struct msg one;

    assert_int_equal(frame_classify(f, FRAME_FROM_CLIENT, &verdict), 0);
    if (verdict == FRAME_SKIP) {
        return;
    }
    assert_int_equal(msg_decode(f, payload, FRAME_FROM_CLIENT,
                                LIMIT_RANGES_MIN, &one), 0);
    if (f->type == FRAME_OPEN) {
        assert_in_range(one.open.handle, 1, MANY);
        m->open[one.open.handle - 1] = f->request_id;
        m->opens++;
    } else if (f->type == FRAME_GET) {
        assert_in_range(one.get.handle, 1, MANY);
        m->get[one.get.handle - 1] = f->request_id;
        m->gets++;
    } else {
        m->cancels += f->type == FRAME_CANCEL;
    }
}

/* All that the client wants to say until it wants no more. */
static void many_take(struct many *m)
{
    const uint8_t *data;
    size_t len;

    for (;;) {
        size_t at = m->t.s.p.preface_seen ? 0 : PREFACE_LEN;

        talk_turn_only(&m->t);
        len = receiver_out(bulk_receiver(m->t.b, 0), &data);
        if (len == 0) {
            return;
        }
        m->t.s.p.preface_seen = true;
        while (at < len) {
            struct frame f;
            size_t need;

            assert_int_equal(frame_scan(data + at, len - at, &f, &need), 0);
            many_take_frame(m, &f, data + at + FRAME_HEADER_LEN);
            at += need;
        }
        receiver_sent(bulk_receiver(m->t.b, 0), len, m->t.s.now);
    }
}

static void many_start(struct many *m)
{
    static char path[MANY][200];

    memset(m, 0, sizeof *m);
    talk_init(&m->t, NULL);
    m->t.config.items_max = MANY;
    m->t.b = bulk_new(&m->t.config, m->t.s.now);
    assert_non_null(m->t.b);
    for (unsigned k = 0; k < MANY; k++) {
        struct bulk_file file = {.path = (const uint8_t *)path[k],
                                 .path_len = sizeof path[k]};
        uint32_t item;

        memset(path[k], 'a' + (int)(k % 26), sizeof path[k]);
        assert_true(bulk_room(m->t.b));
        assert_int_equal(bulk_add(m->t.b, &file, &item), 0);
        assert_int_equal(item, k);
    }
    assert_false(bulk_room(m->t.b));
    assert_int_equal(bulk_add(m->t.b, &(struct bulk_file){.path_len = 0},
                              &(uint32_t){0}), ERR_LIMIT);
}

static void many_hello(struct many *m)
{
    static const uint8_t codecs[] = {CODEC_RAW};
    struct msg_hello hello = {
        .has = HELLO_HAS_MAX_REQUESTS | HELLO_HAS_MAX_HANDLES,
        .max_requests = 2000,
        .max_handles = 2000,
        .codecs = {codecs, sizeof codecs}};

    peer_preface(&m->t.s.p);
    assert_int_equal(msg_hello_encode(&hello, FRAME_FROM_SERVER, &m->t.s.p.w),
                     0);
    talk_feed_only(&m->t);
}

/* Files of unknown size that are large: as many are left as the memory is
 * meant for, the others are cancelled.  Before that the client has more to say
 * than it may keep, so that some GETs have to wait. */
static void test_many(void **state)
{
    static struct many m;
    uint64_t flight = MANY * ((uint64_t)16 << 10); /* the guess of all */
    unsigned cancels = 0;

    (void)state;
    many_start(&m);
    talk_turn_only(&m.t);
    bulk_connected(m.t.b, 0, m.t.s.now);
    many_hello(&m);
    many_take(&m);
    assert_int_equal(m.opens, MANY);
    assert_int_equal(m.gets, MANY);
    for (unsigned k = 0; k < MANY; k++) {
        const struct step info = {.id = m.open[k], .handle = k + 1,
                                  .size = PART_LEN};

        assert_true(m.open[k] != 0 && m.open[k] < m.get[k]);
        talk_info(&m.t, &info);
        talk_feed_only(&m.t);
        many_take(&m);
        flight += PART_LEN - ((uint64_t)16 << 10);
        if (flight > 2 * BULK_FLIGHT_BYTES) {
            flight -= PART_LEN;
            cancels++;
        }
        assert_int_equal(m.cancels, cancels);
    }
    assert_true(cancels > 100);
    assert_int_equal(m.opens, MANY); /* none again before there is room */
    assert_string_equal(m.t.s.log, " dial0");
    bulk_lost(m.t.b, 0, "cut", m.t.s.now);
    talk_turn_only(&m.t);
    assert_string_equal(m.t.s.log, " dial0 lost[cut]");
    talk_free(&m.t);
}

/* Data of a connection that is gone, and of none. */
static void test_late_data(void **state)
{
    static const struct talk_case one = {.name = "late"};
    struct bulk_ledger before, after;
    struct talk t;

    (void)state;
    talk_start(&t, &one);
    bulk_lost(t.b, 0, "cut", t.s.now);
    bulk_ledger(t.b, &before);
    bulk_chunk_data(t.b, 0, 10, t.s.now);
    bulk_lost(t.b, 0, "cut", t.s.now);
    bulk_ledger(t.b, &after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(after.losses, 1);
    talk_free(&t);
}

/* Nothing is known: nothing is checked. */
static void test_check_unknown(void **state)
{
    struct transfer_identity id = {.size = 1, .chunk_log2 = TALK_LOG2};
    struct hasher *hasher = hasher_new();
    uint8_t digest[HASH_LEN] = {0};

    (void)state;
    assert_non_null(hasher);
    assert_int_equal(bulk_check(hasher, &id, digest), 0);
    id.cid_known = true;
    assert_int_equal(bulk_check(hasher, &id, digest), ERR_DIGEST);
    hasher_free(hasher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_infos),
        cmocka_unit_test(test_dones),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_goaways),
        cmocka_unit_test(test_narrows),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_late_data),
        cmocka_unit_test(test_check_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
