#include "client/ssh.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/registry.h"

/* Characters that mean nothing to any shell. */
#define PLAIN_CHARS \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:@"

/* ---- Arguments, collected in one text that is long enough from the start,
 * so that pointers into it stay. */

static void add_bytes(struct ssh_command *c, const char *bytes, size_t len)
{
    BELAY_ASSERT(c->text_len + len < c->text_cap);
    memcpy(c->text + c->text_len, bytes, len);
    c->text_len += len;
}

static void end_arg(struct ssh_command *c, size_t begin)
{
    BELAY_ASSERT(c->argc < SSH_ARGS_MAX);
    add_bytes(c, "", 1);
    c->argv[c->argc++] = c->text + begin;
}

static void add_arg(struct ssh_command *c, const char *arg)
{
    size_t begin = c->text_len;

    add_bytes(c, arg, strlen(arg));
    end_arg(c, begin);
}

static void __attribute__((format(printf, 2, 3)))
add_format(struct ssh_command *c, const char *format, ...)
{
    char arg[64];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(arg, sizeof arg, format, args);
    va_end(args);
    add_arg(c, arg);
}

/* Words between blanks; false when there are none or too many. */
static bool add_words(struct ssh_command *c, const char *words)
{
    static const char blanks[] = " \t\n";

    for (words += strspn(words, blanks); *words != '\0';
         words += strspn(words, blanks)) {
        size_t len = strcspn(words, blanks);
        size_t begin = c->text_len;

        if (c->argc >= SSH_ARGS_MAX / 2) {
            return false;
        }
        add_bytes(c, words, len);
        end_arg(c, begin);
        words += len;
    }
    return c->argc > 0;
}

/* As one word of a POSIX shell: 'it'\''s'. */
static void add_quoted(struct ssh_command *c, const char *word)
{
    if (*word != '\0' && strspn(word, PLAIN_CHARS) == strlen(word)) {
        add_bytes(c, word, strlen(word));
        return;
    }
    add_bytes(c, "'", 1);
    for (; *word != '\0'; word++) {
        if (*word == '\'') {
            add_bytes(c, "'\\''", 4);
        } else {
            add_bytes(c, word, 1);
        }
    }
    add_bytes(c, "'", 1);
}

/* ---- The parts. */

static bool is_openssh(const char *program)
{
    const char *slash = strrchr(program, '/');

    return strcmp(slash != NULL ? slash + 1 : program, "ssh") == 0;
}

/* The user's own options came before, and ssh takes the first of each. */
static void add_openssh(struct ssh_command *c, const struct ssh_options *o)
{
    static const char *const settings[] = {
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
    };

    add_arg(c, "-T"); /* a terminal would change bytes */
    for (size_t k = 0; k < sizeof settings / sizeof settings[0]; k++) {
        add_arg(c, "-o");
        add_arg(c, settings[k]);
    }
    add_arg(c, "-o");
    add_format(c, "ConnectTimeout=%u", o->connect_s);
    if (o->family != 0) {
        add_arg(c, o->family == 6 ? "-6" : "-4");
    }
}

static void add_remote(struct ssh_command *c, const struct uri *uri,
                       const char *server)
{
    static const char root[] = " --stdio --root ";
    size_t begin = c->text_len;

    add_quoted(c, server);
    add_bytes(c, root, sizeof root - 1);
    add_bytes(c, uri->absolute ? "/" : ".", 1);
    end_arg(c, begin);
}

unsigned ssh_connect_seconds(uint64_t ms)
{
    uint64_t seconds = ((ms != 0 ? ms : TIMER_DIAL_MS) + 999) / 1000;

    return seconds < 86400 ? (unsigned)seconds : 86400;
}

int ssh_command_make(const struct uri *uri, const struct ssh_options *options,
                     struct ssh_command *out)
{
    const char *command = options->command != NULL ? options->command : "ssh";
    const char *server =
        options->server != NULL ? options->server : "belayd";

    BELAY_ASSERT(uri->scheme == URI_SSH);
    memset(out, 0, sizeof *out);
    out->text_cap = 1024 + 2 * strlen(command) + 4 * strlen(server) +
                    sizeof uri->user + sizeof uri->host;
    out->text = malloc(out->text_cap);
    if (out->text == NULL) {
        return ERR_NOMEM;
    }
    if (!add_words(out, command)) {
        ssh_command_clear(out);
        return ERR_SYNTAX;
    }
    if (is_openssh(out->argv[0])) {
        add_openssh(out, options);
    }
    if (uri->user[0] != '\0') {
        add_arg(out, "-l");
        add_arg(out, uri->user);
    }
    if (uri->port != 0) {
        add_arg(out, "-p");
        add_format(out, "%u", uri->port);
    }
    add_arg(out, "--");
    add_arg(out, uri->host);
    add_remote(out, uri, server);
    return 0;
}

void ssh_command_clear(struct ssh_command *command)
{
    free(command->text);
    memset(command, 0, sizeof *command);
}
