/* Transfer: input, time, and what the runner does next. */
#include <string.h>

#include "proto/base/err.h"
#include "proto/session/transfer_internal.h"

/* How often connections are looked after, whatever happens. */
#define TICK_MS 500u
/* A wait of this length is worth a word to the user. */
#define WAIT_TELL_MS 1000u

/* ---- input. */

static void stream_broken(struct transfer *t, unsigned i, int err)
{
    struct conn *c = &t->conn[i];
    const char *text = receiver_error_text(c->receiver);

    if (err == ERR_AUTH) {
        mirror_fail(t, i, TRANSFER_ACCESS, "%s", text);
    } else if (!c->greeted && !t->source[c->source].contact &&
               err == ERR_VERSION) {
        mirror_fail(t, i, TRANSFER_VERSION, "%s", text);
    } else if (!c->greeted && !t->source[c->source].contact &&
               err != ERR_CRC) {
        mirror_fail(t, i, TRANSFER_NOT_BELAY, "%s", text);
    } else {
        conn_give_up(t, i, text, false);
    }
}

/* Nothing that a server says can change the result any more. */
static bool is_over(const struct transfer *t)
{
    return t->phase == PHASE_OVER || t->phase == PHASE_FINISH;
}

void transfer_feed(struct transfer *t, unsigned i, const uint8_t *data,
                   size_t len, size_t *used, struct transfer_chunk *chunk,
                   uint64_t now)
{
    struct conn *c = &t->conn[i];
    struct receiver_event event;
    size_t step;

    t->now = now;
    chunk->present = false;
    *used = 0;
    if (len > 0) {
        share_heard(t, i);
    }
    while (*used < len && c->state == CONN_UP && !is_over(t) &&
           !chunk->present) {
        int err = receiver_feed(c->receiver, now, data + *used, len - *used,
                                &step, &event);

        *used += step;
        t->ledger.wire += step;
        t->source[c->source].stats.wire += step;
        t->round_bytes += step;
        if (err != 0) {
            stream_broken(t, i, err);
            break;
        }
        if (event.type == RECEIVER_NONE) {
            break;
        }
        reply_event(t, i, &event, chunk);
        if (c->state == CONN_UP && c->draining &&
            receiver_outstanding(c->receiver) == 0 && !chunk->present) {
            conn_give_up(t, i, "the server is closing the connection",
                         c->delivered > 0);
        }
    }
    if (c->state != CONN_UP || is_over(t)) {
        chunk->present = false;
        *used = len; /* nothing of it is of interest any more */
    }
}

/* The grid whose chunks are hashed now: one at a time. */
static struct grid *hash_grid(struct transfer *t)
{
    if (t->anchor_hash) {
        return &t->old;
    }
    return t->seed.state == SEED_HASH ? &t->seed.grid : &t->grid;
}

/* The chunk of some HASH action was answered. */
static void batch_count(struct transfer *t, uint64_t index)
{
    for (unsigned k = 0; k < TRANSFER_HASHES_MAX; k++) {
        if (t->hash_batch[k].left > 0 && index >= t->hash_batch[k].first &&
            index - t->hash_batch[k].first < t->hash_batch[k].count) {
            t->hash_batch[k].left--;
            t->hash_pending--;
            return;
        }
    }
    BELAY_UNREACHABLE(); /* the runner answers what it was asked */
}

void transfer_hashed(struct transfer *t, uint64_t index,
                     const uint8_t *digest, uint64_t now)
{
    struct grid *g = hash_grid(t);
    enum chunk_state state;

    t->now = now;
    BELAY_ASSERT(index < g->count);
    batch_count(t, index);
    state = grid_state(g, index);
    if (state == CHUNK_LOCAL && digest != NULL) {
        memcpy(g->digest[index], digest, HASH_LEN);
        grid_set(g, index, CHUNK_HAVE, grid_owner(g, index));
    } else if (state == CHUNK_HINT && digest != NULL &&
               memcmp(g->digest[index], digest, HASH_LEN) == 0) {
        grid_set(g, index, CHUNK_HAVE, grid_owner(g, index));
    } else if (state == CHUNK_HINT || state == CHUNK_LOCAL) {
        t->hints_bad += g == &t->grid;
        grid_set(g, index, CHUNK_MISSING, 0);
    }
    grid_account(t);
    if (g == &t->seed.grid) {
        return;
    }
    if (t->anchor_hash) {
        check_anchor_hashed(t);
    } else {
        transfer_regrid_done(t);
        if (g->unhashed == 0 && t->hints_bad > 0) {
            transfer_say(t, &(struct note){.note = TRANSFER_NOTE_HINTS_BAD,
                                           .count = t->hints_bad});
            t->hints_bad = 0;
        }
    }
}

