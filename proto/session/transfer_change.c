/* Transfer: another version of the file (section 13, step 4).
 *
 * A plain OPEN tells the new identity, the complete digest list what of the
 * old version is also in the new one. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/session/transfer_internal.h"

/* A file so many times larger than what is held of it is not compared. */
#define REUSE_PART 256u

/* ---- another version. */

void change_undo(struct transfer *t)
{
    /* The new grid holds nothing yet; the old one knows what is on disk. */
    if (t->old.state != NULL && t->phase == PHASE_COMPARE) {
        grid_free(&t->grid);
        t->grid = t->old;
        t->identity = t->old_identity;
        t->any_weak = !t->identity.strong;
        t->cid_recorded = t->identity.cid_known && t->any_weak;
        memset(&t->old, 0, sizeof t->old);
        grid_account(t);
    }
    list_clear(t);
    seed_restart(t);
    free(t->expect);
    t->expect = NULL;
    t->expect_final = false;
    t->shrink_to = 0;
    t->confirmed = false;
    mirror_forget(t);
}

void change_begin(struct transfer *t, unsigned i, const char *why)
{
    struct note n = {.note = TRANSFER_NOTE_CHANGED, .conn = i};

    if (t->phase == PHASE_NEW) {
        transfer_fail(t, TRANSFER_WRONG_CONTENT,
                      "the server's file is not the pinned content");
        return;
    }
    if (t->config.stop_on_change ||
        (t->config.in_order && t->grid.prefix + t->grid.piped > 0)) {
        /* Ordered output also holds verified chunks that wait for their
         * turn, and has no way to forget them. */
        transfer_fail(t, TRANSFER_CHANGED, "%s", why);
        return;
    }
    if (t->phase == PHASE_COPY) {
        return; /* the copies end first; the next OPEN will tell again */
    }
    change_undo(t);
    if (t->phase != PHASE_CHANGED) {
        t->ledger.changes++;
        transfer_say(t, &n);
    }
    t->phase = PHASE_CHANGED;
    t->lead = i;
    conn_drop_all(t, i);
    conn_release(t, i);
}

bool change_waits(const struct transfer *t)
{
    return t->grid.piped > 0 || t->hash_pending > 0 || t->seed.copy_asked ||
           t->now < t->calm_at;
}

/* Which connection finds out about the new version?  The lead while it
 * lives, else the first one that is up. */
void change_pump(struct transfer *t)
{
    struct conn *lead = &t->conn[t->lead];

    if (t->phase != PHASE_CHANGED || change_waits(t)) {
        return;
    }
    if (lead->state != CONN_UP) {
        for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
            if (t->conn[i].state == CONN_UP) {
                t->lead = i;
                break;
            }
        }
        lead = &t->conn[t->lead];
    }
    if (lead->state == CONN_UP && !lead->bound && lead->open_request == 0 &&
        t->now >= lead->pause_until) {
        conn_open(t, t->lead);
    }
}

static uint64_t kept_bytes(const struct grid *g)
{
    uint64_t bytes = g->have_bytes;

    for (uint64_t i = 0; g->unhashed > 0 && i < g->count; i++) {
        if (grid_state(g, i) == CHUNK_HINT) {
            bytes += grid_len(g, i);
        }
    }
    return bytes;
}

void identity_adopt(struct transfer *t, const struct msg_info *info)
{
    struct transfer_identity *id = &t->identity;

    memset(id, 0, sizeof *id);
    id->size = info->size;
    id->chunk_log2 = info->chunk_log2;
    id->version_len = (uint8_t)info->version.len;
    memcpy(id->version, info->version.ptr, info->version.len);
    id->strong = (info->info_flags & INFO_VERSION_STRONG) != 0;
    id->cid_known = info->cid.len != 0;
    if (id->cid_known) {
        memcpy(id->cid, info->cid.ptr, HASH_LEN);
    }
    id->mtime_s = info->mtime_s;
    id->mtime_ns = info->mtime_ns;
    id->mode = info->mode;
    t->any_weak = !id->strong;
    t->cid_recorded = false;
    t->unlooked = 0;
    t->anchor_checked = false;
    t->own_cid_known = false;
    t->ledger.size = id->size;
    if (!t->config.pinned) {
        t->anchor = false;
    }
}

/* Everything of the old version is gone: start over on the new one. */
static void restart(struct transfer *t)
{
    grid_free(&t->old);
    grid_account(t);
    t->need_rebase = true;
    t->phase = PHASE_FETCH;
    list_ask_first(t);
}

static bool worth_comparing(const struct transfer *t)
{
    uint64_t kept = kept_bytes(&t->old);

    return kept >= REUSE_MIN_BYTES ||
           (kept > 0 && t->grid.size / REUSE_PART <= kept);
}

/* INFO while the new version's list is awaited. */
static void compare_info(struct transfer *t, unsigned i,
                         const struct msg_info *info)
{
    const struct transfer_identity *id = &t->identity;
    bool same = info->size == id->size &&
                mirror_same_version(t, i, &info->version);

    if (!same && mirror_many(t) && t->conn[i].source != t->home) {
        same = info->size == id->size && id->cid_known &&
               info->cid.len != 0 &&
               memcmp(id->cid, info->cid.ptr, HASH_LEN) == 0;
        if (!same && mirror_home_up(t)) {
            conn_give_up(t, i, "its content is not known yet", true);
            return;
        }
    }
    if (!same) {
        change_begin(t, i, "the file changed again");
        return;
    }
    t->conn[i].bound = true;
    list_pump(t);
}

