/* Tree: life, what the walker tells, the end. */
#include "client/tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/tree_internal.h"
#include "proto/data/text.h"

/* ---- telling. */

static void fill_entry(struct belay_entry *entry, const struct leaf *leaf,
                       const char *shown)
{
    *entry = (struct belay_entry){
        .struct_size = sizeof *entry,
        .path = leaf->path,
        .shown = shown,
        .type = (enum belay_file_type)leaf->type,
        .size = leaf->size,
        .mtime_s = leaf->mtime_s,
        .mtime_ns = leaf->mtime_ns,
        .mode = leaf->mode,
    };
}

/* Of two outcomes the one that is harder to heal speaks for the whole. */
static enum belay_reason worse(enum belay_reason a, enum belay_reason b)
{
    static const unsigned rank[] = {
        [BELAY_CLASS_DONE] = 0,
        [BELAY_CLASS_TEMPORARY] = 1,
        [BELAY_CLASS_LIMIT] = 2,
        [BELAY_CLASS_PERMANENT] = 3,
        [BELAY_CLASS_USAGE] = 4,
    };

    return rank[belay_reason_class(b)] > rank[belay_reason_class(a)] ? b : a;
}

void tree_tell(struct tree *t, const struct leaf *leaf,
               enum belay_reason reason, const char *text)
{
    char shown[2 * LIMIT_PATH];
    struct belay_entry entry;

    if (belay_reason_class(reason) != BELAY_CLASS_DONE) {
        t->failed++;
        t->worst = worse(t->worst, reason);
    } else if (leaf->type != FILE_REGULAR) {
        /* Links and directories are not counted. */
    } else if (reason == BELAY_DONE) {
        t->files++;
    } else if (reason == BELAY_WOULD_FETCH) {
        t->would++;
        t->would_bytes += leaf->size;
    } else if (reason == BELAY_UP_TO_DATE) {
        t->same++;
        t->kept += leaf->size;
    }
    (void)text_escape(shown, sizeof shown, leaf->path, strlen(leaf->path));
    fill_entry(&entry, leaf, shown);
    t->observer.file(t->observer.arg, &entry, reason, text);
}

/* ---- what the walker tells. */

static bool room(const struct tree *t)
{
    return haul_room(t->haul) && t->large_count < TREE_LARGE_MAX &&
           t->waiting == NULL && !t->stopping;
}

static bool wanted(struct tree *t, const struct walk_action *a,
                   const char *path)
{
    struct leaf *leaf;
    struct belay_entry entry;
    bool yes;

    if (t->options.want == NULL) {
        return true;
    }
    leaf = calloc(1, sizeof *leaf + strlen(path) + 1);
    if (leaf == NULL) {
        tree_stop(t, BELAY_INTERNAL, "out of memory");
        return false;
    }
    memcpy(leaf->path, path, strlen(path));
    leaf->type = a->entry.file_type;
    leaf->size = a->entry.size;
    leaf->mtime_s = a->entry.mtime_s;
    leaf->mtime_ns = a->entry.mtime_ns;
    leaf->mode = a->entry.mode;
    fill_entry(&entry, leaf, path);
    yes = t->options.want(t->options.want_arg, &entry);
    free(leaf);
    return yes;
}

static void on_entry(struct tree *t, const struct walk_action *a)
{
    char path[LIMIT_PATH + LIMIT_COMPONENT + 2];
    bool dir = a->entry.file_type == FILE_DIRECTORY;

    if (a->type == WALK_REFUSED) {
        /* For the message only: what the name is, where it stands. */
        size_t len = walker_path(t->walker, a->dir,
                                 (struct bytes_view){NULL, 0}, true, path);

        (void)snprintf(path + len, sizeof path - len, "%s%.*s",
                       len > 0 ? "/" : "", (int)a->entry.name.len,
                       (const char *)a->entry.name.ptr);
        tree_add_entry(t, a, path);
        return;
    }
    (void)walker_path(t->walker, a->dir, a->entry.name, true, path);
    if (!wanted(t, a, path)) {
        if (dir) {
            walker_prune(t->walker);
        }
    } else if (!dir) {
        tree_add_entry(t, a, path);
    } else if (dest_reserved(path)) {
        tree_add_entry(t, a, path);
        walker_prune(t->walker);
    }
}

static void on_dir(struct tree *t, struct walk_dir *dir)
{
    char path[LIMIT_PATH + 1];
    struct branch *b;

    (void)walker_path(t->walker, dir, (struct bytes_view){NULL, 0}, true,
                      path);
    b = tree_branch_new(t, dir->parent != NULL ? dir->parent->user : NULL, path,
                        dir);
    if (b == NULL) {
        tree_stop(t, BELAY_INTERNAL, "out of memory");
        return;
    }
    dir->user = b;
    if (dir->parent != NULL) {
        tree_add_dir(t, b);
    }
}

