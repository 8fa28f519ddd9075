/* Bulk: what the server's answers mean. */
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/session/bulk_internal.h"
#include "proto/session/retry.h"

/* A file too new for a strong version has rested after this time. */
#define REST_MS (TIMER_RACY_WINDOW_MS + 300u)
/* A window that the server's refusals made smaller has this size at least. */
#define WINDOW_MIN 4u

/* The file of this slot is on its way no more; the slot may be. */
static uint32_t detach(struct bulk *b, struct slot *s)
{
    uint32_t i = s->item;

    s->item = NO_ITEM;
    bulk_item_landed(b, i);
    return i;
}

static void over(struct bulk *b, struct slot *s, enum bulk_outcome outcome,
                 enum transfer_reason reason, const char *text)
{
    uint32_t i = detach(b, s);

    bulk_item_over(b, i, outcome, reason, text);
}

/* The peer breaks the protocol in its answer about one file: the connection
 * is of no use, and the file is tried once more. */
static void broken(struct bulk *b, unsigned c, struct slot *s,
                   const char *text)
{
    uint32_t i = s->item;

    if (++b->item[i].protocol > 1) {
        over(b, s, BULK_BAD, TRANSFER_PROTOCOL, text);
    }
    bulk_conn_give_up(b, c, text, false);
}

/* ---- INFO. */

static void adopt(struct item *item, const struct msg_info *info)
{
    struct transfer_identity *id = &item->identity;

    memset(id, 0, sizeof *id);
    id->size = info->size;
    id->chunk_log2 = info->chunk_log2;
    id->strong = (info->info_flags & INFO_VERSION_STRONG) != 0;
    id->version_len = (uint8_t)info->version.len;
    memcpy(id->version, info->version.ptr, info->version.len);
    id->mtime_s = info->mtime_s;
    id->mtime_ns = info->mtime_ns;
    id->mode = info->mode;
    if (info->cid.len != 0) {
        id->cid_known = true;
        memcpy(id->cid, info->cid.ptr, HASH_LEN);
    }
    if (item->pinned) {
        id->cid_known = true;
        memcpy(id->cid, item->pin_cid, HASH_LEN);
    }
}

/* The size is known now: correct the sum, and the guess for others. */
static void correct_flight(struct bulk *b, struct item *item, uint64_t size,
                           uint64_t cover)
{
    uint64_t bytes = size < cover ? size : cover;

    b->flight = b->flight - item->flight + bytes;
    item->flight = bytes;
    b->mean = (b->mean * 15 + bytes) / 16 + 1;
}

/* Many files of unknown size turned out large: what was asked for is more
 * than memory is meant for.  The last of them are asked for again. */
static void postpone(struct bulk *b, unsigned c, struct slot *s)
{
    struct item *item = &b->item[s->item];

    item->size_known = true;
    item->size = item->identity.size;
    if (receiver_cancel(bulk_receiver(b, c), s->get_request) == 0) {
        bulk_item_ready(b, detach(b, s), false);
    }
}

static void on_info(struct bulk *b, unsigned c, struct slot *s,
                    const struct msg_info *info)
{
    struct item *item = &b->item[s->item];
    bool pin_differs = item->pinned && info->cid.len != 0 &&
                       memcmp(info->cid.ptr, item->pin_cid, HASH_LEN) != 0;

    if (info->file_type != FILE_REGULAR) {
        over(b, s, BULK_BAD, TRANSFER_NOT_A_FILE,
             info->file_type == FILE_DIRECTORY
                 ? "it is a directory, not a file"
                 : "it is not a regular file");
        return;
    }
    if ((item->pinned && info->chunk_log2 != item->pin_log2) ||
        info->chunk_log2 > b->config.line.max_chunk_log2) {
        broken(b, c, s, "the server's INFO is not what was asked for");
        return;
    }
    if (pin_differs) {
        over(b, s, BULK_BAD, TRANSFER_WRONG_CONTENT,
             "the server's file is not the pinned content");
        return;
    }
    adopt(item, info);
    if (item->probe) {
        bulk_item_landed(b, s->item);
        item->state = ITEM_JUDGE;
        bulk_item_tell(b, s->item, BULK_PROBED);
        return;
    }
    if (info->size > s->cover) {
        over(b, s, BULK_HANDED, TRANSFER_OK, NULL);
        return;
    }
    correct_flight(b, item, info->size, s->cover);
    if (!item->size_known && b->flight > 2 * BULK_FLIGHT_BYTES &&
        s->get_request != 0) {
        postpone(b, c, s);
    }
}

