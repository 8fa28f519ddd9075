/* Walk: asking, and what the server's answers mean. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/limits.h"
#include "proto/session/retry.h"
#include "proto/session/walk_internal.h"

/* How far down the order it is looked for something to ask. */
#define LOOK_AHEAD 256u
/* Pages in a row without a new name: a listing that was begun anew catches up
 * with fewer. */
#define BARREN_PAGES (MAX_LIST_ENTRIES / 1000)

/* ---- the connection. */

/* Names that came already are old when they come again, others never are: an
 * answer of which nothing came may not go back behind the page before it. */
static void ask_again(struct walk *w, struct node *n)
{
    n->state = NODE_WANTED;
    n->again = n->again || n->fresh;
    n->request = 0;
    w->busy -= n->pages == NULL;
}

void walk_take_back(struct walk *w)
{
    for (struct node *n = w->head; n != NULL; n = n->next) {
        if (n->state == NODE_ASKED) {
            ask_again(w, n);
        }
    }
}

static void give_up(struct walk *w, const char *text, bool quiet)
{
    if (walk_conn_open(w)) {
        walk_take_back(w);
        line_give_up(&w->lines, 0, text, quiet);
    }
}

/* The server breaks a rule: the connection ends, and so does the walk when it
 * happens again. */
static void breach(struct walk *w, const char *text)
{
    if (++w->breaches > 1) {
        line_fail(&w->lines, TRANSFER_PROTOCOL, "%s", text);
    }
    give_up(w, text, false);
}

void walk_connected(struct walk *w, uint64_t now)
{
    w->lines.now = now;
    if (line_connected(&w->lines, 0)) {
        walk_ask(w);
    }
}

void walk_dial_failed(struct walk *w, const char *text, uint64_t now)
{
    w->lines.now = now;
    line_dial_failed(&w->lines, 0, text);
}

void walk_lost(struct walk *w, const char *text, uint64_t now)
{
    w->lines.now = now;
    if (walk_conn_open(w)) {
        walk_take_back(w);
        line_lost(&w->lines, 0, text);
    }
}

void walk_tick(struct walk *w, uint64_t now)
{
    w->lines.now = now;
    if (line_silent(&w->lines) < LINE_MAX) {
        give_up(w, receiver_error_text(walk_receiver(w)), false);
    }
}

void walk_hurry(struct walk *w, uint64_t now)
{
    w->lines.now = now;
    line_hurry(&w->lines);
}

/* ---- asking. */

/* On a link that breaks before one answer is through, smaller ones get
 * through. */
static uint32_t page_entries(const struct walk *w)
{
    unsigned shift = 2 * w->lines.line[0].fruitless;

    return WALK_PAGE_ENTRIES >> (shift < 10 ? shift : 10);
}

static bool ask_node(struct walk *w, struct node *n)
{
    char path[LIMIT_PATH + 1];
    struct msg_list list = {
        .flags = w->config.with_cid ? LIST_WITH_CID : 0,
        .cursor = {n->cursor, n->cursor_len},
        .has_max_entries = true,
        .max_entries = page_entries(w),
    };

    list.path.len = walk_path(w, n->dir, (struct bytes_view){NULL, 0}, false,
                              path);
    list.path.ptr = (const uint8_t *)path;
    if (receiver_list(walk_receiver(w), &list, w->lines.now, &n->request) !=
        0) {
        return false;
    }
    n->state = NODE_ASKED;
    n->answered = 0;
    n->fresh = false;
    w->busy += n->pages == NULL;
    return true;
}

static bool awaits_answer(const struct walk *w)
{
    const struct node *n = w->head;

    while (n != NULL && n->state != NODE_ASKED) {
        n = n->next;
    }
    return n != NULL;
}

void walk_ask(struct walk *w)
{
    unsigned looked = 0;

    if (w->lines.line[0].draining) {
        if (!awaits_answer(w)) {
            give_up(w, "the server is closing the connection", true);
        }
        return;
    }
    for (struct node *n = w->head; n != NULL && looked < LOOK_AHEAD;
         n = n->next, looked++) {
        bool first = n == w->head;

        if (n->leave || n->state != NODE_WANTED ||
            n->not_before > w->lines.now || walk_dir_pruned(n->dir)) {
            continue;
        }
        if ((!first && (w->busy >= WALK_AHEAD ||
                        w->held >= WALK_HELD_BYTES)) ||
            !ask_node(w, n)) {
            return;
        }
    }
}

/* ---- ENTRIES. */

static int compare_names(struct bytes_view a, const uint8_t *b, size_t b_len)
{
    int order = memcmp(a.ptr, b, a.len < b_len ? a.len : b_len);

    return order != 0 ? order : (a.len > b_len) - (a.len < b_len);
}

