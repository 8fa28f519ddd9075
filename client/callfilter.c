#include "client/callfilter.h"

#include <linux/audit.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__arm__) && defined(__ARM_EABI__)
#define ARCH AUDIT_ARCH_ARM
#endif

#if defined(BELAY_SANITIZED) || !defined(ARCH)

bool callfilter_built(void)
{
    return false;
}

int callfilter_load(void)
{
    return ERR_UNSUPPORTED;
}

#else

#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/check.h"

/* The second table of x86-64. */
#define X32_BIT 0x40000000u

#define NUMBER offsetof(struct seccomp_data, nr)
/* The low half of an argument, on machines that begin with it. */
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (n))

#define ALLOW SECCOMP_RET_ALLOW
#define DENY (SECCOMP_RET_ERRNO | EPERM)
#define MISSING (SECCOMP_RET_ERRNO | ENOSYS)

/* Calls that are denied as a whole; a table that lacks one has no row. */
static const uint16_t denied[] = {
    /* Programs and processes. */
    SYS_execve,
    SYS_execveat,
#ifdef SYS_fork
    SYS_fork,
    SYS_vfork,
#endif
    /* Other processes. */
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_pidfd_send_signal,
    SYS_tkill,
    SYS_rt_sigqueueinfo,
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
#ifdef SYS_process_madvise
    SYS_process_madvise,
#endif
    /* Mounts and namespaces. */
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_open_by_handle_at,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsmount,
    SYS_fsconfig,
    SYS_fspick,
#ifdef SYS_mount_setattr
    SYS_mount_setattr,
#endif
    /* The machine. */
    SYS_acct,
    SYS_add_key,
    SYS_adjtimex,
    SYS_bpf,
    SYS_clock_adjtime,
    SYS_clock_settime,
    SYS_delete_module,
    SYS_fanotify_init,
    SYS_finit_module,
    SYS_init_module,
#ifdef SYS_ioperm
    SYS_ioperm,
    SYS_iopl,
#endif
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
    SYS_kexec_load,
    SYS_keyctl,
    SYS_perf_event_open,
    SYS_personality,
    SYS_quotactl,
    SYS_reboot,
    SYS_request_key,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_swapoff,
    SYS_swapon,
    SYS_syslog,
    SYS_userfaultfd,
    SYS_vhangup,
    /* Files by name, where Landlock has no say. */
#ifdef SYS_chmod
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_mknod,
#endif
#ifdef SYS_chown32
    SYS_chown32,
    SYS_lchown32,
    SYS_fchown32,
    SYS_truncate64,
#endif
#ifdef SYS_fchmodat2
    SYS_fchmodat2,
#endif
    SYS_fchmodat,
    SYS_fchownat,
    SYS_fchown,
    SYS_mknodat,
    SYS_truncate,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    /* Serving. */
    SYS_listen,
#ifdef SYS_accept
    SYS_accept,
#endif
    SYS_accept4,
    /* Who we are. */
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_setfsuid,
    SYS_setfsgid,
#ifdef SYS_setuid32
    SYS_setuid32,
    SYS_setgid32,
    SYS_setreuid32,
    SYS_setregid32,
    SYS_setresuid32,
    SYS_setresgid32,
    SYS_setgroups32,
    SYS_setfsuid32,
    SYS_setfsgid32,
#endif
    SYS_capset,
};

/* Callers know what to do without these; clone3() hides its flags from a
 * filter, and io_uring all that it does. */
static const uint16_t missing[] = {
#ifdef SYS_clone3
    SYS_clone3,
#endif
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define STEPS_MAX (2 * (COUNT(denied) + COUNT(missing)) + 64)

struct program {
    struct sock_filter step[STEPS_MAX];
    uint16_t count;
};

static void add(struct program *p, unsigned code, uint32_t value,
                uint8_t if_true, uint8_t if_false)
{
    BELAY_ASSERT(p->count < STEPS_MAX);
    p->step[p->count++] = (struct sock_filter){
        .code = (uint16_t)code,
        .jt = if_true,
        .jf = if_false,
        .k = value,
    };
}

static void load(struct program *p, size_t offset)
{
    add(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* Skips so many steps if it holds, or if not. */
static void jump(struct program *p, unsigned test, uint32_t value,
                 uint8_t if_true, uint8_t if_false)
{
    add(p, BPF_JMP | test | BPF_K, value, if_true, if_false);
}

static void end(struct program *p, uint32_t result)
{
    add(p, BPF_RET | BPF_K, result, 0, 0);
}

/* Whole calls: the number is loaded. */
static void add_calls(struct program *p)
{
    for (size_t k = 0; k < COUNT(denied); k++) {
        jump(p, BPF_JEQ, denied[k], 0, 1);
        end(p, DENY);
    }
    for (size_t k = 0; k < COUNT(missing); k++) {
        jump(p, BPF_JEQ, missing[k], 0, 1);
        end(p, MISSING);
    }
}

/* A call that is denied if a test of one argument says so. */
static void add_tested(struct program *p, uint32_t call, unsigned arg,
                       unsigned test, uint32_t value, bool denied_if)
{
    jump(p, BPF_JEQ, call, 0, 4);
    load(p, ARG(arg));
    jump(p, test, value, denied_if ? 0 : 1, denied_if ? 1 : 0);
    end(p, DENY);
    end(p, ALLOW);
}

static void add_arguments(struct program *p)
{
    uint32_t self = (uint32_t)getpid();

    /* Threads are fine, processes are not. */
    add_tested(p, SYS_clone, 0, BPF_JSET, CLONE_THREAD, false);
    add_tested(p, SYS_socket, 0, BPF_JGT, AF_NETLINK, true);
    add_tested(p, SYS_fchmod, 1, BPF_JSET, S_ISUID | S_ISGID, true);
    add_tested(p, SYS_tgkill, 0, BPF_JEQ, self, false);
    add_tested(p, SYS_rt_tgsigqueueinfo, 0, BPF_JEQ, self, false);
    /* To ask with signal 0 whether there is a process is fine. */
    jump(p, BPF_JEQ, SYS_kill, 0, 6);
    load(p, ARG(1));
    jump(p, BPF_JEQ, 0, 3, 0);
    load(p, ARG(0));
    jump(p, BPF_JEQ, self, 1, 0);
    end(p, DENY);
    end(p, ALLOW);
    jump(p, BPF_JEQ, SYS_ioctl, 0, 5);
    load(p, ARG(1));
    jump(p, BPF_JEQ, TIOCSTI, 1, 0);
    jump(p, BPF_JEQ, TIOCLINUX, 0, 1);
    end(p, DENY);
    end(p, ALLOW);
}

bool callfilter_built(void)
{
    return true;
}

int callfilter_load(void)
{
    struct program p = {.count = 0};

    load(&p, offsetof(struct seccomp_data, arch));
    jump(&p, BPF_JEQ, ARCH, 1, 0);
    end(&p, SECCOMP_RET_KILL_PROCESS);
    load(&p, NUMBER);
#ifdef __x86_64__
    jump(&p, BPF_JGE, X32_BIT, 0, 1);
    end(&p, SECCOMP_RET_KILL_PROCESS);
#endif
    add_calls(&p);
    add_arguments(&p);
    end(&p, ALLOW);
    const struct sock_fprog filter = {p.count, p.step};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return ERR_IO;
    }
    long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                      SECCOMP_FILTER_FLAG_TSYNC, &filter);
    if (rc > 0) {
        errno = ESRCH; /* a thread that cannot follow */
    }
    return rc == 0 ? 0 : ERR_IO;
}

#endif
