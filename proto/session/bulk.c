/* Bulk: life, items and their queues, what the runner does next. */
#include "proto/session/bulk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/data/merkle.h"
#include "proto/session/bulk_internal.h"

/* Connections, and the dialling time from which a path counts as long. */
#define CONNS_NEAR 4u
#define CONNS_FAR 8u
#define FAR_MS 5u
/* Files waiting that make one more connection worth its greeting. */
#define FILES_PER_CONN 128u
/* Guess for the first files of unknown size. */
#define MEAN_FIRST ((uint64_t)16 << 10)

/* ---- queues of items. */

static void queue_init(struct queue *q)
{
    q->head = NO_ITEM;
    q->tail = NO_ITEM;
    q->count = 0;
}

static void queue_push(struct bulk *b, struct queue *q, uint32_t i,
                       bool front)
{
    struct item *item = &b->item[i];

    item->next = front ? q->head : NO_ITEM;
    if (q->count == 0) {
        q->head = i;
        q->tail = i;
    } else if (front) {
        q->head = i;
    } else {
        b->item[q->tail].next = i;
        q->tail = i;
    }
    q->count++;
}

uint32_t bulk_queue_pop(struct bulk *b, struct queue *q)
{
    uint32_t i = q->head;

    if (q->count == 0) {
        return NO_ITEM;
    }
    q->head = b->item[i].next;
    q->count--;
    if (q->count == 0) {
        queue_init(q);
    }
    return i;
}

void bulk_item_ready(struct bulk *b, uint32_t i, bool front)
{
    b->item[i].state = ITEM_READY;
    queue_push(b, &b->ready, i, front);
}

/* The queue is in the order of the moments, so that a long wait of one file
 * delays no other.  Most waits are alike: the place is often the end. */
void bulk_item_later(struct bulk *b, uint32_t i, uint64_t wait_ms)
{
    uint64_t at = b->lines.now + wait_ms;
    struct queue *q = &b->later;
    uint32_t before = q->head;

    b->item[i].state = ITEM_LATER;
    b->item[i].not_before = at;
    if (q->count == 0 || b->item[q->tail].not_before <= at) {
        queue_push(b, q, i, false);
        return;
    }
    if (b->item[before].not_before > at) {
        queue_push(b, q, i, true);
        return;
    }
    while (b->item[b->item[before].next].not_before <= at) {
        before = b->item[before].next;
    }
    b->item[i].next = b->item[before].next;
    b->item[before].next = i;
    q->count++;
}

void bulk_item_tell(struct bulk *b, uint32_t i, enum bulk_action_type todo)
{
    b->item[i].todo = (uint8_t)todo;
    queue_push(b, &b->told, i, false);
}

void bulk_item_landed(struct bulk *b, uint32_t i)
{
    b->flight -= b->item[i].flight;
    b->item[i].flight = 0;
}

void bulk_item_over(struct bulk *b, uint32_t i, enum bulk_outcome outcome,
                    enum transfer_reason reason, const char *text)
{
    struct item *item = &b->item[i];

    bulk_item_landed(b, i);
    item->state = ITEM_OVER;
    item->outcome = outcome;
    item->reason = reason;
    item->text = text != NULL ? strdup(text) : NULL;
    bulk_item_tell(b, i, BULK_ITEM);
}

/* ---- life. */

struct bulk *bulk_new(const struct bulk_config *config, uint64_t now)
{
    struct bulk *b = calloc(1, sizeof *b);

    if (b == NULL) {
        return NULL;
    }
    b->config = *config;
    b->config.line.wide = true;
    line_init(&b->lines, &b->config.line, now);
    b->item = calloc(config->items_max, sizeof b->item[0]);
    if (b->item == NULL) {
        free(b);
        return NULL;
    }
    b->mean = MEAN_FIRST;
    queue_init(&b->free);
    queue_init(&b->ready);
    queue_init(&b->later);
    queue_init(&b->told);
    for (uint32_t i = 0; i < config->items_max; i++) {
        queue_push(b, &b->free, i, false);
    }
    line_want(&b->lines, 1); /* connects while the first names are found */
    return b;
}

void bulk_free(struct bulk *b)
{
    if (b == NULL) {
        return;
    }
    for (uint32_t i = 0; i < b->config.items_max; i++) {
        free(b->item[i].text);
    }
    for (unsigned c = 0; c < LINE_MAX; c++) {
        free(b->courier[c]);
    }
    line_clear(&b->lines);
    free(b->item);
    free(b);
}

bool bulk_room(const struct bulk *b)
{
    return b->free.count > 0;
}

