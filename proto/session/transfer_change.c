/* Transfer: another version of the file, and the last check.
 *
 * Both need the complete digest list of one version.  It is fetched by one
 * DIGEST request, checked against the CID where one is known, and compared
 * with the digests of what is held. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/session/transfer_internal.h"

/* Less than this held is fetched again rather than compared: the server may
 * have to read its whole file for the list. */
#define REUSE_MIN_BYTES ((uint64_t)4 << 20)
#define CONTRADICTIONS_MAX 2u

/* ---- the list. */

void list_clear(struct transfer *t)
{
    free(t->list.digest);
    memset(&t->list, 0, sizeof t->list);
}

void list_ask(struct transfer *t, enum list_use use)
{
    list_clear(t);
    t->list.digest = calloc(t->grid.count + 1, HASH_LEN);
    if (t->list.digest == NULL) {
        transfer_fail(t, TRANSFER_NOMEM, "out of memory");
        return;
    }
    t->list.use = use;
    t->list.count = t->grid.count;
}

/* Send the request when some connection can take it. */
void list_pump(struct transfer *t)
{
    struct msg_digest ask = {.block_log2 = LIMIT_BLOCK_LOG2,
                             .block_count = 1};

    if (t->list.use == LIST_NONE || t->list.asked ||
        t->now < t->list.retry_at) {
        return;
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (c->state != CONN_UP || !c->bound || c->draining ||
            t->now < c->pause_until) {
            continue;
        }
        ask.handle = c->handle;
        if (receiver_digest(c->receiver, &ask, t->now, &t->list.request) ==
            0) {
            t->list.asked = true;
            t->list.conn = i;
            t->list.next = 0;
            return;
        }
    }
}

static void list_contradiction(struct transfer *t, unsigned i)
{
    t->list.asked = false;
    t->list.next = 0;
    if (++t->contradictions >= CONTRADICTIONS_MAX) {
        transfer_fail(t, TRANSFER_WRONG_CONTENT,
                      "the server's digests do not make the content id "
                      "that it names");
        return;
    }
    conn_give_up(t, i, "the server contradicts itself", false);
}

static void list_complete(struct transfer *t, unsigned i);

void list_digests(struct transfer *t, unsigned i,
                  const struct msg_digests *digests, bool end)
{
    struct listing *list = &t->list;

    if (digests != NULL) {
        if (digests->first_chunk != list->next ||
            digests->count > list->count - list->next ||
            digests->proof_len != 0) {
            list_contradiction(t, i);
            return;
        }
        memcpy(list->digest[list->next], digests->digests.ptr,
               digests->digests.len);
        list->next += digests->count;
    }
    if (!end) {
        return;
    }
    if (list->next != list->count) {
        list_contradiction(t, i);
        return;
    }
    list_complete(t, i);
}

/* The server will not tell the digests now, or ever. */
void list_failed(struct transfer *t, unsigned i, uint16_t code,
                 uint64_t wait_ms)
{
    t->list.asked = false;
    switch (err_wire_class(code)) {
    case WIRE_CLASS_TRANSIENT:
        t->list.retry_at = t->now + wait_ms;
        break;
    case WIRE_CLASS_STALE:
        change_begin(t, i, "the file changed again");
        break;
    case WIRE_CLASS_SERVER:
    case WIRE_CLASS_CANCELLED:
        conn_give_up(t, i, err_wire_sentence(code), false);
        break;
    default:
        transfer_fail(t, TRANSFER_REFUSED,
                      "the server does not tell its digests: %s",
                      err_wire_sentence(code));
    }
}

/* ---- another version. */

static void old_restore(struct transfer *t)
{
    /* The new grid holds nothing yet; the old one knows what is on disk. */
    if (t->old.state != NULL && t->phase == PHASE_COMPARE) {
        grid_free(&t->grid);
        t->grid = t->old;
        memset(&t->old, 0, sizeof t->old);
    }
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
        (t->config.in_order && t->grid.prefix > 0)) {
        transfer_fail(t, TRANSFER_CHANGED, "%s", why);
        return;
    }
    if (t->phase == PHASE_COPY) {
        return; /* the copies end first; the next OPEN will tell again */
    }
    old_restore(t);
    list_clear(t);
    free(t->expect);
    t->expect = NULL;
    t->expect_final = false;
    t->shrink_to = 0;
    t->confirmed = false;
    if (t->phase != PHASE_CHANGED) {
        t->ledger.changes++;
        transfer_say(t, &n);
    }
    t->phase = PHASE_CHANGED;
    t->lead = i;
    conn_drop_all(t, i);
    conn_release(t, i);
}

