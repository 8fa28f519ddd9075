/* The command line that reaches `belayd --stdio` on another host. Pure.
 *
 * Each part is an argument of its own; no shell of ours sees any. The one
 * argument that ssh hands to the shell over there is quoted here. Implements
 * spec U1-8, U1-11. */
#ifndef CLIENT_SSH_H
#define CLIENT_SSH_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/data/uri.h"

#define SSH_ARGS_MAX 64u

struct ssh_command {
    char *argv[SSH_ARGS_MAX + 1]; /* ends with NULL; into the text */
    size_t argc;
    char *text;
    size_t text_len;
    size_t text_cap;
};

/* What the user may choose. All borrowed for the call; NULL: the default. */
struct ssh_options {
    const char *command; /* words between blanks, no quoting; "ssh" */
    const char *server;  /* the program over there; "belayd" */
    unsigned family;     /* 4, 6, or 0 */
    unsigned connect_s;  /* for reaching the host; at least 1 */
};

/* connect_s for a time in milliseconds; 0: the default. */
unsigned ssh_connect_seconds(uint64_t ms);

/* uri is of scheme URI_SSH (asserted). ERR_SYNTAX: the command has no words
 * or too many. ERR_NOMEM. */
MUST_USE int ssh_command_make(const struct uri *uri,
                              const struct ssh_options *options,
                              struct ssh_command *out);
void ssh_command_clear(struct ssh_command *command);

#endif
