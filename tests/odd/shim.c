/* A library to preload: a machine that is odd in the way it is told to be.
 *
 * ODD_CLOCKS names a file of two 64-bit numbers, nanoseconds that the clock
 * on the wall and the monotonic clock are ahead; it is mapped, so that clocks
 * can jump while a program runs.
 *
 * ODD_FAIL lists calls that fail for ever, as NAME=ERRNO, with commas; a
 * number behind @ lets so many calls pass first. "fsyncdir" and "close" are
 * those on directories and on files that are open for writing, "clone" is
 * FICLONERANGE.
 *
 * ODD_LATE is a number of milliseconds by which the threads of libuv's pool
 * come to their work too late, as on a machine with too much to do.
 *
 * ODD_READ_ERROR is an offset: whoever reads it from a regular file gets EIO,
 * as from a disk with one bad block.
 *
 * ODD_SLOW_SYNC: so many seconds each fdatasync() takes longer. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define RULES_MAX 16
#define NAME_MAX_LEN 32

struct clocks {
    _Atomic int64_t real_ns;
    _Atomic int64_t mono_ns;
};

struct rule {
    char name[NAME_MAX_LEN];
    int error;
    _Atomic long pass;
};

static struct clocks *clocks;
static struct rule rules[RULES_MAX];
static int rule_count;
static int64_t read_error = -1;
static unsigned slow_sync_s;
static int64_t late_ms;

static void read_rules(const char *text)
{
    while (*text != '\0' && rule_count < RULES_MAX) {
        struct rule *r = &rules[rule_count];
        size_t len = strcspn(text, "=");
        char *end;

        if (len >= NAME_MAX_LEN || text[len] == '\0') {
            return;
        }
        memcpy(r->name, text, len);
        r->error = (int)strtol(text + len + 1, &end, 10);
        if (*end == '@') {
            r->pass = strtol(end + 1, &end, 10);
        }
        rule_count++;
        text = *end == ',' ? end + 1 : end;
    }
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("ODD_CLOCKS");
    const char *fail = getenv("ODD_FAIL");
    const char *bad = getenv("ODD_READ_ERROR");
    const char *slow = getenv("ODD_SLOW_SYNC");
    const char *late = getenv("ODD_LATE");

    if (path != NULL) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        void *map = mmap(NULL, sizeof *clocks, PROT_READ, MAP_SHARED, fd, 0);

        clocks = map == MAP_FAILED ? NULL : map;
        close(fd);
    }
    if (fail != NULL) {
        read_rules(fail);
    }
    slow_sync_s = slow != NULL ? (unsigned)strtoul(slow, NULL, 10) : 0;
    if (bad != NULL) {
        read_error = strtoll(bad, NULL, 10);
    }
    if (late != NULL) {
        late_ms = strtoll(late, NULL, 10);
    }
}

/* Is this call to fail?  Sets errno then. */
static bool fails(const char *name)
{
    for (int i = 0; i < rule_count; i++) {
        if (strcmp(rules[i].name, name) == 0) {
            if (atomic_fetch_sub(&rules[i].pass, 1) > 0) {
                return false;
            }
            errno = rules[i].error;
            return true;
        }
    }
    return false;
}

/* The call of the same name behind this library. */
#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* ---- clocks. */

static void advance(struct timespec *t, int64_t ns)
{
    int64_t sum = t->tv_nsec + ns % NS_PER_S;

    t->tv_sec += ns / NS_PER_S + sum / NS_PER_S - (sum < 0);
    t->tv_nsec = (sum % NS_PER_S + NS_PER_S) % NS_PER_S;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, id, t);

    if (rc == 0 && clocks != NULL) {
        if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) {
            advance(t, clocks->real_ns);
        } else if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE ||
                   id == CLOCK_BOOTTIME || id == CLOCK_MONOTONIC_RAW) {
            advance(t, clocks->mono_ns);
        }
    }
    return rc;
}

