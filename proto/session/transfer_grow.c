/* Transfer: how many connections are worth having. */
#include "proto/session/transfer_internal.h"

/* Connections at the start, and when the link is slow or has broken. */
#define CONNS_FIRST 4u
#define CONNS_MORE 8u
/* Dialling that took so long tells of a long path, where several
 * connections fill the link sooner. */
#define FAR_MS 5u
/* A link that moves this many bytes per second needs no more connections. */
#define FAST_BYTES_PER_S ((uint64_t)100 << 20)
/* Where a long link loses packets, each connection has its own speed limit:
 * so many more are tried for so long, and stay if they bring this part more
 * (half of them would be as much more). */
#define GROW_STEP 4u
#define GROW_MS 1000u
#define GROW_PERCENT 15u

BELAY_STATIC_ASSERT(CONNS_MORE + GROW_STEP <= TRANSFER_CONNS_MAX,
                    "there is room for a step");

static unsigned worth_having(const struct transfer *t)
{
    unsigned most = t->config.conns;
    uint64_t fit;

    if (most == 0) {
        most = CONNS_FIRST;
        if (t->ledger.losses > 0 || t->dial_ms >= FAR_MS) {
            most = CONNS_MORE;
        } else if (t->now >= t->sample_at + 1000) {
            uint64_t rate = (t->ledger.wire - t->sample_wire) * 1000 /
                            (t->now - t->sample_at);

            most = rate < FAST_BYTES_PER_S ? CONNS_MORE : CONNS_FIRST;
        }
    }
    if (t->config.conns == 0 && most < t->source_count) {
        most = t->source_count;
    }
    fit = grid_missing_bytes(&t->grid) / BYTES_PER_CONN + 1;
    if (most > fit) {
        most = (unsigned)fit;
    }
    return most > TRANSFER_CONNS_MAX ? TRANSFER_CONNS_MAX : most;
}

static void want(struct transfer *t, unsigned goal)
{
    unsigned before = t->conn_goal;

    t->conn_goal = goal;
    conn_wake(t, before);
}

void conn_goal_update(struct transfer *t)
{
    unsigned goal;

    if (t->phase != PHASE_FETCH || !t->confirmed || seed_busy(t) ||
        !mirror_more(t)) {
        return;
    }
    goal = worth_having(t);
    if (goal > t->conn_goal) { /* those that are up stay; they cost nothing */
        want(t, goal);
    }
}

/* ---- growth. */

static void measure_anew(struct transfer *t)
{
    t->growth.since = t->now;
    t->growth.wire = t->ledger.wire;
    t->growth.losses = t->ledger.losses;
}

/* The last step brought nothing: back, when they have done their work. */
static void shrink_back(struct transfer *t)
{
    for (unsigned i = t->growth.before; i < t->conn_goal; i++) {
        t->conn[i].retired = true;
    }
    t->conn_goal = t->growth.before;
    t->growth.over = true;
}

void grow_tick(struct transfer *t)
{
    struct growth *g = &t->growth;
    uint64_t rate;

    if (g->over || t->config.conns != 0 || t->phase != PHASE_FETCH ||
        t->conn_goal < CONNS_MORE || mirror_many(t) ||
        t->dial_ms < FAR_MS) {
        return;
    }
    if (g->since == 0 || g->losses != t->ledger.losses ||
        conn_count_up(t) < t->conn_goal || t->grid.missing_bytes == 0) {
        measure_anew(t);
        return;
    }
    if (t->now < g->since + GROW_MS) {
        return;
    }
    rate = (t->ledger.wire - g->wire) * 1000 / (t->now - g->since);
    measure_anew(t);
    if (g->before != 0 && rate < g->rate + g->rate * GROW_PERCENT / 100) {
        shrink_back(t);
    } else if (rate >= FAST_BYTES_PER_S ||
               t->conn_goal + GROW_STEP > TRANSFER_CONNS_MAX) {
        g->over = true;
    } else if (grid_missing_bytes(&t->grid) / BYTES_PER_CONN >=
               t->conn_goal + GROW_STEP) {
        g->before = t->conn_goal;
        g->rate = rate;
        want(t, t->conn_goal + GROW_STEP);
    }
}
