/* Bulk and a server written by hand: a case is a list of what the server says
 * and what happens, its result everything that the client then asks and does,
 * as one line of text. */

#ifndef TESTS_UNIT_BULK_TALK_H
#define TESTS_UNIT_BULK_TALK_H

#include "proto/base/err.h"
#include "proto/session/bulk.h"
#include "proto/session/retry.h"
#include "tests/unit/script.h"

#define TALK_FILES 12u
#define TALK_SIZE 100u /* of a file, unless the case says otherwise */
#define TALK_LOG2 12u

struct talk_case {
    const char *name;
    unsigned files; /* 0: one */
    bool pinned, unknown, probe; /* the pin is that of cid 'p' */
    const struct receiver_auth *auth;
    struct step step[SCRIPT_STEPS];
    const char *log;
};

struct talk {
    struct bulk *b;
    struct bulk_config config;
    struct script s;
    struct hasher *hasher;
};

static const uint8_t talk_data[TALK_SIZE] = {1, 2, 3};

/* ---- the client. */

static inline void talk_take(struct talk *t)
{
    const uint8_t *data;
    size_t len;

    if (!bulk_conn_open(t->b, 0)) {
        return;
    }
    len = receiver_out(bulk_receiver(t->b, 0), &data);
    peer_take(&t->s.p, data, len);
    receiver_sent(bulk_receiver(t->b, 0), len, t->s.now);
    for (size_t k = 0; k < t->s.p.count; k++) {
        const struct peer_request *q = &t->s.p.request[k];

        script_log(&t->s, " %s(%u)", frame_name(q->type),
                 q->handle != 0 ? q->handle : q->id);
    }
    t->s.p.count = 0;
}

static inline void talk_act(struct talk *t, const struct bulk_action *a)
{
    static const char *const outcome[] = {"good", "skipped", "handed", "bad"};

    switch (a->type) {
    case BULK_DIAL:
        script_log(&t->s, " dial%u", a->conn);
        t->s.dialling = true;
        break;
    case BULK_DROP:
        script_log(&t->s, " drop%u", a->conn);
        break;
    case BULK_PROBED:
        script_log(&t->s, " probed%u", a->item);
        break;
    case BULK_STORE:
        script_log(&t->s, " store%u", a->item);
        break;
    case BULK_ITEM:
        script_log(&t->s, " %s%u", outcome[a->outcome], a->item);
        if (a->outcome == BULK_BAD) {
            script_log(&t->s, "[%s]", a->text);
        }
        break;
    case BULK_NOTE:
        if (a->note.type == LINE_NOTE_LOST ||
            a->note.type == LINE_NOTE_SERVER) {
            script_log(&t->s, " %s[%s]",
                     a->note.type == LINE_NOTE_LOST ? "lost" : "note",
                     a->note.text);
        }
        break;
    case BULK_FAIL:
        script_log(&t->s, " fail-%s[%s]", transfer_reason_name(a->reason),
                 a->text);
        break;
    case BULK_END:
        script_log(&t->s, " end");
        break;
    case BULK_IDLE:
        break;
    }
}

static inline void talk_turn_only(struct talk *t)
{
    struct bulk_action a;

    while (bulk_next(t->b, t->s.now, &a) != BULK_IDLE) {
        talk_act(t, &a);
    }
}

static inline void talk_turn(struct talk *t)
{
    talk_turn_only(t);
    talk_take(t);
}

static inline void talk_feed_only(struct talk *t)
{
    const uint8_t *data = t->s.p.buf;
    size_t len = writer_len(&t->s.p.w);
    struct bulk_chunk chunk;

    while (len > 0 && bulk_conn_open(t->b, 0)) {
        size_t left = receiver_chunk_left(bulk_receiver(t->b, 0));
        size_t used = left < len ? left : len;

        if (left > 0) {
            bulk_chunk_data(t->b, 0, used, t->s.now);
        } else {
            bulk_feed(t->b, 0, data, len, &used, &chunk, t->s.now);
            if (chunk.present) {
                assert_int_equal(chunk.raw_len, chunk.stored_len);
                script_log(&t->s, chunk.wanted ? " chunk%u" : " waste",
                         chunk.item);
            }
        }
        data += used;
        len -= used;
    }
    peer_clear(&t->s.p);
}

static inline void talk_feed(struct talk *t)
{
    talk_feed_only(t);
    talk_turn(t);
}

/* ---- the server. */

static inline void talk_info(struct talk *t, const struct step *s)
{
    uint8_t cid[HASH_LEN];
    struct msg_info m = {
        .handle = s->handle,
        .file_type = s->type != 0 ? s->type : FILE_REGULAR,
        .chunk_log2 = s->log2 != 0 ? s->log2 : TALK_LOG2,
        .info_flags = INFO_VERSION_STRONG,
        .size = s->size != 0 ? s->size : TALK_SIZE,
        .version = peer_text(s->version != NULL ? s->version : "v")};

    memset(cid, s->cid, sizeof cid);
    if (s->cid != 0) {
        m.cid = (struct bytes_view){cid, sizeof cid};
    } else {
        m.info_flags |= INFO_CID_PENDING;
    }
    if (m.file_type != FILE_REGULAR) {
        m.version.len = 0;
        m.info_flags = 0;
        m.chunk_log2 = 0;
    }
    assert_int_equal(msg_info_encode(&m, s->id, &t->s.p.w), 0);
}

