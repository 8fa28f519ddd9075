/* The command line of `belay` as a struct.  Pure, but for messages on
 * standard error and the texts of --help on standard output. */
#ifndef CLIENT_OPTIONS_H
#define CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "client/exitcode.h"
#include "client/fetch.h"

enum progress_mode {
    PROGRESS_AUTO,
    PROGRESS_BAR,
    PROGRESS_PLAIN,
    PROGRESS_NONE,
};

enum command {
    COMMAND_GET,
    COMMAND_CID,
};

struct options {
    enum command command;
    bool quiet;
    unsigned verbose;
    enum progress_mode progress;
    const char *output; /* -o; NULL: named by the URL */
    const char *dir;
    unsigned cid_log2;  /* cid: 0 is the size's own */
    struct fetch_options fetch; /* what all files share */
    char **operands;    /* URLs, or files for cid; borrowed from argv */
    int operand_count;
};

/* Returns -1 to go on, else the exit code: --help and --version are done,
 * or the use was wrong and one line told why. */
int options_parse(int argc, char **argv, struct options *out);

#endif