static void on_leave(struct tree *t, const struct walk_action *a)
{
    struct branch *b = a->dir->user;

    if (a->text != NULL) {
        struct leaf *leaf = calloc(1, sizeof *leaf + strlen(b->path) + 1);

        if (leaf == NULL) {
            tree_stop(t, BELAY_INTERNAL, "out of memory");
            return;
        }
        leaf->type = FILE_DIRECTORY;
        memcpy(leaf->path, b->path, strlen(b->path));
        tree_tell(t, leaf, BELAY_REFUSED, a->text);
        free(leaf);
    }
    tree_branch_less(t, b, a->text != NULL);
}

static void on_walk(void *arg, const struct walk_action *a)
{
    struct tree *t = arg;

    if (t->stopping) {
        return;
    }
    switch (a->type) {
    case WALK_DIR:
        on_dir(t, a->dir);
        break;
    case WALK_ENTRY:
    case WALK_REFUSED:
        on_entry(t, a);
        break;
    case WALK_LEAVE:
        on_leave(t, a);
        break;
    default:
        break;
    }
    if (!room(t)) {
        walker_pause(t->walker, true);
    }
}

static void on_note(void *arg, const struct belay_event *event)
{
    struct tree *t = arg;

    t->observer.note(t->observer.arg, event);
}

static void on_walked(void *arg, enum belay_reason reason, const char *text)
{
    struct tree *t = arg;

    t->walked = true;
    t->listed = reason == BELAY_DONE;
    if (!t->listed) {
        tree_stop(t, reason, text);
    }
    tree_turn_later(t);
}

/* ---- what the haul tells. */

static void on_room(void *arg)
{
    tree_turn_later(arg);
}

static void on_hauled(void *arg, enum belay_reason reason, const char *text)
{
    struct tree *t = arg;

    t->hauled = true;
    if (reason != BELAY_DONE) {
        tree_stop(t, reason, text);
    }
    tree_turn_later(t);
}

/* ---- the end. */

void tree_turn_later(struct tree *t)
{
    loop_defer_arm(t->turn_defer);
}

/* What is under way ends as an interrupt would end it; the first reason
 * stays. */
void tree_stop(struct tree *t, enum belay_reason reason, const char *text)
{
    if (t->stopping) {
        return;
    }
    t->stopping = true;
    t->end = reason;
    (void)snprintf(t->text, sizeof t->text, "%s", text);
    if (!t->walked) {
        walker_stop(t->walker);
        t->walked = true;
    }
    if (!t->hauled) {
        haul_interrupt(t->haul);
    }
    for (unsigned k = 0; k < TREE_FETCHES; k++) {
        if (t->working[k] != NULL && !t->working[k]->over) {
            (reason == BELAY_LIMIT ? fetch_expire : fetch_interrupt)(
                t->working[k]->fetch);
        }
    }
    tree_turn_later(t);
}

static void summary(struct tree *t)
{
    bool dry = t->options.haul.dry_run;
    uint64_t files = dry ? t->would : t->files;
    struct tree_stats s;
    char bytes[32];
    char left[48] = "";

    tree_stats(t, &s);
    if (t->end == BELAY_DONE) {
        t->end = files == 0 ? BELAY_UP_TO_DATE /* nothing was fetched */
                 : dry      ? BELAY_WOULD_FETCH
                            : BELAY_DONE;
    }
    belay_text_bytes(dry ? t->would_bytes : s.bytes, bytes, sizeof bytes);
    if (t->too_large > 0) {
        (void)snprintf(left, sizeof left, ", %" PRIu64 " too large",
                       t->too_large);
    }
    (void)snprintf(t->text, sizeof t->text,
                   "%" PRIu64 " file%s %s (%s), %" PRIu64
                   " there already, %" PRIu64 " failed%s",
                   files, files == 1 ? "" : "s",
                   dry ? "would be fetched" : "fetched", bytes, s.same,
                   s.failed, left);
}

/* Ended before its time: what is there all the same. */
static void tell_what_is_there(struct tree *t)
{
    enum belay_class class_ = belay_reason_class(t->end);
    uint64_t files = t->files + t->same;
    size_t len = strlen(t->text);
    struct tree_stats s;
    char bytes[32];

    if (files == 0 || t->options.haul.dry_run) {
        return;
    }
    tree_stats(t, &s);
    belay_text_bytes(s.bytes + s.kept, bytes, sizeof bytes);
    (void)snprintf(t->text + len, sizeof t->text - len,
                   "; %" PRIu64 " file%s (%s) %s in place%s", files,
                   files == 1 ? "" : "s", bytes, files == 1 ? "is" : "are",
                   class_ == BELAY_CLASS_TEMPORARY ||
                           class_ == BELAY_CLASS_LIMIT
                       ? ", the same command goes on from there"
                       : "");
}

