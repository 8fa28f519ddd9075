/* Transfer: the complete digest list of one version.
 *
 * It is fetched by DIGEST requests, checked against the CID where one is
 * known, and then says what the file's chunks have to be. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/session/transfer_internal.h"

#define CONTRADICTIONS_MAX 2u
/* When so many connections in a row were lost without a piece of the list,
 * smaller pieces are asked for: one frame of it has 64 KiB otherwise. */
#define BARREN_MAX 2u
#define PIECE_FIRST 1024u
#define PIECE_MIN 64u

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

void list_ask_first(struct transfer *t)
{
    if (t->config.in_order && (t->config.pinned || mirror_many(t))) {
        list_ask(t, LIST_FIRST);
    }
}

/* The whole list, or what is still missing of it: a link that breaks often
 * must not make us begin again for ever.  The pieces of a weak version might
 * belong to two contents; only a CID could tell, so they are not joined
 * without one. */
static void list_request(struct transfer *t, const struct conn *c,
                         struct msg_digest *ask)
{
    struct listing *list = &t->list;

    bool join = t->identity.cid_known ||
                (c->strong && (list->strong || list->next == 0));

    if (!join) {
        list->next = 0;
    }
    if (list->next == 0) {
        list->strong = c->strong;
        list->pieced = false;
    }
    list->from = list->next;
    list->end = list->count;
    if (join && t->list_piece > 0 &&
        t->list_piece < list->count - list->next) {
        list->end = list->next + t->list_piece;
    }
    if (list->from > 0 || list->end < list->count) {
        list->pieced = true;
        ask->block_log2 = 0;
        ask->first_block = list->from;
        ask->block_count = (uint32_t)(list->end - list->from);
    } else {
        ask->block_log2 = LIMIT_BLOCK_LOG2;
        ask->first_block = 0;
        ask->block_count = 1;
    }
    list->block_log2 = ask->block_log2;
}

/* The connection that was asked is lost; what came of it may still count. */
void list_lost(struct transfer *t)
{
    struct listing *list = &t->list;

    list->asked = false;
    if (list->next > list->from) {
        t->list_barren = 0;
    } else if (++t->list_barren >= BARREN_MAX) {
        t->list_barren = 0;
        if (t->list_piece == 0) {
            t->list_piece = list->count / 2 < PIECE_FIRST ? list->count / 2
                                                          : PIECE_FIRST;
        } else {
            t->list_piece /= 2;
        }
        if (t->list_piece < PIECE_MIN) {
            t->list_piece = PIECE_MIN;
        }
    }
}

/* Send the request when some connection can take it. */
void list_pump(struct transfer *t)
{
    struct msg_digest ask = {0};

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
        list_request(t, c, &ask);
        ask.handle = c->handle;
        if (receiver_digest(c->receiver, &ask, t->now, &t->list.request) ==
            0) {
            t->list.asked = true;
            t->list.conn = i;
            return;
        }
    }
}

static void list_contradiction(struct transfer *t, unsigned i)
{
    t->list.asked = false;
    t->list.next = 0;
    if (!t->list.pieced &&
        (mirror_many(t) ? !mirror_ask_again(t, i)
                        : ++t->contradictions >= CONTRADICTIONS_MAX)) {
        mirror_fail(t, i, TRANSFER_WRONG_CONTENT,
                    "the server's digests do not make the content id that "
                    "it names");
        return;
    }
    conn_give_up(t, i, "the server contradicts itself", false);
}

static bool list_is_pinned(const struct transfer *t, const uint8_t *cid)
{
    return !t->config.pinned || t->config.pin_log2 != t->grid.log2 ||
           memcmp(t->config.pin_cid, cid, HASH_LEN) == 0;
}

static void list_take_expect(struct transfer *t, unsigned i)
{
    free(t->expect);
    t->expect = t->list.digest;
    t->list.digest = NULL;
    t->expect_final = true;
    t->expect_source = t->conn[i].source;
}

