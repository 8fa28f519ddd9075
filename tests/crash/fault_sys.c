#include "tests/crash/fault_sys.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static struct fault_plan armed;
static unsigned int calls;
static const char *hit;

void fault_arm(const struct fault_plan *plan)
{
    armed = *plan;
    calls = 0;
    hit = NULL;
}

unsigned int fault_calls(void)
{
    return calls;
}

const char *fault_hit(void)
{
    return hit;
}

/* Count a call; says whether the fault is due. */
static bool due(const char *name)
{
    unsigned int times = armed.times == 0 ? 1 : armed.times;

    calls++;
    if (armed.kind == FAULT_NONE || calls < armed.at ||
        calls >= armed.at + times) {
        return false;
    }
    hit = name;
    if (armed.kind == FAULT_KILL_BEFORE) {
        kill(getpid(), SIGKILL);
    }
    return true;
}

/* After a call that is due, and was made unless it is to fail at once. */
static bool skipped(bool is_due)
{
    return is_due && armed.kind == FAULT_ERRNO;
}

static long outcome(bool is_due, long result)
{
    if (is_due && armed.kind == FAULT_KILL_AFTER) {
        kill(getpid(), SIGKILL);
    }
    if (is_due && (armed.kind == FAULT_ERRNO || armed.kind == FAULT_LATE)) {
        errno = armed.error;
        return -1;
    }
    return result;
}

#define FAULTY(name, parameters, arguments)                                  \
    static int fault_##name parameters                                       \
    {                                                                        \
        bool is_due = due(#name);                                            \
        int result = skipped(is_due) ? -1 : store_sys_real.name arguments;   \
                                                                             \
        return (int)outcome(is_due, result);                                 \
    }

FAULTY(fstat, (int fd, struct stat *st), (fd, st))
FAULTY(lstatat, (int dir, const char *name, struct stat *st),
       (dir, name, st))
FAULTY(fstatvfs, (int fd, struct statvfs *st), (fd, st))
FAULTY(fs_type, (int fd, uint64_t *type), (fd, type))
FAULTY(ftruncate, (int fd, off_t size), (fd, size))
FAULTY(punch_hole, (int fd, off_t offset, off_t len), (fd, offset, len))
FAULTY(fsync, (int fd), (fd))
FAULTY(fdatasync, (int fd), (fd))
FAULTY(start_writeback, (int fd, off_t offset, off_t len), (fd, offset, len))
FAULTY(drop_pages, (int fd), (fd))
FAULTY(count_pages, (int fd, uint64_t size, uint64_t *pages),
       (fd, size, pages))
FAULTY(fchmod, (int fd, mode_t mode), (fd, mode))
FAULTY(futimens, (int fd, const struct timespec times[2]), (fd, times))
FAULTY(rename_new, (int dir, const char *from, const char *to),
       (dir, from, to))
FAULTY(rename_over, (int dir, const char *from, const char *to),
       (dir, from, to))
FAULTY(link, (int dir, const char *from, const char *to), (dir, from, to))
FAULTY(unlink, (int dir, const char *name), (dir, name))
FAULTY(lock, (int fd), (fd))
FAULTY(file_size_limit, (uint64_t *bytes), (bytes))
FAULTY(random, (void *buffer, size_t len), (buffer, len))
FAULTY(hostname, (char *name, size_t cap), (name, cap))

/* A descriptor that was made although the call "failed" would leak. */
static int fault_openat(int dir, const char *name, int flags, mode_t mode)
{
    bool is_due = due("openat");
    int fd = is_due && (armed.kind == FAULT_ERRNO || armed.kind == FAULT_LATE)
                 ? -1
                 : store_sys_real.openat(dir, name, flags, mode);

    return (int)outcome(is_due, fd);
}

/* Linux always gives the descriptor back. */
static int fault_close(int fd)
{
    bool is_due = due("close");

    return (int)outcome(is_due, store_sys_real.close(fd));
}

static ssize_t fault_pread(int fd, void *buffer, size_t len, off_t offset)
{
    bool is_due = due("pread");
    ssize_t result = -1;

    if (is_due && armed.kind == FAULT_SHORT && len > 1) {
        len = 1;
    }
    if (!skipped(is_due)) {
        result = store_sys_real.pread(fd, buffer, len, offset);
    }
    return outcome(is_due, result);
}

static ssize_t fault_pwritev(int fd, const struct iovec *iov, int count,
                             off_t offset)
{
    bool is_due = due("pwritev");
    struct iovec first = iov[0];
    ssize_t result = -1;

    if (is_due && armed.kind == FAULT_SHORT && first.iov_len > 1) {
        first.iov_len = 1;
        iov = &first;
        count = 1;
    }
    if (!skipped(is_due)) {
        result = store_sys_real.pwritev(fd, iov, count, offset);
    }
    return outcome(is_due, result);
}

static off_t fault_lseek(int fd, off_t offset, int whence)
{
    bool is_due = due("lseek");
    off_t result = skipped(is_due) ? -1
                                   : store_sys_real.lseek(fd, offset, whence);

    return outcome(is_due, result);
}

static mode_t fault_umask(void)
{
    return store_sys_real.umask();
}

static bool fault_process_exists(pid_t pid)
{
    return store_sys_real.process_exists(pid);
}

const struct store_sys fault_sys = {
    .openat = fault_openat,
    .close = fault_close,
    .fstat = fault_fstat,
    .lstatat = fault_lstatat,
    .fstatvfs = fault_fstatvfs,
    .fs_type = fault_fs_type,
    .pread = fault_pread,
    .pwritev = fault_pwritev,
    .ftruncate = fault_ftruncate,
    .punch_hole = fault_punch_hole,
    .lseek = fault_lseek,
    .fsync = fault_fsync,
    .fdatasync = fault_fdatasync,
    .start_writeback = fault_start_writeback,
    .drop_pages = fault_drop_pages,
    .count_pages = fault_count_pages,
    .fchmod = fault_fchmod,
    .futimens = fault_futimens,
    .rename_new = fault_rename_new,
    .rename_over = fault_rename_over,
    .link = fault_link,
    .unlink = fault_unlink,
    .lock = fault_lock,
    .file_size_limit = fault_file_size_limit,
    .random = fault_random,
    .umask = fault_umask,
    .euid = geteuid,
    .pid = getpid,
    .hostname = fault_hostname,
    .process_exists = fault_process_exists,
};