int bulk_add(struct bulk *b, const struct bulk_file *file, uint32_t *out)
{
    uint32_t i = bulk_queue_pop(b, &b->free);
    struct item *item;

    BELAY_ASSERT(!b->input_ended);
    if (i == NO_ITEM) {
        return ERR_LIMIT;
    }
    item = &b->item[i];
    memset(item, 0, sizeof *item);
    b->used++;
    item->path = file->path;
    item->path_len = file->path_len;
    item->size_known = file->size_known;
    item->size = file->size;
    item->probe = file->probe;
    item->pinned = file->pinned;
    item->pin_log2 = file->pin_log2;
    memcpy(item->pin_cid, file->pin_cid, HASH_LEN);
    *out = i;
    if (file->size_known && file->size > b->config.small_max) {
        bulk_item_over(b, i, BULK_HANDED, TRANSFER_OK, NULL);
    } else {
        bulk_item_ready(b, i, false);
    }
    return 0;
}

void bulk_end_of_input(struct bulk *b)
{
    b->input_ended = true;
}

/* ---- answers of the runner. */

/* The slot in which the file was opened, while it can still be used. */
static struct slot *open_slot(struct bulk *b, const struct item *item)
{
    struct courier *k = b->courier[item->conn];

    return item->life == k->life && !b->lines.line[item->conn].draining
               ? bulk_conn_slot(k, item->handle)
               : NULL;
}

void bulk_judge(struct bulk *b, uint32_t i, bool fetch, uint64_t now)
{
    struct item *item = &b->item[i];
    struct slot *s = open_slot(b, item);
    bool large = item->identity.size > b->config.small_max;

    b->lines.now = now;
    BELAY_ASSERT(item->state == ITEM_JUDGE);
    item->probe = false;
    item->size_known = true;
    item->size = item->identity.size;
    if (s != NULL && fetch && !large) {
        item->state = ITEM_ASKED;
        item->flight = item->size;
        b->flight += item->flight;
        s->cover = b->config.small_max;
        bulk_conn_want(b->courier[item->conn], s, WANT_GET);
        return;
    }
    bulk_conn_forget(b, i);
    if (fetch && !large) {
        bulk_item_ready(b, i, true);
    } else {
        bulk_item_over(b, i, fetch ? BULK_HANDED : BULK_SKIPPED, TRANSFER_OK,
                       NULL);
    }
}

/* Rule R9: the connection that brought it is not to be trusted. */
static void bad_chunk(struct bulk *b, uint32_t i)
{
    struct item *item = &b->item[i];
    unsigned c = item->conn;

    b->wasted += item->identity.size;
    item->bad++;
    if (item->bad >= LIMIT_CHUNK_ATTEMPTS) {
        bulk_item_over(b, i, BULK_BAD, TRANSFER_WRONG_CONTENT,
                       "its data failed the digest again and again");
    } else {
        bulk_item_ready(b, i, true);
    }
    if (bulk_conn_open(b, c) && item->life == b->courier[c]->life) {
        bulk_conn_give_up(b, c, "a chunk failed its digest", false);
    }
}

void bulk_stored(struct bulk *b, uint32_t i, enum bulk_stored result,
                 uint64_t now)
{
    struct item *item = &b->item[i];

    b->lines.now = now;
    BELAY_ASSERT(item->state == ITEM_STORING);
    switch (result) {
    case BULK_STORED:
        line_progress(&b->lines);
        b->files++;
        b->bytes += item->identity.size;
        bulk_item_over(b, i, BULK_GOOD, TRANSFER_OK, NULL);
        break;
    case BULK_BAD_CHUNK:
        bad_chunk(b, i);
        break;
    case BULK_BAD_CID:
        b->wasted += item->identity.size;
        if (item->pinned) {
            bulk_item_over(b, i, BULK_BAD, TRANSFER_WRONG_CONTENT,
                           "the server's file is not the pinned content");
        } else {
            /* The server contradicts itself: its digest list tells more. */
            bulk_item_over(b, i, BULK_HANDED, TRANSFER_OK, NULL);
        }
        break;
    case BULK_LOCAL:
        bulk_item_over(b, i, BULK_BAD, TRANSFER_OK, NULL);
        break;
    }
}

int bulk_check(struct hasher *hasher, const struct transfer_identity *id,
               const uint8_t *digests)
{
    uint8_t root[HASH_LEN];
    uint8_t cid[HASH_LEN];
    int err;

    if (!id->cid_known) {
        return 0;
    }
    err = merkle_root(hasher, id->size, id->chunk_log2, digests,
                      cid_chunk_count(id->size, id->chunk_log2), root);
    if (err == 0) {
        err = cid_from_root(hasher, id->size, id->chunk_log2, root, cid);
    }
    if (err != 0) {
        return ERR_INTERNAL;
    }
    return memcmp(cid, id->cid, HASH_LEN) == 0 ? 0 : ERR_DIGEST;
}

