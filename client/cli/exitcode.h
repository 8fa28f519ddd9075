/* Exit codes of `belay`: the one table.
 *
 * A script can act on them: 0 is done and verified, 75 may be repeated as it
 * is, everything else needs a change first. */
#ifndef CLIENT_CLI_EXITCODE_H
#define CLIENT_CLI_EXITCODE_H

#include "client/belay.h"

/* X(name, code, rank, sentence).  Of several files the highest rank decides
 * the code of the whole run. */
#define EXIT_LIST(X)                                                         \
    X(EXIT_DONE, 0, 0, "every file is complete and verified")                \
    X(EXIT_FAULT, 1, 9, "internal fault or out of memory")                   \
    X(EXIT_USAGE, 2, 10,                                                     \
      "wrong use: an option, a URL, or a file that is not there")            \
    X(EXIT_REFUSED, 3, 6,                                                    \
      "the server will not: not found, denied, not a file")                  \
    X(EXIT_CONTENT, 4, 8,                                                    \
      "wrong content: pin, --sha256, or a server that contradicts itself")   \
    X(EXIT_DISK, 5, 7,                                                       \
      "cannot read or write here: no space, no permission, I/O")             \
    X(EXIT_BUSY, 6, 3, "another process is downloading to this target")      \
    X(EXIT_CHANGED, 7, 5, "the file changed and --if-changed=stop was said") \
    X(EXIT_PROTOCOL, 8, 6, "not a Belay server, or no common version")       \
    X(EXIT_LIMIT, 9, 4, "an own limit was reached: --deadline, --max-size")  \
    X(EXIT_EXISTS, 10, 5, "the target exists and is another file")           \
    X(EXIT_ACCESS, 11, 6,                                                    \
      "credentials, or TLS, are needed or were refused")                     \
    X(EXIT_NOTHING, 12, 1,                                                   \
      "all was there already, and --error-on-nothing was said")              \
    X(EXIT_HOST, 13, 8,                                                      \
      "the server's identity is wrong, or not known; nothing was sent")      \
    X(EXIT_DIFFERS, 14, 5, "verify: a local file is not right")              \
    X(EXIT_TEMPORARY, 75, 2,                                                 \
      "temporary: no connection or server trouble; run again to go on")      \
    X(EXIT_SIGNAL, 128, 11, "plus the number: ended by a signal, all kept")  \
    X(EXIT_PIPE, 141, 7, "the reader of the output has left, as of SIGPIPE")

enum exit_code {
#define EXIT_ENUM(name, code, rank, sentence) name = code,
    EXIT_LIST(EXIT_ENUM)
#undef EXIT_ENUM
};

enum exit_code exit_code_of(enum belay_reason reason);
/* When a file that the user named cannot be read, for `error` of errno. */
enum exit_code exit_code_of_file(int error);
/* The one of two that decides. */
enum exit_code exit_code_worse(enum exit_code a, enum exit_code b);
/* Prints the table, one line each. */
void exit_code_print(void);

#endif