/* Which connection finds out about the new version?  The lead while it
 * lives, else the first one that is up. */
void change_pump(struct transfer *t)
{
    struct conn *lead = &t->conn[t->lead];

    if (t->phase != PHASE_CHANGED || t->grid.piped > 0 ||
        t->hash_pending > 0) {
        return; /* old chunks in the works still count, and still write */
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
    t->ledger.size = id->size;
    if (!t->config.pinned) {
        t->anchor = false;
    }
}

/* Everything of the old version is gone: start over on the new one. */
static void restart(struct transfer *t)
{
    grid_free(&t->old);
    t->need_rebase = true;
    t->phase = PHASE_FETCH;
}

/* INFO of the new version, or again of it after a reconnect. */
void change_info(struct transfer *t, unsigned i, const struct msg_info *info)
{
    struct conn *c = &t->conn[i];
    struct grid fresh;
    int err;

    if (t->phase == PHASE_COMPARE) {
        if (info->size != t->identity.size ||
            info->version.len != t->identity.version_len ||
            memcmp(info->version.ptr, t->identity.version,
                   info->version.len) != 0) {
            change_begin(t, i, "the file changed again");
            return;
        }
        c->bound = true;
        list_pump(t);
        return;
    }
    err = grid_init(&fresh, info->size, info->chunk_log2);
    if (err != 0) {
        transfer_fail(t, TRANSFER_NOMEM, "%s", err_sentence(err));
        return;
    }
    identity_adopt(t, info);
    t->confirmed = true;
    t->looked = true;
    c->bound = true;
    grid_free(&t->old); /* a check on another grid, now pointless */
    t->anchor_hash = false;
    t->old = t->grid;
    t->grid = fresh;
    if (kept_bytes(&t->old) < REUSE_MIN_BYTES) {
        restart(t);
        return;
    }
    t->phase = PHASE_COMPARE;
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

/* Old chunks ordered by digest, for look-ups; NULL without memory. */
static uint32_t *index_old(const struct grid *old, uint32_t *count)
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

static uint64_t find_old(const struct grid *old, const uint32_t *index,
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
static void compare(struct transfer *t)
{
    uint32_t count;
    uint32_t *index = index_old(&t->old, &count);
    uint64_t kept = 0;

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
            grid_set(&t->grid, i, grid_state(&t->old, i), 0);
            t->ledger.reused += grid_len(&t->grid, i);
            kept++;
            continue;
        }
        uint64_t from = find_old(&t->old, index, count, digest);

        if (from < t->old.count) {
            t->copies[t->copy_count++] = (struct copy){from, i};
        }
    }
    free(index);
    transfer_say(t, &(struct note){.note = TRANSFER_NOTE_REUSED,
                                   .count = kept + t->copy_count});
}

static bool list_is_pinned(const struct transfer *t, const uint8_t *cid)
{
    return !t->config.pinned || t->config.pin_log2 != t->grid.log2 ||
           memcmp(t->config.pin_cid, cid, HASH_LEN) == 0;
}

static void list_take_expect(struct transfer *t)
{
    free(t->expect);
    t->expect = t->list.digest;
    t->list.digest = NULL;
    t->expect_final = true;
}

/* Chunks that are not what the list says must be fetched again. */
static void check_against_list(struct transfer *t)
{
    for (uint64_t i = 0; i < t->grid.count; i++) {
        if (grid_state(&t->grid, i) == CHUNK_HAVE &&
            memcmp(t->grid.digest[i], t->expect[i], HASH_LEN) != 0) {
            t->ledger.wasted += grid_len(&t->grid, i);
            grid_set(&t->grid, i, CHUNK_MISSING, 0);
        }
    }
    t->ledger.have = t->grid.have_bytes;
    t->phase = PHASE_FETCH;
}

static void list_complete(struct transfer *t, unsigned i)
{
    enum list_use use = t->list.use;
    uint8_t cid[HASH_LEN];

    if (grid_cid(t, t->list.digest, &t->grid, cid) != 0) {
        transfer_fail(t, TRANSFER_NOMEM, "hashing failed");
        return;
    }
    if (t->identity.cid_known &&
        memcmp(cid, t->identity.cid, HASH_LEN) != 0) {
        list_contradiction(t, i);
        return;
    }
    if (!list_is_pinned(t, cid)) {
        transfer_fail(t, TRANSFER_WRONG_CONTENT,
                      "the server's file is not the pinned content");
        return;
    }
    if (!t->identity.cid_known) {
        t->identity.cid_known = true;
        memcpy(t->identity.cid, cid, HASH_LEN);
        t->need_identity = true;
    }
    if (use == LIST_CHANGE) {
        compare(t);
        if (t->phase == PHASE_OVER) {
            return;
        }
        t->phase = PHASE_COPY;
        t->need_rebase = true;
        t->need_identity = false;
    }
    list_take_expect(t);
    list_clear(t);
    if (use == LIST_CHECK) {
        check_against_list(t);
    }
}

void change_copied(struct transfer *t, bool ok)
{
    struct copy *copy = &t->copies[t->copy_next];

    if (!t->copy_asked) {
        return;
    }
    t->copy_asked = false;
    t->copy_next++;
    if (ok && grid_state(&t->grid, copy->to) == CHUNK_MISSING) {
        memcpy(t->grid.digest[copy->to], t->expect[copy->to], HASH_LEN);
        grid_set(&t->grid, copy->to, CHUNK_HAVE, 0);
        t->ledger.reused += grid_len(&t->grid, copy->to);
    }
}

/* ---- completion (section 13, step 5). */

static void recheck(struct transfer *t)
{
    if (t->list.use != LIST_NONE) {
        return;
    }
    transfer_say(t, &(struct note){.note = TRANSFER_NOTE_RECHECK});
    list_ask(t, LIST_CHECK);
    list_pump(t);
}

/* Without a CID the last chunk may be of a later version than the rest: the
 * server has to name the version once more (rule R5e). */
static void look_again(struct transfer *t)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (c->state == CONN_UP && !c->draining) {
            if (c->bound) {
                conn_open(t, i);
            }
            return;
        }
    }
}

