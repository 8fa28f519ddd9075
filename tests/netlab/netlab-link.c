/* netlab-link: two network namespaces joined by an emulated link.
 *
 * Reads its settings from the command line and commands from standard input,
 * one line each; answers every line with one line of JSON. It ends when
 * standard input ends, so that nothing is left when its parent dies. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/fault/numbers.h"
#include "tests/netlab/link.h"

#define NS_PER_S INT64_C(1000000000)
#define PACKET_MAX 65536
#define READ_TURN 64
#define COMMAND_MAX 1200
#define REALTIME_PRIORITY 10
#define EXIT_USAGE 2

static const char help[] =
    "usage: netlab-link [--KEY VALUE]...\n"
    "\n"
    "Make two network namespaces, each with a device " TUN_NAME ", and join\n"
    "them by an emulated link. The first line of output names them:\n"
    "{\"pid\":P,\"client\":\"/proc/P/fd/N\",\"server\":\"/proc/P/fd/M\"}\n"
    "Addresses and routes are the caller's work (nsenter --net=NAME).\n"
    "\n"
    "Per direction; with -up or -down appended only client to server or\n"
    "server to client:\n"
    "  rate BITS      IP bits per second, k M G are decimal (0: no limit)\n"
    "  queue BYTES    K M are binary (0: one bandwidth-delay product)\n"
    "  delay MS       one way\n"
    "  jitter MS      delay varies by up to this, order is kept\n"
    "  loss P         0.01 or 1%\n"
    "  burst ENTER,LEAVE[,LOSS]  Gilbert-Elliott loss, per packet\n"
    "  corrupt P      flip a payload bit in this part of all packets with\n"
    "                 TCP payload, and make the checksum right\n"
    "For the whole link:\n"
    "  rst-every SEC  reset all TCP connections, counted from the first one\n"
    "  rst-max N      ... at most so often\n"
    "  blackout START:SEC[,...]  nothing passes, counted from the first\n"
    "                 connection\n"
    "  seed N, mtu N (576 to 9000), realtime 0|1 (default 1),\n"
    "  ipv6 0|1 (default 0)\n"
    "\n"
    "Commands on standard input: all of the above (\"rate 20M\"), and\n"
    "  rst            reset all TCP connections now\n"
    "  half-open      every live TCP connection falls silent for good,\n"
    "                 new ones pass\n"
    "  dark SEC       nothing passes from now on for SEC\n"
    "  stats          the counters; also on SIGUSR1 and at the end\n"
    "The end of standard input, SIGTERM and SIGINT end the program.\n";

struct netlab {
    struct link link;
    int epoll_fd;
    int timer_fd;
    int signal_fd;
    bool stopped;
    size_t command_len;
    char command[COMMAND_MAX];
};

static int64_t
netlab_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static void
netlab_print_stats(struct netlab *lab)
{
    char line[LINK_REPORT_MAX];
    (void)link_report(&lab->link, netlab_now_ns(), line);
    fputs(line, stdout);
    fflush(stdout);
}

static void
netlab_answer(const char *wrong)
{
    /* The sentences are our own and hold no quote or backslash. */
    if (wrong == NULL) {
        puts("{\"ok\":true}");
    } else {
        printf("{\"ok\":false,\"error\":\"%s\"}\n", wrong);
    }
    fflush(stdout);
}

static const char *
netlab_command_pair(struct netlab *lab, const char *key, const char *value)
{
    if (strcmp(key, "dark") == 0) {
        int64_t len_ns;
        if (numbers_time(value, NS_PER_S, &len_ns) != 0) {
            return "dark takes seconds";
        }
        link_darken(&lab->link, netlab_now_ns(), len_ns);
        return NULL;
    }
    if (strcmp(key, "mtu") == 0 || strcmp(key, "realtime") == 0 ||
        strcmp(key, "seed") == 0 || strcmp(key, "ipv6") == 0) {
        return "this can be set only at the start";
    }
    return settings_apply(&lab->link.settings, key, value);
}

static void
netlab_command(struct netlab *lab, char *line)
{
    char *value = line;
    const char *key = strsep(&value, " ");
    if (value != NULL) {
        netlab_answer(netlab_command_pair(lab, key, value));
    } else if (strcmp(key, "stats") == 0) {
        netlab_print_stats(lab);
    } else if (strcmp(key, "rst") == 0) {
        link_cut_all(&lab->link);
        netlab_answer(NULL);
    } else if (strcmp(key, "half-open") == 0) {
        link_mute_all(&lab->link);
        netlab_answer(NULL);
    } else {
        netlab_answer("unknown command");
    }
}

static void
netlab_read_commands(struct netlab *lab)
{
    size_t room = sizeof(lab->command) - lab->command_len;
    ssize_t len =
        read(STDIN_FILENO, lab->command + lab->command_len, room);
    if (len < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (len <= 0) {
        lab->stopped = true;
        return;
    }
    lab->command_len += (size_t)len;
    char *newline;
    while ((newline = memchr(lab->command, '\n', lab->command_len)) != NULL) {
        *newline = '\0';
        netlab_command(lab, lab->command);
        size_t used = (size_t)(newline - lab->command) + 1;
        lab->command_len -= used;
        memmove(lab->command, newline + 1, lab->command_len);
    }
    if (lab->command_len == sizeof(lab->command)) {
        lab->command_len = 0;
        netlab_answer("the line is too long");
    }
}

static void
netlab_read_signals(struct netlab *lab)
{
    struct signalfd_siginfo info;
    while (read(lab->signal_fd, &info, sizeof(info)) ==
        (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGUSR1) {
            netlab_print_stats(lab);
        } else {
            lab->stopped = true;
        }
    }
}

static void
netlab_read_packets(struct netlab *lab, enum flows_end from)
{
    static uint8_t data[PACKET_MAX];
    for (int i = 0; i < READ_TURN; i++) {
        ssize_t len = read(lab->link.tun[from].fd, data, sizeof(data));
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len <= 0) {
            return;
        }
        link_input(&lab->link, from, data, (size_t)len, netlab_now_ns());
    }
}

