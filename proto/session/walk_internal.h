/* Private parts of walk: shared by the walk*.c files only.
 *
 *   walk.c        life, the order of things, what the runner does next
 *   walk_reply.c  asking, and answers of the server */
#ifndef PROTO_SESSION_WALK_INTERNAL_H
#define PROTO_SESSION_WALK_INTERNAL_H

#include "proto/session/walk.h"

#define RESTARTS_MAX 3u /* Q9 */
#define ERRORS_MAX 3u

/* Entries as they came in one frame. */
struct page {
    struct page *next;
    size_t len;
    size_t at; /* told so far */
    uint8_t bytes[];
};

enum node_state {
    NODE_WANTED,   /* a LIST has to be sent */
    NODE_ASKED,
    NODE_COMPLETE, /* the answer is here, or there will be none */
};

/* One LIST and its answer; or the end of a directory.  Nodes stand in the
 * order in which they are told: behind a LIST the directories that its answer
 * names, each with all that comes out of it, then its `stop`. */
struct node {
    struct node *next;
    struct node *prev;
    struct walk_dir *dir;
    bool leave;
    bool again; /* asked before: entries up to dir->last are old, */
    bool fresh; /* ... and behind them others came */
    enum node_state state;
    uint32_t request;
    uint64_t not_before;
    size_t cursor_len;
    uint8_t cursor[LIMIT_CURSOR];
    uint64_t answered; /* entries of this answer */
    /* What follows when this answer and what it named are told: the end of
     * the directory, or its next page.  NULL before the first frame. */
    struct node *stop;
    struct page *pages;
    struct page *last_page;
    struct walk_dir *children; /* named by its pages, not told yet */
    struct walk_dir *last_child;
};

struct walk {
    struct walk_config config;
    struct line_set lines; /* one line */
    struct node *head;
    unsigned busy; /* nodes asked for, or with pages */
    size_t held;
    unsigned depth; /* components of the path where it began */
    unsigned breaches;
    bool end_told, fail_told;
    struct walk_dir *told_dir;  /* directory entry told last */
    struct walk_dir *left;      /* freed by the next walk_next() */
    struct page *told_page;     /* likewise */
};

/* walk.c */
struct walk_dir *walk_dir_new(struct walk_dir *parent,
                              const struct msg_entry *entry);
void walk_dir_unref(struct walk_dir *dir);
bool walk_dir_pruned(const struct walk_dir *dir);
size_t walk_path_len(const struct walk *w, const struct walk_dir *dir);
/* A node of `dir` behind `after`, or as the head when that is NULL. */
struct node *walk_node_new(struct walk *w, struct walk_dir *dir,
                           struct node *after);
/* The stop of a node, made if need be; NULL: memory is out, told. */
struct node *walk_stop(struct walk *w, struct node *n);
/* Does this entry lead down? */
bool walk_descends(const struct walk *w, const struct msg_entry *entry);
bool walk_name_ok(const struct msg_entry *entry);

/* walk_reply.c */
void walk_ask(struct walk *w);
void walk_take_back(struct walk *w);

#endif