/* INFO of the new version, or again of it after a reconnect. */
void change_info(struct transfer *t, unsigned i, const struct msg_info *info)
{
    struct conn *c = &t->conn[i];
    struct grid fresh;
    int err;

    if (t->phase == PHASE_COMPARE) {
        compare_info(t, i, info);
        return;
    }
    err = grid_init(&fresh, info->size, info->chunk_log2);
    if (err != 0) {
        transfer_fail(t, TRANSFER_NOMEM, "%s", err_sentence(err));
        return;
    }
    t->old_identity = t->identity;
    t->old_identity.strong &= !t->any_weak;
    identity_adopt(t, info);
    mirror_adopt(t, i);
    (void)mirror_prove(t, i, info);
    t->confirmed = true;
    c->bound = true;
    grid_free(&t->old); /* a check on another grid, now pointless */
    t->anchor_hash = false;
    t->old = t->grid;
    t->grid = fresh;
    if (!worth_comparing(t)) {
        restart(t);
        return;
    }
    t->phase = PHASE_COMPARE;
    grid_account(t);
    list_ask(t, LIST_CHANGE);
    list_pump(t);
}

/* ---- comparing. */

static bool on_disk(const struct grid *g, uint64_t i)
{
    enum chunk_state state = grid_state(g, i);

    return state == CHUNK_HAVE || state == CHUNK_HINT;
}

static int by_digest(const void *a, const void *b, void *digests)
{
    const uint8_t (*digest)[HASH_LEN] = digests;

    return memcmp(digest[*(const uint32_t *)a], digest[*(const uint32_t *)b],
                  HASH_LEN);
}

uint32_t *match_index(const struct grid *old, uint32_t *count)
{
    uint32_t *index = calloc(old->count + 1, sizeof *index);

    *count = 0;
    if (index == NULL) {
        return NULL;
    }
    for (uint64_t i = 0; i < old->count; i++) {
        if (on_disk(old, i)) {
            index[(*count)++] = (uint32_t)i;
        }
    }
    qsort_r(index, *count, sizeof *index, by_digest, old->digest);
    return index;
}

uint64_t match_find(const struct grid *old, const uint32_t *index,
                    uint32_t count, const uint8_t *digest)
{
    uint32_t low = 0;
    uint32_t high = count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = memcmp(old->digest[index[middle]], digest, HASH_LEN);

        if (order == 0) {
            return index[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return old->count;
}

/* What of the old version is also in the new one, in place or elsewhere? */
void change_compare(struct transfer *t)
{
    uint32_t count;
    uint32_t *index = match_index(&t->old, &count);
    uint64_t kept = 0;
    uint64_t left = 0;
    uint64_t right = t->grid.count;

    free(t->copies);
    t->copies = calloc(t->grid.count + 1, sizeof *t->copies);
    t->copy_count = 0;
    t->copy_next = 0;
    if (index == NULL || t->copies == NULL) {
        free(index);
        transfer_fail(t, TRANSFER_NOMEM, "out of memory");
        return;
    }
    for (uint64_t i = 0; i < t->grid.count; i++) {
        const uint8_t *digest = t->list.digest[i];

        if (i < t->old.count && on_disk(&t->old, i) &&
            memcmp(t->old.digest[i], digest, HASH_LEN) == 0) {
            memcpy(t->grid.digest[i], digest, HASH_LEN);
            grid_set(&t->grid, i, grid_state(&t->old, i), ORIGIN_REUSED);
            kept++;
            continue;
        }
        uint64_t from = match_find(&t->old, index, count, digest);

        if (from >= t->old.count) {
            continue;
        }
        /* What moves down is copied upwards, what moves up downwards, so
         * that shifted data is read before it is overwritten.  (Were it
         * overwritten, its digest would tell.) */
        if (from > i) {
            t->copies[left++] = (struct copy){from, i};
        } else {
            t->copies[--right] = (struct copy){from, i};
        }
    }
    free(index);
    t->copy_count = left + (t->grid.count - right);
    memmove(t->copies + left, t->copies + right,
            (t->grid.count - right) * sizeof *t->copies);
    grid_account(t);
    transfer_say(t, &(struct note){.note = TRANSFER_NOTE_REUSED,
                                   .count = kept + t->copy_count});
}

void change_copied(struct transfer *t, bool ok)
{
    const struct copy *copy;

    if (t->seed.copy_asked) {
        seed_copied(t, ok);
        return;
    }
    if (!t->copy_asked) {
        return;
    }
    copy = &t->copies[t->copy_next++];
    t->copy_asked = false;
    if (ok && grid_state(&t->grid, copy->to) == CHUNK_MISSING) {
        memcpy(t->grid.digest[copy->to], t->expect[copy->to], HASH_LEN);
        grid_set(&t->grid, copy->to, CHUNK_HAVE, ORIGIN_REUSED);
    }
}
