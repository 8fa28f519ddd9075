/* Transfer: is it complete?  (Section 13, step 5.)
 *
 * Every chunk is held; now the CID has to fit, one has to be known where a
 * version was weak, and without any the server has to have looked at the file
 * after it read the last chunk. */
#include <string.h>

#include "proto/session/transfer_internal.h"

/* ---- Did the server look again?  (Rule R5e.) */

/* A wanted chunk begins to arrive on connection i. */
void check_arrived(struct transfer *t, unsigned i, uint32_t request)
{
    struct claim *claim = claim_of(&t->conn[i], request);

    t->arrivals++;
    if (claim != NULL) {
        claim->arrival = t->arrivals;
    } else {
        t->unlooked = t->arrivals;
    }
}

/* INFO answered an OPEN that was sent after so many arrivals: what had
 * arrived by then is of the version that it names. */
void check_looked_info(struct transfer *t, uint64_t arrivals)
{
    if (t->unlooked <= arrivals) {
        t->unlooked = 0;
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        for (unsigned k = 0; k < CLAIMS_MAX; k++) {
            struct claim *claim = &t->conn[i].claim[k];

            if (claim->arrival <= arrivals) {
                claim->arrival = 0;
            }
        }
    }
}

static bool looked(const struct transfer *t)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        for (unsigned k = 0; k < CLAIMS_MAX; k++) {
            const struct claim *claim = &t->conn[i].claim[k];

            if (claim->request != 0 && claim->arrival > 0) {
                return false;
            }
        }
    }
    return t->unlooked == 0;
}

/* Without a CID the last chunk may be of a later version than the rest: the
 * server has to name the version once more. */
static void look_again(struct transfer *t)
{
    struct conn *found = NULL;
    unsigned lead = 0;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (c->state != CONN_UP || c->draining || t->now < c->pause_until) {
            continue;
        }
        if (!c->bound && c->open_request != 0) {
            return; /* its INFO is on the way */
        }
        if (c->bound && (found == NULL || c->data_at > found->data_at)) {
            found = c;
            lead = i;
        }
    }
    if (found != NULL) {
        conn_open(t, lead);
    }
}

/* ---- Lists. */

static void recheck(struct transfer *t)
{
    transfer_say(t, &(struct note){.note = TRANSFER_NOTE_RECHECK});
    list_ask(t, LIST_CHECK);
    list_pump(t);
}

void check_against_list(struct transfer *t)
{
    for (uint64_t i = 0; i < t->grid.count; i++) {
        if (grid_state(&t->grid, i) == CHUNK_HAVE &&
            memcmp(t->grid.digest[i], t->expect[i], HASH_LEN) != 0) {
            if (t->config.in_order) {
                transfer_fail(t, TRANSFER_CHANGED,
                              "the file changed while it was received, and "
                              "what was put out cannot be taken back");
                return;
            }
            t->ledger.wasted += grid_len(&t->grid, i);
            grid_set(&t->grid, i, CHUNK_MISSING, 0);
        }
    }
    grid_account(t);
    t->own_cid_known = false;
    t->phase = PHASE_FETCH;
}

/* ---- The CID at another grid: the local bytes are hashed on that grid. */

static void anchor_begin(struct transfer *t)
{
    /* transfer_new() saw to it that what is put out is on the pin's grid. */
    BELAY_ASSERT(!t->config.in_order);
    grid_free(&t->old);
    if (grid_init(&t->old, t->grid.size, t->anchor_log2) != 0) {
        transfer_fail(t, TRANSFER_NOMEM, "out of memory");
        return;
    }
    for (uint64_t i = 0; i < t->old.count; i++) {
        grid_set(&t->old, i, CHUNK_LOCAL, ORIGIN_FRESH);
    }
    t->anchor_hash = true;
    check_anchor_hashed(t);
}

static bool anchor_holds(struct transfer *t)
{
    if (!t->anchor || t->anchor_checked) {
        return true;
    }
    if (t->anchor_log2 != t->grid.log2) {
        if (!t->anchor_hash) {
            anchor_begin(t);
        }
        return t->anchor_checked;
    }
    if (memcmp(t->anchor_cid, t->own_cid, HASH_LEN) == 0) {
        return true;
    }
    if (t->expect_final) {
        transfer_fail(t, TRANSFER_WRONG_CONTENT,
                      "the bytes are not the expected content");
    } else {
        recheck(t);
    }
    return false;
}

void check_anchor_hashed(struct transfer *t)
{
    uint8_t cid[HASH_LEN];

    if (t->phase != PHASE_CHECK || t->old.unhashed > 0) {
        return; /* not done yet, or the file changed meanwhile */
    }
    t->anchor_hash = false;
    if (t->old.have < t->old.count) {
        transfer_fail(t, TRANSFER_UNREADABLE,
                      "the bytes received cannot be read back");
        return;
    }
    if (grid_cid(t, t->old.digest, &t->old, cid) != 0 ||
        memcmp(cid, t->anchor_cid, HASH_LEN) != 0) {
        if (mirror_disproved(t)) {
            return;
        }
        transfer_fail(t, TRANSFER_WRONG_CONTENT,
                      "the bytes are not the expected content");
        return;
    }
    t->anchor_checked = true;
    grid_free(&t->old);
}

/* ---- The decision. */

/* The own CID is computed once for one set of digests. */
static bool own_cid(struct transfer *t)
{
    if (!t->own_cid_known) {
        if (grid_cid(t, t->grid.digest, &t->grid, t->own_cid) != 0) {
            transfer_fail(t, TRANSFER_NOMEM, "hashing failed");
            return false;
        }
        t->own_cid_known = true;
    }
    return true;
}

static bool all_held(const struct transfer *t)
{
    return (t->phase == PHASE_FETCH || t->phase == PHASE_CHECK) &&
           t->confirmed && t->grid.have == t->grid.count &&
           t->grid.piped == 0 && !t->need_begin &&
           t->list.use == LIST_NONE && !seed_busy(t);
}

/* Is the CID known, or can be done without? */
static bool named(struct transfer *t)
{
    if (t->identity.cid_known && !t->cid_recorded) {
        return true;
    }
    if (t->any_weak) {
        if (!claim_alive(t)) { /* a DONE on its way may still bring it */
            recheck(t);
        }
        return false;
    }
    if (!looked(t)) {
        if (!claim_alive(t)) {
            look_again(t);
        }
        return false;
    }
    return true;
}

void check_complete(struct transfer *t)
{
    if (!all_held(t)) {
        t->own_cid_known = false;
        return;
    }
    t->phase = PHASE_CHECK;
    t->shrink_to = 0;
    if (!named(t) || !own_cid(t)) {
        return;
    }
    if (t->identity.cid_known &&
        memcmp(t->own_cid, t->identity.cid, HASH_LEN) != 0) {
        if (t->expect_final) {
            transfer_fail(t, TRANSFER_WRONG_CONTENT,
                          "the bytes do not make the content id that the "
                          "server names");
        } else {
            recheck(t);
        }
        return;
    }
    if (!anchor_holds(t)) {
        return;
    }
    if (!t->identity.cid_known) {
        t->identity.cid_known = true;
        memcpy(t->identity.cid, t->own_cid, HASH_LEN);
    }
    t->phase = PHASE_FINISH;
}