static bool fetches_left(const struct tree *t)
{
    for (unsigned k = 0; k < TREE_FETCHES; k++) {
        if (t->working[k] != NULL && !t->working[k]->over) {
            return true;
        }
    }
    return t->large != NULL && !t->stopping;
}

static void on_turn(void *arg)
{
    struct tree *t = arg;

    if (t->ended) {
        return;
    }
    tree_start_large(t);
    tree_branches_flush(t);
    if (!t->walked) {
        walker_pause(t->walker, !room(t));
    }
    if (t->walked && t->rooted && !t->asked_end && !t->stopping) {
        t->asked_end = true;
        haul_end_of_input(t->haul);
    }
    if (!t->hauled || fetches_left(t)) {
        return;
    }
    t->ended = true;
    if (!t->stopping) {
        t->end = t->worst;
        summary(t);
    } else {
        tell_what_is_there(t);
    }
    t->observer.end(t->observer.arg, t->end, t->text);
}

void tree_interrupt(struct tree *t)
{
    tree_stop(t, BELAY_INTERRUPTED, "interrupted");
}

void tree_expire(struct tree *t)
{
    tree_stop(t, BELAY_LIMIT, "the time allowed is over");
}

/* ---- life. */

int tree_start(struct loop *loop, const struct tree_options *options,
               const struct tree_observer *observer, struct tree **out)
{
    const struct haul_options *o = &options->haul;
    struct tree *t = calloc(1, sizeof *t);
    struct walker_options walk = {
        .uri = o->uri,
        .recursive = true,
        .tries = o->tries,
        .wait_first = o->wait_first,
        .family = o->family,
        .connect_timeout_ms = o->connect_timeout_ms,
        .stall_ms = o->stall_ms,
        .rate = o->rate,
        .proxy = o->proxy,
        .ssh = o->ssh,
        .security = o->security,
    };
    struct walker_observer ear = {on_walk, on_note, on_walked, t};
    struct haul_observer hauling = {tree_done, on_room, on_note, on_hauled,
                                    t};
    struct haul_options how = *o;

    how.wait_first = true; /* who listed the first file is up */

    if (t == NULL) {
        return ERR_NOMEM;
    }
    t->loop = loop;
    t->options = *options;
    t->observer = *observer;
    if (loop_defer_new(loop, on_turn, t, &t->turn_defer) != 0 ||
        walker_start(loop, &walk, &ear, &t->walker) != 0 ||
        haul_start(loop, &how, &hauling, &t->haul) != 0) {
        tree_free(t);
        return ERR_NOMEM;
    }
    *out = t;
    return 0;
}

bool tree_stuck(const struct tree *t)
{
    bool stuck = haul_stuck(t->haul);

    for (unsigned k = 0; k < TREE_FETCHES; k++) {
        stuck = stuck || (t->working[k] != NULL &&
                          fetch_stuck(t->working[k]->fetch));
    }
    return stuck;
}

bool tree_lingers(const struct tree *t)
{
    return walker_lingers(t->walker) || haul_lingers(t->haul);
}

void tree_free(struct tree *t)
{
    if (t == NULL) {
        return;
    }
    while (!LIST_EMPTY(&t->leaves)) {
        tree_leaf_free(LIST_FIRST(&t->leaves));
    }
    while (!LIST_EMPTY(&t->branches)) {
        struct branch *b = LIST_FIRST(&t->branches);

        LIST_REMOVE(b, all);
        free(b);
    }
    walker_free(t->walker);
    haul_free(t->haul);
    loop_defer_free(t->turn_defer);
    free(t);
}

void tree_stats(const struct tree *t, struct tree_stats *out)
{
    struct haul_stats h;
    struct fetch_stats f;

    haul_stats(t->haul, &h);
    *out = (struct tree_stats){
        .files = t->files,
        .same = t->same,
        .failed = t->failed,
        .found = t->found,
        .listed = t->listed,
        .size = t->size,
        .kept = t->kept,
        .bytes = h.bytes + t->bytes,
        .wire = h.wire + t->wire,
        .wasted = h.wasted + t->wasted,
        .saved = h.saved + t->saved,
        .connects = h.connects + t->connects,
        .losses = h.losses + t->losses,
        .conns = h.conns,
    };
    for (unsigned k = 0; k < TREE_FETCHES; k++) {
        const struct leaf *leaf = t->working[k];

        if (leaf == NULL || leaf->over) {
            continue;
        }
        fetch_stats(leaf->fetch, &f);
        out->bytes += f.ledger.have - f.ledger.kept;
        out->kept += f.ledger.kept;
        out->wire += f.ledger.wire;
        out->wasted += f.ledger.wasted;
        out->saved += f.ledger.saved;
        out->connects += f.ledger.connects;
        out->losses += f.ledger.losses;
        out->conns += f.conns;
    }
}
