/* Walk: a directory of the server, or a whole tree, entry by entry (belay-1,
 * section 10.5).
 *
 * The pure brain behind `ls` and recursive downloads.  Depth first in pages:
 * the entries of one page of a directory, then what is in the directories
 * that the page named, then the next page.  Several LISTs are under way, for
 * the directories and pages that come next in this order, so a wide tree does
 * not cost one round trip for each directory.
 *
 * Memory is bounded whatever the tree: the pages that were asked for ahead
 * (WALK_AHEAD answers, WALK_HELD_BYTES) and, on each level down to
 * LIMIT_PATH_DEPTH, the names of the directories of one page.
 *
 * Everything in an answer is hostile until it was checked: order and
 * duplicates over all pages (Q1), names (N3), length and depth of paths.  A
 * listing that was cut off goes on at its cursor on the next connection, and
 * no entry is told twice.
 *
 * One connection.  The caller (the runner) owns every effect, as in
 * transfer.h.  Times are milliseconds of one monotonic clock.  Not
 * thread-safe. */
#ifndef PROTO_SESSION_WALK_H
#define PROTO_SESSION_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/registry.h"
#include "proto/session/line.h"

/* Answers asked for, or here and not told yet. */
#define WALK_AHEAD 48u
/* Bytes of entries that are here and not told yet; beyond, only the listing
 * whose turn it is goes on. */
#define WALK_HELD_BYTES ((size_t)16 << 20)
/* Entries asked for in one LIST: what bounds one answer. */
#define WALK_PAGE_ENTRIES 4000u

struct walk_config {
    struct line_config line;
    const uint8_t *path; /* where to begin; passed relpath_check(); borrowed */
    size_t path_len;
    bool recursive;
    bool with_cid; /* LIST_WITH_CID */
};

/* A directory on the way.  Members are for reading, but `user`. */
struct walk_dir {
    struct walk_dir *parent; /* NULL: where the walk began */
    void *user;              /* the runner's; NULL at first */
    unsigned depth;
    int64_t mtime_s; /* as its entry said; 0 where the walk began */
    uint32_t mtime_ns;
    uint32_t mode;
    /* Private to walk. */
    struct walk_dir *sibling;
    unsigned refs;
    unsigned restarts;
    unsigned barren; /* pages without a new name in a row */
    unsigned errors;
    bool begun, pruned;
    uint64_t entries;
    char *failed; /* why it ended early */
    size_t last_len;
    uint8_t *last; /* name received last */
    size_t name_len;
    char name[];
};

enum walk_action_type {
    WALK_IDLE,
    WALK_DIAL,    /* connect, then walk_connected() */
    WALK_DROP,    /* close the connection; no walk_lost() for it */
    WALK_DIR,     /* .dir begins; its entries follow */
    WALK_ENTRY,   /* .entry of .dir */
    WALK_REFUSED, /* .entry of .dir has a name that no file may have here */
    WALK_LEAVE,   /* .dir is over, with all that is in it; .text is NULL, or
                     why not all of it was listed */
    WALK_NOTE,    /* .note */
    WALK_FAIL,    /* .reason, .text: the end */
    WALK_END,     /* everything was told */
};

struct walk_action {
    enum walk_action_type type;
    struct walk_dir *dir;   /* until the walk_next() after its WALK_LEAVE */
    struct msg_entry entry; /* borrowed until the next walk_next() */
    enum transfer_reason reason;
    const char *text; /* printable; until the next walk_next() */
    struct line_note note;
};

struct walk;

/* NULL when memory is out. */
struct walk *walk_new(const struct walk_config *config, uint64_t now);
void walk_free(struct walk *w);

/* ---- events; as those of transfer.h, of the one connection. */

void walk_connected(struct walk *w, uint64_t now);
void walk_dial_failed(struct walk *w, const char *text, uint64_t now);
void walk_lost(struct walk *w, const char *text, uint64_t now);
/* Consumes everything. */
void walk_feed(struct walk *w, const uint8_t *data, size_t len, uint64_t now);
void walk_tick(struct walk *w, uint64_t now);
void walk_hurry(struct walk *w, uint64_t now);

/* ---- what to do next. */

/* room: the runner can take directories and entries; without it only the
 * connection is looked after. */
enum walk_action_type walk_next(struct walk *w, bool room, uint64_t now,
                                struct walk_action *action);
/* Right after a WALK_ENTRY of type FILE_DIRECTORY: leave it out. */
void walk_prune(struct walk *w);
uint64_t walk_deadline(const struct walk *w);

/* ---- queries. */

struct receiver *walk_receiver(struct walk *w);
bool walk_conn_open(const struct walk *w);
/* The path of `name` in `dir`, or of `dir` itself when name_len is 0, to
 * `out` with a NUL: as on the server, or below where the walk began.  Returns
 * the length; it fits. */
size_t walk_path(const struct walk *w, const struct walk_dir *dir,
                 struct bytes_view name, bool below,
                 char out[LIMIT_PATH + 1]);

#endif
