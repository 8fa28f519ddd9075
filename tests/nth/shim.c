/* A library to preload: the n-th allocation or system call fails.
 *
 * The plan lies in a file that NTH_PLAN names; it is mapped and shared by all
 * processes and threads of a program, so that calls are counted together, and
 * so that the count is there after any death.
 *
 * Only calls that can fail on a healthy kernel count: those on descriptors of
 * pipes, events and epoll, on standard input, output and error are passed on.
 * The error fits the call: a full disk, a dead medium, no more descriptors,
 * no memory, a lost connection. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/nth/leaks.h"
#include "tests/nth/plan.h"

/* The allocator itself; glibc exports it for exactly this purpose. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

void __libc_free(void *p);

static struct nth_plan *plan;

/* A place for a breakpoint: the first call that fails. */
__attribute__((noinline)) void nth_hit(const char *name);
void nth_hit(const char *name)
{
    strncpy(plan->hit, name, sizeof plan->hit - 1);
}

/* Is this call, one of `set`, to fail?  Sets errno then. */
static bool fails(uint32_t set, const char *name, int error)
{
    if (plan == NULL) {
        return false;
    }
    if (set != NTH_SYSTEM && atomic_load(&plan->down) != 0) {
        errno = error;
        return true;
    }
    if ((plan->set & set) == 0) {
        return false;
    }
    uint64_t number = atomic_fetch_add(&plan->count, 1) + 1;
    bool due = plan->kind == NTH_ONCE    ? number == plan->at
               : plan->kind == NTH_EVER ? number >= plan->at
                                        : false;
    if (due) {
        if (number == plan->at) {
            nth_hit(name);
        }
        atomic_store(&plan->down,
                     plan->kind == NTH_EVER && set != NTH_SYSTEM);
        errno = error;
    }
    return due;
}

static bool sys_fails(const char *name, int error)
{
    return fails(NTH_SYSTEM, name, error);
}

/* A file, a directory or a socket, above standard error. */
static bool counts(int fd, bool *is_socket)
{
    struct stat st;
    int kept = errno;
    bool known = fd > STDERR_FILENO &&
                 syscall(SYS_fstat, fd, &st) == 0 &&
                 (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ||
                  S_ISSOCK(st.st_mode));
    *is_socket = known && S_ISSOCK(st.st_mode);
    errno = kept;
    return known;
}

static bool fd_fails(int fd, const char *name, int error)
{
    bool is_socket;
    return counts(fd, &is_socket) &&
           sys_fails(name, is_socket ? ECONNRESET : error);
}

__attribute__((constructor)) static void start(void)
{
    const char *name = getenv("NTH_PLAN");
    int fd = name != NULL ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *p = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED,
                       fd, 0);
        close(fd);
        if (p != MAP_FAILED) {
            plan = p;
        }
    }
    leaks_start();
}

/* ---- memory. */

/* This thread looks up a name.  glibc crashes, or keeps a lock for ever, when
 * it has no memory for its own tables then (2.36: nss_database.c,
 * resolv_conf.c), and nobody can help that; the call as a whole fails in the
 * set of system calls. */
static _Thread_local bool resolving;

static bool memory_fails(const char *name, const void *caller)
{
    if (resolving) {
        return false;
    }
    bool crypto = leaks_in_library(LEAKS_CRYPTO, caller) ||
                  leaks_in_library(LEAKS_SSL, caller);

    if (!fails(crypto ? NTH_CRYPTO : NTH_MEMORY, name, ENOMEM)) {
        return false;
    }
    if (crypto) {
        atomic_store(&plan->crypto_hit, 1);
    }
    return true;
}

#define CALLER __builtin_return_address(0)

/* Note a block that was made. */
static void *made(void *p, size_t size, const void *caller)
{
    leaks_add(p, size, caller);
    return p;
}

void *malloc(size_t size)
{
    return memory_fails("malloc", CALLER)
               ? NULL
               : made(__libc_malloc(size), size, CALLER);
}

void *calloc(size_t count, size_t size)
{
    return memory_fails("calloc", CALLER)
               ? NULL
               : made(__libc_calloc(count, size), count * size, CALLER);
}

void free(void *p)
{
    leaks_drop(p);
    __libc_free(p);
}

/* libuv has no answer but abort() when its table of descriptors does not grow
 * (a worker is started anew by its parent then), or when a thread does not
 * start; proto/io tries whether threads can be had before it asks libuv, and
 * that try counts.  uv_replace_allocator() is no way out: it would also change
 * the allocator of a program that has libuv for itself and uses libbelay. */
static bool from_libuv(const void *caller)
{
    return leaks_in_library(LEAKS_UV, caller);
}

