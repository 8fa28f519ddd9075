/* Transfer: chunk states and digests; smaller chunks. */
#include <stdlib.h>
#include <string.h>

#include "proto/data/cid.h"
#include "proto/data/merkle.h"
#include "proto/session/transfer_internal.h"

/* The part of a round's bytes that may be wasted, in percent. */
#define WASTE_PERCENT 1u
/* Waste alone never asks for chunks below this, since headers cost more
 * then; one wasteful round is weaker evidence than several. */
#define WASTE_LOG2_FIRST 16
#define WASTE_LOG2_MIN 14
/* The same for chunks that fail their digests: a wrong bit costs its chunk.
 * So many have to fail first, and what is still to come has to be worth so
 * many chunks more. */
#define DAMAGE_PERCENT 2u
#define DAMAGED_MIN 3u
#define DAMAGE_SAVES 4u
/* Connections get so long to end what they do on the old grid. */
#define SHRINK_WAIT_MS 2000u
/* Kept data is hashed again on a finer grid; so much takes about a second. */
#define WASTE_REHASH_MAX ((uint64_t)1 << 30)

int grid_init(struct grid *g, uint64_t size, uint8_t log2)
{
    uint64_t count = cid_chunk_count(size, log2);

    memset(g, 0, sizeof *g);
    if (count > TRANSFER_CHUNKS_MAX) {
        return ERR_LIMIT;
    }
    /* calloc() leaves untouched pages unbacked, so an announced size alone
     * costs no memory. */
    g->state = calloc(count + 1, 1);
    g->digest = calloc(count + 1, HASH_LEN);
    if (g->state == NULL || g->digest == NULL) {
        grid_free(g);
        return ERR_NOMEM;
    }
    g->size = size;
    g->log2 = log2;
    g->count = count;
    g->missing_bytes = size;
    return 0;
}

void grid_free(struct grid *g)
{
    free(g->state);
    free(g->digest);
    memset(g, 0, sizeof *g);
}

uint32_t grid_len(const struct grid *g, uint64_t i)
{
    return cid_chunk_len(g->size, g->log2, i);
}

unsigned grid_owner(const struct grid *g, uint64_t i)
{
    return g->state[i] >> 4;
}

static void count_state(struct grid *g, uint64_t i, enum chunk_state state,
                        int by)
{
    uint64_t step = (uint64_t)(int64_t)by; /* wraps to minus one on purpose */

    if (state == CHUNK_HAVE) {
        g->have += step;
        g->have_bytes += step * grid_len(g, i);
        g->origin_bytes[grid_owner(g, i)] += step * grid_len(g, i);
    } else if (state == CHUNK_HINT || state == CHUNK_LOCAL) {
        g->unhashed += step;
    } else if (state == CHUNK_PIPE) {
        g->piped += step;
    } else if (state == CHUNK_MISSING) {
        g->missing_bytes += step * grid_len(g, i);
    }
}

void grid_set(struct grid *g, uint64_t i, enum chunk_state state,
              unsigned owner)
{
    BELAY_ASSERT(i < g->count && owner < TRANSFER_CONNS_MAX &&
                 (state != CHUNK_HAVE || owner < ORIGIN_COUNT));
    count_state(g, i, grid_state(g, i), -1);
    g->state[i] = (uint8_t)((unsigned)state | owner << 4);
    count_state(g, i, state, 1);
    if (state == CHUNK_MISSING) {
        g->state[i] = 0;
        if (i < g->missing_from) {
            g->missing_from = i;
        }
    } else if ((state == CHUNK_HINT || state == CHUNK_LOCAL) &&
               i < g->hash_from) {
        g->hash_from = i;
    }
    if (state != CHUNK_HAVE && i < g->prefix) {
        g->prefix = i;
    }
    while (g->prefix < g->count &&
           grid_state(g, g->prefix) == CHUNK_HAVE) {
        g->prefix++;
    }
}

