/* List: what a run shall fetch, from a file (-i) or the command line.
 *
 * One entry a line: a URL, then fields of the form key=value, all separated
 * by blanks.  A value that holds blanks, quotes or backslashes stands in
 * double quotes; in them \" \\ \n \t stand for what they look like.
 *
 *     out=PATH     the target; else the URL names it
 *     dir=DIR      the directory of a relative target, instead of -d
 *     mirror=URL   other places of the same content, used together; several
 *                  in double quotes, separated by blanks
 *     sha256=HEX   of the whole file (also checksum=sha256:HEX)
 *
 * A pin is part of the URL.  Empty lines are skipped, and those whose first
 * character that is no blank is #; a carriage return before the line end does
 * not count.  Entries that end with NUL instead (--from0) may contain line
 * ends between fields and know no comments.
 *
 * Entries are kept in memory, compactly: the text and 40 bytes each. */
#ifndef CLIENT_CLI_LIST_H
#define CLIENT_CLI_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Longest entry, in bytes. */
#define LIST_ENTRY_MAX 32768u

struct list_item {
    const char *url;    /* all texts belong to the list */
    const char *out;    /* NULL: named by the URL */
    const char *dir;    /* NULL: as the command line says */
    const char *mirror; /* NULL: none; else URLs, separated by blanks */
    const char *sha256; /* NULL: not known */
    unsigned line;      /* 0: from the command line */
};

struct list_block;

struct list {
    struct list_item *items;
    size_t count;
    size_t room;
    struct list_block *blocks;
    char *text; /* where the next text goes */
    size_t text_left;
    bool nomem;
};

/* Told for each entry that cannot be used; `line` counts from 1, entries for
 * NUL. */
typedef void list_fault_fn(void *arg, unsigned line, const char *why);

/* Reads all entries; bad ones are reported and skipped.  False: reading
 * failed (errno), or memory is out (list->nomem). */
bool list_read(struct list *list, FILE *from, char separator,
               list_fault_fn *fault, void *arg);
/* Adds one entry; its texts are copied.  False: memory is out. */
bool list_add(struct list *list, const struct list_item *item);
/* A zeroed list is empty. */
void list_free(struct list *list);

/* Writes an entry in the form that list_read() takes, with a line end. */
void list_write(FILE *to, const struct list_item *item);

#endif
