/* Tree: files, links and directories on their way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/tree_internal.h"
#include "proto/data/relpath.h"
#include "proto/data/text.h"

/* `b` waits for it already. */
static struct leaf *leaf_new(struct tree *t, struct branch *b,
                             const char *path)
{
    size_t len = strlen(path);
    struct leaf *leaf = calloc(1, sizeof *leaf + len + 1);

    if (leaf == NULL) {
        tree_stop(t, BELAY_INTERNAL, "out of memory");
        return NULL;
    }
    leaf->tree = t;
    leaf->branch = b;
    leaf->dir_fd = -1;
    memcpy(leaf->path, path, len + 1);
    LIST_INSERT_HEAD(&t->leaves, leaf, all);
    return leaf;
}

void tree_leaf_free(struct leaf *leaf)
{
    if (leaf->dir_fd >= 0) {
        close(leaf->dir_fd);
    }
    LIST_REMOVE(leaf, all);
    fetch_free(leaf->fetch);
    free(leaf->uri);
    free(leaf->url);
    free(leaf->dir);
    free(leaf);
}

/* ---- directories. */

struct branch *tree_branch_new(struct tree *t, struct branch *parent,
                               const char *path, const struct walk_dir *dir)
{
    size_t len = strlen(path);
    struct branch *b = calloc(1, sizeof *b + len + 1);

    if (b == NULL) {
        return NULL;
    }
    b->parent = parent;
    b->depth = dir->depth;
    b->pending = 1; /* its own listing */
    b->state = parent == NULL || t->options.haul.dry_run ? BRANCH_MADE
                                                         : BRANCH_UNKNOWN;
    b->mtime_s = dir->mtime_s;
    b->mtime_ns = dir->mtime_ns;
    b->mode = dir->mode;
    memcpy(b->path, path, len + 1);
    LIST_INSERT_HEAD(&t->branches, b, all);
    if (parent != NULL) {
        parent->pending++;
    }
    return b;
}

/* A directory that is done gets its time and permissions last, since each new
 * name in it would change the time, and some permissions forbid new names. */
static bool add_attrs(struct tree *t, struct branch *b)
{
    struct haul_file file = {.name = b->path,
                             .mtime_s = b->mtime_s,
                             .mtime_ns = b->mtime_ns};
    struct leaf *leaf = leaf_new(t, b->parent, b->path);
    int err;

    if (leaf == NULL) {
        return false;
    }
    leaf->type = FILE_DIRECTORY;
    file.user = leaf;
    err = haul_add_dir_attrs(t->haul, &file, b->mode);
    if (err != 0) {
        tree_leaf_free(leaf);
    }
    if (err == ERR_NOMEM) {
        tree_stop(t, BELAY_INTERNAL, "out of memory");
    }
    return err == 0;
}

static void branch_free(struct branch *b)
{
    LIST_REMOVE(b, all);
    free(b);
}

/* The last thing of a directory is over. */
static void branch_over(struct tree *t, struct branch *b)
{
    if (b->parent == NULL) {
        t->rooted = true;
        branch_free(b);
        tree_turn_later(t);
        return;
    }
    b->next = t->waiting;
    t->waiting = b;
    tree_turn_later(t);
}

void tree_branch_less(struct tree *t, struct branch *b, bool failed)
{
    b->failed = b->failed || failed;
    if (--b->pending == 0) {
        branch_over(t, b);
    }
}

void tree_branches_flush(struct tree *t)
{
    while (t->waiting != NULL && !t->stopping) {
        struct branch *b = t->waiting;
        struct branch *parent = b->parent;
        bool plain = b->failed || b->state != BRANCH_MADE ||
                     !t->options.haul.remote_time || t->options.haul.dry_run;

        if (!plain && !add_attrs(t, b)) {
            return; /* no room now, or the end */
        }
        t->waiting = b->next;
        if (plain) { /* else its attributes are what the parent waits for */
            tree_branch_less(t, parent, b->failed);
        }
        branch_free(b);
    }
}

/* ---- things in them. */

