/* Private parts of tree: shared by the tree*.c files only.
 *
 *   tree.c       life, what the walker tells, the end
 *   tree_leaf.c  files, links and directories on their way */
#ifndef CLIENT_TREE_INTERNAL_H
#define CLIENT_TREE_INTERNAL_H

#include <sys/queue.h>

#include "client/dest.h"
#include "client/fetch.h"
#include "client/tree.h"

/* Large files at work at once, and waiting. */
#define TREE_FETCHES 2u
#define TREE_FETCH_MEMORY ((size_t)16 << 20) /* for received data of one */
#define TREE_LARGE_MAX 1024u

/* Is it there, here? */
enum branch_state {
    BRANCH_UNKNOWN, /* the haul has not said */
    BRANCH_MADE,
    BRANCH_NOT_MADE, /* and it will not be */
};

/* A directory that is not finished. */
struct branch {
    LIST_ENTRY(branch) all;
    struct branch *next; /* of those that wait for their attributes */
    struct branch *parent;
    unsigned depth;
    unsigned pending; /* its own listing, files, links, directories in it */
    enum branch_state state;
    bool failed; /* not all of it is here: its time would be a lie */
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t mode;
    char path[]; /* below the top; "" for the top */
};

/* A file, a link or a directory that a haul or a fetch works on. */
struct leaf {
    LIST_ENTRY(leaf) all;
    struct leaf *next; /* of the large ones that wait */
    struct tree *tree;
    struct branch *branch;
    struct branch *self; /* of a directory: itself */
    struct fetch *fetch; /* of a large one at work */
    struct uri *uri;     /* ... and what it borrows */
    char *url;
    char *dir;
    int dir_fd;
    char place[32]; /* path of dir_fd */
    bool over;   /* the fetch has ended, */
    bool failed; /* ... and not well */
    uint8_t type;
    uint64_t size;
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t mode;
    char path[]; /* below the top */
};

struct tree {
    struct loop *loop;
    struct tree_options options;
    struct tree_observer observer;
    struct walker *walker;
    struct haul *haul;
    struct loop_defer *turn_defer;
    LIST_HEAD(, branch) branches;
    LIST_HEAD(, leaf) leaves;
    struct leaf *working[TREE_FETCHES];
    struct leaf *large, *large_last;
    unsigned large_count;
    struct branch *waiting; /* for their attributes */
    bool walked;     /* the walker has ended, */
    bool listed;     /* ... and saw everything */
    bool rooted;     /* the top is finished, too */
    bool hauled;     /* the haul has ended */
    bool asked_end;  /* ... and was asked to */
    bool stopping;
    bool ended, stuck;
    enum belay_reason end;
    char text[TRUST_TEXT_MAX];
    enum belay_reason worst; /* of the files */
    uint64_t files, same, failed, skipped, bytes;
    uint64_t found, size; /* files of the walk, and their bytes */
    uint64_t kept;        /* bytes of those that are there already */
    uint64_t would, would_bytes; /* a dry run's */
    uint64_t too_large;
    uint64_t wire, wasted, saved; /* of large files */
    unsigned connects, losses;
};

/* tree.c */
void tree_turn_later(struct tree *t);
void tree_tell(struct tree *t, const struct leaf *leaf,
               enum belay_reason reason, const char *text);
void tree_stop(struct tree *t, enum belay_reason reason, const char *text);

/* tree_leaf.c */
/* NULL when memory is out. */
struct branch *tree_branch_new(struct tree *t, struct branch *parent,
                               const char *path, const struct walk_dir *dir);
/* One thing less to wait for. */
void tree_branch_less(struct tree *t, struct branch *b, bool failed);
void tree_branches_flush(struct tree *t);
/* An entry of the walk: hand it to the haul. */
void tree_add_entry(struct tree *t, const struct walk_action *a,
                    const char *path);
void tree_add_dir(struct tree *t, struct branch *b);
void tree_done(void *arg, const struct haul_result *result);
void tree_start_large(struct tree *t);
void tree_leaf_free(struct leaf *leaf);

#endif
