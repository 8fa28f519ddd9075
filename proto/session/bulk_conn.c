/* Bulk: asking.  Which file goes out on which connection; loss. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/session/bulk_internal.h"

/* So many handle numbers has one slot; then the connection ends. */
#define TURNS_MAX (UINT32_MAX / BULK_WINDOW - 1)

unsigned bulk_conn_busy(const struct courier *k)
{
    return BULK_WINDOW - k->free_count;
}

struct slot *bulk_conn_slot(struct courier *k, uint32_t handle)
{
    struct slot *s;

    if (handle == 0) {
        return NULL;
    }
    s = &k->slot[(handle - 1) % BULK_WINDOW];
    return s->handle == handle ? s : NULL;
}

void bulk_conn_want(struct courier *k, struct slot *s, enum slot_want want)
{
    k->wanting -= s->want != WANT_NOTHING;
    k->wanting += want != WANT_NOTHING;
    s->want = want;
}

/* Where no request may follow, the end of the connection closes it. */
void bulk_conn_close(struct bulk *b, unsigned c, struct slot *s)
{
    if (!b->lines.line[c].draining) {
        bulk_conn_want(b->courier[c], s, WANT_CLOSE);
    }
}

static void slot_free(struct courier *k, struct slot *s)
{
    bulk_conn_want(k, s, WANT_NOTHING);
    s->handle = 0;
    s->item = NO_ITEM;
    k->free[k->free_count++] = (uint16_t)(s - k->slot);
}

void bulk_conn_settle(struct courier *k, struct slot *s)
{
    if (s->open_request == 0 && s->get_request == 0 &&
        s->close_request == 0 && s->want == WANT_NOTHING &&
        s->item == NO_ITEM && k->current != s) {
        slot_free(k, s);
    }
}

void bulk_conn_forget(struct bulk *b, uint32_t i)
{
    const struct item *item = &b->item[i];
    struct courier *k = b->courier[item->conn];
    struct slot *s = item->life == k->life
                         ? bulk_conn_slot(k, item->handle)
                         : NULL;

    if (s != NULL) {
        s->item = NO_ITEM;
        bulk_conn_close(b, item->conn, s);
        bulk_conn_settle(k, s);
    }
}

/* ---- up. */

/* Handle numbers start anew; what the slots pointed to is taken care of. */
static void courier_reset(struct courier *k)
{
    k->free_count = 0;
    k->wanting = 0;
    k->window = BULK_WINDOW;
    k->current = NULL;
    k->life++;
    memset(k->slot, 0, sizeof k->slot);
    for (unsigned s = BULK_WINDOW; s > 0; s--) {
        k->slot[s - 1].item = NO_ITEM;
        k->free[k->free_count++] = (uint16_t)(s - 1);
    }
}

void bulk_connected(struct bulk *b, unsigned c, uint64_t now)
{
    b->lines.now = now;
    if (b->courier[c] == NULL) {
        b->courier[c] = calloc(1, sizeof *b->courier[c]);
        if (b->courier[c] == NULL) {
            line_fail(&b->lines, TRANSFER_NOMEM, "out of memory");
            return;
        }
    }
    if (line_connected(&b->lines, c)) {
        courier_reset(b->courier[c]);
        bulk_conn_ask(b, c);
    }
}

/* ---- down. */

/* A file whose answer did not come to its end: once more. */
static void take_back(struct bulk *b, struct courier *k, struct slot *s)
{
    struct item *item = &b->item[s->item];

    bulk_item_landed(b, s->item);
    b->wasted += s->got;
    if (item->state == ITEM_JUDGE) {
        return; /* the runner's word decides */
    }
    if (k->current == s && ++item->cuts >= CUTS_MAX) {
        bulk_item_over(b, s->item, BULK_HANDED, TRANSFER_OK, NULL);
    } else {
        bulk_item_ready(b, s->item, true);
    }
}

void bulk_conn_release(struct bulk *b, unsigned c)
{
    struct courier *k = b->courier[c];

    for (unsigned n = 0; n < BULK_WINDOW; n++) {
        if (k->slot[n].handle != 0 && k->slot[n].item != NO_ITEM) {
            take_back(b, k, &k->slot[n]);
        }
    }
    courier_reset(k);
}

void bulk_conn_give_up(struct bulk *b, unsigned c, const char *text,
                       bool quiet)
{
    bulk_conn_release(b, c);
    line_give_up(&b->lines, c, text, quiet);
}

void bulk_lost(struct bulk *b, unsigned c, const char *text, uint64_t now)
{
    b->lines.now = now;
    if (bulk_conn_open(b, c)) {
        bulk_conn_release(b, c);
        line_lost(&b->lines, c, text);
    }
}

