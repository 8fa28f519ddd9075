/* Transfer: what the server's answers mean. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/session/transfer_internal.h"

/* Read errors of the server without progress in between. */
#define IO_ERRORS_MAX 3u
/* A chunk that failed so often asks for smaller chunks first. */
#define BAD_BEFORE_SHRINK 2u
/* So many in a row on one connection: its way is bad. */
#define BAD_ON_CONN_MAX 3u
/* So many in a row are no damage on the way: nothing good comes from there.
 * More than are under way at once, as all of those may have met one fault. */
#define BAD_RUN_MAX 256u
/* A file that changes within one tick of its server's clock is looked at
 * again after this time, doubled each time, so often in a row. */
#define UNSTEADY_WAIT_MS 500u
#define UNSTEADY_MAX 8u

/* ---- CHUNK. */

static void bad_say(struct transfer *t, uint64_t index, unsigned count)
{
    t->ledger.bad_chunks++;
    transfer_say(t, &(struct note){.note = TRANSFER_NOTE_BAD_CHUNK,
                                   .first = index,
                                   .count = count});
}

static unsigned bad_slot(struct transfer *t, unsigned source, uint64_t index)
{
    unsigned slot = BAD_SLOTS;

    for (unsigned k = 0; k < BAD_SLOTS; k++) {
        if (t->bad[k].count > 0 && t->bad[k].index == index &&
            t->bad[k].source == source) {
            return k;
        }
        if (t->bad[k].count == 0 && slot == BAD_SLOTS) {
            slot = k;
        }
    }
    if (slot == BAD_SLOTS) {
        slot = (unsigned)(index % BAD_SLOTS);
    }
    t->bad[slot].index = index;
    t->bad[slot].source = source;
    t->bad[slot].count = 0;
    return slot;
}

/* Counts it, and returns how often this chunk of this source failed. */
static unsigned bad_count(struct transfer *t, unsigned source, uint64_t index)
{
    unsigned slot = bad_slot(t, source, index);
    unsigned count = ++t->bad[slot].count;
    char text[100];

    t->bad_run++;
    bad_say(t, index, count);
    if (t->bad_run >= BAD_RUN_MAX) {
        t->bad_run = 0;
        (void)snprintf(text, sizeof text,
                       "%u chunks in a row failed their digests",
                       BAD_RUN_MAX);
        mirror_reject(t, source, TRANSFER_WRONG_CONTENT, text);
    } else if (count >= LIMIT_CHUNK_ATTEMPTS && t->shrink_to == 0) {
        (void)snprintf(text, sizeof text,
                       "chunk %" PRIu64 " at byte %" PRIu64
                       " failed its digest %u times",
                       index, index << t->grid.log2, count);
        mirror_reject(t, source, TRANSFER_WRONG_CONTENT, text);
        t->bad[slot].count = 0;
    } else if (count >= BAD_BEFORE_SHRINK) {
        transfer_shrink_more(t);
    }
    return count;
}

/* A weak version is not as it was listed: it changed, which says nothing
 * about its server.  In time the change shows in the version; who is like
 * that for ever is no use, maybe later. */
static void unsteady(struct transfer *t, unsigned i, uint64_t index)
{
    uint64_t wait = (uint64_t)UNSTEADY_WAIT_MS << t->unsteady;

    t->unsteady++;
    t->calm_at = t->now + (wait < TIMER_BACKOFF_CAP_MS ? wait
                                                       : TIMER_BACKOFF_CAP_MS);
    bad_say(t, index, 1);
    if (t->unsteady >= UNSTEADY_MAX) {
        t->unsteady = 0;
        mirror_fail(t, i, TRANSFER_SERVER,
                    "the file on the server changes all the time while it "
                    "is read");
    }
}

/* The server sends other bytes than it published (rule R10).  A weak version
 * cannot tell whether the file changed: then its list is of no more use.  Of
 * several servers one that did not tell the list may just have another
 * content. */