void *realloc(void *p, size_t size)
{
    if (!from_libuv(CALLER) && memory_fails("realloc", CALLER)) {
        return NULL;
    }
    /* Another thread may get what is given back at once. */
    leaks_drop(p);
    void *moved = __libc_realloc(p, size);
    if (moved != NULL) {
        return made(moved, size, CALLER);
    }
    leaks_add(p, 1, CALLER);
    return NULL;
}

void *aligned_alloc(size_t align, size_t size)
{
    return memory_fails("aligned_alloc", CALLER)
               ? NULL
               : made(__libc_memalign(align, size), size, CALLER);
}

int posix_memalign(void **p, size_t align, size_t size)
{
    if (memory_fails("posix_memalign", CALLER)) {
        return ENOMEM;
    }
    *p = made(__libc_memalign(align, size), size, CALLER);
    return *p != NULL ? 0 : ENOMEM;
}

/* ---- ends. */

__attribute__((destructor)) static void end(void)
{
    leaks_end(plan, true);
}

void _exit(int status)
{
    leaks_end(plan, false);
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}

/* ---- system calls.  REAL gives the function that this one stands for. */

#define REAL(name)                                            \
    static __typeof__(&name) real;                            \
    if (real == NULL) {                                       \
        *(void **)&real = dlsym(RTLD_NEXT, #name);            \
    }

/* The call fails before it is made, or is made. */
#define WRAP(type, name, params, args, due, failed) \
    type name params                                \
    {                                               \
        REAL(name)                                  \
        return (due) ? (failed) : real args;        \
    }

#define WRAP_FD(type, name, params, args, error) \
    WRAP(type, name, params, args, fd_fails(fd, #name, error), -1)

#define WRAP_ANY(type, name, params, args, error) \
    WRAP(type, name, params, args, sys_fails(#name, error), -1)

WRAP_FD(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n), EIO)
WRAP_FD(ssize_t, pread, (int fd, void *p, size_t n, off_t o), (fd, p, n, o),
        EIO)
WRAP_FD(ssize_t, pread64, (int fd, void *p, size_t n, off64_t o),
        (fd, p, n, o), EIO)
WRAP_FD(ssize_t, preadv64v2,
        (int fd, const struct iovec *v, int n, off64_t o, int f),
        (fd, v, n, o, f), EIO)
WRAP_FD(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n),
        EIO)
WRAP_FD(ssize_t, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f),
        EIO)
WRAP_FD(ssize_t, recvmsg, (int fd, struct msghdr *m, int f), (fd, m, f), EIO)
WRAP_FD(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n),
        ENOSPC)
WRAP_FD(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t o),
        (fd, p, n, o), ENOSPC)
WRAP_FD(ssize_t, pwrite64, (int fd, const void *p, size_t n, off64_t o),
        (fd, p, n, o), ENOSPC)
WRAP_FD(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n),
        ENOSPC)
WRAP_FD(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t o),
        (fd, v, n, o), ENOSPC)
WRAP_FD(ssize_t, send, (int fd, const void *p, size_t n, int f),
        (fd, p, n, f), EIO)
WRAP_FD(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f),
        EIO)
WRAP(ssize_t, sendfile64, (int fd, int in, off64_t *o, size_t n),
     (fd, in, o, n), sys_fails("sendfile", EIO), -1)
WRAP_FD(int, fsync, (int fd), (fd), EIO)
WRAP_FD(int, fdatasync, (int fd), (fd), EIO)
WRAP_FD(int, sync_file_range, (int fd, off64_t o, off64_t n, unsigned f),
        (fd, o, n, f), EIO)
WRAP_FD(int, ftruncate64, (int fd, off64_t n), (fd, n), ENOSPC)
WRAP_FD(int, fallocate64, (int fd, int m, off64_t o, off64_t n),
        (fd, m, o, n), ENOSPC)
WRAP_FD(int, fchmod, (int fd, mode_t m), (fd, m), EPERM)
WRAP_FD(int, futimens, (int fd, const struct timespec t[2]), (fd, t), EPERM)
WRAP_FD(int, fstat64, (int fd, struct stat64 *st), (fd, st), EIO)
WRAP_ANY(int, fstatat64,
         (int d, const char *restrict n, struct stat64 *restrict st, int f),
         (d, n, st, f), EIO)
WRAP_ANY(int, renameat2,
         (int a, const char *x, int b, const char *y, unsigned f),
         (a, x, b, y, f), EIO)
WRAP_ANY(int, renameat, (int a, const char *x, int b, const char *y),
         (a, x, b, y), EIO)
WRAP_ANY(int, rename, (const char *x, const char *y), (x, y), EIO)
WRAP_ANY(int, linkat, (int a, const char *x, int b, const char *y, int f),
         (a, x, b, y, f), EIO)
