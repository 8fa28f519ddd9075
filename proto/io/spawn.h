/* A program that is talked to: one socket is its standard input and output,
 * a pipe its standard error.
 *
 * Nothing passes through a shell. The child starts with no other descriptors,
 * no blocked signals and SIGPIPE as usual, in the process group of its parent,
 * so that it may ask at the terminal and ends with Ctrl-C. It is found by
 * descriptor, never by number, and no handler of SIGCHLD is involved, so a
 * library may use this. Any thread. */
#ifndef PROTO_IO_SPAWN_H
#define PROTO_IO_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

struct spawn {
    pid_t pid;  /* 0: none, or it has been waited for */
    int pidfd;  /* readable when the child has ended */
    int fd;     /* its standard input and output; non-blocking */
    int err_fd; /* its standard error; non-blocking */
    int status; /* as of waitpid(), once spawn_ended() */
};

/* Starts argv[0], looked for in PATH. ERR_NOT_FOUND when there is no such
 * program, ERR_IO otherwise, each with the reason in errno. */
MUST_USE int spawn_start(char *const argv[], struct spawn *out);

/* Has it ended? Then it leaves no zombie. */
bool spawn_ended(struct spawn *child);

/* Closes the descriptors; a child that still runs is asked to end, and made
 * to a moment later. Waits for a fraction of a second at most. A zeroed or
 * finished one is fine. */
void spawn_finish(struct spawn *child);

#endif
