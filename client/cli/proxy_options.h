/* Options that say by which proxy servers are reached: --proxy, --noproxy, and
 * the environment of other programs, all_proxy and no_proxy. */
#ifndef CLIENT_CLI_PROXY_OPTIONS_H
#define CLIENT_CLI_PROXY_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>

#include "client/belay.h"

enum {
    OPT_PROXY = 700,
    OPT_NO_PROXY,
};

/* Rows of a table for getopt_long(). */
#define PROXY_OPTIONS                                       \
    {"proxy", required_argument, NULL, OPT_PROXY},          \
    {"noproxy", required_argument, NULL, OPT_NO_PROXY}

/* Takes one of these options; false: it is another. */
bool proxy_option(struct belay_get_options *get, int opt, const char *value);

/* What was not said comes from the environment. */
void proxy_defaults(struct belay_get_options *get);

#endif