/* It is over: its directory need not wait for it. */
static void leaf_over(struct tree *t, struct leaf *leaf, bool failed)
{
    struct branch *b = leaf->branch;

    tree_leaf_free(leaf);
    tree_branch_less(t, b, failed);
}

/* Handing it over failed, for want of memory or because of the end. */
static void leaf_undone(struct tree *t, struct leaf *leaf, int err)
{
    if (err == ERR_NOMEM) {
        tree_stop(t, BELAY_INTERNAL, "out of memory");
    }
    leaf_over(t, leaf, true);
}

void tree_add_dir(struct tree *t, struct branch *b)
{
    struct leaf *leaf;
    int err;

    if (t->options.haul.dry_run ||
        (leaf = leaf_new(t, b, b->path)) == NULL) {
        return;
    }
    b->pending++;
    leaf->self = b;
    leaf->type = FILE_DIRECTORY;
    err = haul_add_dir(t->haul, b->path, leaf);
    if (err != 0) {
        leaf_undone(t, leaf, err);
    }
}

static void add_file(struct tree *t, const struct walk_action *a,
                     struct leaf *leaf)
{
    const struct haul_options *o = &t->options.haul;
    char server[LIMIT_PATH + 1];
    size_t len = walker_path(t->walker, a->dir, a->entry.name, false, server);
    struct haul_file file = {
        .path = (const uint8_t *)server,
        .path_len = len,
        .name = leaf->path,
        .exists = t->options.no_clobber ? HAUL_KEEP : HAUL_REPLACE,
        .check = t->options.check || !o->remote_time,
        .known = true,
        .size = a->entry.size,
        .mtime_s = a->entry.mtime_s,
        .mtime_ns = a->entry.mtime_ns,
        .user = leaf,
    };
    int err;

    t->found++;
    t->size += leaf->size;
    err = haul_add(t->haul, &file);
    if (err != 0) {
        leaf_undone(t, leaf, err);
    }
}

static bool too_large(const struct tree *t, const struct leaf *leaf)
{
    return t->options.max_size > 0 && leaf->size > t->options.max_size;
}

/* It is left out, by the user's own rule. */
static void tell_too_large(struct tree *t, struct leaf *leaf)
{
    t->too_large++;
    tree_tell(t, leaf, BELAY_SKIPPED, "larger than the size allowed");
}

bool tree_link_inside(const char *target, size_t len, unsigned depth)
{
    struct relpath_part part;
    bool named = false;
    size_t pos = 0;

    if (len == 0 || target[0] == '/' || memchr(target, '\0', len) != NULL) {
        return false;
    }
    while (relpath_next(target, len, &pos, &part)) {
        bool up = part.len == 2 && memcmp(part.name, "..", 2) == 0;

        if (up && (named || depth == 0)) {
            return false;
        }
        depth -= up;
        named = named || (!up && part.len > 0 &&
                          !(part.len == 1 && part.name[0] == '.'));
    }
    return true;
}

static void add_link(struct tree *t, const struct walk_action *a,
                     struct leaf *leaf)
{
    struct bytes_view view = a->entry.link_target;
    char target[LIMIT_LINK_TARGET + 1];
    int err;

    if (!t->options.links) {
        t->skipped++;
        tree_tell(t, leaf, BELAY_SKIPPED,
                  "a symbolic link; --links makes those that stay inside");
        leaf_over(t, leaf, false);
        return;
    }
    if (!tree_link_inside((const char *)view.ptr, view.len,
                          leaf->branch->depth)) {
        tree_tell(t, leaf, BELAY_SKIPPED,
                  "a symbolic link that leads out of the directory");
        leaf_over(t, leaf, false);
        return;
    }
    memcpy(target, view.ptr, view.len);
    target[view.len] = '\0';
    err = haul_add_link(t->haul, leaf->path, target,
                        t->options.no_clobber ? HAUL_KEEP : HAUL_REPLACE,
                        leaf);
    if (err != 0) {
        leaf_undone(t, leaf, err);
    }
}

