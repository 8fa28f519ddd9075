#include "client/aide.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/aide_internal.h"
#include "client/ssh.h"

/* The one aide of the process, as its sandbox is one. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int aide = -1;
static char *recorded; /* the file of known hosts; NULL: none */

/* The process in between ends at once, so that the aide is nobody's child to
 * wait for. */
static noreturn void be_between(int sock, const struct aide_duties *duties)
{
    pid_t pid = fork();

    if (pid == 0) {
        aide_serve(sock, duties);
    }
    _exit(pid < 0);
}

static int start_process(const struct aide_duties *duties, int *out)
{
    int pair[2];
    int status = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return ERR_IO;
    }
    pid_t pid = fork();
    if (pid == 0) {
        be_between(pair[1], duties);
    }
    int error = errno;
    close(pair[1]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pid < 0 || status != 0) {
        close(pair[0]);
        errno = pid < 0 ? error : EAGAIN;
        return ERR_IO;
    }
    *out = pair[0];
    return 0;
}

int aide_prepare(const struct aide_duties *duties)
{
    char *file = NULL;

    if (aide >= 0) {
        return ERR_STATE;
    }
    for (size_t k = 0; k < duties->count; k++) {
        if (duties->commands[k].text_len > AIDE_WORDS_MAX) {
            return ERR_LIMIT;
        }
    }
    if (duties->known_hosts != NULL) {
        file = strdup(duties->known_hosts);
        if (file == NULL) {
            return ERR_NOMEM;
        }
    }
    int err = start_process(duties, &aide);
    if (err != 0) {
        int error = errno;
        free(file);
        errno = error;
        return err;
    }
    recorded = file;
    return 0;
}

/* ---- Asking. */

/* Takes the descriptors of an answer; false when they are not there. */
static bool take_fds(struct msghdr *message, int fds[AIDE_FDS])
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);

    if (head == NULL || head->cmsg_type != SCM_RIGHTS ||
        head->cmsg_len != CMSG_LEN(AIDE_FDS * sizeof(int))) {
        return false;
    }
    memcpy(fds, CMSG_DATA(head), AIDE_FDS * sizeof(int));
    return true;
}

/* `fds` may be NULL; else they come with an answer without an error. */
static int exchange(const void *request, size_t len, struct aide_answer *a,
                    int fds[AIDE_FDS])
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(AIDE_FDS * sizeof(int))];
    } control;
    struct iovec part = {a, sizeof *a};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t n;

    do {
        n = send(aide, request, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return ERR_IO;
    }
    do {
        n = recvmsg(aide, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof *a ||
        (fds != NULL && a->err == 0 && !take_fds(&message, fds))) {
        errno = n < 0 ? errno : EPIPE;
        return ERR_IO;
    }
    return 0;
}

static int ask(const void *request, size_t len, struct aide_answer *a,
               int fds[AIDE_FDS])
{
    pthread_mutex_lock(&lock);
    int err = exchange(request, len, a, fds);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return err;
}

/* ---- Programs. */

static int ask_start(struct aide_packet *packet, char *const argv[],
                     struct aide_program *out)
{
    struct aide_answer a;
    int fds[AIDE_FDS];
    size_t len = 0;

    packet->head = (struct aide_request){.kind = AIDE_START};
    for (size_t k = 0; argv[k] != NULL; k++) {
        size_t more = strlen(argv[k]) + 1;

        if (more > sizeof packet->words - len) {
            errno = E2BIG;
            return ERR_DENIED;
        }
        memcpy(packet->words + len, argv[k], more);
        len += more;
    }
    int err = ask(packet, sizeof packet->head + len, &a, fds);
    if (err == 0 && a.err == 0) {
        out->child.fd = fds[0];
        out->child.err_fd = fds[1];
        out->child.pidfd = fds[2];
        out->number = a.number;
        out->far = true;
    } else if (err == 0) {
        errno = a.error;
        err = a.err;
    }
    return err;
}

int aide_start(char *const argv[], struct aide_program *out)
{
    memset(out, 0, sizeof *out);
    if (aide < 0) {
        return spawn_start(argv, &out->child);
    }
    struct aide_packet *packet = malloc(sizeof *packet);
    if (packet == NULL) {
        errno = ENOMEM;
        return ERR_IO;
    }
    int err = ask_start(packet, argv, out);
    int error = errno;
    free(packet);
    errno = error;
    return err;
}

/* An aide that is gone has taken its programs along. */
bool aide_ended(struct aide_program *program)
{
    const struct aide_request request = {.kind = AIDE_ENDED,
                                         .number = program->number};
    struct aide_answer a;

    if (!program->far) {
        return spawn_ended(&program->child);
    }
    if (ask(&request, sizeof request, &a, NULL) != 0 || a.err != 0) {
        return true;
    }
    if (a.ended != 0) {
        program->child.status = a.status;
    }
    return a.ended != 0;
}

void aide_finish(struct aide_program *program)
{
    const struct aide_request request = {.kind = AIDE_FINISH,
                                         .number = program->number};
    struct aide_answer a;

    if (!program->far) {
        spawn_finish(&program->child);
        return;
    }
    /* The program sees its input end before it is told to go. */
    if (program->child.fd >= 0) {
        close(program->child.fd);
    }
    close(program->child.err_fd);
    (void)!ask(&request, sizeof request, &a, NULL);
    close(program->child.pidfd);
    memset(program, 0, sizeof *program);
}

/* ---- Hosts. */

bool aide_records(const char *known_hosts)
{
    return aide >= 0 && recorded != NULL && strcmp(recorded, known_hosts) == 0;
}

int aide_record(const char *host, uint16_t port, const uint8_t pin[HASH_LEN],
                char why[TLS_TEXT_MAX])
{
    struct {
        struct aide_request head;
        struct aide_host host;
    } request = {.head.kind = AIDE_RECORD, .host.port = port};
    struct aide_answer a;

    memcpy(request.host.pin, pin, HASH_LEN);
    int len = snprintf(request.host.host, sizeof request.host.host, "%s",
                       host);
    if (len < 0 || (size_t)len >= sizeof request.host.host ||
        ask(&request, sizeof request.head + sizeof request.host, &a, NULL) !=
            0) {
        (void)snprintf(why, TLS_TEXT_MAX, "the key of the host cannot be "
                                          "recorded");
        return ERR_IO;
    }
    if (a.err != 0) {
        a.why[sizeof a.why - 1] = '\0';
        memcpy(why, a.why, sizeof a.why);
    }
    return a.err;
}
