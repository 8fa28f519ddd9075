/* Transfer: which connection asks for which chunks.
 *
 * Every GET has a bounded span, so that a lost connection holds up little and
 * the others share what is left.  Spans grow while a connection answers them
 * quickly and shrink near the end of the file. */
#include <string.h>

#include "proto/session/transfer_internal.h"

/* A GET should take about so long; it never grows faster than this. */
#define SPAN_MS 1000u
#define SPAN_GROWTH 4u
/* Outstanding GETs per connection: the next is there before one ends. */
#define GETS_OUTSTANDING 2u
/* The GETs of a connection that has been silent for less than this are
 * expected to end by themselves. */
#define ALIVE_MS 1000u

BELAY_STATIC_ASSERT(GETS_OUTSTANDING <= CLAIMS_MAX, "one slot per GET");

struct claim *claim_of(struct conn *c, uint32_t request)
{
    for (unsigned k = 0; k < CLAIMS_MAX; k++) {
        if (c->claim[k].request == request) {
            return &c->claim[k];
        }
    }
    return NULL;
}

unsigned claim_count(const struct conn *c)
{
    unsigned count = 0;

    for (unsigned k = 0; k < CLAIMS_MAX; k++) {
        count += c->claim[k].request != 0;
    }
    return count;
}

/* Is the end of some GET likely to come soon? */
bool claim_alive(const struct transfer *t)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct conn *c = &t->conn[i];

        if (c->state == CONN_UP && claim_count(c) > 0 &&
            t->now - c->data_at < ALIVE_MS) {
            return true;
        }
    }
    return false;
}

/* Does any connection that is up owe something? */
bool claim_any(const struct transfer *t)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct conn *c = &t->conn[i];

        if (c->state == CONN_UP && claim_count(c) > 0) {
            return true;
        }
    }
    return false;
}

/* Bytes that the next GET of this connection should span. */
static uint64_t span_now(const struct transfer *t, const struct conn *c)
{
    unsigned conns = conn_count_up(t);
    uint64_t share = t->grid.missing_bytes /
                     (2 * (uint64_t)(conns == 0 ? 1 : conns));
    uint64_t span = c->span < share ? c->span : share;

    return span < SPAN_MIN ? SPAN_MIN : span;
}

/* In-order output holds chunks back until their turn: ask for nothing
 * beyond the window. */
static uint64_t claim_limit(const struct transfer *t)
{
    uint64_t window;

    if (!t->config.in_order) {
        return t->grid.count;
    }
    window = t->config.window_chunks_bytes >> t->grid.log2;
    if (window == 0) {
        window = 1;
    }
    return t->grid.count - t->grid.prefix < window
               ? t->grid.count
               : t->grid.prefix + window;
}

/* Take missing chunks for one claim, lowest first.  Gaps shorter than a
 * range costs do not matter: ranges are exact. */
static void claim_take(struct transfer *t, unsigned i, struct claim *claim,
                       unsigned ranges_max)
{
    uint64_t span = span_now(t, &t->conn[i]);
    uint64_t limit = claim_limit(t);
    uint64_t at = grid_next_missing(&t->grid, 0);

    claim->count = 0;
    claim->bytes = 0;
    claim->arrival = 0;
    claim->cancelled = false;
    while (at < limit && claim->bytes < span && claim->count < ranges_max) {
        uint64_t end = at;

        while (end < limit && claim->bytes < span &&
               grid_state(&t->grid, end) == CHUNK_MISSING) {
            grid_set(&t->grid, end, CHUNK_CLAIMED, i);
            claim->bytes += grid_len(&t->grid, end);
            end++;
        }
        claim->range[claim->count].first = at;
        claim->range[claim->count].count = end - at;
        claim->count++;
        at = grid_next_missing(&t->grid, end);
    }
    claim->left = claim->bytes;
}

static int claim_send(struct transfer *t, struct conn *c,
                      struct claim *claim)
{
    struct msg_range ranges[RECEIVER_RANGES_MAX];
    uint8_t packed[MSG_RANGES_BYTES(RECEIVER_RANGES_MAX)];
    struct msg_get get = {.handle = c->handle};
    unsigned log2 = t->grid.log2;

    for (uint32_t k = 0; k < claim->count; k++) {
        ranges[k].offset = claim->range[k].first << log2;
        ranges[k].length = claim->range[k].count << log2;
    }
    get.urgency = LIMIT_URGENCY_DEFAULT;
    get.flags = (uint8_t)(t->config.compression ? 0 : GET_NO_COMPRESSION);
    msg_ranges_pack(&get, ranges, (uint16_t)claim->count, packed);
    claim->asked_at = t->now;
    return receiver_get(c->receiver, &get, t->now, &claim->request);
}

/* Chunks that this connection claimed and has not brought are missing. */
bool claim_free_range(struct transfer *t, unsigned i, uint64_t first,
                      uint64_t count)
{
    bool freed = false;

    for (uint64_t at = first; at < first + count && at < t->grid.count;
         at++) {
        if (grid_state(&t->grid, at) == CHUNK_CLAIMED &&
            grid_owner(&t->grid, at) == i) {
            grid_set(&t->grid, at, CHUNK_MISSING, 0);
            freed = true;
        }
    }
    return freed;
}