static void other_than_listed(struct transfer *t, unsigned i, uint64_t index)
{
    bool weak = t->any_weak;

    if (mirror_many(t) && t->conn[i].source != t->expect_source) {
        bad_say(t, index, 1);
    } else if (weak) {
        unsteady(t, i, index);
    } else {
        (void)bad_count(t, t->conn[i].source, index);
    }
    if (mirror_many(t)) {
        mirror_forges(t, i);
        return;
    }
    conn_give_up(t, i, "the server contradicts its own digests", false);
    if (weak && t->phase == PHASE_FETCH) {
        change_begin(t, i, "the file on the server is another version");
    }
}

static void on_chunk(struct transfer *t, unsigned i,
                     const struct receiver_event *event,
                     struct transfer_chunk *out)
{
    struct conn *c = &t->conn[i];
    const struct msg_chunk *chunk = &event->chunk;
    uint64_t index = chunk->offset >> t->grid.log2;
    bool current = c->bound && chunk->handle == c->handle &&
                   (t->phase == PHASE_FETCH || t->phase == PHASE_CHECK) &&
                   index < t->grid.count;
    enum chunk_state state = current ? grid_state(&t->grid, index)
                                     : CHUNK_HAVE;

    out->present = true;
    out->conn = i;
    out->index = index;
    out->offset = chunk->offset;
    out->raw_len = chunk->raw_len;
    out->stored_len = chunk->stored_len;
    out->codec = chunk->codec;
    memcpy(out->digest, chunk->digest, HASH_LEN);
    out->wanted = state == CHUNK_MISSING || state == CHUNK_CLAIMED;
    if (current) {
        claim_arrived(t, i, event->request, index);
    }
    if (out->wanted && t->expect != NULL &&
        memcmp(t->expect[index], chunk->digest, HASH_LEN) != 0) {
        out->present = false;
        other_than_listed(t, i, index);
        return;
    }
    if (out->wanted) {
        check_arrived(t, i, event->request);
        grid_set(&t->grid, index, CHUNK_PIPE, c->source);
        c->piping = true;
        c->current = index;
        c->current_stored = chunk->stored_len;
    } else {
        c->discarding = true;
    }
}

void transfer_chunk_data(struct transfer *t, unsigned i, size_t len,
                         uint64_t now)
{
    struct conn *c = &t->conn[i];

    t->now = now;
    if (c->state != CONN_UP) {
        return;
    }
    receiver_chunk_data(c->receiver, now, len);
    c->data_at = now;
    c->up_bytes += len;
    t->ledger.wire += len;
    t->source[c->source].stats.wire += len;
    t->round_bytes += len;
    if (c->discarding) {
        t->ledger.repeated += len;
    }
    if (receiver_chunk_left(c->receiver) == 0) {
        c->delivered += c->piping;
        c->unjudged += c->piping;
        c->piping = false;
        c->discarding = false;
    }
}

/* A chunk failed its digest.  Its length was right, or the next header would
 * not follow it, and each later frame is judged by its own checksums: so the
 * connection, with all that is on its way there, is still of use (R9).  Not
 * so when damage is the rule there, or when the very chunk failed before:
 * then another connection, maybe on another way, shall bring it.  (The slot
 * may lead to another source by now, which has nothing to do with it.) */
static void damaged(struct transfer *t, unsigned i, unsigned source,
                    uint64_t index)
{
    struct conn *c = &t->conn[i];
    bool here = c->source == source;
    unsigned count;

    grid_set(&t->grid, index, CHUNK_MISSING, 0);
    t->ledger.wasted += grid_len(&t->grid, index);
    if (here && c->delivered > 0) {
        c->delivered--;
    }
    c->bad_run += here;
    grid_damaged(t, grid_len(&t->grid, index));
    count = bad_count(t, source, index);
    if (!mirror_blame(t, source) && here &&
        (count > 1 || c->bad_run >= BAD_ON_CONN_MAX)) {
        conn_give_up(t, i, "a chunk failed its digest", false);
    }
}