uint64_t grid_next_missing(struct grid *g, uint64_t from)
{
    uint64_t start = from > g->missing_from ? from : g->missing_from;
    const uint8_t *found;

    if (start >= g->count) {
        return g->count;
    }
    found = memchr(g->state + start, CHUNK_MISSING, g->count - start);
    uint64_t at = found == NULL ? g->count : (uint64_t)(found - g->state);

    if (start == g->missing_from) {
        g->missing_from = at;
    }
    return at;
}

uint64_t grid_missing_bytes(const struct grid *g)
{
    /* Claimed chunks count as well: an upper bound is enough here. */
    return g->size - g->have_bytes;
}

void grid_account(struct transfer *t)
{
    const struct grid *g = &t->grid;

    t->ledger.have = g->have_bytes;
    t->ledger.fresh = g->origin_bytes[ORIGIN_FRESH];
    t->ledger.kept = g->origin_bytes[ORIGIN_KEPT];
    t->ledger.reused = g->origin_bytes[ORIGIN_REUSED];
}

int grid_cid(struct transfer *t, uint8_t (*digest)[HASH_LEN],
             const struct grid *g, uint8_t cid[HASH_LEN])
{
    uint8_t root[HASH_LEN];
    int err = merkle_root(t->hasher, g->size, g->log2, digest[0], g->count,
                          root);

    if (err != 0) {
        return err;
    }
    return cid_from_root(t->hasher, g->size, g->log2, root, cid);
}

/* ---- smaller chunks. */

static bool fits_memory(const struct transfer *t, uint8_t to)
{
    return cid_chunk_count(t->grid.size, to) <= TRANSFER_CHUNKS_SHRINK;
}

/* Ask for a grid of 2^to bytes, or the nearest that fits into memory. */
void transfer_shrink(struct transfer *t, uint8_t to)
{
    while (to < t->grid.log2 && !fits_memory(t, to)) {
        to++;
    }
    if (to < t->grid.log2 && t->phase == PHASE_FETCH &&
        !t->config.in_order && (t->shrink_to == 0 || to < t->shrink_to)) {
        t->shrink_at = t->shrink_to == 0 ? t->now : t->shrink_at;
        t->shrink_to = to;
    }
}

/* The protocol's step: a quarter of the size, down to the smallest. */
void transfer_shrink_more(struct transfer *t)
{
    uint8_t least = LIMIT_CHUNK_LOG2_MIN;

    transfer_shrink(t, t->grid.log2 > least + LIMIT_SHRINK_STEP
                           ? (uint8_t)(t->grid.log2 - LIMIT_SHRINK_STEP)
                           : least);
}

/* Damage grows with the chunk: find the largest with which it costs little. */
void grid_damaged(struct transfer *t, uint32_t bytes)
{
    uint64_t all;
    uint64_t lost;
    uint8_t to = t->grid.log2;

    t->damaged++;
    t->damaged_bytes += bytes;
    all = t->damaged_bytes + t->sound_bytes;
    lost = (grid_missing_bytes(&t->grid) >> 10) * (t->damaged_bytes >> 10) /
           ((all >> 10) + 1);
    if (t->damaged < DAMAGED_MIN || lost >> (to - 10) < DAMAGE_SAVES ||
        t->grid.have_bytes > WASTE_REHASH_MAX) {
        return;
    }
    while (to > WASTE_LOG2_MIN &&
           t->damaged_bytes >> (t->grid.log2 - to) >
               all / 100 * DAMAGE_PERCENT) {
        to--;
    }
    transfer_shrink(t, to);
}

/* The old grid's kept chunks, as local chunks of the new grid. */
static void regrid_states(struct grid *new, const struct grid *old)
{
    unsigned by = (unsigned)(old->log2 - new->log2);

    for (uint64_t i = 0; i < new->count; i++) {
        if (grid_state(old, i >> by) == CHUNK_HAVE) {
            grid_set(new, i, CHUNK_LOCAL, grid_owner(old, i >> by));
        }
    }
}

