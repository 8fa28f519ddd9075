/* The client's end of bulk_fixture.h: does what bulk says, collects bytes,
 * and holds bulk to what it promises. */

#ifndef TESTS_UNIT_BULK_CLIENT_H
#define TESTS_UNIT_BULK_CLIENT_H

#include "tests/unit/bulk_links.h"

#define STEPS_MAX 400000u

/* ---- the end. */

static inline void load_forget(struct load *l)
{
    free(l->data);
    free(l->digest);
    memset(l, 0, sizeof *l);
}

static inline void world_free(struct world *w)
{
    for (unsigned c = 0; c < WORLD_CONNS; c++) {
        link_close(w, c);
        free(w->link[c].queue);
    }
    for (unsigned k = 0; k < FILES_MAX; k++) {
        load_forget(&w->load[k]);
    }
    bulk_free(w->b);
    hasher_free(w->hasher);
}

/* ---- collecting. */

static inline void take_head(struct world *w, const struct bulk_chunk *chunk)
{
    const struct transfer_identity *id = bulk_identity(w->b, chunk->item);
    struct load *l = &w->load[chunk->item];

    assert_true(chunk->item < w->config.items_max);
    assert_int_equal(l->owed, BULK_IDLE);
    if (l->attempt != chunk->attempt) {
        uint64_t count = cid_chunk_count(id->size, id->chunk_log2);

        free(l->data);
        free(l->digest);
        l->data = malloc(id->size + 1);
        l->digest = calloc(count + 1, HASH_LEN);
        assert_true(l->data != NULL && l->digest != NULL);
        l->attempt = chunk->attempt;
        l->chunks = 0;
    }
    assert_true(chunk->offset + chunk->raw_len <= id->size);
    assert_int_equal(chunk->codec, CODEC_RAW);
    assert_int_equal(chunk->offset, (uint64_t)l->chunks << CHUNK_LOG2);
    memcpy(l->digest[l->chunks++], chunk->digest, HASH_LEN);
}

static inline size_t take_data(struct world *w, unsigned c,
                               const uint8_t *data, size_t len)
{
    struct link *l = &w->link[c];
    size_t left = receiver_chunk_left(bulk_receiver(w->b, c));

    len = len < left ? len : left;
    if (l->chunk.wanted) {
        memcpy(w->load[l->chunk.item].data + l->chunk.offset + l->chunk_got,
               data, len);
    }
    l->chunk_got += (uint32_t)len;
    bulk_chunk_data(w->b, c, len, w->now);
    return len;
}

static inline void take_bytes(struct world *w, unsigned c,
                              const uint8_t *data, size_t len)
{
    struct link *l = &w->link[c];

    while (len > 0 && bulk_conn_open(w->b, c)) {
        size_t used;

        if (receiver_chunk_left(bulk_receiver(w->b, c)) > 0) {
            used = take_data(w, c, data, len);
        } else {
            bulk_feed(w->b, c, data, len, &used, &l->chunk, w->now);
            l->chunk_got = 0;
            if (l->chunk.present && l->chunk.wanted) {
                take_head(w, &l->chunk);
            }
        }
        data += used;
        len -= used;
    }
}

/* ---- what bulk wants. */

static inline void answer_store(struct world *w, uint32_t i)
{
    const struct transfer_identity *id = bulk_identity(w->b, i);
    struct load *l = &w->load[i];
    struct remote *r = &w->remote[l->remote];
    uint8_t none[HASH_LEN] = {0};
    uint8_t digest[HASH_LEN];
    enum bulk_stored result = BULK_STORED;

    assert_int_equal(l->chunks, cid_chunk_count(id->size, CHUNK_LOG2));
    for (uint32_t k = 0; k < l->chunks; k++) {
        assert_int_equal(
            hash_sha256(w->hasher, l->data + ((uint64_t)k << CHUNK_LOG2),
                        cid_chunk_len(id->size, CHUNK_LOG2, k), digest), 0);
        if (memcmp(digest, l->digest[k], HASH_LEN) != 0) {
            result = BULK_BAD_CHUNK;
        }
    }
    if (result == BULK_STORED &&
        bulk_check(w->hasher, id, l->chunks > 0 ? l->digest[0] : none) != 0) {
        result = BULK_BAD_CID;
    }
    if (result == BULK_STORED) {
        assert_int_equal(id->size, r->size);
        for (uint64_t at = 0; at < r->size; at++) {
            assert_int_equal(l->data[at], truth(r, at));
        }
        w->stores++;
    }
    l->attempt = 0;
    l->chunks = 0;
    bulk_stored(w->b, i, result, w->now);
}

