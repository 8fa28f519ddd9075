/* The system calls of the store, as a table: the only effects it has.
 *
 * Each entry behaves as the call it is named after: -1 and errno on failure,
 * EINTR and short counts included. Tests put their own table in place to
 * fail, shorten, record or reorder calls. Directory-relative names never
 * contain a slash. Entries may be called on several threads. */
#ifndef CLIENT_STORE_SYS_H
#define CLIENT_STORE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct store_sys {
    int (*openat)(int dir, const char *name, int flags, mode_t mode);
    int (*close)(int fd);
    int (*fstat)(int fd, struct stat *st);
    int (*lstatat)(int dir, const char *name, struct stat *st);
    int (*fstatvfs)(int fd, struct statvfs *st);
    /* f_type of statfs: which kind of file system. */
    int (*fs_type)(int fd, uint64_t *type);
    ssize_t (*pread)(int fd, void *buffer, size_t len, off_t offset);
    ssize_t (*pwritev)(int fd, const struct iovec *iov, int count,
                       off_t offset);
    int (*ftruncate)(int fd, off_t size);
    /* FICLONERANGE: share blocks of another file; may be NULL. */
    int (*clone_range)(int fd, off_t offset, int from, off_t from_offset,
                       uint64_t len);
    /* fallocate: make a hole, keep the size. */
    int (*punch_hole)(int fd, off_t offset, off_t len);
    off_t (*lseek)(int fd, off_t offset, int whence);
    int (*fsync)(int fd);
    int (*fdatasync)(int fd);
    /* sync_file_range: start writing back, do not wait. */
    int (*start_writeback)(int fd, off_t offset, off_t len);
    /* posix_fadvise(DONTNEED) for the whole file. */
    int (*drop_pages)(int fd);
    /* How many pages of the first size bytes are in memory: cachestat, or
     * mincore where that is missing or would look at the wrong file. */
    int (*count_pages)(int fd, uint64_t size, uint64_t *pages);
    int (*fchmod)(int fd, mode_t mode);
    int (*futimens)(int fd, const struct timespec times[2]);
    int (*rename_new)(int dir, const char *from, const char *to);
    int (*rename_over)(int dir, const char *from, const char *to);
    int (*link)(int dir, const char *from, const char *to);
    int (*unlink)(int dir, const char *name);
    /* A write lock on the whole open file description; does not wait. */
    int (*lock)(int fd);
    int (*file_size_limit)(uint64_t *bytes); /* UINT64_MAX: none */
    int (*random)(void *buffer, size_t len);
    mode_t (*umask)(void);
    uid_t (*euid)(void);
    pid_t (*pid)(void);
    int (*hostname)(char *name, size_t cap); /* always terminated */
    bool (*process_exists)(pid_t pid);
};

/* The real calls. */
extern const struct store_sys store_sys_real;

#endif
