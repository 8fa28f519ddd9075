#include "client/tunnel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/aide.h"
#include "client/prologue.h"
#include "proto/base/registry.h"
#include "proto/data/text.h"
#include "proto/io/loop.h"

/* A beginning of the magic may be the end of noise: look again after this. */
#define AGAIN_MS 20u

/* Between the end of the output and the end of the program. */
#define ENDING_MS 3000u

/* What is told of a line of standard error, in bytes. */
#define LINE_MAX_BYTES 160u

#define SSH_FAILED 255
#define NOT_EXECUTABLE 126
#define NOT_FOUND 127
#define WRONG_USE 2

enum state {
    WAITING, /* for the first bytes */
    ENDING,  /* no bytes will come: for the exit status */
    READY,
    FAILED,
};

struct tunnel {
    struct loop *loop;
    tunnel_done_fn *done;
    tunnel_tell_fn *tell;
    void *arg;
    char *host;
    enum state state;
    bool told; /* done was called */
    struct aide_program ssh;
    struct loop_poll *in;
    struct loop_poll *err;
    struct loop_poll *end;
    struct loop_timer *timeout;
    struct loop_timer *again;
    struct loop_defer *conclude;
    struct prologue noise;
    size_t line_len;
    uint8_t line[LINE_MAX_BYTES];
    char last[TEXT_ESCAPE_SIZE(LINE_MAX_BYTES)]; /* line of standard error */
    bool hopeless;
    char text[1600];
};

/* ---- The outcome. */

static void __attribute__((format(printf, 3, 4)))
fail(struct tunnel *t, bool hopeless, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(t->text, sizeof t->text, format, args);
    va_end(args);
    t->hopeless = hopeless;
    t->state = FAILED;
    loop_timer_stop(t->timeout);
    loop_timer_stop(t->again);
    loop_poll_set(t->in, 0);
    loop_poll_set(t->end, 0);
    loop_defer_arm(t->conclude);
}

static void on_conclude(void *arg)
{
    struct tunnel *t = arg;

    if (t->told) {
        return;
    }
    t->told = true;
    loop_timer_stop(t->timeout);
    loop_timer_stop(t->again);
    int fd = -1;
    loop_poll_free(t->in);
    t->in = NULL;
    if (t->state == READY) {
        fd = t->ssh.child.fd;
        t->ssh.child.fd = -1;
    }
    t->done(t->arg, fd, t->hopeless, t->text); /* may free the tunnel */
}

/* ---- Standard error. */

static void tell_line(struct tunnel *t)
{
    if (t->line_len > 0) {
        (void)text_escape(t->last, sizeof t->last, t->line, t->line_len);
        t->tell(t->arg, true, t->last);
    }
    t->line_len = 0;
}

static void take_errors(struct tunnel *t, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' || bytes[i] == '\r') {
            tell_line(t);
        } else if (t->line_len < sizeof t->line) {
            t->line[t->line_len++] = bytes[i];
        }
    }
}

/* At most a few reads in a turn: a flood must not hold up the rest. */
static void read_errors(struct tunnel *t)
{
    uint8_t bytes[4096];

    for (int i = 0; i < 4; i++) {
        ssize_t n = read(t->ssh.child.err_fd, bytes, sizeof bytes);

        if (n > 0) {
            take_errors(t, bytes, (size_t)n);
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        } else {
            tell_line(t);
            loop_poll_set(t->err, 0);
            return;
        }
    }
}

static void on_errors(void *arg, unsigned events)
{
    (void)events;
    read_errors(arg);
}

/* ---- The end of the program. */

static void explain(struct tunnel *t)
{
    int status = t->ssh.child.status;
    const char *colon = t->last[0] != '\0' ? ": " : "";

    if (WIFSIGNALED(status)) {
        fail(t, false, "the way to %s ended by signal %d%s%s", t->host,
             WTERMSIG(status), colon, t->last);
        return;
    }
    switch (WEXITSTATUS(status)) {
    case SSH_FAILED:
        fail(t, false, "ssh cannot reach %s%s%s", t->host, colon, t->last);
        break;
    case NOT_FOUND:
    case NOT_EXECUTABLE:
        fail(t, true, "%s has no belayd that could be run%s%s; install it "
             "there, or say with --remote-belayd where it is", t->host, colon,
             t->last);
        break;
    case WRONG_USE:
        fail(t, true, "belayd on %s does not start%s%s", t->host, colon,
             t->last);
        break;
    default:
        fail(t, false, "belayd on %s ended with status %d%s%s", t->host,
             WEXITSTATUS(status), colon, t->last);
    }
}

static void fail_of_noise(struct tunnel *t)
{
    char shown[PROLOGUE_TEXT];

    prologue_text(&t->noise, shown);
    fail(t, true, "no Belay server answers through %s; the remote shell "
         "printed \"%s\"", t->host, shown);
}

static void on_ended(void *arg, unsigned events)
{
    struct tunnel *t = arg;

    (void)events;
    if (!aide_ended(&t->ssh)) {
        return;
    }
    loop_poll_set(t->end, 0);
    read_errors(t); /* its last words are in the pipe */
    tell_line(t);
    if (t->state == ENDING && t->noise.len > 0 &&
        WIFEXITED(t->ssh.child.status) &&
        WEXITSTATUS(t->ssh.child.status) == 0) {
        fail_of_noise(t);
    } else if (t->state == ENDING) {
        explain(t);
    }
}