void transfer_copied(struct transfer *t, bool ok, uint64_t now)
{
    t->now = now;
    change_copied(t, ok);
    grid_account(t);
}

/* ---- time. */

void transfer_tick(struct transfer *t, uint64_t now)
{
    t->now = now;
    t->tick_at = now + TICK_MS;
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (c->state == CONN_UP && receiver_tick(c->receiver, now) != 0) {
            conn_give_up(t, i, receiver_error_text(c->receiver), false);
        }
    }
    mirror_tick(t);
    conn_goal_update(t);
    share_tick(t);
    grow_tick(t);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* New connections are of use: there is something to ask. */
bool transfer_may_dial(const struct transfer *t)
{
    bool local = t->phase == PHASE_CHECK && t->anchor_hash;

    return t->phase != PHASE_FINISH && t->phase != PHASE_OVER &&
           t->phase != PHASE_REGRID && !local && !seed_local(t);
}

uint64_t transfer_deadline(const struct transfer *t)
{
    uint64_t at = t->tick_at;
    bool dial = transfer_may_dial(t);

    if (t->phase == PHASE_OVER) {
        return UINT64_MAX;
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct conn *c = &t->conn[i];

        if (c->state == CONN_WAITING && dial && mirror_may_dial(t, i)) {
            at = sooner(at, c->dial_at);
        } else if (c->state == CONN_UP) {
            at = sooner(at, receiver_deadline(c->receiver));
            if (c->pause_until > t->now) {
                at = sooner(at, c->pause_until);
            }
        }
    }
    return at;
}

/* ---- what next. */

/* Everything that follows from the state alone. */
static void pump(struct transfer *t)
{
    if (transfer_try_shrink(t)) {
        return;
    }
    change_pump(t);
    if (t->phase == PHASE_COPY && t->copy_next == t->copy_count &&
        !t->copy_asked && !t->need_rebase) {
        grid_free(&t->old);
        t->phase = PHASE_FETCH;
    }
    seed_pump(t);
    mirror_pump(t);
    list_pump(t);
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (c->state != CONN_UP || c->draining ||
            t->now < c->pause_until) {
            continue;
        }
        if (c->retired) {
            conn_retire(t, i);
        } else if (!c->bound && c->open_request == 0 &&
            (t->phase == PHASE_NEW || t->phase == PHASE_FETCH ||
             t->phase == PHASE_COMPARE || t->phase == PHASE_CHECK)) {
            conn_open(t, i);
        } else {
            claim_fill(t, i);
        }
    }
    share_evenly(t);
    conn_goal_update(t);
    check_complete(t);
}

static bool next_conn(struct transfer *t, struct transfer_action *a)
{
    bool dial = transfer_may_dial(t);

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        if (t->conn[i].drop) {
            t->conn[i].drop = false;
            a->type = TRANSFER_DROP;
            a->conn = i;
            return true;
        }
    }
    for (unsigned i = 0; dial && i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (c->state == CONN_WAITING && c->dial_at <= t->now &&
            mirror_may_dial(t, i)) {
            c->source = mirror_pick(t);
            c->state = CONN_DIALING;
            c->dial_at = t->now;
            a->type = TRANSFER_DIAL;
            a->conn = i;
            a->source = c->source;
            return true;
        }
    }
    return false;
}

static bool next_record(struct transfer *t, struct transfer_action *a)
{
    if (t->need_begin) {
        t->need_begin = false;
        t->need_identity = false;
        a->type = TRANSFER_BEGIN;
    } else if (t->need_rebase) {
        t->need_rebase = false;
        t->need_identity = false;
        a->type = TRANSFER_REBASE;
    } else if (t->need_identity && t->phase != PHASE_COMPARE &&
               t->phase != PHASE_REGRID) {
        /* In those the record is of another version or grid until REBASE. */
        t->need_identity = false;
        a->type = TRANSFER_IDENTITY;
    } else {
        return false;
    }
    return true;
}

static bool next_note(struct transfer *t, struct transfer_action *a)
{
    struct note *n = &t->notes[t->note_head];

    if (t->note_count == 0) {
        return false;
    }
    t->note_head = (t->note_head + 1) % NOTES_MAX;
    t->note_count--;
    a->type = TRANSFER_NOTE;
    a->note = n->note;
    a->conn = n->conn;
    a->first = n->first;
    a->count = n->count;
    memcpy(t->detail, n->text, sizeof n->text);
    return true;
}

