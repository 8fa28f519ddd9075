/* Walk and a server written by hand: a case is a list of what the server says
 * and what happens, its result everything that the client then asks and
 * tells, as one line of text. */
#include "proto/base/err.h"
#include "proto/session/retry.h"
#include "proto/session/walk_internal.h"
#include "tests/unit/script.h"

struct talk_case {
    const char *name;
    const char *path; /* NULL: "top" */
    bool with_cid, wait_first;
    const char *prune;
    struct step step[SCRIPT_STEPS];
    const char *log;
};

struct talk {
    struct walk *w;
    struct walk_config config;
    const char *prune;
    struct script s;
};

/* ---- the client. */

static void talk_take(struct talk *t)
{
    const uint8_t *data;
    size_t len;

    if (!walk_conn_open(t->w)) {
        return;
    }
    len = receiver_out(walk_receiver(t->w), &data);
    peer_take(&t->s.p, data, len);
    receiver_sent(walk_receiver(t->w), len, t->s.now);
    for (size_t k = 0; k < t->s.p.count; k++) {
        const struct msg_list *l = &t->s.p.request[k].list;

        script_log(&t->s, " LIST(%.*s%s%.*s%s)", (int)l->path.len,
                 (const char *)l->path.ptr, l->cursor.len > 0 ? "," : "",
                 (int)l->cursor.len, (const char *)l->cursor.ptr,
                 (l->flags & LIST_WITH_CID) != 0 ? ",cid" : "");
    }
    t->s.p.count = 0;
}

static void talk_entry(struct talk *t, const struct walk_action *a)
{
    char path[LIMIT_PATH + 1];
    size_t len = walk_path(t->w, a->dir, a->entry.name, true, path);

    assert_int_equal(len, strlen(path));
    script_log(&t->s, " %s", path);
    if (t->prune != NULL && strcmp(path, t->prune) == 0) {
        walk_prune(t->w);
    }
}

static void talk_act(struct talk *t, const struct walk_action *a)
{
    switch (a->type) {
    case WALK_DIAL:
        script_log(&t->s, " dial");
        t->s.dialling = true;
        break;
    case WALK_DROP:
        script_log(&t->s, " drop");
        break;
    case WALK_DIR:
        script_log(&t->s, " [");
        break;
    case WALK_ENTRY:
        talk_entry(t, a);
        break;
    case WALK_REFUSED:
        script_log(&t->s, " refused");
        break;
    case WALK_LEAVE:
        script_log(&t->s, a->text != NULL ? " ](%s)" : " ]", a->text);
        break;
    case WALK_NOTE:
        if (a->note.type == LINE_NOTE_LOST ||
            a->note.type == LINE_NOTE_SERVER) {
            script_log(&t->s, " %s(%s)",
                     a->note.type == LINE_NOTE_LOST ? "lost" : "note",
                     a->note.text);
        }
        break;
    case WALK_FAIL:
        script_log(&t->s, " fail-%s(%s)", transfer_reason_name(a->reason),
                 a->text);
        break;
    case WALK_END:
        script_log(&t->s, " end");
        break;
    case WALK_IDLE:
        break;
    }
}

static void talk_turn(struct talk *t)
{
    struct walk_action a;

    while (walk_next(t->w, true, t->s.now, &a) != WALK_IDLE) {
        talk_act(t, &a);
    }
    talk_take(t);
}

/* ---- the server. */

static void talk_entries(struct talk *t, const struct step *s)
{
    struct msg_entries_builder b;
    const struct tlv none = {0};
    char names[1000];
    char *rest;

    assert_true(strlen(s->names) < sizeof names);
    strcpy(names, s->names);
    msg_entries_begin(&b, &t->s.p.w);
    for (char *name = strtok_r(names, " ", &rest); name != NULL;
         name = strtok_r(NULL, " ", &rest)) {
        struct msg_entry e = {
            .file_type = name[0] == 'd' ? FILE_DIRECTORY : FILE_REGULAR,
            .name = peer_text(name)};

        assert_int_equal(msg_entries_add(&b, &e), 0);
    }
    assert_int_equal(
        msg_entries_finish(&b, peer_text(s->cursor != NULL ? s->cursor : ""),
                           !s->frames, s->id, &none), 0);
}

static void talk_say(struct talk *t, const struct step *s)
{
    switch (s->say) {
    case SAY_ENTRIES:
        talk_entries(t, s);
        break;
    case SAY_RUBBISH:
        peer_frame(&t->s.p, FRAME_CHUNK, 0, 1, "", 0);
        break;
    default:
        script_say(&t->s, s);
    }
}