/* ---- what next. */

static void wake_later(struct bulk *b)
{
    while (b->later.count > 0 &&
           b->item[b->later.head].not_before <= b->lines.now) {
        bulk_item_ready(b, bulk_queue_pop(b, &b->later), false);
    }
}

static void update_goal(struct bulk *b)
{
    unsigned most = b->config.conns;
    unsigned fit = 1 + b->ready.count / FILES_PER_CONN;

    if (!b->lines.contact) {
        return; /* one greeting tells whether there is a server at all */
    }
    if (most == 0) {
        most = b->lines.dial_ms >= FAR_MS || b->lines.losses > 0
                   ? CONNS_FAR
                   : CONNS_NEAR;
    }
    line_want(&b->lines, fit < most ? fit : most);
}

static bool may_dial(const struct bulk *b)
{
    return b->ready.count + b->later.count > 0 ||
           (!b->input_ended && !b->lines.contact);
}

static void pump(struct bulk *b)
{
    wake_later(b);
    for (unsigned c = 0; c < LINE_MAX; c++) {
        if (b->lines.line[c].state == LINE_UP) {
            bulk_conn_ask(b, c);
        }
    }
    update_goal(b);
}

/* The next thing that the runner has to know about one item. */
static bool next_told(struct bulk *b, struct bulk_action *a)
{
    uint32_t i = bulk_queue_pop(b, &b->told);
    struct item *item;

    if (i == NO_ITEM) {
        return false;
    }
    item = &b->item[i];
    a->type = (enum bulk_action_type)item->todo;
    a->item = i;
    item->todo = BULK_IDLE;
    if (a->type != BULK_ITEM) {
        return true;
    }
    a->outcome = item->outcome;
    a->reason = item->reason;
    (void)snprintf(b->text, sizeof b->text, "%s",
                   item->text != NULL ? item->text
                                      : transfer_reason_name(item->reason));
    a->text = b->text;
    free(item->text);
    item->text = NULL;
    item->state = ITEM_FREE;
    b->used--;
    queue_push(b, &b->free, i, false);
    return true;
}

static bool next_order(struct bulk *b, struct bulk_action *a)
{
    if (line_next_note(&b->lines, &a->note)) {
        a->type = BULK_NOTE;
        return true;
    }
    switch (line_next(&b->lines, may_dial(b), &a->conn)) {
    case LINE_DIAL:
        a->type = BULK_DIAL;
        return true;
    case LINE_DROP:
        a->type = BULK_DROP;
        return true;
    case LINE_NOTHING:
        break;
    }
    return false;
}

enum bulk_action_type bulk_next(struct bulk *b, uint64_t now,
                                struct bulk_action *a)
{
    memset(a, 0, sizeof *a);
    b->lines.now = now;
    if (next_told(b, a)) {
        return a->type;
    }
    if (b->lines.failed != TRANSFER_OK) {
        if (!b->fail_told) {
            b->fail_told = true;
            a->type = BULK_FAIL;
            a->reason = b->lines.failed;
            a->text = b->lines.detail;
        }
        return a->type;
    }
    pump(b);
    if (next_told(b, a) || next_order(b, a)) {
        return a->type;
    }
    if (b->input_ended && b->used == 0 && !b->end_told) {
        b->end_told = true;
        a->type = BULK_END;
    }
    return a->type;
}

uint64_t bulk_deadline(const struct bulk *b)
{
    uint64_t at;

    if (b->lines.failed != TRANSFER_OK || b->end_told) {
        return UINT64_MAX;
    }
    at = line_deadline(&b->lines, may_dial(b));
    if (b->later.count > 0 && b->item[b->later.head].not_before < at) {
        at = b->item[b->later.head].not_before;
    }
    return at;
}

/* ---- queries. */

struct receiver *bulk_receiver(struct bulk *b, unsigned conn)
{
    BELAY_ASSERT(conn < LINE_MAX);
    return b->lines.line[conn].receiver;
}

bool bulk_conn_open(const struct bulk *b, unsigned conn)
{
    BELAY_ASSERT(conn < LINE_MAX);
    return b->lines.line[conn].state == LINE_UP;
}

const struct transfer_identity *bulk_identity(const struct bulk *b,
                                              uint32_t item)
{
    BELAY_ASSERT(item < b->config.items_max);
    return &b->item[item].identity;
}

void bulk_ledger(const struct bulk *b, struct bulk_ledger *out)
{
    out->files = b->files;
    out->bytes = b->bytes;
    out->wire = b->lines.wire;
    out->wasted = b->wasted;
    out->saved = b->saved;
    out->connects = b->lines.connects;
    out->losses = b->lines.losses;
}

unsigned bulk_conns_used(const struct bulk *b)
{
    return line_count_up(&b->lines);
}