void tree_add_entry(struct tree *t, const struct walk_action *a,
                    const char *path)
{
    struct leaf *leaf = leaf_new(t, a->dir->user, path);

    if (leaf == NULL) {
        return;
    }
    leaf->branch->pending++;
    leaf->type = a->entry.file_type;
    leaf->size = a->entry.size;
    leaf->mtime_s = a->entry.mtime_s;
    leaf->mtime_ns = a->entry.mtime_ns;
    leaf->mode = a->entry.mode;
    if (a->type == WALK_REFUSED || dest_reserved(path)) {
        tree_tell(t, leaf, BELAY_WRONG_CONTENT,
                  "the server's name for it is not one that a file may have "
                  "here");
        leaf_over(t, leaf, true);
    } else if (leaf->type == FILE_REGULAR && too_large(t, leaf)) {
        tell_too_large(t, leaf);
        leaf_over(t, leaf, false);
    } else if (leaf->type == FILE_REGULAR) {
        add_file(t, a, leaf);
    } else if (leaf->type == FILE_SYMLINK) {
        add_link(t, a, leaf);
    } else {
        tree_tell(t, leaf, BELAY_SKIPPED,
                  "neither a file, a directory nor a symbolic link");
        leaf_over(t, leaf, false);
    }
}

/* ---- what the haul says. */

static void take_large(struct tree *t, struct leaf *leaf)
{
    leaf->next = NULL;
    if (t->large == NULL) {
        t->large = leaf;
    } else {
        t->large_last->next = leaf;
    }
    t->large_last = leaf;
    t->large_count++;
}

void tree_done(void *arg, const struct haul_result *result)
{
    struct leaf *leaf = result->user;
    struct tree *t = arg;
    bool failed = belay_reason_class(result->reason) != BELAY_CLASS_DONE;

    tree_turn_later(t);
    if (result->handed) {
        take_large(t, leaf);
        return;
    }
    if (leaf->self != NULL) {
        leaf->self->state = failed ? BRANCH_NOT_MADE : BRANCH_MADE;
    }
    /* A directory is worth a word only if it cannot be. */
    if (leaf->type == FILE_REGULAR || leaf->type == FILE_SYMLINK || failed) {
        leaf->size = result->reason == BELAY_DONE ? result->size : leaf->size;
        tree_tell(t, leaf, result->reason,
                  result->text[0] != '\0'       ? result->text
                  : leaf->type == FILE_REGULAR ? "fetched and verified"
                                               : "made");
    }
    leaf_over(t, leaf, failed);
}

/* ---- large files. */

static void fetch_noted(void *arg, const struct belay_event *event)
{
    struct leaf *leaf = arg;

    leaf->tree->observer.note(leaf->tree->observer.arg, event);
}

static void fetch_ended(void *arg, enum belay_reason reason, const char *text)
{
    struct leaf *leaf = arg;
    struct tree *t = leaf->tree;
    struct fetch_stats stats;

    fetch_stats(leaf->fetch, &stats);
    if (reason == BELAY_DONE) {
        t->bytes += stats.ledger.size - stats.ledger.kept;
        t->kept += stats.ledger.kept;
    }
    t->wire += stats.ledger.wire;
    t->wasted += stats.ledger.wasted;
    t->saved += stats.ledger.saved;
    t->connects += stats.ledger.connects;
    t->losses += stats.ledger.losses;
    leaf->size = stats.ledger.size > 0 ? stats.ledger.size : leaf->size;
    leaf->over = true; /* freed by the next turn, not in its own call */
    leaf->failed = belay_reason_class(reason) != BELAY_CLASS_DONE;
    if (reason == BELAY_LIMIT && too_large(t, leaf)) {
        leaf->failed = false; /* it has grown since it was listed */
        tell_too_large(t, leaf);
    } else {
        tree_tell(t, leaf, reason, text);
    }
    tree_turn_later(t);
}

/* What the fetch borrows: where the file is over there, and how its directory
 * here is called in messages. */