static void await_end(struct tunnel *t)
{
    t->state = ENDING;
    loop_poll_set(t->in, 0);
    loop_timer_start(t->timeout, ENDING_MS);
    loop_poll_set(t->end, LOOP_READ);
}

/* ---- The first bytes. */

static void skip_noise(struct tunnel *t, size_t left)
{
    uint8_t scrap[4096];

    while (left > 0) {
        ssize_t n = recv(t->ssh.child.fd, scrap,
                         left < sizeof scrap ? left : sizeof scrap, 0);
        if (n <= 0) {
            return; /* they were there: nobody else reads */
        }
        left -= (size_t)n;
    }
}

static void become_ready(struct tunnel *t)
{
    char shown[PROLOGUE_TEXT];
    char text[sizeof shown + 100];

    if (t->noise.len > 0) {
        prologue_text(&t->noise, shown);
        (void)snprintf(text, sizeof text, "ignored: the remote shell printed "
                       "\"%s\"", shown);
        t->tell(t->arg, false, text);
    }
    t->state = READY;
    loop_poll_set(t->in, 0);
    loop_defer_arm(t->conclude);
}

static void look(struct tunnel *t)
{
    uint8_t bytes[4096];
    ssize_t n = recv(t->ssh.child.fd, bytes, sizeof bytes, MSG_PEEK);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        await_end(t);
        return;
    }
    enum prologue_verdict verdict;
    skip_noise(t, prologue_take(&t->noise, bytes, (size_t)n, &verdict));
    switch (verdict) {
    case PROLOGUE_ENDS:
        become_ready(t);
        break;
    case PROLOGUE_ENDLESS:
        fail_of_noise(t);
        break;
    case PROLOGUE_MAY_END:
        /* What is peeked at stays readable: do not spin over it. */
        loop_poll_set(t->in, 0);
        loop_timer_start(t->again, AGAIN_MS);
        break;
    case PROLOGUE_GOES_ON:
        break;
    }
}

static void on_again(void *arg)
{
    struct tunnel *t = arg;

    if (t->state == WAITING) {
        loop_poll_set(t->in, LOOP_READ);
        look(t);
    }
}

static void on_input(void *arg, unsigned events)
{
    struct tunnel *t = arg;

    (void)events;
    if (t->state == WAITING) {
        look(t);
    }
}

static void on_timeout(void *arg)
{
    struct tunnel *t = arg;

    if (t->noise.len > 0) {
        fail_of_noise(t);
    } else {
        fail(t, false, "no answer through %s%s%s", t->host,
             t->last[0] != '\0' ? ": " : "", t->last);
    }
}

/* ---- Life. */

static int watch(struct tunnel *t)
{
    const struct spawn *ssh = &t->ssh.child;
    int err = loop_poll_new(t->loop, ssh->fd, on_input, t, &t->in);

    if (err == 0) {
        err = loop_poll_new(t->loop, ssh->err_fd, on_errors, t, &t->err);
    }
    if (err == 0) {
        err = loop_poll_new(t->loop, ssh->pidfd, on_ended, t, &t->end);
    }
    if (err == 0) {
        loop_poll_set(t->in, LOOP_READ);
        loop_poll_set(t->err, LOOP_READ);
    }
    return err;
}

/* The program cannot be run: told later, as all outcomes are. */
static void fail_start(struct tunnel *t, const char *program)
{
    char shown[200];
    int error = errno;

    (void)text_escape(shown, sizeof shown, program, strlen(program));
    (void)snprintf(t->text, sizeof t->text, "cannot run %s: %s", shown,
                   strerror(error));
    t->hopeless = true;
    t->state = FAILED;
    loop_defer_arm(t->conclude);
}

int tunnel_start(struct loop *loop, const struct tunnel_options *options,
                 struct tunnel **out)
{
    struct tunnel *t = calloc(1, sizeof *t);
    int err;

    if (t == NULL) {
        return ERR_NOMEM;
    }
    t->loop = loop;
    t->done = options->done;
    t->tell = options->tell;
    t->arg = options->arg;
    t->host = strdup(options->host);
    err = t->host == NULL ? ERR_NOMEM : 0;
    if (err == 0) {
        err = loop_timer_new(loop, on_timeout, t, &t->timeout);
    }
    if (err == 0) {
        err = loop_timer_new(loop, on_again, t, &t->again);
    }
    if (err == 0) {
        err = loop_defer_new(loop, on_conclude, t, &t->conclude);
    }
    if (err == 0 && aide_start(options->argv, &t->ssh) != 0) {
        fail_start(t, options->argv[0]);
    } else if (err == 0) {
        err = watch(t);
        loop_timer_start(t->timeout, options->timeout_ms);
    }
    if (err != 0) {
        tunnel_free(t);
        return ERR_NOMEM;
    }
    *out = t;
    return 0;
}

void tunnel_free(struct tunnel *tunnel)
{
    if (tunnel == NULL) {
        return;
    }
    loop_poll_free(tunnel->in);
    loop_poll_free(tunnel->err);
    loop_poll_free(tunnel->end);
    loop_timer_free(tunnel->timeout);
    loop_timer_free(tunnel->again);
    loop_defer_free(tunnel->conclude);
    aide_finish(&tunnel->ssh);
    free(tunnel->host);
    free(tunnel);
}