/* Its GET was refused before OPEN was answered: once more, where that can be
 * sent. */
static void get_again(struct bulk *b, unsigned c, struct slot *s)
{
    if (b->lines.line[c].draining) {
        bulk_item_ready(b, detach(b, s), true);
    } else {
        bulk_conn_want(b->courier[c], s, WANT_GET);
    }
}

static void info_event(struct bulk *b, unsigned c, struct slot *s,
                       const struct receiver_event *event)
{
    bool again = s->item != NO_ITEM && s->get_request == 0 &&
                 !b->item[s->item].probe;

    s->open_request = 0;
    if (s->item != NO_ITEM) {
        on_info(b, c, s, &event->info);
    }
    if (again && s->item != NO_ITEM) {
        get_again(b, c, s);
    }
    if (s->item == NO_ITEM && s->handle != 0 && s->get_request == 0) {
        bulk_conn_close(b, c, s); /* no GET does */
    }
}

/* ---- CHUNK. */

/* INFO came before it: the receiver knows the chunks of a file from there. */
static void on_chunk(struct bulk *b, unsigned c, struct slot *s,
                     const struct msg_chunk *chunk, struct bulk_chunk *out)
{
    struct courier *k = b->courier[c];

    out->present = true;
    out->wanted = s != NULL && s->item != NO_ITEM;
    out->offset = chunk->offset;
    out->raw_len = chunk->raw_len;
    out->stored_len = chunk->stored_len;
    out->codec = chunk->codec;
    memcpy(out->digest, chunk->digest, HASH_LEN);
    k->current = s;
    if (out->wanted) {
        out->item = s->item;
        out->attempt = b->item[s->item].attempt;
        b->saved += chunk->raw_len - chunk->stored_len;
    }
}

void bulk_chunk_data(struct bulk *b, unsigned c, size_t len, uint64_t now)
{
    struct courier *k = b->courier[c];
    struct slot *s;

    b->lines.now = now;
    if (!bulk_conn_open(b, c)) {
        return;
    }
    receiver_chunk_data(bulk_receiver(b, c), now, len);
    b->lines.wire += len;
    s = k->current;
    if (s != NULL) {
        s->got += len;
        if (s->item == NO_ITEM) {
            b->wasted += len;
        }
    }
    if (receiver_chunk_left(bulk_receiver(b, c)) == 0) {
        k->current = NULL;
        if (s != NULL) {
            bulk_conn_settle(k, s);
        }
    }
}

/* ---- DONE. */

static bool same_version(const struct transfer_identity *id,
                         const struct msg_done *done)
{
    if (done->version.len != id->version_len ||
        memcmp(done->version.ptr, id->version, id->version_len) != 0) {
        return false;
    }
    return done->cid.len == 0 || !id->cid_known ||
           memcmp(done->cid.ptr, id->cid, HASH_LEN) == 0;
}

static void changed(struct bulk *b, struct slot *s)
{
    uint32_t i = detach(b, s);

    if (++b->item[i].changes >= CHANGES_MAX) {
        bulk_item_over(b, i, BULK_HANDED, TRANSFER_OK, NULL);
    } else {
        bulk_item_later(b, i, TIMER_RETRY_AFTER_MS);
    }
}

/* Every chunk of the file is there (the receiver saw to that); is it one
 * version?  Rules R5c, R5e, G10. */