/* ---- a case. */

static void talk_feed(struct talk *t)
{
    walk_feed(t->w, t->s.p.buf, writer_len(&t->s.p.w), t->s.now);
    peer_clear(&t->s.p);
    talk_turn(t);
}

/* Time passes until the next dial, which succeeds. */
static void talk_up(struct talk *t)
{
    for (unsigned n = 0; !t->s.dialling; n++) {
        uint64_t at = walk_deadline(t->w);

        assert_true(at != UINT64_MAX && n < 1000);
        t->s.now = at > t->s.now ? at : t->s.now + 1;
        talk_turn(t);
    }
    t->s.dialling = false;
    walk_connected(t->w, t->s.now);
    t->s.p.preface_seen = false;
    peer_greeting(&t->s.p);
    talk_feed(t);
}

static void talk_hear(void *arg, const struct step *s)
{
    struct talk *t = arg;

    switch (s->say) {
    case HEAR_LOST:
        walk_lost(t->w, "cut", t->s.now);
        break;
    case HEAR_UP:
        talk_up(t);
        break;
    case HEAR_REFUSED:
        assert_true(t->s.dialling);
        t->s.dialling = false;
        walk_dial_failed(t->w, "refused", t->s.now);
        break;
    case HEAR_HURRY:
        walk_hurry(t->w, t->s.now);
        break;
    case WAIT_MS:
        script_log(&t->s, " +%ums", s->id);
        t->s.now += s->id;
        walk_tick(t->w, t->s.now);
        break;
    default:
        talk_say(t, s);
        if (!s->more) {
            talk_feed(t);
        }
        return;
    }
    talk_turn(t);
}

static void talk_start(struct talk *t, const struct talk_case *c)
{
    const char *path = c->path != NULL ? c->path : "top";

    *t = (struct talk){.prune = c->prune};
    script_init(&t->s);
    t->config = (struct walk_config){
        .line = {.agent = "test", .max_chunk_log2 = 20, .seed = 7,
                 .wait_first = c->wait_first},
        .path = (const uint8_t *)path,
        .path_len = strlen(path),
        .recursive = true,
        .with_cid = c->with_cid};
    t->w = walk_new(&t->config, t->s.now);
    assert_non_null(t->w);
    talk_turn(t);
    if (c->step[0].say != HEAR_REFUSED) {
        talk_up(t);
    }
}

static void talk_end(struct talk *t)
{
    walk_free(t->w);
    peer_free(&t->s.p);
}

static void talk_run(const struct talk_case *c)
{
    struct talk t;

    talk_start(&t, c);
    script_run(&t.s, c->name, c->step, talk_hear, &t, c->log);
    talk_end(&t);
}

/* ---- the cases. */

#define LIST(i, n, ...) {.say = SAY_ENTRIES, .id = i, .names = n, __VA_ARGS__}
#define ERROR(i, c, ...) {.say = SAY_ERROR, .id = i, .code = c, __VA_ARGS__}
#define GOAWAY(i) {.say = SAY_GOAWAY, .id = i}
#define AFTER(ms) .wait = true, .wait_ms = ms
#define NEXT(c) .cursor = c
#define FRAMES .frames = true
#define MORE .more = true
#define WAIT(ms) {.say = WAIT_MS, .id = ms}
#define DO(what) {.say = what}