/* All digests are there and make a CID that nothing speaks against. */
static void list_verified(struct transfer *t, unsigned i,
                          const uint8_t cid[HASH_LEN])
{
    enum list_use use = t->list.use;

    if (!t->identity.cid_known) {
        t->identity.cid_known = true;
        memcpy(t->identity.cid, cid, HASH_LEN);
        t->need_identity = true;
    }
    t->cid_recorded = false;
    if (use == LIST_CHANGE) {
        change_compare(t);
        if (t->phase == PHASE_OVER) {
            return;
        }
        t->phase = PHASE_COPY;
        t->need_rebase = true;
        t->need_identity = false;
    }
    list_take_expect(t, i);
    list_clear(t);
    if (use == LIST_SEED || use == LIST_MIRROR) {
        seed_listed(t);
    }
    if (use == LIST_CHECK || use == LIST_SEED || use == LIST_MIRROR) {
        check_against_list(t);
    }
}

static void list_complete(struct transfer *t, unsigned i)
{
    uint8_t cid[HASH_LEN];

    if (grid_cid(t, t->list.digest, &t->grid, cid) != 0) {
        transfer_fail(t, TRANSFER_NOMEM, "hashing failed");
        return;
    }
    if (!list_is_pinned(t, cid)) {
        t->list.asked = false;
        t->list.next = 0;
        mirror_fail(t, i, TRANSFER_WRONG_CONTENT,
                    "the server's file is not the pinned content");
        return;
    }
    if (t->identity.cid_known &&
        memcmp(cid, t->identity.cid, HASH_LEN) != 0) {
        if (t->cid_recorded || (t->list.use == LIST_CHECK &&
                                (!t->list.pieced || t->list.strong))) {
            /* The CID may be that of earlier days: rule R5d. */
            change_begin(t, i, "the file on the server is another version");
        } else {
            list_contradiction(t, i);
        }
        return;
    }
    list_verified(t, i, cid);
}

void list_digests(struct transfer *t, unsigned i,
                  const struct msg_digests *digests, bool end)
{
    struct listing *list = &t->list;

    if (digests != NULL) {
        if (digests->first_chunk != list->next ||
            digests->count > list->end - list->next ||
            digests->proof_len != 0 ||
            digests->block_log2 != list->block_log2) {
            list_contradiction(t, i);
            return;
        }
        memcpy(list->digest[list->next], digests->digests.ptr,
               digests->digests.len);
        list->next += digests->count;
        if (list->next > list->best) {
            list->best = list->next;
            t->conn[i].listed = true;
        }
    }
    if (!end) {
        return;
    }
    if (list->next != list->end) {
        list_contradiction(t, i);
    } else if (list->end < list->count) {
        list->asked = false; /* on with the next piece */
        list_pump(t);
    } else {
        list_complete(t, i);
    }
}

/* The server will not tell the digests now, or ever. */
void list_failed(struct transfer *t, unsigned i, uint16_t code,
                 uint64_t wait_ms)
{
    t->list.asked = false;
    if (code == WIRE_BAD_HANDLE) {
        return; /* closed by the server: opening again will tell why */
    }
    switch (err_wire_class(code)) {
    case WIRE_CLASS_TRANSIENT:
        t->list.retry_at = t->now + wait_ms;
        break;
    case WIRE_CLASS_STALE:
        mirror_differs(t, i, "the file changed again");
        break;
    case WIRE_CLASS_SERVER:
    case WIRE_CLASS_CANCELLED:
        conn_give_up(t, i, err_wire_sentence(code), false);
        break;
    default:
        if (t->list.use == LIST_SEED && seed_without_list(t)) {
            transfer_say(t, &(struct note){.note = TRANSFER_NOTE_NO_LIST});
            break;
        }
        mirror_fail(t, i, TRANSFER_REFUSED,
                    "the server does not tell its digests: %s",
                    err_wire_sentence(code));
    }
}
