#include "server/filter.h"

#ifdef BELAY_SANITIZED

bool
filter_built(void)
{
    return false;
}

bool
filter_possible(void)
{
    return true;
}

int
filter_make(bool deadly, struct filter *out)
{
    (void)deadly;
    (void)out;
    return ERR_UNSUPPORTED;
}

void
filter_clear(struct filter *filter)
{
    (void)filter;
}

int
filter_load(const struct filter *filter)
{
    (void)filter;
    return ERR_UNSUPPORTED;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/errand.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* Calls whose arguments do not matter. Those of other architectures, and of
 * kernels newer than libseccomp, are left out by name. */
static const char *const plain[] = {
    /* Data. */
    "read", "readv", "pread64", "preadv", "preadv2", "write", "writev",
    "pwrite64", "pwritev", "sendfile", "sendfile64", "lseek", "_llseek",
    "recvfrom", "recvmsg", "sendto", "sendmsg", "send", "recv", "splice",
    /* Sockets that exist; accepting. */
    "accept", "accept4", "shutdown", "setsockopt", "getsockopt",
    "getsockname", "getpeername",
    /* Waiting. */
    "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6",
    "eventfd2", "futex", "futex_waitv", "futex_time64", "nanosleep",
    "clock_nanosleep", "clock_nanosleep_time64", "restart_syscall",
    "sched_yield",
    /* Files: Landlock says which. */
    "open", "openat", "openat2", "close", "close_range", "dup", "fstat",
    "fstat64", "stat", "lstat", "newfstatat", "fstatat64", "statx",
    "readlink", "readlinkat", "getdents", "getdents64", "fadvise64",
    "fadvise64_64", "arm_fadvise64_64", "readahead", "cachestat", "mincore",
    "fstatfs", "fstatfs64",
    /* The cache. */
    "fdatasync", "fsync", "ftruncate", "ftruncate64", "msync", "fallocate",
    "unlink", "unlinkat", "rename", "renameat", "renameat2",
    /* Memory. */
    "munmap", "mremap", "brk", "madvise", "membarrier",
    /* Time and randomness. */
    "clock_gettime", "clock_gettime64", "clock_getres", "gettimeofday",
    "time", "getrandom",
    /* Signals and the end. */
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait",
    "sigreturn", "sigaltstack", "exit", "exit_group", "tgkill",
    /* About this process. */
    "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid",
    "getrusage", "getrlimit", "times", "sysinfo", "uname", "umask",
    "set_robust_list", "get_robust_list", "sched_getaffinity", "rseq",
};

/* Calls that are fine with certain values of one argument. */
struct narrow {
    const char *name;
    unsigned arg;
    uint64_t mask;
    uint64_t value;
};

static const struct narrow narrow[] = {
    /* No memory becomes code. */
    { "mmap", 2, PROT_EXEC, 0 },
    { "mmap2", 2, PROT_EXEC, 0 },
    { "mprotect", 2, PROT_EXEC, 0 },
    { "ioctl", 1, UINT32_MAX, FIONBIO },
    { "ioctl", 1, UINT32_MAX, FIONREAD },
    { "ioctl", 1, UINT32_MAX, SIOCOUTQNSD },
    { "ioctl", 1, UINT32_MAX, TIOCGWINSZ },
    { "ioctl", 1, UINT32_MAX, 0x5401 /* TCGETS, by isatty() */ },
    { "prctl", 0, UINT64_MAX, PR_SET_NAME },
    { "prctl", 0, UINT64_MAX, PR_SET_VMA },
    { "prlimit64", 2, UINT64_MAX, 0 }, /* asking, not setting */
};

/* fcntl: all that needs no privilege, but for owners and leases, which send
 * signals. */
static const int fcntl_commands[] = {
    F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL,
    F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW,
};

bool
filter_built(void)
{
    return true;
}

bool
filter_possible(void)
{
    return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
}

static int
allow(scmp_filter_ctx ctx, const char *name, unsigned args,
      const struct scmp_arg_cmp *cmp)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) {
        return 0;
    }
    int rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, number, args, cmp);
    /* Names of other architectures resolve, but cannot be filtered. */
    return rc == -EDOM || rc == -EFAULT ? 0 : rc;
}