/* The first LIST has request id 1. */
static const struct talk_case lists[] = {
    {.name = "one directory in another",
     .step = {LIST(1, "d1 f2"), LIST(2, "f1")},
     .log = " dial LIST(top) [ d1 f2 LIST(top/d1) [ d1/f1 ] ] end"},
    {.name = "the root of the server",
     .path = "",
     .with_cid = true,
     .step = {LIST(1, "d1 f2"), LIST(2, "d3"), LIST(3, "")},
     .log = " dial LIST(,cid) [ d1 f2 LIST(d1,cid) [ d1/d3 LIST(d1/d3,cid) ["
            " ] ] ] end"},
    {.name = "two pages",
     .step = {LIST(1, "d1 f2", NEXT("x")), LIST(3, "f3"), LIST(2, "f1")},
     .log = " dial LIST(top) [ d1 f2 LIST(top/d1) LIST(top,x) [ d1/f1 ] f3 ]"
            " end"},
    {.name = "two frames",
     .step = {LIST(1, "d1 f2", FRAMES), LIST(1, "f3"),
              LIST(2, "f1", FRAMES, MORE), LIST(2, "f2")},
     .log = " dial LIST(top) [ d1 f2 LIST(top/d1) f3 [ d1/f1 d1/f2 ] ] end"},
    {.name = "two frames, of which the second is empty",
     .step = {LIST(1, "f1", FRAMES), LIST(1, "")},
     .log = " dial LIST(top) [ f1 ] end"},
    {.name = "out of order over frames",
     .step = {LIST(1, "f22", FRAMES), LIST(1, "f2"), DO(HEAR_UP),
              LIST(1, "f22 f3", FRAMES), LIST(1, "f3 f4")},
     .log = " dial LIST(top) [ f22 lost(the server's list is not in order)"
            " drop dial LIST(top) f3 f4 ] end"},
    {.name = "a cursor in the middle of an answer",
     .step = {LIST(1, "f1", FRAMES, NEXT("x")), DO(HEAR_UP),
              LIST(1, "f1", FRAMES, NEXT("x"))},
     .log = " dial LIST(top) lost(the server's list breaks the rules) drop"
            " dial LIST(top) fail-protocol(the server's list breaks the"
            " rules)"},
    {.name = "a directory that is left out",
     .prune = "d1",
     .step = {LIST(1, "d1 d2"), LIST(2, "f1")},
     .log = " dial LIST(top) [ d1 d2 LIST(top/d2) [ d2/f1 ] ] end"},
    {.name = "left out before it was asked for",
     .prune = "d1",
     .step = {LIST(1, "d0 d1 d2", FRAMES), GOAWAY(1), LIST(1, "f3"),
              DO(HEAR_UP), LIST(1, ""), LIST(2, "f2")},
     .log = " dial LIST(top) [ d0 d1 d2 LIST(top/d0) LIST(top/d2) f3 drop"
            " dial LIST(top/d0) LIST(top/d2) [ ] [ d2/f2 ] ] end"},
};

static const struct talk_case errors[] = {
    {.name = "no access",
     .step = {ERROR(1, WIRE_AUTH_REQUIRED)},
     .log = " dial LIST(top) fail-access(authenticate first)"},
    {.name = "busy",
     .step = {ERROR(1, WIRE_BUSY, AFTER(3000)), WAIT(2900), WAIT(200),
              LIST(2, "")},
     .log = " dial LIST(top) +2900ms +200ms LIST(top) [ ] end"},
    {.name = "shutting down",
     .step = {ERROR(1, WIRE_SHUTTING_DOWN), DO(HEAR_UP)},
     .log = " dial LIST(top) lost(the server is stopping) drop dial"
            " LIST(top)"},
    {.name = "our mistake, it says",
     .step = {ERROR(1, WIRE_PROTOCOL_ERROR), DO(HEAR_UP),
              ERROR(1, WIRE_PROTOCOL_ERROR)},
     .log = " dial LIST(top) lost(a message broke a rule of the protocol;"
            " update the older side) drop dial LIST(top) fail-protocol(a"
            " message broke a rule of the protocol; update the older"
            " side)"},
    {.name = "a file instead of a directory",
     .step = {ERROR(1, WIRE_NOT_A_DIRECTORY)},
     .log = " dial LIST(top) fail-not-a-directory(the path does not name a"
            " directory)"},
    {.name = "a directory that became a file",
     .step = {LIST(1, "d1 f2"), ERROR(2, WIRE_NOT_A_DIRECTORY)},
     .log = " dial LIST(top) [ d1 f2 LIST(top/d1) [ ](the path does not name"
            " a directory) ] end"},
    {.name = "a directory that is not there",
     .step = {LIST(1, "d1 f2"), ERROR(2, WIRE_NOT_FOUND)},
     .log = " dial LIST(top) [ d1 f2 LIST(top/d1) [ ](no such file) ] end"},
    {.name = "a second page that is not there",
     .step = {LIST(1, "d1"), LIST(2, "f1", NEXT("x")),
              ERROR(3, WIRE_NOT_FOUND)},
     .log = " dial LIST(top) [ d1 LIST(top/d1) [ d1/f1 LIST(top/d1,x) ](no"
            " such file) ] end"},
    {.name = "the whole connection",
     .step = {LIST(1, "d1 d2"), ERROR(0, WIRE_BUSY, AFTER(2000)), WAIT(1900),
              WAIT(200), DO(HEAR_UP), LIST(1, ""), LIST(2, "")},
     .log = " dial LIST(top) [ d1 d2 LIST(top/d1) LIST(top/d2) lost(no"
            " resources at the moment) drop +1900ms +200ms dial LIST(top/d1)"
            " LIST(top/d2) [ ] [ ] ] end"},
    {.name = "refused for good, and more behind it",
     .step = {ERROR(0, WIRE_DENIED, MORE), LIST(1, "")},
     .log = " dial LIST(top) fail-refused(not allowed)"},
};

