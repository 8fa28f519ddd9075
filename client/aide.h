/* The aide: a process outside the sandbox, for what cannot be done inside.
 *
 * Once a sandbox is in force (belay_sandbox()) no program can be started, but
 * a connection through ssh needs a new one after each break; and the file of
 * known hosts lies beside the configuration, which must stay out of reach. So
 * the aide is made before. It starts exactly the commands that the user's URLs
 * call for, word for word, and records the key of a host that has none yet;
 * nothing else. It trusts nothing that it is asked: whoever takes this process
 * over gets no more than that. It is no child of this process, has none of its
 * descriptors, and ends with it.
 *
 * Without an aide programs are started as in proto/io/spawn.h. Any thread;
 * aide_prepare() before there is a second one. */
#ifndef CLIENT_AIDE_H
#define CLIENT_AIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/io/spawn.h"
#include "proto/io/tls.h"

struct ssh_command;

/* The words of one command, with their ends, in bytes. */
#define AIDE_WORDS_MAX 65536u

/* Programs at a time. */
#define AIDE_PROGRAMS_MAX 256u

struct aide_duties {
    const struct ssh_command *commands;
    size_t count;
    const char *known_hosts; /* the file; NULL: hosts are not recorded */
};

/* Makes the aide; once in a process. It has a copy of the duties. ERR_STATE:
 * there is one; ERR_LIMIT: a command is too long; ERR_IO with the reason in
 * errno. */
MUST_USE int aide_prepare(const struct aide_duties *duties);

/* A program that runs; zeroed: none. */
struct aide_program {
    struct spawn child; /* pid is 0 if the aide is its parent */
    bool far;           /* it is, */
    uint32_t number;    /* ... and calls it so */
};

/* As spawn_start(), _ended(), _finish(). ERR_DENIED: the aide does not know
 * this command. */
MUST_USE int aide_start(char *const argv[], struct aide_program *out);
bool aide_ended(struct aide_program *program);
void aide_finish(struct aide_program *program);

/* Does the aide record the hosts of this file? */
bool aide_records(const char *known_hosts);

/* As knownhosts_add_first(), to that file. */
MUST_USE int aide_record(const char *host, uint16_t port,
                         const uint8_t pin[HASH_LEN], char why[TLS_TEXT_MAX]);

#endif