static inline void answer(struct world *w, uint32_t i)
{
    struct load *l = &w->load[i];
    enum bulk_action_type owed = l->owed;

    l->owed = BULK_IDLE;
    if (owed == BULK_STORE) {
        answer_store(w, i);
    } else if (owed == BULK_PROBED) {
        bulk_judge(w->b, i, w->remote[l->remote].fetch, w->now);
    }
}

static inline void item_over(struct world *w, const struct bulk_action *a)
{
    struct load *l = &w->load[a->item];
    struct remote *r = &w->remote[l->remote];

    assert_int_equal(l->owed, BULK_IDLE);
    assert_int_equal(r->ended, 0); /* exactly once */
    r->ended++;
    r->ended_at = w->now;
    r->outcome = a->outcome;
    r->reason = a->reason;
    (void)snprintf(r->text, sizeof r->text, "%s", a->text);
    load_forget(l);
    w->items--;
}

static inline void act(struct world *w, const struct bulk_action *a)
{
    assert_false(w->done || w->failed);
    switch (a->type) {
    case BULK_DIAL:
        link_dial(w, a->conn);
        break;
    case BULK_DROP:
        link_close(w, a->conn);
        w->drops++;
        break;
    case BULK_PROBED:
    case BULK_STORE:
        assert_int_equal(w->load[a->item].owed, BULK_IDLE);
        w->load[a->item].owed = a->type;
        break;
    case BULK_ITEM:
        item_over(w, a);
        break;
    case BULK_FAIL:
        w->failed = true;
        w->fail_reason = a->reason;
        (void)snprintf(w->fail_text, sizeof w->fail_text, "%s", a->text);
        break;
    case BULK_END:
        w->done = true;
        break;
    case BULK_NOTE:
    case BULK_IDLE:
        break;
    }
}

static inline void add_files(struct world *w)
{
    while (w->next < w->count && bulk_room(w->b)) {
        const struct remote *r = &w->remote[w->next];
        struct bulk_file file = {.path = (const uint8_t *)r->path,
                                 .path_len = strlen(r->path),
                                 .size_known = r->tell_size,
                                 .size = r->size,
                                 .probe = r->probe,
                                 .pinned = r->pinned,
                                 .pin_log2 = CHUNK_LOG2};
        uint32_t item;

        if (r->pinned) {
            true_cid(w, r, file.pin_cid);
        }
        assert_int_equal(bulk_add(w->b, &file, &item), 0);
        assert_int_equal(w->load[item].attempt, 0);
        w->load[item].remote = w->next++;
        w->items++;
        assert_true(w->items <= w->config.items_max);
        if (w->next == w->count) {
            bulk_end_of_input(w->b);
        }
    }
}

static inline void pump(struct world *w)
{
    struct bulk_action a;
    unsigned count = 0;

    do {
        add_files(w);
        for (uint32_t i = 0; i < w->config.items_max; i++) {
            if (w->load[i].owed != BULK_IDLE &&
                (!w->rough || pick(w, 3) == 0)) {
                answer(w, i);
            }
        }
        while (!w->failed && !w->done &&
               bulk_next(w->b, w->now, &a) != BULK_IDLE) {
            act(w, &a);
            assert_true(++count < 100000);
        }
    } while (w->next < w->count && bulk_room(w->b) && !w->failed);
}