static const struct talk_case connections[] = {
    {.name = "text and progress",
     .step = {DO(SAY_NOTICE), {.say = SAY_PROGRESS, .id = 1}, LIST(1, "")},
     .log = " dial LIST(top) note(hello) [ ] end"},
    {.name = "rubbish",
     .step = {DO(SAY_RUBBISH), DO(HEAR_UP)},
     .log = " dial LIST(top) lost(CHUNK for request 1, which did not ask for"
            " it) drop dial LIST(top)"},
    {.name = "cut twice in an answer",
     .step = {LIST(1, "f1", FRAMES), DO(HEAR_LOST), DO(HEAR_LOST),
              DO(HEAR_UP), LIST(1, "f1 f2", FRAMES), DO(HEAR_LOST),
              DO(HEAR_UP), LIST(1, "f1 f2 f3")},
     .log = " dial LIST(top) [ f1 lost(cut) dial LIST(top) f2 lost(cut) dial"
            " LIST(top) f3 ] end"},
    {.name = "silence",
     .step = {WAIT(30000), WAIT(15000)},
     .log = " dial LIST(top) +30000ms +15000ms lost(nothing came for 45"
            " seconds, not even an answer to a ping) drop"},
    {.name = "never there",
     .step = {DO(HEAR_REFUSED)},
     .log = " dial fail-unreachable(refused)"},
    {.name = "not yet there",
     .wait_first = true,
     .step = {DO(HEAR_REFUSED), DO(HEAR_HURRY), DO(HEAR_UP)},
     .log = " dial lost(refused) dial LIST(top)"},
    {.name = "goaway before the answer",
     .step = {GOAWAY(1), LIST(1, "d1"), DO(HEAR_UP), LIST(1, "")},
     .log = " dial LIST(top) [ d1 drop dial LIST(top/d1) [ ] ] end"},
    {.name = "goaway, and no answer",
     .step = {GOAWAY(0), DO(HEAR_UP), LIST(1, "")},
     .log = " dial LIST(top) drop dial LIST(top) [ ] end"},
    {.name = "goaway, and one of two answers",
     .step = {LIST(1, "d1 d2"), GOAWAY(2), LIST(2, "f1"), DO(HEAR_UP),
              LIST(1, "f2")},
     .log = " dial LIST(top) [ d1 d2 LIST(top/d1) LIST(top/d2) [ d1/f1 ]"
            " drop dial LIST(top/d2) [ d2/f2 ] ] end"},
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

ALL(lists)
ALL(errors)
ALL(connections)

/* ---- what the runner may ask of the end. */

/* Over, in whatever way: nothing is left to wait for. */
static void test_over(void **state)
{
    static const struct {
        struct step step;
        enum walk_action_type end;
    } table[] = {
        {LIST(1, ""), WALK_END},
        {ERROR(1, WIRE_NOT_FOUND), WALK_FAIL},
    };

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        static const struct talk_case one = {.name = "over"};
        struct walk_action a;
        struct talk t;

        talk_start(&t, &one);
        assert_true(walk_deadline(t.w) != UINT64_MAX);
        talk_say(&t, &table[k].step);
        walk_feed(t.w, t.s.p.buf, writer_len(&t.s.p.w), t.s.now);
        do {
            (void)walk_next(t.w, true, t.s.now, &a);
        } while (a.type != table[k].end);
        assert_int_equal(walk_deadline(t.w), UINT64_MAX);
        for (unsigned n = 0; n < 3; n++) {
            assert_int_equal(walk_next(t.w, true, t.s.now, &a), WALK_IDLE);
        }
        talk_end(&t);
    }
}

/* ---- more than memory is meant for. */

#define DIRS 40u
#define ANSWER_FRAMES 15u
#define FRAME_NAMES 200u
#define ANSWER_NAMES (ANSWER_FRAMES * FRAME_NAMES)

struct crowd {
    struct talk t;
    struct peer_request asked[DIRS * 10]; /* those at [served, count) wait */
    unsigned served, count;
    unsigned seen[DIRS]; /* names told of each directory */
    unsigned begun;
    bool over;
};

