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

/* ... and of a help text. */
#define PROXY_HELP                                                         \
    "      --proxy URL          socks5h://[USER:PASSWORD@]HOST[:PORT]\n"    \
    "                           (default: all_proxy of the environment)\n" \
    "      --noproxy LIST       hosts and domains to reach without it\n"   \
    "                           (default: no_proxy)\n"

/* Takes one of these options; false: it is another. */
bool proxy_option(struct belay_get_options *get, int opt, const char *value);

/* What was not said comes from the environment. */
void proxy_defaults(struct belay_get_options *get);

#endif