static inline void talk_say(struct talk *t, const struct step *s)
{
    uint8_t cid[HASH_LEN];
    struct msg_chunk head;

    memset(cid, s->cid, sizeof cid);
    switch (s->say) {
    case SAY_INFO:
        talk_info(t, s);
        break;
    case SAY_CHUNK:
    case SAY_PART:
        head = peer_chunk_head(t->hasher, s->handle, 0, talk_data, TALK_SIZE);
        assert_int_equal(msg_chunk_encode(&head, s->id, &t->s.p.w), 0);
        writer_bytes(&t->s.p.w, talk_data,
                     s->say == SAY_CHUNK ? TALK_SIZE : TALK_SIZE / 2);
        break;
    case SAY_REST:
        writer_bytes(&t->s.p.w, talk_data, TALK_SIZE / 2);
        break;
    case SAY_DONE: /* of a GET with its chunk, or of a CLOSE */
        peer_done(&t->s.p, s->id, s->handle != 0,
                  s->handle != 0 ? TALK_SIZE : 0,
                  s->handle == 0 ? NULL
                  : s->version != NULL ? s->version : "v",
                  s->cid != 0 ? cid : NULL);
        break;
    case SAY_RUBBISH:
        writer_bytes(&t->s.p.w, talk_data, TALK_SIZE);
        break;
    default:
        script_say(&t->s, s);
    }
}

/* ---- a case. */

/* Time passes until the next dial, which succeeds. */
static inline void talk_up(struct talk *t)
{
    for (unsigned n = 0; !t->s.dialling; n++) {
        uint64_t at = bulk_deadline(t->b);

        assert_true(at != UINT64_MAX && n < 1000);
        t->s.now = at > t->s.now ? at : t->s.now + 1;
        talk_turn(t);
    }
    t->s.dialling = false;
    bulk_connected(t->b, 0, t->s.now);
    t->s.p.preface_seen = false;
    peer_greeting(&t->s.p);
    talk_feed(t);
}

static inline void talk_hear(void *arg, const struct step *s)
{
    struct talk *t = arg;

    switch (s->say) {
    case HEAR_LOST:
        bulk_lost(t->b, 0, "cut", t->s.now);
        break;
    case HEAR_UP:
        talk_up(t);
        break;
    case HEAR_REFUSED:
        assert_true(t->s.dialling);
        t->s.dialling = false;
        bulk_dial_failed(t->b, 0, "refused", t->s.now);
        break;
    case HEAR_JUDGE:
    case HEAR_LEAVE:
        bulk_judge(t->b, s->id, s->say == HEAR_JUDGE, t->s.now);
        break;
    case HEAR_STORED:
        bulk_stored(t->b, s->id, (enum bulk_stored)s->code, t->s.now);
        break;
    case WAIT_MS:
        script_log(&t->s, " +%ums", s->id);
        t->s.now += s->id;
        bulk_tick(t->b, t->s.now);
        break;
    default:
        talk_say(t, s);
        if (!s->more) {
            talk_feed(t);
        }
        return;
    }
    if (!s->more) {
        talk_turn(t);
    }
}

static inline void talk_init(struct talk *t, const struct receiver_auth *auth)
{
    memset(t, 0, sizeof *t);
    t->hasher = hasher_new();
    assert_non_null(t->hasher);
    script_init(&t->s);
    t->config = (struct bulk_config){
        .line = {.agent = "test", .max_chunk_log2 = 20, .seed = 7,
                 .auth = auth},
        .conns = 1,
        .items_max = TALK_FILES,
        .small_max = (uint64_t)1 << 20};
}

static inline void talk_start(struct talk *t, const struct talk_case *c)
{
    unsigned files = c->files != 0 ? c->files : 1;

    talk_init(t, c->auth);
    t->b = bulk_new(&t->config, t->s.now);
    assert_non_null(t->b);
    for (unsigned k = 0; k < files; k++) {
        struct bulk_file file = {.path = (const uint8_t *)"path",
                                 .path_len = 4,
                                 .size_known = !c->unknown,
                                 .size = TALK_SIZE,
                                 .probe = c->probe,
                                 .pinned = c->pinned,
                                 .pin_log2 = TALK_LOG2};
        uint32_t item;

        memset(file.pin_cid, 'p', sizeof file.pin_cid);
        assert_int_equal(bulk_add(t->b, &file, &item), 0);
        assert_int_equal(item, k);
    }
    bulk_end_of_input(t->b);
    talk_turn(t);
    talk_up(t);
}

static inline void talk_free(struct talk *t)
{
    bulk_free(t->b);
    hasher_free(t->hasher);
    peer_free(&t->s.p);
}

static inline void talk_run(const struct talk_case *c)
{
    struct talk t;

    talk_start(&t, c);
    script_run(&t.s, c->name, c->step, talk_hear, &t, c->log);
    talk_free(&t);
}

#endif