/* The CID at another grid: the local bytes are hashed on that grid. */
static bool anchor_holds(struct transfer *t, const uint8_t *cid)
{
    if (!t->anchor || t->anchor_checked) {
        return true;
    }
    if (t->anchor_log2 == t->grid.log2) {
        if (memcmp(t->anchor_cid, cid, HASH_LEN) == 0) {
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
    if (!t->anchor_hash) {
        grid_free(&t->old);
        if (grid_init(&t->old, t->grid.size, t->anchor_log2) != 0) {
            transfer_fail(t, TRANSFER_NOMEM, "out of memory");
            return false;
        }
        for (uint64_t i = 0; i < t->old.count; i++) {
            grid_set(&t->old, i, CHUNK_LOCAL, 0);
        }
        t->anchor_hash = true;
        check_anchor_hashed(t);
    }
    return false;
}

void check_anchor_hashed(struct transfer *t)
{
    uint8_t cid[HASH_LEN];

    if (!t->anchor_hash || t->old.have < t->old.count) {
        return;
    }
    t->anchor_hash = false;
    if (grid_cid(t, t->old.digest, &t->old, cid) != 0 ||
        memcmp(cid, t->anchor_cid, HASH_LEN) != 0) {
        transfer_fail(t, TRANSFER_WRONG_CONTENT,
                      "the bytes are not the expected content");
    }
    t->anchor_checked = true;
    grid_free(&t->old);
}

void check_complete(struct transfer *t)
{
    uint8_t cid[HASH_LEN];

    if ((t->phase != PHASE_FETCH && t->phase != PHASE_CHECK) ||
        !t->confirmed || t->grid.have < t->grid.count ||
        t->grid.piped > 0 || t->need_begin || t->list.use != LIST_NONE) {
        return;
    }
    t->phase = PHASE_CHECK;
    t->shrink_to = 0;
    if (grid_cid(t, t->grid.digest, &t->grid, cid) != 0) {
        transfer_fail(t, TRANSFER_NOMEM, "hashing failed");
        return;
    }
    if (t->identity.cid_known) {
        if (memcmp(cid, t->identity.cid, HASH_LEN) != 0) {
            if (t->expect_final) {
                transfer_fail(t, TRANSFER_WRONG_CONTENT,
                              "the bytes do not make the content id that "
                              "the server names");
            } else {
                recheck(t);
            }
            return;
        }
    } else if (t->any_weak) {
        if (!claim_any(t)) { /* a DONE on its way may still bring the CID */
            recheck(t);
        }
        return;
    } else if (!t->looked) {
        if (!claim_any(t)) {
            look_again(t);
        }
        return;
    }
    if (!anchor_holds(t, cid)) {
        return;
    }
    if (!t->identity.cid_known) {
        t->identity.cid_known = true;
        memcpy(t->identity.cid, cid, HASH_LEN);
    }
    t->phase = PHASE_FINISH;
}
