/* The links of bulk_fixture.h: queues of bytes from a sender to the client. */

#ifndef TESTS_UNIT_BULK_LINKS_H
#define TESTS_UNIT_BULK_LINKS_H

#include "tests/unit/bulk_fixture.h"

/* ---- links. */

static inline void link_close(struct world *w, unsigned c)
{
    struct link *l = &w->link[c];
    uint8_t *queue = l->queue;

    sender_free(l->sender);
    while (l->served != NULL) {
        drop_served(l, l->served);
    }
    while (l->pieces != NULL) {
        drop_piece(l, l->pieces);
    }
    memset(l, 0, sizeof *l);
    l->queue = queue;
}

static inline void link_cut(struct world *w, unsigned c)
{
    link_close(w, c);
    bulk_lost(w->b, c, "the connection was reset", w->now);
}

static inline void link_dial(struct world *w, unsigned c)
{
    struct link *l = &w->link[c];

    assert_false(l->dialling || l->up);
    l->dialling = true;
    l->up_at = w->now + (w->rough ? pick(w, 80) : 1);
    w->dials++;
}

static inline void link_up(struct world *w, unsigned c)
{
    struct link *l = &w->link[c];

    l->dialling = false;
    if (w->refuse_dials > 0) {
        w->refuse_dials--;
        bulk_dial_failed(w->b, c, "refused", w->now);
        return;
    }
    if (l->queue == NULL) {
        l->queue = malloc(LINK_BYTES);
        assert_non_null(l->queue);
    }
    l->up = true;
    l->sender = sender_new(&w->server, w->now);
    assert_non_null(l->sender);
    if (w->cut_every > 0) {
        l->cut_received = 1 + pick(w, 2 * w->cut_every);
    }
    bulk_connected(w->b, c, w->now);
}

static inline void link_put(struct link *l, const uint8_t *data, size_t len)
{
    if (l->at > LINK_BYTES / 2) {
        memmove(l->queue, l->queue + l->at, l->len - l->at);
        l->len -= l->at;
        l->at = 0;
    }
    assert_true(l->len + len <= LINK_BYTES);
    if (len > 0) {
        memcpy(l->queue + l->len, data, len);
    }
    l->len += len;
}

/* The server works while the link is not full. */
static inline bool link_serve(struct world *w, unsigned c)
{
    static uint8_t buf[SENDER_EMIT_BYTES];
    struct link *l = &w->link[c];
    struct sender_job job;
    struct sender_out out;
    bool moved = false;

    while (sender_next_job(l->sender, w->now, &job)) {
        serve_job(w, l, &job);
        moved = true;
    }
    if (l->len - l->at > 64 * 1024) {
        return moved;
    }
    sender_emit(l->sender, w->now, buf, sizeof buf, &out);
    link_put(l, buf, out.len);
    sender_wrote(l->sender, w->now, out.len);
    if (out.has_chunk) {
        struct piece *p = out.piece;

        link_put(l, p->data, p->len);
        sender_wrote(l->sender, w->now, p->len);
        sender_chunk_sent(l->sender, w->now);
        drop_piece(l, p);
    }
    return moved || out.len > 0;
}

#endif