static void no_memory(struct walk *w)
{
    line_fail(&w->lines, TRANSFER_NOMEM, "out of memory");
}

/* The answer is here, or there will be none. */
static void complete(struct walk *w, struct node *n)
{
    w->busy -= n->state == NODE_ASKED && n->pages == NULL;
    n->state = NODE_COMPLETE;
    n->request = 0;
}

/* No more of this directory; what was told of it stands. */
static void fail_dir(struct walk *w, struct node *n, const char *text)
{
    if (n->dir->parent == NULL) {
        line_fail(&w->lines, TRANSFER_REFUSED, "%s", text);
        return;
    }
    if (n->dir->failed == NULL) {
        n->dir->failed = strdup(text);
    }
    if (n->dir->failed == NULL) {
        no_memory(w); /* without a text it would be complete */
        return;
    }
    complete(w, n);
    (void)walk_stop(w, n);
}

/* A directory that the page names: its own node behind those before it. */
static bool add_child(struct walk *w, struct node *n,
                      const struct msg_entry *entry)
{
    struct node *stop = walk_stop(w, n);
    struct walk_dir *child = walk_dir_new(n->dir, entry);
    struct node *node = child == NULL || stop == NULL
                            ? NULL
                            : walk_node_new(w, child, stop->prev);

    if (node == NULL) {
        walk_dir_unref(child);
        no_memory(w);
        return false;
    }
    if (n->children == NULL) {
        n->children = child; /* with the reference of walk_dir_new() */
    } else {
        n->last_child->sibling = child;
    }
    n->last_child = child;
    /* The entry itself is refused when the path does not fit. */
    child->pruned = walk_path_len(w, child) > LIMIT_PATH;
    if (w->depth + child->depth > LIMIT_PATH_DEPTH) {
        fail_dir(w, node, "it lies too deep");
    }
    return true;
}

static bool remember_last(struct walk *w, struct walk_dir *dir,
                          struct bytes_view name)
{
    if (dir->last == NULL) {
        dir->last = malloc(LIMIT_COMPONENT);
        if (dir->last == NULL) {
            no_memory(w);
            return false;
        }
    }
    memcpy(dir->last, name.ptr, name.len);
    dir->last_len = name.len;
    return true;
}

/* Skips what was told before, then checks the order over frames and pages
 * (within a frame the decoder did).  Returns the bytes to skip. */
static bool skip_old(struct walk *w, struct node *n,
                     const struct msg_entries *m, size_t *skip)
{
    struct reader r;
    struct msg_entry entry;
    size_t before;

    *skip = 0;
    reader_init(&r, m->entries.ptr, m->entries.len);
    for (;;) {
        before = m->entries.len - reader_left(&r);
        if (!msg_entries_next(&r, &entry) || n->dir->last == NULL ||
            compare_names(entry.name, n->dir->last, n->dir->last_len) > 0) {
            *skip = before;
            return true;
        }
        if (!n->again) {
            breach(w, "the server's list is not in order");
            return false;
        }
    }
}

static bool keep_page(struct walk *w, struct node *n, const uint8_t *bytes,
                      size_t len)
{
    struct page *page = malloc(sizeof *page + len);

    if (page == NULL) {
        no_memory(w);
        return false;
    }
    page->next = NULL;
    page->len = len;
    page->at = 0;
    memcpy(page->bytes, bytes, len);
    if (n->last_page != NULL) {
        n->last_page->next = page;
    } else {
        n->pages = page;
    }
    n->last_page = page;
    w->held += len;
    return true;
}

/* The names of a frame: remember the last one, and go into directories. */
static bool expand(struct walk *w, struct node *n, const uint8_t *bytes,
                   size_t len)
{
    struct msg_entry entry;
    struct reader r;

    reader_init(&r, bytes, len);
    while (msg_entries_next(&r, &entry)) {
        n->dir->entries++;
        if (!remember_last(w, n->dir, entry.name) ||
            (walk_descends(w, &entry) && !add_child(w, n, &entry))) {
            return false;
        }
    }
    return true;
}

static void end_answer(struct walk *w, struct node *n,
                       const struct msg_entries *m)
{
    struct node *stop = walk_stop(w, n);

    w->lines.line[0].delivered++;
    line_progress(&w->lines);
    complete(w, n);
    if (m->cursor.len == 0 || stop == NULL) {
        return;
    }
    stop->leave = false;
    stop->state = NODE_WANTED;
    stop->cursor_len = m->cursor.len;
    memcpy(stop->cursor, m->cursor.ptr, m->cursor.len);
    stop->again = n->again && !n->fresh; /* it has not caught up yet */
    n->dir->barren = n->fresh ? 0 : n->dir->barren + 1;
    if (n->dir->barren > BARREN_PAGES) {
        stop->leave = true;
        stop->state = NODE_COMPLETE;
        fail_dir(w, n, "its list repeats itself");
    }
}

