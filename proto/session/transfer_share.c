/* Transfer: work that was given out is shared anew.
 *
 * A GET is a promise of one connection.  Where that turns out to be slow, the
 * server is asked to end the GET early, and what it had not sent by then goes
 * to all: nothing comes twice, since chunks on their way still count.  Where
 * a connection has fallen silent that does not help; then others ask for what
 * it owes, but only once it is known that the line itself works.  When all is
 * silent nothing could come sooner, only twice. */
#include "proto/session/transfer_internal.h"

/* Who owes work for less than this is left alone. */
#define ASK_MS 250u
/* ... and so much more than all need together is too much. */
#define EVEN_MS 500u
/* How fast something comes is not known before, besides the way. */
#define SETTLE_MS 250u
/* How often that is looked at. */
#define LOOK_MS 250u
/* A rate of the past counts for so long. */
#define RATE_MS 1000u
/* From one that has brought nothing for so long no early end is expected. */
#define QUIET_MS 1000u
/* A connection that has brought nothing for so long may be overtaken. */
#define OVERTAKE_MS 3000u
/* An answer to a PING that took longer, besides the way, is no proof that the
 * line works: it may be the first thing after a long darkness. */
#define PROMPT_MS 1000u
/* So many PINGs are borne by every server, however close (B1-C4). */
#define PROBES_MAX (LIMIT_PINGS_TOLERATED / 2)

/* Bytes that connection c has been asked for and has not begun to bring. */
static uint64_t owed(const struct conn *c)
{
    uint64_t bytes = 0;

    for (unsigned k = 0; k < CLAIMS_MAX; k++) {
        bytes += c->claim[k].request != 0 ? c->claim[k].left : 0;
    }
    return bytes;
}

/* When the oldest GET was asked for that is not answered; UINT64_MAX: none. */
static uint64_t asked_at(const struct conn *c)
{
    uint64_t at = UINT64_MAX;

    for (unsigned k = 0; k < CLAIMS_MAX; k++) {
        if (c->claim[k].request != 0 && c->claim[k].asked_at < at) {
            at = c->claim[k].asked_at;
        }
    }
    return at;
}

/* For so long nothing has come that was asked for. */
static uint64_t silent_ms(const struct transfer *t, const struct conn *c)
{
    uint64_t from = asked_at(c);

    if (c->state != CONN_UP || from == UINT64_MAX ||
        receiver_paused(c->receiver)) {
        return 0;
    }
    return t->now - (from > c->data_at ? from : c->data_at);
}

/* Bytes per second, as of late. */
static uint64_t rate_now(const struct transfer *t, const struct conn *c)
{
    uint64_t from = asked_at(c);

    if (from < c->ended_at) {
        from = c->ended_at; /* before that it brought something else */
    }
    if (c->rate != 0 && (from == UINT64_MAX || t->now < from + RATE_MS)) {
        return c->rate;
    }
    if (from == UINT64_MAX) {
        return 0;
    }
    return (c->up_bytes - c->ended_bytes) * 1000 / (t->now - from + 1);
}

static uint64_t owed_ms(const struct transfer *t, const struct conn *c)
{
    uint64_t rate = rate_now(t, c);

    return rate == 0 ? 0 : owed(c) * 1000 / rate;
}

/* How long all together need for what is left. */
static uint64_t rest_ms(const struct transfer *t)
{
    uint64_t bytes = t->grid.missing_bytes;
    uint64_t rate = 0;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct conn *c = &t->conn[i];

        if (c->state == CONN_UP && c->bound) {
            rate += rate_now(t, c);
            bytes += owed(c);
        }
    }
    return rate == 0 ? UINT64_MAX / 2 : bytes * 1000 / rate;
}

/* Not while it is silent; and near the end a slow connection leaves what it
 * would begin late to those who are done before. */
bool share_ahead(const struct transfer *t, unsigned i)
{
    const struct conn *c = &t->conn[i];
    uint64_t rate = rate_now(t, c);
    uint64_t chunk = (uint64_t)1 << t->grid.log2;

    if (silent_ms(t, c) >= QUIET_MS) {
        return false;
    }
    return t->config.in_order || rate == 0 ||
           (owed(c) + chunk) * 1000 / rate < rest_ms(t) + ASK_MS;
}

/* The GET whose early end frees most: the last one, unless so little of it is
 * left that the server will have sent it before it hears of that. */
static struct claim *endable(const struct transfer *t, struct conn *c)
{
    struct claim *last = NULL;

    if (c->state != CONN_UP || !c->bound || silent_ms(t, c) >= QUIET_MS) {
        return NULL;
    }
    for (unsigned k = 0; k < CLAIMS_MAX; k++) {
        struct claim *claim = &c->claim[k];

        if (claim->request != 0 && !claim->cancelled &&
            t->now >= claim->asked_at + SETTLE_MS + 2 * t->dial_ms &&
            claim->left >= (uint64_t)2 << t->grid.log2 &&
            (last == NULL || claim->request > last->request)) {
            last = claim;
        }
    }
    return last;
}