static void complete(struct bulk *b, unsigned c, struct slot *s,
                     const struct msg_done *done)
{
    struct item *item = &b->item[s->item];
    struct transfer_identity *id = &item->identity;
    uint32_t i;

    if (!same_version(id, done)) {
        changed(b, s);
        return;
    }
    if (done->cid.len != 0 && !id->cid_known) {
        id->cid_known = true;
        memcpy(id->cid, done->cid.ptr, HASH_LEN);
    }
    i = detach(b, s);
    b->lines.line[c].delivered++;
    if (id->strong || id->cid_known) {
        item->state = ITEM_STORING;
        bulk_item_tell(b, i, BULK_STORE);
    } else if (++item->weak > WEAK_MAX) {
        bulk_item_over(b, i, BULK_HANDED, TRANSFER_OK, NULL);
    } else {
        b->wasted += id->size;
        bulk_item_later(b, i, REST_MS);
    }
}

static void on_done(struct bulk *b, unsigned c, struct slot *s,
                    const struct receiver_event *event)
{
    if (event->request == s->close_request) {
        s->close_request = 0;
    } else if (event->request == s->get_request) {
        s->get_request = 0;
        if (s->item != NO_ITEM) {
            complete(b, c, s, &event->done);
        }
    }
}

/* ---- ERROR. */

/* The server itself fails with this file; others may be well. */
static void server_trouble(struct bulk *b, unsigned c, struct slot *s,
                           const struct msg_error *error, const char *why)
{
    struct item *item = &b->item[s->item];

    if (error->code == WIRE_SHUTTING_DOWN) {
        bulk_conn_give_up(b, c, why, false);
        return;
    }
    if (++item->errors >= ERRORS_MAX) {
        over(b, s, BULK_BAD, TRANSFER_SERVER, why);
        return;
    }
    bulk_item_later(b, detach(b, s),
                    error->has_retry_after
                        ? retry_after_ms(error)
                        : TIMER_BACKOFF_BASE_MS * item->errors);
}

/* The server allows less than it said, or than fits its memory. */
static void narrow(struct courier *k, const struct msg_error *error)
{
    unsigned busy = bulk_conn_busy(k);

    if (error->code == WIRE_TOO_MANY_REQUESTS ||
        error->code == WIRE_TOO_MANY_HANDLES) {
        k->window = busy > 2 * WINDOW_MIN ? busy / 2 : WINDOW_MIN;
    }
}

static void refused(struct bulk *b, struct slot *s,
                    const struct msg_error *error, const char *why)
{
    const struct item *item = &b->item[s->item];

    if (error->code == WIRE_UNSUPPORTED && item->pinned) {
        over(b, s, BULK_HANDED, TRANSFER_OK, NULL); /* R11c: another grid */
    } else if (error->code == WIRE_NOT_A_FILE) {
        over(b, s, BULK_BAD, TRANSFER_NOT_A_FILE, why);
    } else {
        over(b, s, BULK_BAD, TRANSFER_REFUSED, why);
    }
}

/* One of the requests for the file failed. */
static void file_error(struct bulk *b, unsigned c, struct slot *s,
                       const struct msg_error *error, bool opening)
{
    char text[LINE_TEXT];
    const char *why = retry_sentence(error, text, sizeof text);

    switch (err_wire_class(error->code)) {
    case WIRE_CLASS_TRANSIENT:
        narrow(b->courier[c], error);
        if (!opening) { /* whether the handle is still open is not said */
            bulk_conn_close(b, c, s);
        }
        bulk_item_later(b, detach(b, s), retry_after_ms(error));
        break;
    case WIRE_CLASS_STALE:
        if (opening && b->item[s->item].pinned) {
            over(b, s, BULK_BAD, TRANSFER_WRONG_CONTENT,
                 "the server's file is not the pinned content");
        } else {
            changed(b, s);
        }
        break;
    case WIRE_CLASS_ACCESS:
        line_fail(&b->lines, TRANSFER_ACCESS, "%s", why);
        break;
    case WIRE_CLASS_SERVER:
    case WIRE_CLASS_CANCELLED: /* what we cancel has left its slot before */
        server_trouble(b, c, s, error, why);
        break;
    case WIRE_CLASS_PROTOCOL:
        broken(b, c, s, why);
        break;
    default:
        if (error->code == WIRE_BAD_HANDLE) {
            changed(b, s); /* the server closed it, and did not say why */
        } else {
            refused(b, s, error, why);
        }
    }
}

