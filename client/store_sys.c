#include "client/store_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* cachestat(2) came with Linux 6.5; older headers lack number and structs.
 * The number is the same on every architecture but alpha. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct cache_range {
    uint64_t off;
    uint64_t len; /* 0: to the end of the file */
};

struct cache_counts {
    uint64_t cached;
    uint64_t dirty;
    uint64_t writeback;
    uint64_t evicted;
    uint64_t recently_evicted;
};

/* Address space for one look with mincore: fits in 32 bits with room. */
#define MINCORE_WINDOW ((size_t)64 << 20)

static int sys_openat(int dir, const char *name, int flags, mode_t mode)
{
    return openat(dir, name, flags, mode);
}

static int sys_lstatat(int dir, const char *name, struct stat *st)
{
    return fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW);
}

static int sys_fs_type(int fd, uint64_t *type)
{
    struct statfs st;

    if (fstatfs(fd, &st) != 0) {
        return -1;
    }
    /* The field is signed on some architectures, the magic numbers have 32
     * bits on all. */
    *type = (uint32_t)st.f_type;
    return 0;
}

static ssize_t sys_pread(int fd, void *buffer, size_t len, off_t offset)
{
    return pread(fd, buffer, len, offset);
}

static int sys_clone_range(int fd, off_t offset, int from, off_t from_offset,
                           uint64_t len)
{
    struct file_clone_range range = {.src_fd = from,
                                     .src_offset = (uint64_t)from_offset,
                                     .src_length = len,
                                     .dest_offset = (uint64_t)offset};

    return ioctl(fd, FICLONERANGE, &range);
}

static int sys_punch_hole(int fd, off_t offset, off_t len)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                     len);
}

static int sys_start_writeback(int fd, off_t offset, off_t len)
{
    return sync_file_range(fd, offset, len, SYNC_FILE_RANGE_WRITE);
}

static int sys_drop_pages(int fd)
{
    int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

    if (error != 0) {
        errno = error;
        return -1;
    }
    return 0;
}

/* Count by mincore, window by window. */
static int mincore_pages(int fd, uint64_t size, uint64_t *pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *seen = malloc(MINCORE_WINDOW / page);
    int rc = -1;

    if (seen == NULL) {
        errno = ENOMEM;
        return -1;
    }
    *pages = 0;
    for (uint64_t at = 0; at < size; at += MINCORE_WINDOW) {
        size_t len = size - at < MINCORE_WINDOW ? (size_t)(size - at)
                                                : MINCORE_WINDOW;
        void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)at);
        int bad;

        if (map == MAP_FAILED) {
            goto out_free;
        }
        bad = mincore(map, len, seen);
        munmap(map, len);
        if (bad != 0) {
            goto out_free;
        }
        for (size_t i = 0; i < (len + page - 1) / page; i++) {
            *pages += seen[i] & 1;
        }
    }
    rc = 0;
out_free:
    free(seen);
    return rc;
}

static int sys_count_pages(int fd, uint64_t size, uint64_t *pages)
{
    struct cache_range whole = {0, 0};
    struct cache_counts counts;
    uint64_t type;

    /* On overlayfs the pages belong to the file below, which cachestat does
     * not look at and mincore does. */
    if (sys_fs_type(fd, &type) == 0 && type != OVERLAYFS_SUPER_MAGIC &&
        syscall(SYS_cachestat, fd, &whole, &counts, 0) == 0) {
        *pages = counts.cached;
        return 0;
    }
    return mincore_pages(fd, size, pages);
}

static int sys_rename_new(int dir, const char *from, const char *to)
{
    return renameat2(dir, from, dir, to, RENAME_NOREPLACE);
}

static int sys_rename_over(int dir, const char *from, const char *to)
{
    return renameat(dir, from, dir, to);
}

static int sys_link(int dir, const char *from, const char *to)
{
    return linkat(dir, from, dir, to, 0);
}

static int sys_unlink(int dir, const char *name)
{
    return unlinkat(dir, name, 0);
}

static int sys_lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &whole);
}

static int sys_file_size_limit(uint64_t *bytes)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) != 0) {
        return -1;
    }
    *bytes = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    return 0;
}

static int sys_random(void *buffer, size_t len)
{
    return getentropy(buffer, len);
}

/* umask(2) can only be read by changing it, which another thread could see,
 * so the value comes from /proc where that is mounted. */
static mode_t sys_umask(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    char line[256];
    unsigned int mask = 0;
    bool known = false;

    while (status != NULL && !known &&
           fgets(line, sizeof line, status) != NULL) {
        known = sscanf(line, "Umask: %o", &mask) == 1;
    }
    if (status != NULL) {
        fclose(status);
    }
    if (!known) {
        mask = umask(0077);
        umask((mode_t)mask);
    }
    return (mode_t)mask & 0777;
}

static int sys_hostname(char *name, size_t cap)
{
    if (gethostname(name, cap) != 0 && errno != ENAMETOOLONG) {
        name[0] = '\0';
        return -1;
    }
    name[cap - 1] = '\0';
    return 0;
}

static bool sys_process_exists(pid_t pid)
{
    return kill(pid, 0) == 0 || errno != ESRCH;
}

const struct store_sys store_sys_real = {
    .openat = sys_openat,
    .close = close,
    .fstat = fstat,
    .lstatat = sys_lstatat,
    .fstatvfs = fstatvfs,
    .fs_type = sys_fs_type,
    .pread = sys_pread,
    .pwritev = pwritev,
    .ftruncate = ftruncate,
    .clone_range = sys_clone_range,
    .punch_hole = sys_punch_hole,
    .lseek = lseek,
    .fsync = fsync,
    .fdatasync = fdatasync,
    .start_writeback = sys_start_writeback,
    .drop_pages = sys_drop_pages,
    .count_pages = sys_count_pages,
    .fchmod = fchmod,
    .futimens = futimens,
    .rename_new = sys_rename_new,
    .rename_over = sys_rename_over,
    .link = sys_link,
    .unlink = sys_unlink,
    .lock = sys_lock,
    .file_size_limit = sys_file_size_limit,
    .random = sys_random,
    .umask = sys_umask,
    .euid = geteuid,
    .pid = getpid,
    .hostname = sys_hostname,
    .process_exists = sys_process_exists,
};
