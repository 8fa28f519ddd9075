/* Transfer: connections.  Dialling, back-off, loss, opening the file. */
#include <stdio.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/session/transfer_internal.h"

/* Without any contact in this run, so many lost greetings are enough. */
#define FIRST_TRIES 3u

unsigned conn_count_up(const struct transfer *t)
{
    unsigned up = 0;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        up += t->conn[i].state == CONN_UP;
    }
    return up;
}

static unsigned conn_count_dialing(const struct transfer *t)
{
    unsigned dialing = 0;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        dialing += t->conn[i].state == CONN_DIALING;
    }
    return dialing;
}

/* ---- up. */

static void start_receiver(struct transfer *t, struct conn *c)
{
    struct receiver_config config = {
        .max_chunk_log2 = t->config.max_chunk_log2,
        .compression = t->config.compression,
        .agent = t->config.agent,
        .grease_seed = retry_random(&t->random),
        .silence_ms = t->config.silence_ms,
        .auth = c->source == 0 ? t->config.auth : NULL,
    };

    receiver_start(c->receiver, &config, t->now);
}

void transfer_connected(struct transfer *t, unsigned i, uint64_t now)
{
    struct conn *c = &t->conn[i];

    t->now = now;
    BELAY_ASSERT(c->state == CONN_DIALING);
    if (c->receiver == NULL) {
        c->receiver = receiver_new();
        if (c->receiver == NULL) {
            transfer_fail(t, TRANSFER_NOMEM, "out of memory");
            c->state = CONN_IDLE;
            c->drop = true;
            return;
        }
    }
    t->dial_ms = now - c->dial_at;
    c->state = CONN_UP;
    c->greeted = false;
    c->unjudged = 0;
    c->draining = false;
    c->retired = false;
    c->piping = false;
    c->discarding = false;
    c->handle = 0;
    c->handle_open = false;
    c->delivered = 0;
    c->listed = false;
    c->pause_until = 0;
    c->data_at = now;
    c->span = SPAN_FIRST;
    c->rate = 0;
    c->ended_at = now;
    c->ended_bytes = 0;
    c->up_at = now;
    c->up_bytes = 0;
    c->bad_run = 0;
    c->probed_at = 0;
    c->probe_after = 0;
    c->probes = 0;
    t->ledger.connects++;
    start_receiver(t, c);
    conn_open(t, i);
}

/* The server counts open handles: give back the one that is replaced. */
static void close_handle(struct transfer *t, struct conn *c)
{
    uint32_t request;

    if (c->handle_open) {
        /* Without room for it the handle stays open; nothing depends on it. */
        (void)!receiver_close_handle(c->receiver, c->handle, t->now,
                                     &request);
        c->handle_open = false;
    }
}

/* Versions mean something only to the server that gave them. */
static void expect_version(const struct transfer *t, unsigned i,
                           struct msg_open *open)
{
    const struct source *s = mirror_version(t, i);

    if (s != NULL) {
        open->expect_version.ptr = s->version;
        open->expect_version.len = s->version_len;
    } else if (t->conn[i].source == t->home) {
        open->expect_version.ptr = t->identity.version;
        open->expect_version.len = t->identity.version_len;
    }
}

/* Expectations are left out only where nothing is expected: rule of
 * section 13 that a resume never forgets its condition. */
void conn_open(struct transfer *t, unsigned i)
{
    struct conn *c = &t->conn[i];
    struct msg_open open = {0};
    bool plain = t->phase == PHASE_CHANGED || t->phase == PHASE_NEW;

    c->bound = false;
    c->first_get = false;
    if (t->phase == PHASE_CHANGED && (i != t->lead || change_waits(t))) {
        return; /* one talks, the others wait for the new identity */
    }
    close_handle(t, c);
    c->handle++;
    c->open_arrivals = t->arrivals;
    open.handle = c->handle;
    open.path.ptr = t->source[c->source].path;
    open.path.len = t->source[c->source].path_len;
    open.want_chunk_log2 = t->grid.state != NULL ? t->grid.log2
                                                 : t->config.want_chunk_log2;
    if (!plain) {
        expect_version(t, i, &open);
        if (t->identity.cid_known) {
            open.expect_cid.ptr = t->identity.cid;
            open.expect_cid.len = HASH_LEN;
        }
    }
    if (t->config.pinned && t->config.pin_log2 == open.want_chunk_log2) {
        open.expect_cid.ptr = t->config.pin_cid;
        open.expect_cid.len = HASH_LEN;
    }
    if (receiver_open(c->receiver, &open, t->now, &c->open_request) != 0) {
        conn_give_up(t, i, "too many requests on one connection", false);
        return;
    }
    if (t->config.probe) {
        return;
    }
    if (t->phase == PHASE_NEW &&
        !(t->config.in_order && (t->config.pinned || mirror_many(t))) &&
        !seed_busy(t) && conn_count_up(t) == 1) {
        claim_first(t, i);
    } else if (t->phase == PHASE_FETCH) {
        claim_fill(t, i);
    }
}

