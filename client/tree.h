/* Tree: a directory of the server, with all that is in it, into a directory
 * here.
 *
 * A walker (client/walker.h) finds the names, a haul (client/haul.h) brings
 * the small files, a few fetches (client/fetch.h) the large ones.  Memory is
 * bounded: the walker pauses while the others are busy.  A second run asks
 * for nothing but what differs in size or time.  A dry run only tells what
 * would be brought.
 *
 * Loop thread only. */
#ifndef CLIENT_TREE_H
#define CLIENT_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/haul.h"
#include "client/walker.h"

struct tree_options {
    struct haul_options haul; /* server, directory, connections; its proxy
                                 is borrowed until the end, too */
    bool links; /* make symbolic links that stay inside */
    bool check; /* compare contents, do not believe size and time */
    bool no_clobber;
    uint64_t max_size; /* larger files are left out; 0: no limit */
    /* Is this entry wanted?  NULL: all are. */
    bool (*want)(void *arg, const struct belay_entry *entry);
    void *want_arg;
};

struct tree_observer {
    /* One file came to its end; with the path below the directory. */
    void (*file)(void *arg, const struct belay_entry *entry,
                 enum belay_reason reason, const char *text);
    void (*note)(void *arg, const struct belay_event *event);
    void (*end)(void *arg, enum belay_reason reason, const char *text);
    void *arg;
};

struct tree_stats {
    uint64_t files;   /* in place: brought by this run */
    uint64_t same;    /* there already */
    uint64_t failed;
    uint64_t found;   /* files so far; all of them once `listed` */
    bool listed;
    uint64_t size;    /* of those found, */
    uint64_t kept;    /* ... of those that were there, */
    uint64_t bytes;   /* ... and of those brought */
    uint64_t wire;
    uint64_t wasted;
    uint64_t saved;
    unsigned connects;
    unsigned losses;
    unsigned conns;
};

struct tree;

/* Starts at once; observer->end comes exactly once, later; then
 * tree_free().  ERR_NOMEM. */
int tree_start(struct loop *loop, const struct tree_options *options,
               const struct tree_observer *observer,
               struct tree **out) MUST_USE;
void tree_interrupt(struct tree *tree);
void tree_expire(struct tree *tree);
/* As fetch_stuck() and fetch_lingers(). */
bool tree_stuck(const struct tree *tree);
bool tree_lingers(const struct tree *tree);
void tree_free(struct tree *tree);
void tree_stats(const struct tree *tree, struct tree_stats *out);

/* Does a symbolic link that stands `depth` directories below the top stay
 * inside?  Only leading `..` are trusted, as many as there are directories:
 * behind a name, `..` may lead anywhere if the name is a link. */
bool tree_link_inside(const char *target, size_t len, unsigned depth);

#endif