void transfer_chunk_done(struct transfer *t, unsigned i, uint64_t index,
                         const uint8_t digest[HASH_LEN], bool ok,
                         uint64_t now)
{
    struct conn *c = &t->conn[i];
    unsigned source;

    t->now = now;
    c->unjudged -= c->unjudged > 0;
    if (index >= t->grid.count ||
        grid_state(&t->grid, index) != CHUNK_PIPE) {
        return;
    }
    source = grid_owner(&t->grid, index);
    if (ok && t->expect != NULL &&
        memcmp(t->expect[index], digest, HASH_LEN) != 0) {
        /* The list came while it was on its way to the disk. */
        grid_set(&t->grid, index, CHUNK_MISSING, 0);
        t->ledger.wasted += grid_len(&t->grid, index);
        other_than_listed(t, i, index);
        return;
    }
    if (ok) {
        t->source[source].stats.fresh += grid_len(&t->grid, index);
        memcpy(t->grid.digest[index], digest, HASH_LEN);
        grid_set(&t->grid, index, CHUNK_HAVE, ORIGIN_FRESH);
        grid_account(t);
        t->fruitless = 0;
        t->barren = 0;
        t->barren_conns = 0;
        t->bad_run = 0;
        t->unsteady = 0;
        c->bad_run = 0;
        t->io_errors = 0;
        t->sound_bytes += grid_len(&t->grid, index);
        return;
    }
    damaged(t, i, source, index);
}

/* ---- ERROR. */

/* The server does not make chunks as large as we asked for, maybe since its
 * last start: what is held moves to a grid that it can serve (R4a, R11c). */
static bool open_smaller(struct transfer *t, unsigned i)
{
    uint8_t most = receiver_limits(t->conn[i].receiver)->max_chunk_log2;

    if (t->grid.state == NULL) {
        if (t->config.want_chunk_log2 <= most ||
            (t->config.in_order && t->config.pinned)) {
            return false;
        }
        t->config.want_chunk_log2 = 0;
        return true;
    }
    if (t->grid.log2 <= most) {
        return false;
    }
    if (t->phase == PHASE_COPY) {
        return true; /* asked again when that is done */
    }
    if (t->phase != PHASE_FETCH) {
        change_undo(t); /* a new version is found again later */
        t->phase = PHASE_FETCH;
    }
    transfer_shrink(t, most);
    return t->shrink_to != 0;
}

static void open_refused(struct transfer *t, unsigned i,
                         const struct msg_error *error)
{
    char text[300];
    const char *why = retry_sentence(error, text, sizeof text);

    if (error->code == WIRE_UNSUPPORTED && open_smaller(t, i)) {
        return;
    }
    if (error->code == WIRE_UNSUPPORTED && t->config.in_order &&
        t->config.pinned) {
        why = "its chunks are smaller than those of the content id, and "
              "ordered output can be compared with that on no others";
    }
    switch (err_wire_class(error->code)) {
    case WIRE_CLASS_STALE:
        if (t->phase == PHASE_CHANGED) {
            /* Only the pin was expected in this OPEN. */
            mirror_fail(t, i, TRANSFER_WRONG_CONTENT,
                        "the server's file is not the pinned content");
            break;
        }
        mirror_differs(t, i, "the file on the server is another version");
        break;
    case WIRE_CLASS_TRANSIENT:
        conn_wait(t, i, retry_after_ms(error));
        break;
    case WIRE_CLASS_ACCESS:
        mirror_fail(t, i, TRANSFER_ACCESS, "%s", why);
        break;
    case WIRE_CLASS_SERVER:
        conn_wait(t, i, error->has_retry_after ? error->retry_after_ms : 0);
        conn_give_up(t, i, why, false);
        break;
    case WIRE_CLASS_PROTOCOL:
        mirror_fail(t, i, TRANSFER_PROTOCOL, "%s", why);
        break;
    default:
        mirror_fail(t, i,
                    error->code == WIRE_NOT_A_FILE ? TRANSFER_NOT_A_FILE
                                                   : TRANSFER_REFUSED,
                    "the server refuses: %s", why);
    }
}