/* Change to the finer grid now, if nothing stands in the way: no connection
 * uses the old grid, no job works on it, no hint waits. */
bool transfer_try_shrink(struct transfer *t)
{
    struct grid finer;

    if (t->shrink_to == 0 || t->phase != PHASE_FETCH ||
        (share_end_all(t) && t->now < t->shrink_at + SHRINK_WAIT_MS) ||
        t->grid.piped > 0 || t->grid.unhashed > 0 || t->hash_pending > 0 ||
        (seed_busy(t) && t->seed.state != SEED_LIST)) {
        return false;
    }
    if (grid_init(&finer, t->grid.size, t->shrink_to) != 0) {
        t->shrink_to = 0; /* no memory for it: go on as before */
        return false;
    }
    conn_reopen_all(t);
    list_clear(t); /* at most one for donors, of the old grid */
    regrid_states(&finer, &t->grid);
    if (t->identity.cid_known && !t->anchor) {
        t->anchor = true;
        t->anchor_checked = false;
        t->anchor_log2 = t->grid.log2;
        memcpy(t->anchor_cid, t->identity.cid, HASH_LEN);
    }
    t->identity.cid_known = false;
    t->cid_recorded = false;
    t->identity.chunk_log2 = t->shrink_to;
    t->need_identity = false; /* the record is of the old grid until REBASE */
    grid_free(&t->grid);
    t->grid = finer;
    free(t->expect); /* of the old grid; its CID is the anchor */
    t->expect = NULL;
    t->expect_final = false;
    memset(t->bad, 0, sizeof t->bad);
    t->sound_bytes = 0;
    t->damaged_bytes = 0;
    t->damaged = 0;
    transfer_say(t, &(struct note){.note = TRANSFER_NOTE_SHRUNK,
                                   .count = t->shrink_to});
    t->shrink_to = 0;
    t->phase = PHASE_REGRID;
    transfer_regrid_done(t);
    return true;
}

/* PHASE_REGRID ends when every kept chunk was hashed. */
void transfer_regrid_done(struct transfer *t)
{
    if (t->phase != PHASE_REGRID || t->grid.unhashed > 0) {
        return;
    }
    t->need_rebase = true;
    t->phase = PHASE_FETCH;
    conn_wake(t, 0);
}

/* A cut costs half a chunk on each connection: find the largest chunk with
 * which that stays within what is allowed. */
static void shrink_by_waste(struct transfer *t, uint64_t allowed)
{
    unsigned conns = t->round_losses == 0 ? 1 : t->round_losses;
    uint8_t least = t->rounds > 1 ? WASTE_LOG2_MIN : WASTE_LOG2_FIRST;
    uint8_t to = t->grid.log2;

    while (to > least && (((uint64_t)conns << to) >> 1) > allowed) {
        to--;
    }
    transfer_shrink(t, to);
}

/* Rule R6a, in rounds: the connections that are up at a time often end at a
 * time, and count as one. */
void conn_barren(struct transfer *t)
{
    t->barren_conns = 0;
    t->barren++;
    if (t->barren >= LIMIT_SHRINK_AFTER && t->phase == PHASE_FETCH) {
        t->barren = 0;
        transfer_shrink_more(t);
    }
}

/* Called when the last connection was lost: did this round waste so much
 * that smaller chunks would pay? */
void conn_round_end(struct transfer *t)
{
    uint64_t allowed = t->round_bytes / 100 * WASTE_PERCENT;

    if (t->phase == PHASE_FETCH) {
        if (t->round_wasted > allowed) {
            t->rounds++;
        } else {
            t->rounds = 0;
        }
        if (t->shrink_to == 0 && t->rounds > 0 &&
            t->grid.have_bytes <= WASTE_REHASH_MAX) {
            shrink_by_waste(t, allowed);
        }
    }
    t->round_bytes = 0;
    t->round_wasted = 0;
    t->round_losses = 0;
}