/* Keep this connection supplied with GETs. */
void claim_fill(struct transfer *t, unsigned i)
{
    struct conn *c = &t->conn[i];
    unsigned ranges_max = RECEIVER_RANGES_MAX;

    if (t->phase != PHASE_FETCH || c->state != CONN_UP || c->draining ||
        c->first_get || c->retired || t->shrink_to != 0 ||
        t->now < c->pause_until || (!c->bound && c->open_request == 0) ||
        t->list.use == LIST_FIRST || seed_busy(t)) {
        return;
    }
    while (claim_count(c) < GETS_OUTSTANDING &&
           receiver_can_request(c->receiver)) {
        struct claim *claim = claim_of(c, 0);

        if (claim_count(c) > 0 && !share_ahead(t, i)) {
            return;
        }
        claim_take(t, i, claim, ranges_max);
        if (claim->count == 0) {
            if (claim_count(c) == 0) {
                share_ask(t, i);
            }
            return;
        }
        if (claim_send(t, c, claim) != 0) {
            claim->request = REQUEST_ID_NEVER;
            claim_end(t, i, REQUEST_ID_NEVER, false);
            return;
        }
    }
}

/* The first flight of a fresh download: size and grid are still unknown. */
void claim_first(struct transfer *t, unsigned i)
{
    struct conn *c = &t->conn[i];
    struct msg_range range = {.offset = 0, .length = FIRST_SPAN};
    struct msg_get get = {.handle = c->handle,
                          .urgency = LIMIT_URGENCY_DEFAULT};
    uint8_t packed[MSG_RANGES_BYTES(1)];

    if (t->config.in_order && t->config.window_chunks_bytes < FIRST_SPAN) {
        return; /* it might bring more than may be held */
    }
    msg_ranges_pack(&get, &range, 1, packed);
    get.flags = (uint8_t)(t->config.compression ? 0 : GET_NO_COMPRESSION);
    if (receiver_get(c->receiver, &get, t->now, &c->first_request) == 0) {
        c->first_get = true;
    }
}

/* INFO told the grid: the first GET becomes an ordinary claim. */
void claim_bind_first(struct transfer *t, unsigned i)
{
    struct conn *c = &t->conn[i];
    struct claim *claim = claim_of(c, 0);
    uint64_t count = FIRST_SPAN >> t->grid.log2;

    if (!c->first_get) {
        return;
    }
    c->first_get = false;
    if (count > t->grid.count) {
        count = t->grid.count;
    }
    if (count == 0) {
        return;
    }
    claim->request = c->first_request;
    claim->asked_at = t->now;
    claim->count = 1;
    claim->bytes = 0;
    claim->arrival = 0;
    claim->cancelled = false;
    claim->range[0].first = 0;
    claim->range[0].count = count;
    for (uint64_t k = 0; k < count; k++) {
        grid_set(&t->grid, k, CHUNK_CLAIMED, i);
        claim->bytes += grid_len(&t->grid, k);
    }
    claim->left = claim->bytes;
}

/* The header of a chunk came in answer to this GET. */
void claim_arrived(struct transfer *t, unsigned i, uint32_t request,
                   uint64_t index)
{
    struct claim *claim = request == 0 ? NULL : claim_of(&t->conn[i], request);

    if (claim != NULL) {
        uint32_t len = grid_len(&t->grid, index);

        claim->left -= claim->left < len ? claim->left : len;
    }
}

/* A GET of `bytes` bytes was answered: how fast is this connection? */
static void span_learn(const struct transfer *t, struct conn *c,
                       uint64_t asked_at, uint64_t bytes)
{
    uint64_t since = asked_at > c->ended_at ? asked_at : c->ended_at;
    uint64_t took = t->now > since ? t->now - since : 1;
    uint64_t rate = bytes * 1000 / took;
    uint64_t most = c->span * SPAN_GROWTH < SPAN_MAX ? c->span * SPAN_GROWTH
                                                     : SPAN_MAX;

    c->ended_at = t->now;
    c->ended_bytes = c->up_bytes;
    if (bytes == 0) {
        return;
    }
    c->rate = c->rate == 0 ? rate : (c->rate + rate) / 2;
    c->span = c->rate * SPAN_MS / 1000;
    c->span = c->span > most ? most : c->span;
    c->span = c->span < SPAN_MIN ? SPAN_MIN : c->span;
}

/* A GET was answered to its end, or will not be. */
void claim_end(struct transfer *t, unsigned i, uint32_t request, bool done)
{
    struct conn *c = &t->conn[i];
    struct claim *claim = claim_of(c, request);

    if (request == 0 || claim == NULL) {
        return;
    }
    if (claim->arrival > t->unlooked) {
        t->unlooked = claim->arrival;
    }
    for (uint32_t k = 0; k < claim->count; k++) {
        (void)claim_free_range(t, i, claim->range[k].first,
                               claim->range[k].count);
    }
    claim->request = 0;
    if (done || claim->cancelled) {
        span_learn(t, c, claim->asked_at, claim->bytes - claim->left);
    }
}