static void io_error(struct transfer *t, unsigned i,
                     const struct msg_error *error, const char *why)
{
    t->io_errors++;
    if (t->io_errors >= IO_ERRORS_MAX) {
        if (error->has_offset) {
            mirror_fail(t, i, TRANSFER_SERVER,
                        "%s (at byte %" PRIu64 " of its file)", why,
                        error->offset);
        } else {
            mirror_fail(t, i, TRANSFER_SERVER, "%s", why);
        }
        t->io_errors = 0;
        return;
    }
    conn_wait(t, i, retry_after_ms(error));
}

static void get_failed(struct transfer *t, unsigned i,
                       const struct msg_error *error)
{
    struct conn *c = &t->conn[i];
    char text[300];
    const char *why = retry_sentence(error, text, sizeof text);

    if (error->code == WIRE_BAD_HANDLE) {
        /* The OPEN before it failed, or the server closed the handle after
         * a change; the OPEN's own answer decides what happens. */
        if (c->bound) {
            conn_open(t, i);
        }
        return;
    }
    switch (err_wire_class(error->code)) {
    case WIRE_CLASS_CANCELLED:
        break;
    case WIRE_CLASS_TRANSIENT:
        conn_wait(t, i, retry_after_ms(error));
        break;
    case WIRE_CLASS_STALE:
        if (c->bound) {
            conn_open(t, i);
        }
        break;
    case WIRE_CLASS_SERVER:
        if (error->code == WIRE_IO_ERROR) {
            io_error(t, i, error, why);
            break;
        }
        conn_wait(t, i, error->has_retry_after ? error->retry_after_ms : 0);
        conn_give_up(t, i, why, false);
        break;
    case WIRE_CLASS_ACCESS:
        mirror_fail(t, i, TRANSFER_ACCESS, "%s", why);
        break;
    default:
        mirror_fail(t, i, TRANSFER_PROTOCOL, "%s", why);
    }
}

/* ERROR with request id 0: the connection is over. */
static void conn_error(struct transfer *t, unsigned i,
                       const struct msg_error *error)
{
    char text[300];
    const char *why = retry_sentence(error, text, sizeof text);

    if (error->code == WIRE_VERSION_REJECTED) {
        mirror_fail(t, i, TRANSFER_VERSION, "%s", why);
        return;
    }
    switch (err_wire_class(error->code)) {
    case WIRE_CLASS_PERMANENT:
        mirror_fail(t, i, TRANSFER_REFUSED, "the server refuses: %s", why);
        return;
    case WIRE_CLASS_ACCESS:
        mirror_fail(t, i, TRANSFER_ACCESS, "%s", why);
        return;
    case WIRE_CLASS_PROTOCOL:
        if (++t->protocol_errors > 1) {
            mirror_fail(t, i, TRANSFER_PROTOCOL, "%s", why);
            return;
        }
        break;
    default:
        break;
    }
    conn_wait(t, i, error->has_retry_after ? error->retry_after_ms : 0);
    conn_give_up(t, i, why, false);
}

static void on_error(struct transfer *t, unsigned i,
                     const struct receiver_event *event)
{
    struct conn *c = &t->conn[i];
    const struct msg_error *error = &event->error;

    if (event->handle == c->handle &&
        (error->code == WIRE_BAD_HANDLE ||
         err_wire_class(error->code) == WIRE_CLASS_STALE)) {
        c->handle_open = false;
    }
    if (event->request == 0) {
        conn_error(t, i, error);
    } else if (event->request == c->open_request) {
        c->open_request = 0;
        open_refused(t, i, error);
    } else if (t->list.asked && t->list.conn == i &&
               event->request == t->list.request) {
        list_failed(t, i, error->code, retry_after_ms(error));
        if (error->code == WIRE_BAD_HANDLE && c->bound) {
            conn_open(t, i); /* its answer tells why the handle is gone */
        }
    } else if (c->first_get && event->request == c->first_request) {
        c->first_get = false;
        if (error->code != WIRE_BAD_HANDLE) {
            get_failed(t, i, error);
        }
    } else {
        claim_end(t, i, event->request, false);
        if (event->handle == c->handle) {
            get_failed(t, i, error);
        }
    }
}