static bool end_early(struct conn *c, struct claim *claim)
{
    if (receiver_cancel(c->receiver, claim->request) != 0) {
        return false; /* later */
    }
    claim->cancelled = true;
    return true;
}

static bool is_idle(const struct conn *c)
{
    return c->state == CONN_UP && c->bound && !c->draining &&
           receiver_outstanding(c->receiver) == 0;
}

/* Will more be free soon than those who have nothing to do can use? */
static bool enough_ending(const struct transfer *t)
{
    unsigned ending = 0;
    unsigned idle = 0;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct conn *c = &t->conn[i];

        idle += is_idle(c);
        for (unsigned k = 0; k < CLAIMS_MAX; k++) {
            ending += c->claim[k].request != 0 && c->claim[k].cancelled &&
                      silent_ms(t, c) < QUIET_MS;
        }
    }
    return ending >= idle;
}

/* Nothing is left to ask for: the end of the file shall not wait for the
 * slowest connection. */
void share_ask(struct transfer *t, unsigned i)
{
    struct conn *slowest = NULL;
    uint64_t longest = ASK_MS;

    if (!t->conn[i].bound || t->config.in_order || enough_ending(t)) {
        return;
    }
    for (unsigned v = 0; v < TRANSFER_CONNS_MAX; v++) {
        struct conn *c = &t->conn[v];

        if (v != i && endable(t, c) != NULL && owed_ms(t, c) > longest) {
            longest = owed_ms(t, c);
            slowest = c;
        }
    }
    if (slowest != NULL) {
        (void)end_early(slowest, endable(t, slowest));
    }
}

/* Who owes more than the rest of the file will take ends a GET early, long
 * before the others have nothing to do. */
void share_evenly(struct transfer *t)
{
    uint64_t fair;

    if (t->phase != PHASE_FETCH || t->shrink_to != 0 || t->config.in_order ||
        t->now < t->share_at || conn_count_up(t) < 2) {
        return;
    }
    t->share_at = t->now + LOOK_MS;
    fair = rest_ms(t) + EVEN_MS;
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (endable(t, c) != NULL && owed_ms(t, c) > fair) {
            (void)end_early(c, endable(t, c));
        }
    }
}

bool share_end_all(struct transfer *t)
{
    bool any = false;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        for (unsigned k = 0; c->state == CONN_UP && k < CLAIMS_MAX; k++) {
            if (c->claim[k].request != 0) {
                any = true;
                if (!c->claim[k].cancelled) {
                    (void)end_early(c, &c->claim[k]);
                }
            }
        }
    }
    return any;
}

/* ---- silence. */

/* What connection i owes is missing again; whoever is first wins. */
static bool free_claims(struct transfer *t, unsigned i)
{
    bool freed = false;

    for (unsigned k = 0; k < CLAIMS_MAX; k++) {
        const struct claim *claim = &t->conn[i].claim[k];

        for (uint32_t n = 0; claim->request != 0 && n < claim->count; n++) {
            freed |= claim_free_range(t, i, claim->range[n].first,
                                      claim->range[n].count);
        }
    }
    return freed;
}

/* A chunk that got stuck half-way can be had in no other way than by giving
 * up the connection. */
static void overtake(struct transfer *t)
{
    bool freed = false;
    unsigned stuck = TRANSFER_CONNS_MAX;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        if (silent_ms(t, &t->conn[i]) >= OVERTAKE_MS) {
            freed |= free_claims(t, i);
            if (t->conn[i].piping) {
                stuck = i;
            }
        }
    }
    if (!freed && stuck < TRANSFER_CONNS_MAX) {
        conn_give_up(t, stuck, "it stopped in the middle of a chunk", false);
    }
}

static bool all_claimed(struct transfer *t)
{
    return t->phase == PHASE_FETCH &&
           grid_next_missing(&t->grid, 0) >= t->grid.count;
}

/* Some connection has nothing to do while others are silent: it asks the
 * server for a sign of life. */
void share_tick(struct transfer *t)
{
    bool silent = false;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        silent |= silent_ms(t, &t->conn[i]) >= OVERTAKE_MS;
    }
    if (!silent || !all_claimed(t)) {
        return;
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (is_idle(c) && c->probed_at == 0 && t->now >= c->probe_after &&
            c->probes < PROBES_MAX &&
            receiver_probe(c->receiver, t->now) == 0) {
            c->probed_at = t->now;
            c->probes++;
            return; /* the others ask when this one gets no answer */
        }
    }
}

void share_heard(struct transfer *t, unsigned i)
{
    struct conn *c = &t->conn[i];
    uint64_t took = t->now - c->probed_at;

    if (c->state != CONN_UP || c->probed_at == 0) {
        return;
    }
    c->probed_at = 0;
    c->probe_after = t->now + OVERTAKE_MS;
    if (took < PROMPT_MS + 2 * t->dial_ms && all_claimed(t)) {
        overtake(t);
    }
}
