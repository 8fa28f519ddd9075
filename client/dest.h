/* Dest: a directory into which names from a server are put, and nothing
 * outside it.
 *
 * New files begin in a directory of their own, DEST/.belay-tmp, which a lock
 * keeps for one process at a time (another one takes .belay-tmp-2 and so on)
 * and which is emptied when it is taken over, so nothing is left behind for
 * good by a process that was killed.  From there a rename brings a file that
 * is whole and durable to its name, so a final name never shows anything else.
 *
 * Every path is opened beneath DEST and no symbolic link is followed on the
 * way (proto/io/rootfs.h): whoever plants links in DEST meanwhile makes files
 * fail, not leave.  Paths given here passed relpath_check().
 *
 * Threads: dest_temp(), dest_temp_remove(), dest_read() and dest_stat() may be
 * called from several threads at once, and together with one caller of the
 * rest.
 *
 * Errors: 0 or a code of err.h, with the reason in errno where it is ERR_IO.
 *   ERR_DENIED     not allowed; errno is ELOOP: a symbolic link is on the way
 *   ERR_EXISTS     something that may not be replaced is in its place
 *   ERR_NOT_A_DIRECTORY  a file is where a directory must be
 *   ERR_NO_SPACE, ERR_LIMIT (descriptors), ERR_PATH (name too long here) */
#ifndef CLIENT_DEST_H
#define CLIENT_DEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "proto/io/rootfs.h"

#define DEST_TEMP_NAME ".belay-tmp"
/* Partial files of large ones are named so in any directory of DEST: what is
 * called NAME.part there may be somebody's file, or the server's. */
#define DEST_PART_PREFIX ".belay-part-"
/* Directories that are open at once. */
#define DEST_DIRS 64u

struct dest_dir {
    char *path; /* NULL: free */
    int fd;
    bool dirty; /* names in it were changed since its last sync */
    uint64_t used;
};

struct dest {
    struct rootfs root;
    int fd;       /* of the root, for reading */
    int temp_fd;
    char temp_name[32];
    mode_t mask;  /* the umask */
    uint64_t turn;
    struct dest_dir dir[DEST_DIRS];
    int sync_err;   /* of the first directory that could not be synced, */
    int sync_errno; /* ... and its errno */
};

/* Opens DEST, makes it and its parents if they are missing, and takes over a
 * directory for temporary files.  ERR_LOCKED: too many processes work
 * here. */
int dest_open(struct dest *dest, const char *path) MUST_USE;
/* The same for looking only: nothing is made, and a DEST that is missing is an
 * empty one. */
int dest_open_to_look(struct dest *dest, const char *path) MUST_USE;
/* Removes the directory for temporary files; harmless on zeroed memory. */
void dest_close(struct dest *dest);
/* Does the path end in a server's name that is needed here for ourselves? */
bool dest_reserved(const char *path);

/* A new temporary file of that number, open for writing. */
int dest_temp(const struct dest *dest, uint64_t number, int *fd) MUST_USE;
void dest_temp_remove(const struct dest *dest, uint64_t number);

/* The directory looked at last, since names come in the order of their
 * directories.  All zero at first; one thread's. */
struct dest_look {
    char *path; /* NULL: none */
    int fd;
};

/* What stands at this path?  ERR_NOT_FOUND: nothing. */
int dest_stat(const struct dest *dest, struct dest_look *look,
              const char *path, struct stat *st) MUST_USE;
void dest_look_clear(struct dest_look *look);
/* Does a symbolic link that says `target` stand at this path? */
bool dest_link_says(const struct dest *dest, struct dest_look *look,
                    const char *path, const char *target);
/* Opens a regular file for reading. */
int dest_read(const struct dest *dest, const char *path, int *fd) MUST_USE;

/* Makes what was written so far durable: `count` temporary files, numbered
 * as listed, or all of them. */
int dest_sync(const struct dest *dest, const uint64_t *number,
              size_t count) MUST_USE;
/* Gives a temporary file its name; parents are made.  replace: a file or a
 * symbolic link that is there goes. */
int dest_place(struct dest *dest, uint64_t number, const char *path,
               bool replace) MUST_USE;
int dest_mkdir(struct dest *dest, const char *path) MUST_USE;
/* A symbolic link.  replace: what is there goes if it is one, too. */
int dest_link(struct dest *dest, const char *path, const char *target,
              bool replace) MUST_USE;
/* Permissions (0: leave them) and time of a directory. */
int dest_dir_attrs(struct dest *dest, const char *path, mode_t mode,
                   struct timespec mtime) MUST_USE;
/* Makes the names durable that the calls above changed.  A sync that failed,
 * also one within those calls, is told by this one and every later one: the
 * kernel tells it once, and then takes the names for durable. */
int dest_sync_names(struct dest *dest) MUST_USE;

#endif