WRAP_ANY(int, unlinkat, (int d, const char *n, int f), (d, n, f), EIO)
WRAP_ANY(int, unlink, (const char *n), (n), EIO)
WRAP_ANY(int, mkdir, (const char *n, mode_t m), (n, m), ENOSPC)
WRAP_ANY(int, mkdirat, (int d, const char *n, mode_t m), (d, n, m), ENOSPC)
WRAP_ANY(int, socket, (int d, int t, int p), (d, t, p), EMFILE)
WRAP_ANY(int, bind, (int fd, const struct sockaddr *a, socklen_t n),
         (fd, a, n), EADDRINUSE)
WRAP_ANY(int, listen, (int fd, int n), (fd, n), EADDRINUSE)
WRAP_ANY(int, connect, (int fd, const struct sockaddr *a, socklen_t n),
         (fd, a, n), ENETUNREACH)
WRAP_ANY(int, accept4,
         (int fd, struct sockaddr *restrict a, socklen_t *restrict n, int f),
         (fd, a, n, f), EMFILE)
WRAP_ANY(int, setsockopt,
         (int fd, int l, int o, const void *p, socklen_t n),
         (fd, l, o, p, n), ENOMEM)
WRAP_ANY(int, getsockname,
         (int fd, struct sockaddr *restrict a, socklen_t *restrict n),
         (fd, a, n), ENOBUFS)
WRAP_ANY(pid_t, fork, (void), (), EAGAIN)
WRAP(int, pthread_create,
     (pthread_t *restrict t, const pthread_attr_t *restrict a,
      void *(*f)(void *), void *restrict p),
     (t, a, f, p),
     !from_libuv(__builtin_return_address(0)) &&
         sys_fails("pthread_create", EAGAIN),
     EAGAIN)
WRAP(void *, mmap64,
     (void *a, size_t n, int p, int f, int fd, off64_t o),
     (a, n, p, f, fd, o), sys_fails("mmap", ENOMEM), MAP_FAILED)
WRAP(int, posix_fallocate64, (int fd, off64_t o, off64_t n), (fd, o, n),
     fd_fails(fd, "posix_fallocate", ENOSPC), ENOSPC)

int getaddrinfo(const char *restrict host, const char *restrict service,
                const struct addrinfo *restrict hints,
                struct addrinfo **restrict out)
{
    REAL(getaddrinfo)
    if (sys_fails("getaddrinfo", ENOMEM)) {
        return EAI_MEMORY;
    }
    resolving = true;
    int result = real(host, service, hints, out);
    resolving = false;
    return result;
}

/* Linux gives the descriptor back in any case. */
int close(int fd)
{
    REAL(close)
    bool due = fd_fails(fd, "close", EIO);
    int result = real(fd);
    if (due) {
        errno = EIO;
        return -1;
    }
    return result;
}

/* ---- with a variable argument. */

static mode_t mode_of(int flags, va_list args)
{
    bool creates = (flags & O_CREAT) != 0 ||
                   (flags & O_TMPFILE) == O_TMPFILE;
    return creates ? va_arg(args, mode_t) : 0;
}

/* A new file needs room, an old one a descriptor. */
static int open_error(int flags)
{
    return (flags & O_CREAT) != 0 ? ENOSPC : EMFILE;
}

#define WRAP_OPEN(name, params, args)                            \
    int name params                                              \
    {                                                            \
        REAL(name)                                               \
        va_list rest;                                            \
        va_start(rest, flags);                                   \
        mode_t mode = mode_of(flags, rest);                      \
        va_end(rest);                                            \
        return sys_fails(#name, open_error(flags)) ? -1 : real args; \
    }

WRAP_OPEN(open, (const char *n, int flags, ...), (n, flags, mode))
WRAP_OPEN(open64, (const char *n, int flags, ...), (n, flags, mode))
WRAP_OPEN(openat, (int d, const char *n, int flags, ...), (d, n, flags, mode))
WRAP_OPEN(openat64, (int d, const char *n, int flags, ...),
          (d, n, flags, mode))

/* Locks can fail; the rest of fcntl works on what is known to be there. */
int fcntl64(int fd, int command, ...)
{
    REAL(fcntl64)
    va_list rest;
    va_start(rest, command);
    void *arg = va_arg(rest, void *);
    va_end(rest);
    bool lock = command == F_OFD_SETLK || command == F_SETLK;
    return lock && sys_fails("lock", ENOLCK) ? -1 : real(fd, command, arg);
}

long syscall(long number, ...)
{
    REAL(syscall)
    va_list rest;
    long a[6];
    va_start(rest, number);
    for (unsigned i = 0; i < 6; i++) {
        a[i] = va_arg(rest, long);
    }
    va_end(rest);
    bool due = (number == SYS_openat2 && sys_fails("openat2", EMFILE)) ||
               (number == SYS_renameat2 && sys_fails("renameat2", EIO));
    return due ? -1 : real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