static unsigned free_batch(const struct transfer *t)
{
    unsigned k = 0;

    while (k < TRANSFER_HASHES_MAX && t->hash_batch[k].left > 0) {
        k++;
    }
    return k;
}

static bool next_hash(struct transfer *t, struct transfer_action *a)
{
    struct grid *g = hash_grid(t);
    uint64_t at = g->hash_from;
    uint64_t bytes = 0;
    unsigned batch = free_batch(t);

    if (g->unhashed == 0 || batch == TRANSFER_HASHES_MAX ||
        (t->phase != PHASE_FETCH && t->phase != PHASE_REGRID &&
         t->phase != PHASE_CHECK) ||
        t->hash_pending << g->log2 >= HASH_PENDING_BYTES) {
        return false;
    }
    while (at < g->count && grid_state(g, at) != CHUNK_HINT &&
           grid_state(g, at) != CHUNK_LOCAL) {
        at++;
    }
    a->first = at;
    while (at < g->count && bytes < HASH_BATCH_BYTES &&
           (grid_state(g, at) == CHUNK_HINT ||
            grid_state(g, at) == CHUNK_LOCAL)) {
        bytes += grid_len(g, at);
        at++;
    }
    g->hash_from = at;
    a->count = at - a->first;
    if (a->count == 0) {
        return false;
    }
    a->type = TRANSFER_HASH;
    a->donor = g == &t->seed.grid ? t->seed.donor : TRANSFER_NO_DONOR;
    a->chunk_log2 = g->log2;
    t->hash_batch[batch].first = a->first;
    t->hash_batch[batch].count = a->count;
    t->hash_batch[batch].left = a->count;
    t->hash_pending += a->count;
    return true;
}

static bool next_copy(struct transfer *t, struct transfer_action *a)
{
    if (t->phase != PHASE_COPY || t->copy_asked ||
        t->copy_next == t->copy_count) {
        return false;
    }
    t->copy_asked = true;
    a->type = TRANSFER_COPY;
    a->from = t->copies[t->copy_next].from;
    a->donor = TRANSFER_NO_DONOR;
    a->from_offset = a->from << t->old.log2;
    a->first = t->copies[t->copy_next].to;
    a->count = 1;
    a->chunk_log2 = t->grid.log2;
    a->digest = t->expect[a->first];
    return true;
}

/* Tell once when everything stands still for a while. */
static void tell_waiting(struct transfer *t)
{
    uint64_t next = UINT64_MAX;

    if (t->waiting_told || t->phase == PHASE_OVER ||
        t->phase == PHASE_FINISH || t->phase == PHASE_REGRID ||
        seed_local(t)) {
        return;
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct conn *c = &t->conn[i];

        if (c->state == CONN_UP || c->state == CONN_DIALING) {
            return;
        }
        if (c->state == CONN_WAITING) {
            next = sooner(next, c->dial_at);
        }
    }
    if (next != UINT64_MAX && next >= t->now + WAIT_TELL_MS) {
        t->waiting_told = true;
        transfer_say(t, &(struct note){.note = TRANSFER_NOTE_WAIT,
                                       .count = next - t->now});
    }
}

enum transfer_action_type transfer_next(struct transfer *t, uint64_t now,
                                        struct transfer_action *a)
{
    memset(a, 0, sizeof *a);
    a->type = TRANSFER_IDLE;
    t->now = now;
    if (t->phase != PHASE_OVER && t->phase != PHASE_FINISH) {
        pump(t);
        tell_waiting(t);
    }
    if (t->phase == PHASE_OVER) {
        if (t->fail_told) {
            if (!next_record(t, a) && t->compared) {
                t->compared = false;
                a->type = TRANSFER_COMPARED;
            }
        } else {
            t->fail_told = true;
            a->type = TRANSFER_FAIL;
            a->reason = t->reason;
        }
        return a->type;
    }
    if (next_record(t, a) || next_note(t, a) || next_conn(t, a) ||
        next_copy(t, a) || seed_next_copy(t, a) || next_hash(t, a)) {
        return a->type;
    }
    if (t->phase == PHASE_FINISH && !t->finish_told) {
        t->finish_told = true;
        a->type = TRANSFER_FINISH;
    }
    return a->type;
}