static int name_large(struct tree *t, struct leaf *leaf)
{
    const struct haul_options *h = &t->options.haul;
    const char *below = leaf->branch->path;
    char url[4 * LIMIT_PATH];
    int err;

    leaf->uri = malloc(sizeof *leaf->uri);
    if (leaf->uri == NULL ||
        asprintf(&leaf->dir, "%s%s%s", h->dir, *below != '\0' ? "/" : "",
                 below) < 0) {
        leaf->dir = NULL;
        return ERR_NOMEM;
    }
    *leaf->uri = *h->uri;
    leaf->uri->pinned = false;
    leaf->uri->path_len = (size_t)snprintf(
        leaf->uri->path, sizeof leaf->uri->path, "%s%s%s", h->uri->path,
        h->uri->path_len > 0 ? "/" : "", leaf->path);
    err = uri_format(leaf->uri, url, sizeof url);
    leaf->url = err == 0 ? strdup(url) : NULL;
    return err != 0 ? err : leaf->url != NULL ? 0 : ERR_NOMEM;
}

/* Opens the directory of the file, beneath the top and through no link, and
 * lets the fetch work in exactly that one. */
static int start_fetch(struct tree *t, struct leaf *leaf)
{
    const struct haul_options *h = &t->options.haul;
    const struct fetch_observer observer = {fetch_noted, fetch_ended, leaf};
    const char *slash = strrchr(leaf->path, '/');
    struct fetch_options o = {
        .name = slash != NULL ? slash + 1 : leaf->path,
        .part_prefix = DEST_PART_PREFIX,
        .dry_run = h->dry_run,
        .check = t->options.check,
        .max_size = t->options.max_size,
        .fd = -1,
        .overwrite = !t->options.no_clobber,
        .no_clobber = t->options.no_clobber,
        .compression = h->compression,
        .remote_time = h->remote_time,
        .conns = h->conns,
        .tries = h->tries,
        .wait_first = true, /* whoever listed it is up */
        .family = h->family,
        .connect_timeout_ms = h->connect_timeout_ms,
        .stall_ms = h->stall_ms,
        .rate = h->rate,
        .memory = TREE_FETCH_MEMORY,
        .proxy = h->proxy,
        .ssh = h->ssh,
        .security = h->security,
    };
    int err = haul_open_dir(t->haul, leaf->branch->path, &leaf->dir_fd);

    if (err != 0) {
        return err;
    }
    err = name_large(t, leaf);
    if (err != 0) {
        return err;
    }
    (void)snprintf(leaf->place, sizeof leaf->place, "/proc/self/fd/%d",
                   leaf->dir_fd);
    o.dir = leaf->place;
    o.shown_dir = leaf->dir;
    o.uri = leaf->uri;
    o.url_text = leaf->url;
    return fetch_start(t->loop, &o, &observer, &leaf->fetch);
}

/* The first large file of whose directory is known whether it is there. */
static struct leaf *pick_large(struct tree *t)
{
    struct leaf *before = NULL;

    for (struct leaf *l = t->large; l != NULL; before = l, l = l->next) {
        if (l->branch->state == BRANCH_UNKNOWN) {
            continue;
        }
        if (before != NULL) {
            before->next = l->next;
        } else {
            t->large = l->next;
        }
        if (t->large_last == l) {
            t->large_last = before;
        }
        t->large_count--;
        return l;
    }
    return NULL;
}

void tree_start_large(struct tree *t)
{
    for (unsigned k = 0; k < TREE_FETCHES; k++) {
        struct leaf *leaf = t->working[k];

        if (leaf != NULL && leaf->over && !fetch_stuck(leaf->fetch)) {
            t->working[k] = NULL;
            leaf_over(t, leaf, leaf->failed);
        }
        while (!t->stopping && t->working[k] == NULL &&
               (leaf = pick_large(t)) != NULL) {
            bool made = leaf->branch->state == BRANCH_MADE;

            if (made && start_fetch(t, leaf) == 0) {
                t->working[k] = leaf;
            } else {
                tree_tell(t, leaf, BELAY_DISK,
                          made ? "its directory cannot be opened"
                               : "its directory cannot be made");
                leaf_over(t, leaf, true);
            }
        }
    }
}