static void on_error(struct bulk *b, unsigned c, struct slot *s,
                     const struct receiver_event *event)
{
    struct courier *k = b->courier[c];
    bool opening = event->request == s->open_request;

    if (opening) {
        s->open_request = 0;
        bulk_conn_want(k, s, WANT_NOTHING);
    } else if (event->request == s->get_request) {
        s->get_request = 0;
    } else if (event->request == s->close_request) {
        s->close_request = 0;
        return;
    }
    if (!opening && s->open_request != 0) {
        narrow(k, &event->error); /* the answer to OPEN decides */
    } else if (s->item != NO_ITEM) {
        file_error(b, c, s, &event->error, opening);
    }
}

/* ---- the connection. */

/* No request may follow, and those above last_id were never processed (C6):
 * what depends on them goes elsewhere. */
static void leave(struct bulk *b, struct courier *k, struct slot *s,
                  uint32_t last_id)
{
    bool dead = s->want == WANT_GET || s->open_request > last_id ||
                s->get_request > last_id;

    bulk_conn_want(k, s, WANT_NOTHING);
    s->open_request = s->open_request > last_id ? 0 : s->open_request;
    s->get_request = s->get_request > last_id ? 0 : s->get_request;
    s->close_request = s->close_request > last_id ? 0 : s->close_request;
    if (dead && s->item != NO_ITEM) {
        bulk_item_ready(b, detach(b, s), true);
    }
    bulk_conn_settle(k, s);
}

static void on_goaway(struct bulk *b, unsigned c, uint32_t last_id)
{
    struct courier *k = b->courier[c];

    for (unsigned n = 0; n < BULK_WINDOW; n++) {
        if (k->slot[n].handle != 0) {
            leave(b, k, &k->slot[n], last_id);
        }
    }
}

static void file_event(struct bulk *b, unsigned c,
                       const struct receiver_event *event,
                       struct bulk_chunk *chunk)
{
    struct courier *k = b->courier[c];
    struct slot *s = bulk_conn_slot(k, event->handle);
    uint32_t life = k->life;

    if (event->type == RECEIVER_CHUNK) {
        on_chunk(b, c, s, &event->chunk, chunk);
        return;
    }
    if (s == NULL) {
        return;
    }
    if (event->type == RECEIVER_INFO) {
        info_event(b, c, s, event);
    } else if (event->type == RECEIVER_DONE) {
        on_done(b, c, s, event);
    } else if (event->type == RECEIVER_ERROR) {
        on_error(b, c, s, event);
    }
    if (k->life == life) {
        bulk_conn_settle(k, s);
    }
}

void bulk_reply(struct bulk *b, unsigned c,
                const struct receiver_event *event,
                struct bulk_chunk *chunk)
{
    if (event->type == RECEIVER_GOAWAY) {
        line_event(&b->lines, c, event);
        on_goaway(b, c, event->goaway.last_id);
    } else if (event->type == RECEIVER_ERROR && event->request == 0) {
        bulk_conn_release(b, c);
        line_event(&b->lines, c, event);
    } else if (event->type == RECEIVER_HELLO ||
               event->type == RECEIVER_NOTICE) {
        line_event(&b->lines, c, event);
    } else {
        file_event(b, c, event, chunk);
    }
}

void bulk_feed(struct bulk *b, unsigned c, const uint8_t *data, size_t len,
               size_t *used, struct bulk_chunk *chunk, uint64_t now)
{
    struct receiver_event event;
    size_t step;

    b->lines.now = now;
    chunk->present = false;
    *used = 0;
    while (*used < len && bulk_conn_open(b, c) && !chunk->present &&
           b->lines.failed == TRANSFER_OK) {
        int err = receiver_feed(bulk_receiver(b, c), now, data + *used,
                                len - *used, &step, &event);

        *used += step;
        b->lines.wire += step;
        if (err != 0) {
            bulk_conn_release(b, c);
            line_broken(&b->lines, c, err);
            break;
        }
        if (event.type == RECEIVER_NONE) {
            break;
        }
        bulk_reply(b, c, &event, chunk);
    }
    if (!bulk_conn_open(b, c) || b->lines.failed != TRANSFER_OK) {
        chunk->present = false;
        *used = len; /* nothing of it is of interest any more */
    }
}