/* ---- down. */

/* Give back what the connection had claimed and not delivered. */
void conn_release(struct transfer *t, unsigned i)
{
    struct conn *c = &t->conn[i];

    if (c->piping) {
        size_t left = receiver_chunk_left(c->receiver);
        uint64_t got = c->current_stored - left;

        t->ledger.wasted += got;
        t->round_wasted += got;
        if (c->current < t->grid.count &&
            grid_state(&t->grid, c->current) == CHUNK_PIPE) {
            grid_set(&t->grid, c->current, CHUNK_MISSING, 0);
        }
        c->piping = false;
    }
    c->discarding = false;
    for (unsigned k = 0; k < CLAIMS_MAX; k++) {
        if (c->claim[k].request != 0) {
            claim_end(t, i, c->claim[k].request, false);
        }
    }
    c->first_get = false;
    c->open_request = 0;
    c->bound = false;
    if (t->list.use != LIST_NONE && t->list.asked && t->list.conn == i) {
        list_lost(t);
    }
}

void conn_wait(struct transfer *t, unsigned i, uint64_t at_least)
{
    struct conn *c = &t->conn[i];

    if (at_least > RETRY_AFTER_MAX_MS) {
        at_least = RETRY_AFTER_MAX_MS;
    }
    c->pause_until = t->now + at_least;
}

/* One connection more that brought nothing while no other is working. */
void conn_fruitless(struct transfer *t, const char *text)
{
    if (conn_count_up(t) + conn_count_dialing(t) > 0) {
        return;
    }
    t->fruitless++;
    if (t->config.tries_max > 0 && t->fruitless >= t->config.tries_max) {
        transfer_fail(t, TRANSFER_UNREACHABLE,
                      "%s; gave up after %u %s without progress", text,
                      t->fruitless, t->fruitless == 1 ? "try" : "tries");
    } else if (!t->contact && !t->config.wait_first &&
               t->fruitless >= FIRST_TRIES && mirror_all_failed(t)) {
        transfer_fail(t, TRANSFER_UNREACHABLE, "%s", text);
    }
}

static void schedule(struct transfer *t, unsigned i, bool progress,
                     const char *text)
{
    struct conn *c = &t->conn[i];
    uint64_t wait = 0;

    mirror_result(t, i, progress);
    if (!progress && mirror_other_usable(t, i)) {
        c->pause_until = 0; /* another one is asked at once */
        conn_fruitless(t, text);
    } else if (progress) {
        c->fruitless = 0;
        t->fruitless = 0;
    } else {
        wait = retry_backoff_ms(&t->random, c->fruitless);
        c->fruitless++;
        conn_fruitless(t, text);
    }
    c->state = i < t->conn_goal ? CONN_WAITING : CONN_IDLE;
    c->dial_at = t->now + wait;
    if (c->dial_at < c->pause_until) {
        c->dial_at = c->pause_until;
    }
}

/* Did this connection bring anything that lasts? */
static bool conn_progress(const struct conn *c)
{
    return c->delivered > 0 || c->listed;
}

/* Common to losing a connection and leaving it. */
static void conn_end(struct transfer *t, unsigned i, const char *text)
{
    struct conn *c = &t->conn[i];
    bool progress = conn_progress(c);

    conn_release(t, i);
    c->state = CONN_IDLE;
    t->ledger.losses++;
    t->source[c->source].stats.losses++;
    t->round_losses++;
    if (progress) {
        t->barren = 0;
        t->barren_conns = 0;
    }
    schedule(t, i, progress, text);
    if (conn_count_up(t) == 0) {
        if (!progress && c->greeted && t->round_bytes > 0) {
            conn_barren(t);
        }
        conn_round_end(t);
    } else if (!progress && c->up_bytes > 0 &&
               (++t->barren_conns >= t->conn_goal || !claim_any(t))) {
        conn_barren(t); /* as many as a round has, or the only one at work */
    }
}