static int
add_rules(scmp_filter_ctx ctx)
{
    int rc = 0;

    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]) && rc == 0; i++) {
        rc = allow(ctx, plain[i], 0, NULL);
    }
    for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]) && rc == 0;
         i++) {
        const struct scmp_arg_cmp cmp = {
            .arg = narrow[i].arg,
            .op = SCMP_CMP_MASKED_EQ,
            .datum_a = narrow[i].mask,
            .datum_b = narrow[i].value,
        };
        rc = allow(ctx, narrow[i].name, 1, &cmp);
    }
    for (size_t i = 0;
         i < sizeof(fcntl_commands) / sizeof(fcntl_commands[0]) && rc == 0;
         i++) {
        const struct scmp_arg_cmp cmp = {
            .arg = 1,
            .op = SCMP_CMP_MASKED_EQ,
            .datum_a = UINT32_MAX,
            .datum_b = (uint64_t)fcntl_commands[i],
        };
        rc = allow(ctx, "fcntl", 1, &cmp);
        if (rc == 0) {
            rc = allow(ctx, "fcntl64", 1, &cmp);
        }
    }
    return rc;
}

/* ---- Making it, in a child. */

/* What libseccomp needs for the list, and much more. */
#define HEAP_BYTES ((size_t)8 << 20)

/* From now on allocations that small come from memory that we have. */
static bool
reserve_heap(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, (int)(4 * HEAP_BYTES));
    (void)mallopt(M_TRIM_THRESHOLD, (int)(4 * HEAP_BYTES));
    void *heap = malloc(HEAP_BYTES);
    free(heap);
    return heap != NULL;
}

/* Writes the list to fd. */
static int
export(void *arg, int fd)
{
    const bool *deadly = arg;
    scmp_filter_ctx ctx =
        reserve_heap() ? seccomp_init(*deadly ? SCMP_ACT_KILL_PROCESS
                                              : SCMP_ACT_ERRNO(EPERM))
                       : NULL;
    if (ctx == NULL) {
        return 1;
    }
    int rc = add_rules(ctx);
    if (rc == 0) {
        rc = seccomp_export_bpf(ctx, fd);
    }
    seccomp_release(ctx);
    return rc == 0 ? 0 : 1;
}

static int
make_once(bool deadly, struct filter *out)
{
    /* As much as the kernel takes. */
    size_t cap = BPF_MAXINSNS * sizeof(struct sock_filter);

    *out = (struct filter){ .code = malloc(cap) };
    if (out->code == NULL) {
        return ERR_NOMEM;
    }
    int err = errand_run(export, &deadly, out->code, cap, &out->len);
    if (err == 0 &&
        (out->len == 0 || out->len % sizeof(struct sock_filter) != 0)) {
        err = ERR_NOMEM;
    }
    return err;
}

/* A failed allocation may also pass for success and leave a hole in the list:
 * so two of them have to be the same. */
int
filter_make(bool deadly, struct filter *out)
{
    struct filter again = { .code = NULL };
    int err = make_once(deadly, out);

    if (err == 0) {
        err = make_once(deadly, &again);
    }
    if (err == 0 && (again.len != out->len ||
                     memcmp(again.code, out->code, out->len) != 0)) {
        err = ERR_NOMEM;
    }
    int error = errno;
    filter_clear(&again);
    if (err != 0) {
        filter_clear(out);
    }
    errno = error;
    return err;
}

void
filter_clear(struct filter *filter)
{
    free(filter->code);
    *filter = (struct filter){ .code = NULL };
}

/* ---- Loading it. */

int
filter_load(const struct filter *filter)
{
    const struct sock_fprog program = {
        .len = (unsigned short)(filter->len / sizeof(struct sock_filter)),
        .filter = filter->code,
    };
    unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG;

    if (filter->len == 0) {
        return ERR_UNSUPPORTED;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return ERR_IO;
    }
    long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (rc < 0 && errno == EINVAL) {
        /* An older kernel does not note what it refuses. */
        rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                     SECCOMP_FILTER_FLAG_TSYNC, &program);
    }
    if (rc > 0) {
        errno = EBUSY; /* the number of a thread that could not follow */
    }
    return rc == 0 ? 0 : ERR_IO;
}

#endif