static void on_entries(struct walk *w, struct node *n,
                       const struct msg_entries *m, bool end)
{
    size_t skip;

    n->answered += m->count;
    if ((m->cursor.len > 0 && (!end || n->answered == 0)) ||
        n->answered > WALK_PAGE_ENTRIES) {
        breach(w, "the server's list breaks the rules");
        return;
    }
    if (n != w->head && w->held >= WALK_HELD_BYTES) {
        ask_again(w, n); /* too much is here already: when its turn comes */
        return;
    }
    if (!skip_old(w, n, m, &skip)) {
        return;
    }
    if (skip < m->entries.len) {
        n->dir->restarts = 0;
        n->fresh = true;
        if (!keep_page(w, n, m->entries.ptr + skip, m->entries.len - skip) ||
            !expand(w, n, m->entries.ptr + skip, m->entries.len - skip)) {
            return;
        }
    }
    if (n->dir->entries > MAX_LIST_ENTRIES) {
        fail_dir(w, n, "it has more entries than this program follows");
    } else if (end) {
        end_answer(w, n, m);
    }
}

/* ---- ERROR. */

static void wait_node(struct walk *w, struct node *n, uint64_t ms)
{
    ask_again(w, n);
    n->not_before = w->lines.now + ms;
}

static void list_failed(struct walk *w, struct node *n,
                        const struct msg_error *error)
{
    char text[LINE_TEXT];
    const char *why = retry_sentence(error, text, sizeof text);

    switch (err_wire_class(error->code)) {
    case WIRE_CLASS_TRANSIENT:
        wait_node(w, n, retry_after_ms(error));
        break;
    case WIRE_CLASS_STALE: /* Q9 */
        wait_node(w, n, 0);
        n->cursor_len = 0;
        n->again = true;
        if (++n->dir->restarts > RESTARTS_MAX) {
            fail_dir(w, n, "it changes all the time");
        }
        break;
    case WIRE_CLASS_ACCESS:
        line_fail(&w->lines, TRANSFER_ACCESS, "%s", why);
        break;
    case WIRE_CLASS_SERVER:
    case WIRE_CLASS_CANCELLED: /* nothing is cancelled here */
        if (error->code == WIRE_SHUTTING_DOWN) {
            give_up(w, why, false);
        } else if (++n->dir->errors >= ERRORS_MAX) {
            fail_dir(w, n, why);
        } else {
            wait_node(w, n, retry_after_ms(error));
        }
        break;
    case WIRE_CLASS_PROTOCOL:
        breach(w, why);
        break;
    default:
        if (error->code == WIRE_NOT_A_DIRECTORY && n->dir->parent == NULL) {
            line_fail(&w->lines, TRANSFER_NOT_A_DIRECTORY, "%s", why);
            break;
        }
        fail_dir(w, n, why);
        break;
    }
}

/* ---- events. */

static struct node *find_node(struct walk *w, uint32_t request)
{
    struct node *n = w->head;

    while (n != NULL && (n->request != request || request == 0)) {
        n = n->next;
    }
    return n;
}

static void on_goaway(struct walk *w, uint32_t last_id)
{
    for (struct node *n = w->head; n != NULL; n = n->next) {
        if (n->state == NODE_ASKED && n->request > last_id) {
            wait_node(w, n, 0);
        }
    }
}

static void reply(struct walk *w, const struct receiver_event *event)
{
    struct node *n = find_node(w, event->request);

    if (event->type == RECEIVER_ERROR && event->request == 0) {
        walk_take_back(w);
        line_event(&w->lines, 0, event);
    } else if (event->type == RECEIVER_GOAWAY) {
        line_event(&w->lines, 0, event);
        on_goaway(w, event->goaway.last_id);
    } else if (event->type == RECEIVER_HELLO ||
               event->type == RECEIVER_NOTICE) {
        line_event(&w->lines, 0, event);
    } else if (n != NULL && event->type == RECEIVER_ENTRIES) {
        on_entries(w, n, &event->entries, event->end);
    } else if (n != NULL && event->type == RECEIVER_ERROR) {
        list_failed(w, n, &event->error);
    }
}

void walk_feed(struct walk *w, const uint8_t *data, size_t len, uint64_t now)
{
    struct receiver_event event;
    size_t used;

    w->lines.now = now;
    while (len > 0 && walk_conn_open(w) && w->lines.failed == TRANSFER_OK) {
        int err = receiver_feed(walk_receiver(w), now, data, len, &used,
                                &event);

        data += used;
        len -= used;
        w->lines.wire += used;
        if (err != 0) {
            walk_take_back(w);
            line_broken(&w->lines, 0, err);
        } else if (event.type == RECEIVER_NONE) {
            break;
        } else {
            reply(w, &event);
        }
    }
}
