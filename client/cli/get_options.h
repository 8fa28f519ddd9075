/* The command line of `belay get` as a struct.  Pure, but for messages on
 * standard error and the texts of --help on standard output. */
#ifndef CLIENT_CLI_GET_OPTIONS_H
#define CLIENT_CLI_GET_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "client/belay.h"
#include "client/cli/filter.h"
#include "client/cli/run.h"
#include "client/cli/trust.h"

struct get_options {
    struct run_options run;
    struct belay_get_options get; /* what all files share */
    struct filter filter;
    struct jail jail; /* each way of getting says what goes in */
    bool recursive;     /* the URLs are of directories; then these two: */
    bool links;
    bool check;
    const char *list;   /* -i; "-": standard input; NULL: none */
    char separator;     /* between its entries */
    const char *failed; /* --failed; NULL: none */
    const char *manifest; /* --manifest; NULL: none */
    struct trust_options trust;
    const char *mirrors[BELAY_MIRRORS_MAX];
    const char *seeds[BELAY_SEEDS_MAX];
    char **urls;        /* borrowed from argv */
    int url_count;
    struct {           /* said in the configuration file, not here: */
        bool no_clobber;
        bool directory;
        bool if_changed;
        bool chunk_size;
    } filed;
};

/* Returns -1 to go on, else the exit code: --help is done, or the use was
 * wrong and one line told why.  argv[0] is the command. */
int get_options_parse(int argc, char **argv, struct get_options *out);

#endif
