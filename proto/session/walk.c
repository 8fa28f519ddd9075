/* Walk: life, the order of things, what the runner does next. */
#include "proto/session/walk.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"
#include "proto/data/relpath.h"
#include "proto/session/walk_internal.h"

/* ---- directories. */

struct walk_dir *walk_dir_new(struct walk_dir *parent,
                              const struct msg_entry *entry)
{
    size_t len = entry != NULL ? entry->name.len : 0;
    struct walk_dir *dir = calloc(1, sizeof *dir + len + 1);

    if (dir == NULL) {
        return NULL;
    }
    dir->refs = 1;
    if (entry != NULL) {
        dir->parent = parent;
        parent->refs++;
        dir->depth = parent->depth + 1;
        dir->mtime_s = entry->mtime_s;
        dir->mtime_ns = entry->mtime_ns;
        dir->mode = entry->mode;
        dir->name_len = len;
        memcpy(dir->name, entry->name.ptr, len);
    }
    return dir;
}

void walk_dir_unref(struct walk_dir *dir)
{
    while (dir != NULL && --dir->refs == 0) {
        struct walk_dir *parent = dir->parent;

        free(dir->failed);
        free(dir->last);
        free(dir);
        dir = parent;
    }
}

bool walk_dir_pruned(const struct walk_dir *dir)
{
    for (; dir != NULL; dir = dir->parent) {
        if (dir->pruned) {
            return true;
        }
    }
    return false;
}

static size_t below_len(const struct walk_dir *dir)
{
    size_t len = 0;

    for (; dir->parent != NULL; dir = dir->parent) {
        len += dir->name_len + (dir->parent->parent != NULL);
    }
    return len;
}

size_t walk_path_len(const struct walk *w, const struct walk_dir *dir)
{
    size_t below = below_len(dir);
    bool slash = below > 0 && w->config.path_len > 0;

    return w->config.path_len + slash + below;
}

size_t walk_path(const struct walk *w, const struct walk_dir *dir,
                 struct bytes_view name, bool below, char out[LIMIT_PATH + 1])
{
    size_t len = below ? below_len(dir) : walk_path_len(w, dir);
    size_t at = len;

    BELAY_ASSERT(len + name.len < LIMIT_PATH + (name.len == 0));
    for (; dir->parent != NULL; dir = dir->parent) {
        at -= dir->name_len;
        memcpy(out + at, dir->name, dir->name_len);
        if (at > 0) {
            out[--at] = '/';
        }
    }
    if (at > 0) {
        memcpy(out, w->config.path, at);
    }
    if (name.len > 0) {
        if (len > 0) {
            out[len++] = '/';
        }
        memcpy(out + len, name.ptr, name.len);
        len += name.len;
    }
    out[len] = '\0';
    return len;
}

/* ---- nodes. */

struct node *walk_node_new(struct walk *w, struct walk_dir *dir,
                           struct node *after)
{
    struct node *n = calloc(1, sizeof *n);
    struct node **at = after != NULL ? &after->next : &w->head;

    if (n == NULL) {
        return NULL;
    }
    n->dir = dir;
    dir->refs++;
    n->prev = after;
    n->next = *at;
    if (n->next != NULL) {
        n->next->prev = n;
    }
    *at = n;
    return n;
}

struct node *walk_stop(struct walk *w, struct node *n)
{
    if (n->stop == NULL) {
        n->stop = walk_node_new(w, n->dir, n);
        if (n->stop == NULL) {
            line_fail(&w->lines, TRANSFER_NOMEM, "out of memory");
            return NULL;
        }
        n->stop->leave = true;
        n->stop->state = NODE_COMPLETE;
    }
    return n->stop;
}

static void free_pages(struct walk *w, struct node *n)
{
    while (n->pages != NULL) {
        struct page *page = n->pages;

        n->pages = page->next;
        w->held -= page->len;
        free(page);
    }
    n->last_page = NULL;
}

static void free_children(struct node *n)
{
    while (n->children != NULL) {
        struct walk_dir *child = n->children;

        n->children = child->sibling;
        walk_dir_unref(child);
    }
}

static void remove_head(struct walk *w)
{
    struct node *n = w->head;

    w->busy -= n->state == NODE_ASKED || n->pages != NULL;
    w->head = n->next;
    if (w->head != NULL) {
        w->head->prev = NULL;
    }
    free_pages(w, n);
    free_children(n);
    walk_dir_unref(w->left);
    w->left = n->dir; /* the runner may still look at it */
    free(n);
}

/* ---- life. */

struct walk *walk_new(const struct walk_config *config, uint64_t now)
{
    struct walk *w = calloc(1, sizeof *w);
    struct walk_dir *root = walk_dir_new(NULL, NULL);

    if (w == NULL || root == NULL ||
        walk_node_new(w, root, NULL) == NULL) {
        free(root);
        free(w);
        return NULL;
    }
    walk_dir_unref(root);
    w->config = *config;
    w->config.line.wide = false;
    w->depth = config->path_len > 0;
    for (size_t k = 0; k < config->path_len; k++) {
        w->depth += config->path[k] == '/';
    }
    line_init(&w->lines, &w->config.line, now);
    line_want(&w->lines, 1);
    return w;
}

