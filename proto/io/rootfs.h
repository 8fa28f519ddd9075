/* Opening files beneath a root directory, and never outside it.
 *
 * A path given here is relative, NUL-terminated, and has passed relpath_check
 * (no "..", no empty component): that is asserted only as far as a leading
 * slash goes. Symbolic links are never followed, neither at the end nor on
 * the way; descriptors are opened without blocking, so that a FIFO or a device
 * cannot hold the caller, and only regular files are handed out.
 *
 * Any thread may open; init, hide and clear belong to one. Errors of the
 * functions that look beneath the root: ERR_NOT_FOUND (missing, forbidden,
 * crosses a symbolic link, hidden: a peer learns no difference; errno still
 * tells them apart for the log), ERR_NOT_A_FILE, ERR_NOT_A_DIRECTORY,
 * ERR_LIMIT (no descriptors), ERR_NOMEM, ERR_IO.
 *
 * Implements N1 (resolution), RELIABILITY (e) "Opening files". */
#ifndef PROTO_IO_ROOTFS_H
#define PROTO_IO_ROOTFS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

struct rootfs {
    int fd;           /* O_PATH descriptor of the root */
    bool has_openat2; /* else the path is walked component by component */
    bool has_hidden;
    char *hidden;     /* subtree that is not served, relative to the root */
    dev_t hidden_dev; /* ... and the directory it is */
    ino_t hidden_ino;
};

/* Opens the root. dir is a path of the operator, links in it are followed.
 * ERR_NOT_FOUND, ERR_NOT_A_DIRECTORY or ERR_IO, with the reason in errno. */
MUST_USE int rootfs_init(struct rootfs *root, const char *dir);

/* Makes the root forget openat2 and walk, as on old kernels (for tests). */
void rootfs_force_walk(struct rootfs *root);

/* Hides a directory and all beneath it, wherever it is. Harmless when it is
 * outside the root; ERR_USAGE when it is the root itself. One at most. */
MUST_USE int rootfs_hide(struct rootfs *root, int dir_fd);

/* Frees what init and hide took. Clearing zeroed memory or twice is harmless
 * once rootfs_init() ran. */
void rootfs_clear(struct rootfs *root);

/* Opens a regular file for reading. *st is the fstat of *fd_out, the only one
 * taken (rule I2). The caller closes *fd_out.
 *
 * cached_only: answer only from what the kernel has in memory, else ERR_AGAIN
 * (also where the kernel cannot tell): the way to open without ever waiting
 * for a disk. */
MUST_USE int rootfs_open(const struct rootfs *root, const char *path,
                         bool cached_only, struct stat *st, int *fd_out);

/* Opens a directory to list. path "" is the root. */
MUST_USE int rootfs_open_dir(const struct rootfs *root, const char *path,
                             int *fd_out);

/* Describes what path names, without opening it: type, size, times. A
 * symbolic link at the end is described itself. */
MUST_USE int rootfs_stat(const struct rootfs *root, const char *path,
                         struct stat *st);

/* One name of a directory; a negative return ends the walk and is its
 * result. name is borrowed for the call. */
typedef int rootfs_name_fn(void *arg, const char *name);

/* Calls back for each name but "." and ".." and what is hidden, in the order
 * of the file system. Opens the directory anew, so dir_fd stays as it is. */
MUST_USE int rootfs_each(const struct rootfs *root, int dir_fd,
                         rootfs_name_fn *fn, void *arg);

/* Describes a name of that directory as rootfs_stat() does. ERR_NOT_FOUND
 * when it has gone meanwhile. */
MUST_USE int rootfs_stat_at(int dir_fd, const char *name, struct stat *st);

/* Reads the target of a symbolic link of that directory; its length, cut at
 * cap, in *len_out. Not terminated. ERR_NOT_FOUND. */
MUST_USE int rootfs_readlink_at(int dir_fd, const char *name, char *buf,
                                size_t cap, size_t *len_out);

#endif
