/* The command line of `belay get` as a struct.  Pure, but for messages on
 * standard error and the texts of --help on standard output. */
#ifndef CLIENT_CLI_GET_OPTIONS_H
#define CLIENT_CLI_GET_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "client/belay.h"
#include "client/cli/progress.h"

struct get_options {
    bool quiet;
    unsigned verbose;
    enum progress_mode progress;
    struct belay_get_options get;       /* what all files share */
    struct belay_engine_options engine;
    char **urls; /* borrowed from argv */
    int url_count;
};

/* Returns -1 to go on, else the exit code: --help is done, or the use was
 * wrong and one line told why.  argv[0] is the command. */
int get_options_parse(int argc, char **argv, struct get_options *out);

/* The options of `belay get`, as --help prints them. */
void get_options_help(void);

#endif
