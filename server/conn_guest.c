/* A connection as a guest among others: what its origin has to answer for,
 * and what share of the server it gets. */
#include "proto/base/limits.h"
#include "server/conn_internal.h"
#include "server/limits.h"

static uint64_t
now_of(const struct conn *c)
{
    return loop_now_ms(c->worker->loop);
}

static bool
is_counted(const struct conn *c)
{
    return c->io.counted;
}

/* Its origin answers for what it does. */
static bool
is_liable(const struct conn *c)
{
    return is_counted(c) && !c->io.guest.exempt;
}

static void
penalize(struct conn *c, uint64_t ms, const char *reason)
{
    struct worker *w = c->worker;
    char text[ORIGIN_TEXT_MAX];
    struct log_line line;

    if (!is_liable(c)) {
        return;
    }
    uint64_t barred = conduct_penalize(w->server->conduct,
                                       &c->io.guest.origin, ms, now_of(c));
    if (barred == 0) {
        return;
    }
    origin_text(&c->io.guest.origin, text);
    log_begin(&line, w->log, LOG_LEVEL_WARN, "barred");
    log_num(&line, "worker", w->index);
    log_num(&line, "conn", c->id);
    log_word(&line, "origin", text);
    log_word(&line, "reason", reason);
    log_num(&line, "ms", barred);
    log_end(&line);
}

/* ---- Strangers. */

void
conn_guest_begin(struct conn *conn)
{
    conn->standing = conn->io.standing;
    conn->share = SERVER_WRITE_TURN_BYTES;
    if (conn->standing == CENSUS_QUEUED) {
        conn->worker->queued++;
    } else {
        conn_wire_begin(conn);
    }
}

/* There may be room for one that is queued. */
static void
wake_queued(struct conn *c)
{
    struct conn *at = c->worker->queued > 0 ? c->worker->conns : NULL;

    for (; at != NULL; at = at->next) {
        if (at->standing == CENSUS_QUEUED && !at->dead &&
            origin_equal(&at->io.guest.origin, &c->io.guest.origin)) {
            loop_defer_arm(at->again);
        }
    }
}

bool
conn_guest_turn(struct conn *conn)
{
    struct worker *w = conn->worker;

    if (!census_advance(w->server->census, w->index, &conn->io.guest)) {
        return false;
    }
    conn->standing = CENSUS_STRANGER;
    w->queued--;
    return true;
}

/* Greeted, and let in where that takes more. */
static bool
is_known(const struct conn *c)
{
    return sender_ready(c->sender) &&
           (gate_auth(c->gate) == NULL ||
            sender_identity(c->sender)->method != 0);
}

static void
meet(struct conn *c)
{
    c->standing = CENSUS_KNOWN;
    if (is_counted(c)) {
        census_meet(c->worker->server->census, c->worker->index,
                    &c->io.guest);
        wake_queued(c);
    }
    conn_share(c);
}

/* A stranger that is still one when it should long have said who it is. */
static bool
has_stalled(const struct conn *c)
{
    uint64_t limit = sender_ready(c->sender) ? TIMER_AUTH_MS
                                             : TIMER_HANDSHAKE_MS;
    return c->standing == CENSUS_STRANGER && now_of(c) - c->born >= limit;
}

/* ---- What it did. */

static void
judge_auth(struct conn *c)
{
    uint64_t refused = sender_stats(c->sender)->auth_refused;

    if (refused > c->auth_judged) {
        penalize(c, (refused - c->auth_judged) * PENALTY_BAD_AUTH_MS,
                 "auth");
        c->auth_judged = refused;
    }
}

/* The origin pays for requests that bring it nothing by waiting, never by an
 * error: whoever asks for many missing files in good faith gets all answers,
 * only later. */
static void
charge(struct conn *c)
{
    const struct sender_stats *stats = sender_stats(c->sender);
    uint64_t total = stats->errors + stats->cancelled + stats->small;
    uint64_t now = now_of(c);
    bool over = c->quiet_until != 0 && now >= c->quiet_until;

    if (total == c->charged && !over) {
        return;
    }
    uint64_t wait = conduct_spend(c->worker->server->conduct,
                                  &c->io.guest.origin, total - c->charged,
                                  now);
    c->charged = total;
    metrics_add(c->worker->count, METRICS_LIMIT_SMALL_REQUESTS,
                wait > 0 && !over);
    c->quiet_until = wait == 0 ? 0 : now + wait;
}

static void
judge_deeds(struct conn *c)
{
    if (is_liable(c)) {
        judge_auth(c);
        charge(c);
    }
}

void
conn_guest_judge(struct conn *conn)
{
    if (conn->standing == CENSUS_STRANGER && is_known(conn)) {
        meet(conn);
    }
    judge_deeds(conn);
}

void
conn_guest_end(struct conn *conn)
{
    judge_deeds(conn);
    if (has_stalled(conn)) {
        penalize(conn, PENALTY_STALLED_MS, "stalled");
    }
    if (!is_counted(conn)) {
        return;
    }
    census_leave(conn->worker->server->census, conn->worker->index,
                 &conn->io.guest, conn->standing);
    if (conn->standing == CENSUS_QUEUED) {
        conn->worker->queued--;
    } else if (conn->standing == CENSUS_STRANGER) {
        wake_queued(conn);
    }
}

bool
conn_guest_waits(const struct conn *conn)
{
    return conn->quiet_until > now_of(conn);
}

/* ---- Shares. */

void
conn_share(struct conn *conn)
{
    uint64_t share = SERVER_WRITE_TURN_BYTES;

    if (is_counted(conn) && !conn->dead) {
        share /= census_sharers(conn->worker->server->census,
                                &conn->io.guest);
    }
    conn->share = share > SERVER_WRITE_SHARE_BYTES ? share
                                                   : SERVER_WRITE_SHARE_BYTES;
}

/* ---- Blame. */

void
conn_guest_serve(struct worker *worker, const struct conn *conn)
{
    struct census *census = worker->server->census;

    if (census != NULL) {
        census_serve(census, worker->index,
                     conn != NULL && is_counted(conn) ? &conn->io.guest
                                                      : NULL);
    }
}