/* ---- the links. */

static inline size_t portion(struct world *w, size_t len, uint64_t done,
                             uint64_t cut)
{
    if (w->rough && len > 1) {
        len = 1 + pick(w, (uint32_t)(len < 20000 ? len : 20000));
    }
    return cut > 0 && len > cut - done ? (size_t)(cut - done) : len;
}

static inline bool link_send(struct world *w, unsigned c)
{
    struct link *l = &w->link[c];
    struct receiver *r = bulk_receiver(w->b, c);
    const uint8_t *data;
    size_t len;

    if (!bulk_conn_open(w->b, c) || !sender_wants_read(l->sender)) {
        return false;
    }
    len = receiver_out(r, &data);
    assert_true(len <= RECEIVER_OUT_MAX);
    len = portion(w, len, l->sent, l->cut_sent);
    if (len == 0) {
        return false;
    }
    sender_recv(l->sender, w->now, data, len);
    receiver_sent(r, len, w->now);
    l->sent += len;
    if (l->sent == l->cut_sent) {
        link_cut(w, c);
    }
    return true;
}

static inline bool link_receive(struct world *w, unsigned c)
{
    struct link *l = &w->link[c];
    size_t len = portion(w, l->len - l->at, l->received, l->cut_received);

    if (len == 0) {
        if (sender_finished(l->sender) && l->len == l->at) {
            link_cut(w, c);
            return true;
        }
        return false;
    }
    take_bytes(w, c, l->queue + l->at, len);
    l->at += len;
    l->received += len;
    if (l->received == l->cut_received) {
        link_cut(w, c);
    }
    return true;
}

static inline bool link_step(struct world *w, unsigned c)
{
    struct link *l = &w->link[c];
    bool moved;

    if (l->dialling && l->up_at <= w->now) {
        link_up(w, c);
        return true;
    }
    if (w->rough && pick(w, 2) == 0) {
        return l->up;
    }
    moved = l->up && link_send(w, c);
    moved |= l->up && link_serve(w, c);
    moved |= l->up && link_receive(w, c);
    return moved;
}

/* Nothing moves: time passes until somebody wants to do something. */
static inline void pass(struct world *w)
{
    uint64_t at = bulk_deadline(w->b);

    for (unsigned c = 0; c < WORLD_CONNS; c++) {
        const struct link *l = &w->link[c];
        uint64_t own = l->dialling ? l->up_at
                       : l->up     ? sender_deadline(l->sender)
                                   : UINT64_MAX;

        at = own < at ? own : at;
    }
    assert_true(at != UINT64_MAX); /* or it would wait for ever */
    w->now = at > w->now ? at : w->now + 1;
    for (unsigned c = 0; c < WORLD_CONNS; c++) {
        if (w->link[c].up) {
            sender_tick(w->link[c].sender, w->now);
        }
    }
    bulk_tick(w->b, w->now);
}

static inline void step(struct world *w)
{
    bool moved = false;

    pump(w);
    for (unsigned c = 0; c < WORLD_CONNS && !w->failed; c++) {
        moved |= link_step(w, c);
    }
    if (w->rough) {
        w->now += pick(w, 3);
    }
    if (!moved && !w->failed && !w->done) {
        pass(w);
    }
}

static inline void start(struct world *w)
{
    w->b = bulk_new(&w->config, w->now);
    assert_non_null(w->b);
}

/* Until it is over; neither done nor failed: it would take for ever. */
static inline void run(struct world *w)
{
    for (unsigned n = 0; n < STEPS_MAX && !w->done && !w->failed; n++) {
        step(w);
    }
}

/* Everything that was said arrives; then no handle may be left open. */
static inline void assert_tidy(struct world *w)
{
    for (unsigned c = 0; c < WORLD_CONNS; c++) {
        while (w->link[c].up && link_step(w, c)) {
        }
    }
    for (uint32_t k = 0; k < w->count; k++) {
        assert_int_equal(w->remote[k].handles, 0);
    }
}

#endif