void bulk_dial_failed(struct bulk *b, unsigned c, const char *text,
                      uint64_t now)
{
    b->lines.now = now;
    line_dial_failed(&b->lines, c, text);
}

void bulk_hurry(struct bulk *b, uint64_t now)
{
    b->lines.now = now;
    line_hurry(&b->lines);
}

void bulk_tick(struct bulk *b, uint64_t now)
{
    unsigned c;

    b->lines.now = now;
    while ((c = line_silent(&b->lines)) < LINE_MAX) {
        bulk_conn_give_up(b, c, receiver_error_text(bulk_receiver(b, c)),
                          false);
    }
}

/* ---- asking. */

static bool send_get(struct bulk *b, struct line *l, struct slot *s)
{
    struct msg_range range = {.offset = 0, .length = s->cover};
    struct msg_get get = {.handle = s->handle,
                          .urgency = LIMIT_URGENCY_DEFAULT,
                          .flags = GET_CLOSE_AFTER};
    uint8_t packed[MSG_RANGES_BYTES(1)];

    msg_ranges_pack(&get, &range, 1, packed);
    return receiver_get(l->receiver, &get, b->lines.now, &s->get_request) ==
           0;
}

/* What could not be said at once. */
static void say_rest(struct bulk *b, struct courier *k, struct line *l)
{
    for (unsigned n = 0; n < BULK_WINDOW && k->wanting > 0; n++) {
        struct slot *s = &k->slot[n];

        if (s->want == WANT_GET && !send_get(b, l, s)) {
            return;
        }
        if (s->want == WANT_CLOSE &&
            receiver_close_handle(l->receiver, s->handle, b->lines.now,
                                  &s->close_request) != 0) {
            return;
        }
        bulk_conn_want(k, s, WANT_NOTHING);
    }
}

static uint64_t guess_bytes(const struct bulk *b, const struct item *item)
{
    return item->size_known ? item->size : b->mean;
}

/* OPEN of the next file in a new handle; false when that must wait. */
static bool ask_one(struct bulk *b, unsigned c)
{
    struct courier *k = b->courier[c];
    struct line *l = &b->lines.line[c];
    struct slot *s = &k->slot[k->free[k->free_count - 1]];
    uint32_t i = b->ready.head;
    struct item *item = &b->item[i];
    struct msg_open open = {.path = {item->path, item->path_len}};

    if (s->turn >= TURNS_MAX) {
        bulk_conn_give_up(b, c, "no handle numbers are left", true);
        return false;
    }
    s->handle = s->turn * BULK_WINDOW + (uint32_t)(s - k->slot) + 1;
    open.handle = s->handle;
    if (item->pinned) {
        open.want_chunk_log2 = item->pin_log2;
        open.expect_cid = (struct bytes_view){item->pin_cid, HASH_LEN};
    }
    if (receiver_open(l->receiver, &open, b->lines.now, &s->open_request) !=
        0) {
        s->handle = 0;
        return false;
    }
    (void)bulk_queue_pop(b, &b->ready);
    k->free_count--;
    s->turn++;
    s->item = i;
    s->get_request = 0;
    s->close_request = 0;
    s->got = 0;
    s->cover = item->size_known ? b->config.small_max : BULK_GUESS_BYTES;
    item->state = ITEM_ASKED;
    item->attempt++;
    item->conn = c;
    item->life = k->life;
    item->handle = s->handle;
    item->flight = guess_bytes(b, item);
    b->flight += item->flight;
    if (!item->probe && !send_get(b, l, s)) {
        bulk_conn_want(k, s, WANT_GET);
    }
    return true;
}

static bool window_open(const struct bulk *b, const struct courier *k,
                        const struct line *l)
{
    const struct receiver_limits *limits = receiver_limits(l->receiver);
    unsigned window = k->window;

    if (window > limits->max_handles) {
        window = limits->max_handles;
    }
    if (window > limits->max_requests / 2u) {
        window = limits->max_requests / 2u;
    }
    if (bulk_conn_busy(k) >= window) {
        return false;
    }
    return b->flight + guess_bytes(b, &b->item[b->ready.head]) <=
               BULK_FLIGHT_BYTES ||
           bulk_conn_busy(k) == 0;
}

void bulk_conn_ask(struct bulk *b, unsigned c)
{
    struct courier *k = b->courier[c];
    struct line *l = &b->lines.line[c];

    if (l->draining) {
        if (bulk_conn_busy(k) == 0 &&
            receiver_chunk_left(l->receiver) == 0) {
            bulk_conn_give_up(b, c, "the server is closing the connection",
                              true);
        }
        return;
    }
    say_rest(b, k, l);
    while (b->ready.count > 0 && receiver_can_request(l->receiver) &&
           window_open(b, k, l) && ask_one(b, c)) {
    }
}