static void note_lost(struct transfer *t, unsigned i, const char *text)
{
    struct note n = {.note = TRANSFER_NOTE_LOST, .conn = i};

    (void)snprintf(n.text, sizeof n.text, "%s", text);
    transfer_say(t, &n);
}

void transfer_lost(struct transfer *t, unsigned i, const char *text,
                   uint64_t now)
{
    struct conn *c = &t->conn[i];

    t->now = now;
    if (c->state != CONN_UP) {
        return;
    }
    if (c->draining && receiver_outstanding(c->receiver) == 0) {
        bool progress = conn_progress(c);

        conn_release(t, i); /* the server said that it would close */
        c->state = CONN_IDLE;
        schedule(t, i, progress, text);
        return;
    }
    note_lost(t, i, text);
    conn_end(t, i, text);
}

/* Leave a connection that is of no more use. */
void conn_give_up(struct transfer *t, unsigned i, const char *text,
                  bool quiet)
{
    struct conn *c = &t->conn[i];

    if (c->state != CONN_UP) {
        return;
    }
    c->drop = true;
    if (!quiet) {
        note_lost(t, i, text);
    }
    conn_end(t, i, text);
}

static void drop_one(struct transfer *t, unsigned i)
{
    struct conn *c = &t->conn[i];

    if (c->state == CONN_UP) {
        conn_release(t, i);
    }
    c->drop = true;
    c->state = i < t->conn_goal ? CONN_WAITING : CONN_IDLE;
    c->dial_at = t->now > c->pause_until ? t->now : c->pause_until;
}

/* Close all but one, without blame: what they were asked for is obsolete.
 * They come back when the phase allows. */
void conn_drop_all(struct transfer *t, unsigned except)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct conn *c = &t->conn[i];

        if (i != except &&
            (c->state == CONN_UP || c->state == CONN_DIALING)) {
            drop_one(t, i);
        }
    }
}

void conn_wake(struct transfer *t, unsigned first)
{
    for (unsigned i = first; i < t->conn_goal; i++) {
        if (t->conn[i].state == CONN_IDLE) {
            t->conn[i].state = CONN_WAITING;
            t->conn[i].dial_at = t->now;
        }
    }
}

/* Close what is one too many, unless something is on its way there. */
void conn_retire(struct transfer *t, unsigned i)
{
    if (receiver_outstanding(t->conn[i].receiver) == 0) {
        drop_one(t, i);
    }
}

/* The file is to be opened anew everywhere.  Who owes no answer stays, and
 * does so when the phase allows; the others come back then. */
void conn_reopen_all(struct transfer *t)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (c->state == CONN_UP && c->greeted && !c->draining &&
            receiver_outstanding(c->receiver) == 0) {
            c->bound = false;
        } else if (c->state == CONN_UP || c->state == CONN_DIALING) {
            drop_one(t, i);
        }
    }
}

void transfer_dial_failed(struct transfer *t, unsigned i, const char *text,
                          uint64_t now)
{
    struct conn *c = &t->conn[i];

    t->now = now;
    if (c->state != CONN_DIALING) {
        return;
    }
    c->state = CONN_IDLE;
    if (!t->contact && !t->config.wait_first && !mirror_many(t)) {
        transfer_fail(t, TRANSFER_UNREACHABLE, "%s", text);
        return;
    }
    note_lost(t, i, text);
    schedule(t, i, false, text);
    if (!t->contact && !t->config.wait_first && mirror_all_failed(t)) {
        transfer_fail(t, TRANSFER_UNREACHABLE, "%s", text);
    }
}

void transfer_hurry(struct transfer *t, uint64_t now)
{
    t->now = now;
    for (unsigned i = 0; i < t->conn_goal; i++) {
        struct conn *c = &t->conn[i];

        if (c->state == CONN_WAITING) {
            /* A wait that the server asked for stays. */
            c->dial_at = c->pause_until > now ? c->pause_until : now;
        }
    }
}