/* Some names of 255 bytes, from `first` on. */
static void put_frame(struct talk *t, uint32_t id, unsigned first, bool end)
{
    struct msg_entries_builder b;
    const struct tlv none = {0};
    char name[LIMIT_COMPONENT];
    struct msg_entry e = {.file_type = FILE_REGULAR,
                          .name = {(const uint8_t *)name, sizeof name}};

    memset(name, 'f', sizeof name);
    msg_entries_begin(&b, &t->s.p.w);
    for (unsigned k = first; k < first + FRAME_NAMES; k++) {
        (void)snprintf(name, sizeof name, "%06u", k);
        name[6] = 'f';
        assert_int_equal(msg_entries_add(&b, &e), 0);
    }
    assert_int_equal(msg_entries_finish(&b, peer_text(""), end, id, &none),
                     0);
}

/* The client does all that it can; every name comes once, in order. */
static void crowd_turn(struct crowd *c)
{
    struct walk_action a;
    const uint8_t *data;
    size_t len;

    while (walk_next(c->t.w, true, c->t.s.now, &a) != WALK_IDLE) {
        c->over |= a.type == WALK_END;
        c->begun += a.type == WALK_DIR;
        if (a.type == WALK_ENTRY && a.dir->parent != NULL) {
            unsigned dir = (unsigned)strtoul(a.dir->name + 1, NULL, 10);
            unsigned name = (unsigned)strtoul((const char *)a.entry.name.ptr,
                                              NULL, 10);

            assert_int_equal(name, c->seen[dir]++);
            assert_int_equal(dir + 2, c->begun);
        }
    }
    assert_true(c->t.w->held < WALK_HELD_BYTES + LIMIT_CONTROL_PAYLOAD);
    assert_true(c->t.w->busy <= WALK_AHEAD + 1);
    len = receiver_out(walk_receiver(c->t.w), &data);
    peer_take(&c->t.s.p, data, len);
    receiver_sent(walk_receiver(c->t.w), len, c->t.s.now);
    for (size_t k = 0; k < c->t.s.p.count; k++) {
        assert_true(c->count < DIRS * 10);
        c->asked[c->count++] = c->t.s.p.request[k];
    }
    c->t.s.p.count = 0;
}

static void crowd_serve(struct crowd *c, unsigned at)
{
    uint32_t id = c->asked[at].id;

    c->asked[at] = c->asked[c->served++];
    for (unsigned f = 0; f < ANSWER_FRAMES; f++) {
        put_frame(&c->t, id, f * FRAME_NAMES, f + 1 == ANSWER_FRAMES);
        walk_feed(c->t.w, c->t.s.p.buf, writer_len(&c->t.s.p.w), c->t.s.now);
        peer_clear(&c->t.s.p);
        crowd_turn(c);
    }
}

/* The first directory is answered last: those behind it fill the memory, and
 * what is too much is asked for again when its turn comes. */
static void test_memory(void **state)
{
    static const struct talk_case one = {.name = "memory"};
    static struct crowd c;
    struct step dirs = LIST(1, "");
    char names[DIRS * 4 + 1];

    (void)state;
    for (unsigned k = 0; k < DIRS; k++) {
        (void)snprintf(names + 4 * k, 5, "d%02u ", k);
    }
    talk_start(&c.t, &one);
    dirs.names = names;
    talk_say(&c.t, &dirs);
    walk_feed(c.t.w, c.t.s.p.buf, writer_len(&c.t.s.p.w), c.t.s.now);
    peer_clear(&c.t.s.p);
    crowd_turn(&c);
    assert_int_equal(c.count, DIRS);
    while (c.served + 1 < c.count) {
        crowd_serve(&c, c.served + 1);
    }
    assert_int_equal(c.begun, 1);
    assert_true(c.t.w->held >= WALK_HELD_BYTES);
    while (c.served < c.count) {
        crowd_serve(&c, c.served);
    }
    assert_true(c.over);
    assert_true(c.count > DIRS + 5);
    for (unsigned k = 0; k < DIRS; k++) {
        assert_int_equal(c.seen[k], ANSWER_NAMES);
    }
    talk_end(&c.t);
}

/* More names in one answer than were asked for. */
static void test_long_answer(void **state)
{
    static const struct talk_case one = {.name = "long"};
    struct talk t;

    (void)state;
    talk_start(&t, &one);
    for (unsigned k = 0; k <= WALK_PAGE_ENTRIES / FRAME_NAMES; k++) {
        assert_true(walk_conn_open(t.w));
        put_frame(&t, 1, k * FRAME_NAMES, false);
        walk_feed(t.w, t.s.p.buf, writer_len(&t.s.p.w), t.s.now);
        peer_clear(&t.s.p);
    }
    assert_false(walk_conn_open(t.w));
    talk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_over),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_long_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