time_t time(time_t *out)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    if (out != NULL) {
        *out = t.tv_sec;
    }
    return t.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec t;

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    out->tv_sec = t.tv_sec;
    out->tv_usec = t.tv_nsec / 1000;
    return 0;
}

/* ---- threads. */

static bool is_of_libuv(void *address)
{
    Dl_info info;

    return dladdr(address, &info) != 0 && info.dli_fname != NULL &&
           strstr(info.dli_fname, "libuv") != NULL;
}

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    int rc = REAL(pthread_cond_wait)(cond, mutex);

    if (late_ms > 0 && is_of_libuv(__builtin_return_address(0))) {
        struct timespec pause = {.tv_nsec = late_ms * 1000000};

        /* Whoever has work for others must not wait as well. */
        pthread_mutex_unlock(mutex);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(mutex);
    }
    return rc;
}

/* ---- files. */

static bool is_dir(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_written_file(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    return fails("renameat2") ? -1
                              : REAL(renameat2)(a, from, b, to, flags);
}

int renameat(int a, const char *from, int b, const char *to)
{
    return fails("renameat") ? -1 : REAL(renameat)(a, from, b, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    return fails("linkat") ? -1 : REAL(linkat)(a, from, b, to, flags);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fails("fallocate") ? -1 : REAL(fallocate)(fd, mode, offset, len);
}

int sync_file_range(int fd, off_t offset, off_t len, unsigned flags)
{
    return fails("sync_file_range")
               ? -1
               : REAL(sync_file_range)(fd, offset, len, flags);
}

ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at,
                        size_t len, unsigned flags)
{
    return fails("copy_file_range")
               ? -1
               : REAL(copy_file_range)(in, in_at, out, out_at, len, flags);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;

    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    return request == FICLONERANGE && fails("clone")
               ? -1
               : (int)syscall(SYS_ioctl, fd, request, argument);
}

int fsync(int fd)
{
    return (is_dir(fd) && fails("fsyncdir")) || fails("fsync")
               ? -1
               : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    sleep(slow_sync_s);
    return fails("fdatasync") ? -1 : REAL(fdatasync)(fd);
}

int close(int fd)
{
    bool broken = rule_count > 0 && is_written_file(fd) && fails("close");
    int error = errno;
    int rc = (int)syscall(SYS_close, fd);

    if (broken) {
        errno = error;
        return -1;
    }
    return rc;
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    return fails("pwritev") ? -1 : REAL(pwritev)(fd, iov, count, offset);
}

/* ---- a disk with a bad block. */

static bool bad_read(int fd, int64_t offset, size_t len)
{
    struct stat st;

    if (read_error < 0 || offset > read_error ||
        (uint64_t)(read_error - offset) >= len || fstat(fd, &st) != 0 ||
        !S_ISREG(st.st_mode)) {
        return false;
    }
    errno = EIO;
    return true;
}

ssize_t pread(int fd, void *buffer, size_t len, off_t offset)
{
    return bad_read(fd, offset, len) ? -1
                                     : REAL(pread)(fd, buffer, len, offset);
}

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
    size_t len = 0;

    for (int i = 0; i < count; i++) {
        len += iov[i].iov_len;
    }
    return bad_read(fd, offset, len) ? -1
                                     : REAL(preadv)(fd, iov, count, offset);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t len)
{
    return offset != NULL && bad_read(in, *offset, len)
               ? -1
               : REAL(sendfile)(out, in, offset, len);
}

/* The names that programs call with 64-bit offsets; off_t has them here. */
#define SAME(name) __attribute__((alias(#name)))
int fallocate64(int fd, int mode, off_t offset, off_t len) SAME(fallocate);
ssize_t pwritev64(int fd, const struct iovec *iov, int count, off_t offset)
    SAME(pwritev);
ssize_t pread64(int fd, void *buffer, size_t len, off_t offset) SAME(pread);
ssize_t preadv64(int fd, const struct iovec *iov, int count, off_t offset)
    SAME(preadv);
ssize_t sendfile64(int out, int in, off_t *offset, size_t len)
    SAME(sendfile);
