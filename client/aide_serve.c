/* The aide's own process. What it is asked may come from somebody who has
 * taken over the other side. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/aide_internal.h"
#include "client/knownhosts.h"
#include "client/ssh.h"

/* Where its socket is, behind the standard ones. */
#define SOCK_FD 3

struct aide {
    const struct aide_duties *duties;
    bool used[AIDE_PROGRAMS_MAX];
    struct spawn child[AIDE_PROGRAMS_MAX];
    struct aide_packet packet;
};

/* Nothing of the process that it comes from stays open; signals from the
 * terminal are for the programs, and the end of the socket is its own. */
static void settle(int sock)
{
    sigset_t all;

    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)prctl(PR_SET_NAME, "belay-aide", 0, 0, 0);
    if (sock != SOCK_FD && dup3(sock, SOCK_FD, O_CLOEXEC) < 0) {
        _exit(1);
    }
    (void)close_range(SOCK_FD + 1, ~0U, 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (null < 0 || dup2(null, fd) < 0) {
            close(fd);
        }
    }
    if (null > SOCK_FD) {
        close(null);
    }
}

static const struct ssh_command *find(const struct aide *aide, size_t len)
{
    const struct aide_duties *d = aide->duties;

    for (size_t k = 0; k < d->count; k++) {
        if (d->commands[k].text_len == len &&
            memcmp(d->commands[k].text, aide->packet.words, len) == 0) {
            return &d->commands[k];
        }
    }
    return NULL;
}

static bool answer(const struct aide_answer *a, const struct spawn *child)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(AIDE_FDS * sizeof(int))];
    } control;
    struct iovec part = {(void *)(uintptr_t)a, sizeof *a};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (child != NULL) {
        const int fds[AIDE_FDS] = {child->fd, child->err_fd, child->pidfd};

        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fds);
        memcpy(CMSG_DATA(head), fds, sizeof fds);
    }
    return sendmsg(SOCK_FD, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *a;
}

/* The program's socket and standard error belong to the other side only, so
 * that their ends are seen. */
static bool start(struct aide *aide, size_t len)
{
    const struct ssh_command *command = find(aide, len);
    struct aide_answer a = {.err = ERR_DENIED, .error = EPERM};
    uint32_t n = 0;

    while (n < AIDE_PROGRAMS_MAX && aide->used[n]) {
        n++;
    }
    if (command == NULL || n == AIDE_PROGRAMS_MAX) {
        a.error = command == NULL ? EPERM : EAGAIN;
        return answer(&a, NULL);
    }
    struct spawn *child = &aide->child[n];
    a.err = spawn_start(command->argv, child);
    a.error = errno;
    a.number = n;
    if (a.err != 0) {
        return answer(&a, NULL);
    }
    aide->used[n] = true;
    bool good = answer(&a, child);
    close(child->fd);
    close(child->err_fd);
    child->fd = -1;
    child->err_fd = -1;
    return good;
}

/* Only for a host that has no key yet. */
static bool record(struct aide *aide, size_t len)
{
    struct aide_host *h = &aide->packet.host;
    struct aide_answer a = {.err = ERR_DENIED,
                            .why = "this is no host to record"};

    if (aide->duties->known_hosts != NULL && len == sizeof *h &&
        h->host[0] != '\0' &&
        memchr(h->host, '\0', sizeof h->host) != NULL &&
        strpbrk(h->host, " \t\r\n") == NULL) {
        a.err = knownhosts_add_first(aide->duties->known_hosts, h->host,
                                     h->port, h->pin, a.why);
    }
    return answer(&a, NULL);
}

static bool look_after(struct aide *aide, const struct aide_request *r)
{
    struct aide_answer a = {0};

    if (r->number >= AIDE_PROGRAMS_MAX || !aide->used[r->number]) {
        a.err = ERR_STATE;
    } else if (r->kind == AIDE_ENDED) {
        a.ended = spawn_ended(&aide->child[r->number]) ? 1 : 0;
        a.status = aide->child[r->number].status;
    } else {
        spawn_finish(&aide->child[r->number]);
        aide->used[r->number] = false;
    }
    return answer(&a, NULL);
}

static bool serve_one(struct aide *aide)
{
    const struct aide_request *r = &aide->packet.head;
    ssize_t n;

    do {
        n = recv(SOCK_FD, &aide->packet, sizeof aide->packet, 0);
    } while (n < 0 && errno == EINTR);
    if (n < (ssize_t)sizeof *r) {
        return false;
    }
    switch (r->kind) {
    case AIDE_START:
        return start(aide, (size_t)n - sizeof *r);
    case AIDE_RECORD:
        return record(aide, (size_t)n - sizeof *r);
    default:
        return look_after(aide, r);
    }
}

noreturn void aide_serve(int sock, const struct aide_duties *duties)
{
    static struct aide aide;

    aide.duties = duties;
    settle(sock);
    while (serve_one(&aide)) {
    }
    for (uint32_t n = 0; n < AIDE_PROGRAMS_MAX; n++) {
        if (aide.used[n]) {
            spawn_finish(&aide.child[n]);
        }
    }
    _exit(0);
}