void walk_free(struct walk *w)
{
    if (w == NULL) {
        return;
    }
    while (w->head != NULL) {
        remove_head(w);
    }
    walk_dir_unref(w->left);
    walk_dir_unref(w->told_dir);
    free(w->told_page);
    line_clear(&w->lines);
    free(w);
}

/* ---- telling. */

bool walk_name_ok(const struct msg_entry *entry)
{
    return relpath_name_ok((const char *)entry->name.ptr, entry->name.len,
                           RELPATH_POSIX);
}

bool walk_descends(const struct walk *w, const struct msg_entry *entry)
{
    return w->config.recursive && entry->file_type == FILE_DIRECTORY &&
           walk_name_ok(entry);
}

static void drop_page(struct walk *w, struct node *n)
{
    struct page *page = n->pages;

    n->pages = page->next;
    if (n->pages == NULL) {
        n->last_page = NULL;
        w->busy -= n->state != NODE_ASKED;
    }
    w->held -= page->len;
    free(w->told_page);
    w->told_page = page;
}

/* The next entry of the node whose turn it is. */
static void tell_entry(struct walk *w, struct node *n, struct walk_action *a)
{
    struct page *page = n->pages;
    struct reader r;
    bool more;

    reader_init(&r, page->bytes + page->at, page->len - page->at);
    more = msg_entries_next(&r, &a->entry);
    BELAY_ASSERT(more); /* a page without entries is not kept */
    page->at = page->len - reader_left(&r);
    a->type = walk_name_ok(&a->entry) &&
                      walk_path_len(w, n->dir) + 1 + a->entry.name.len <=
                          LIMIT_PATH
                  ? WALK_ENTRY
                  : WALK_REFUSED;
    a->dir = n->dir;
    if (walk_descends(w, &a->entry)) {
        walk_dir_unref(w->told_dir);
        w->told_dir = n->children;
        n->children = n->children->sibling;
    }
    if (page->at == page->len) {
        drop_page(w, n);
    }
}

void walk_prune(struct walk *w)
{
    BELAY_ASSERT(w->told_dir != NULL);
    w->told_dir->pruned = true;
}

static bool next_told(struct walk *w, struct walk_action *a)
{
    struct node *n;

    while ((n = w->head) != NULL) {
        a->dir = n->dir;
        if (n->leave || walk_dir_pruned(n->dir)) {
            bool tell = n->dir->begun && !walk_dir_pruned(n->dir);

            a->text = n->dir->failed;
            remove_head(w);
            if (tell) {
                a->type = WALK_LEAVE;
                return true;
            }
            continue;
        }
        if (n->pages == NULL && n->state != NODE_COMPLETE) {
            return false;
        }
        if (!n->dir->begun) {
            n->dir->begun = true;
            a->type = WALK_DIR;
            return true;
        }
        if (n->pages != NULL) {
            tell_entry(w, n, a);
            return true;
        }
        remove_head(w);
    }
    return false;
}

/* ---- what next. */

static bool next_order(struct walk *w, struct walk_action *a)
{
    unsigned i;

    if (line_next_note(&w->lines, &a->note)) {
        a->type = WALK_NOTE;
        return true;
    }
    switch (line_next(&w->lines, w->head != NULL, &i)) {
    case LINE_DIAL:
        a->type = WALK_DIAL;
        return true;
    case LINE_DROP:
        a->type = WALK_DROP;
        return true;
    case LINE_NOTHING:
        break;
    }
    return false;
}

enum walk_action_type walk_next(struct walk *w, bool room, uint64_t now,
                                struct walk_action *a)
{
    memset(a, 0, sizeof *a);
    a->type = WALK_IDLE;
    w->lines.now = now;
    walk_dir_unref(w->told_dir);
    w->told_dir = NULL;
    free(w->told_page);
    w->told_page = NULL;
    if (w->lines.failed != TRANSFER_OK) {
        if (!w->fail_told) {
            w->fail_told = true;
            a->type = WALK_FAIL;
            a->reason = w->lines.failed;
            a->text = w->lines.detail;
        }
        return a->type;
    }
    if (room && next_told(w, a)) {
        return a->type;
    }
    if (w->lines.line[0].state == LINE_UP) {
        walk_ask(w);
    }
    if (next_order(w, a)) {
        return a->type;
    }
    if (w->head == NULL && !w->end_told) {
        w->end_told = true;
        a->type = WALK_END;
    }
    return a->type;
}

uint64_t walk_deadline(const struct walk *w)
{
    uint64_t at;

    if (w->lines.failed != TRANSFER_OK || w->head == NULL) {
        return UINT64_MAX;
    }
    at = line_deadline(&w->lines, true);
    return w->head->not_before > w->lines.now && w->head->not_before < at
               ? w->head->not_before
               : at;
}

/* ---- queries. */

struct receiver *walk_receiver(struct walk *w)
{
    return w->lines.line[0].receiver;
}

bool walk_conn_open(const struct walk *w)
{
    return w->lines.line[0].state == LINE_UP;
}