static void
netlab_dispatch(struct netlab *lab, int fd)
{
    if (fd == lab->link.tun[FLOWS_CLIENT].fd) {
        netlab_read_packets(lab, FLOWS_CLIENT);
    } else if (fd == lab->link.tun[FLOWS_SERVER].fd) {
        netlab_read_packets(lab, FLOWS_SERVER);
    } else if (fd == lab->timer_fd) {
        uint64_t expired;
        (void)!read(lab->timer_fd, &expired, sizeof(expired));
    } else if (fd == lab->signal_fd) {
        netlab_read_signals(lab);
    } else {
        netlab_read_commands(lab);
    }
}

static void
netlab_arm(struct netlab *lab, int64_t at_ns)
{
    struct itimerspec when = { 0 };
    if (at_ns != INT64_MAX) {
        when.it_value.tv_sec = at_ns / NS_PER_S;
        when.it_value.tv_nsec = at_ns % NS_PER_S;
    }
    timerfd_settime(lab->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static int
netlab_loop(struct netlab *lab)
{
    struct epoll_event events[8];
    int64_t armed_ns = INT64_MAX;
    while (!lab->stopped) {
        int64_t next_ns = link_tick(&lab->link, netlab_now_ns());
        if (next_ns != armed_ns) {
            netlab_arm(lab, next_ns);
            armed_ns = next_ns;
        }
        int count = epoll_wait(lab->epoll_fd, events, 8, -1);
        if (count < 0 && errno != EINTR) {
            return -errno;
        }
        for (int i = 0; i < count; i++) {
            netlab_dispatch(lab, events[i].data.fd);
        }
    }
    return 0;
}

static int
netlab_watch(struct netlab *lab, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    return epoll_ctl(lab->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0
        ? 0 : -errno;
}

static int
netlab_open_loop(struct netlab *lab)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return -errno;
    }
    signal(SIGPIPE, SIG_IGN);
    lab->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    lab->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    lab->timer_fd =
        timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (lab->signal_fd < 0 || lab->epoll_fd < 0 || lab->timer_fd < 0) {
        return -errno;
    }
    const int fds[] = { STDIN_FILENO, lab->signal_fd, lab->timer_fd,
        lab->link.tun[FLOWS_CLIENT].fd, lab->link.tun[FLOWS_SERVER].fd };
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        int err = netlab_watch(lab, fds[i]);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

/* A link does not wait for a busy processor; neither should this program.
 * Refusal is no error: the figures only get less sharp under load. */
static void
netlab_go_realtime(void)
{
    struct sched_param param = { .sched_priority = REALTIME_PRIORITY };
    (void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param);
}

/* Returns 0 to run, or the exit status plus one to end at once. */
static int
netlab_arguments(struct settings *settings, int argc, char **argv)
{
    settings_init(settings);
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--help") == 0) {
            return (fputs(help, stdout) >= 0 ? 0 : 1) + 1;
        }
        const char *wrong = "an option is --KEY VALUE";
        if (strncmp(argv[i], "--", 2) == 0 && i + 1 < argc) {
            wrong = settings_apply(settings, argv[i] + 2, argv[i + 1]);
        }
        if (wrong != NULL) {
            fprintf(stderr, "netlab-link: %s: %s\ntry: netlab-link --help\n",
                argv[i], wrong);
            return EXIT_USAGE + 1;
        }
    }
    return 0;
}

static int
netlab_run(const struct settings *settings)
{
    struct netlab lab = {
        .epoll_fd = -1, .timer_fd = -1, .signal_fd = -1,
    };
    const char *step;
    int err = link_open(&lab.link, settings, &step);
    if (err == 0) {
        step = "event loop";
        err = netlab_open_loop(&lab);
    }
    if (err == 0) {
        if (settings->realtime) {
            netlab_go_realtime();
        }
        lab.link.started_ns = netlab_now_ns();
        printf("{\"pid\":%d,\"client\":\"/proc/%d/fd/%d\","
            "\"server\":\"/proc/%d/fd/%d\"}\n", (int)getpid(),
            (int)getpid(), lab.link.tun[FLOWS_CLIENT].netns_fd,
            (int)getpid(), lab.link.tun[FLOWS_SERVER].netns_fd);
        fflush(stdout);
        err = netlab_loop(&lab);
        netlab_print_stats(&lab);
    }
    if (err != 0) {
        fprintf(stderr, "netlab-link: %s: %s\n", step, strerror(-err));
    }
    link_close(&lab.link);
    const int fds[] = { lab.epoll_fd, lab.timer_fd, lab.signal_fd };
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    return err == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
    struct settings settings;
    int ended = netlab_arguments(&settings, argc, argv);
    return ended != 0 ? ended - 1 : netlab_run(&settings);
}