/* ---- the rest. */

static void on_done(struct transfer *t, unsigned i,
                    const struct receiver_event *event)
{
    struct conn *c = &t->conn[i];
    const struct msg_done *done = &event->done;

    if (t->list.asked && t->list.conn == i &&
        event->request == t->list.request) {
        list_digests(t, i, NULL, true); /* an empty file's empty list */
        return;
    }
    if (c->bound && event->handle == c->handle &&
        done->version.len > 0 &&
        mirror_same_version(t, i, &done->version)) {
        struct claim *claim = claim_of(c, event->request);

        if (claim != NULL) {
            claim->arrival = 0; /* the file was still this version then */
        }
        if (done->cid.len != 0 && !t->identity.cid_known) {
            t->identity.cid_known = true;
            memcpy(t->identity.cid, done->cid.ptr, HASH_LEN);
            t->need_identity = true;
        }
    }
    claim_end(t, i, event->request, true);
    claim_fill(t, i);
}

static void on_goaway(struct transfer *t, unsigned i,
                      const struct receiver_event *event)
{
    struct conn *c = &t->conn[i];
    const struct msg_goaway *goaway = &event->goaway;
    char text[300] = "the server is closing the connection";

    c->draining = true;
    if (goaway->message.len > 0) {
        transfer_peer_text(text, sizeof text, goaway->message.ptr,
                           goaway->message.len);
    }
    if (goaway->has_retry_after) {
        conn_wait(t, i, goaway->retry_after_ms);
    }
    if (goaway->last_id == GOAWAY_ANNOUNCE) {
        return; /* the real boundary follows */
    }
    for (unsigned k = 0; k < CLAIMS_MAX; k++) {
        if (c->claim[k].request > goaway->last_id) {
            claim_end(t, i, c->claim[k].request, false);
        }
    }
    if (receiver_outstanding(c->receiver) == 0 ||
        c->open_request > goaway->last_id) {
        conn_give_up(t, i, text, c->delivered > 0);
    }
}

static void on_notice(struct transfer *t, const struct msg_notice *m)
{
    struct note n = {.note = TRANSFER_NOTE_SERVER};

    transfer_peer_text(n.text, sizeof n.text, m->text.ptr, m->text.len);
    transfer_say(t, &n);
}

void reply_event(struct transfer *t, unsigned i,
                 const struct receiver_event *event,
                 struct transfer_chunk *chunk)
{
    struct conn *c = &t->conn[i];

    switch (event->type) {
    case RECEIVER_HELLO:
        c->greeted = true;
        t->contact = true;
        t->source[c->source].contact = true;
        if (t->waiting_told) {
            t->waiting_told = false;
            transfer_say(t, &(struct note){.note = TRANSFER_NOTE_BACK});
        }
        if (receiver_limits(c->receiver)->auth_required) {
            mirror_fail(t, i, TRANSFER_ACCESS, "%s",
                        receiver_auth_text(c->receiver));
        }
        break;
    case RECEIVER_INFO:
        info_arrived(t, i, event);
        break;
    case RECEIVER_CHUNK:
        on_chunk(t, i, event, chunk);
        break;
    case RECEIVER_DIGESTS:
        if (t->list.asked && t->list.conn == i &&
            event->request == t->list.request) {
            list_digests(t, i, &event->digests, event->end);
        }
        break;
    case RECEIVER_DONE:
        on_done(t, i, event);
        break;
    case RECEIVER_ERROR:
        on_error(t, i, event);
        break;
    case RECEIVER_GOAWAY:
        on_goaway(t, i, event);
        break;
    case RECEIVER_NOTICE:
        on_notice(t, &event->notice);
        break;
    case RECEIVER_PROGRESS:
    case RECEIVER_ENTRIES:
    case RECEIVER_NONE:
        break;
    }
}
