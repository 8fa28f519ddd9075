/* Place: the run of a command about one file that is there already. */
#ifndef CLIENT_CLI_PLACE_H
#define CLIENT_CLI_PLACE_H

#include <getopt.h>

#include "client/belay.h"
#include "client/cli/proxy_options.h"
#include "client/cli/run.h"

struct place {
    struct run_options run;
    struct belay_get_options get; /* but url, output and the lists */
    struct jail jail;
    const char *mirrors[BELAY_MIRRORS_MAX];
    const char *seeds[BELAY_SEEDS_MAX];
};

/* A slow connection is left after so long, as curl does it. */
#define PLACE_SPEED_TIME_MS 30000u

/* Options that every such command has: rows of a table, letters, and help. */
enum {
    OPT_PLACE_RATE = 800,
    OPT_PLACE_SPEED_LIMIT,
    OPT_PLACE_SPEED_TIME,
    OPT_PLACE_STOP_AT,
    OPT_PLACE_RETRY,
    OPT_PLACE_CONNECT_TIMEOUT,
    OPT_PLACE_TIMEOUT,
    OPT_PLACE_DEADLINE,
    OPT_PLACE_REMOTE_BELAYD,
    OPT_PLACE_JSON,
    OPT_PLACE_PROGRESS,
    OPT_PLACE_NO_PROGRESS,
    OPT_PLACE_LOG_FILE,
};

#define PLACE_OPTIONS                                                         \
    {"connections", required_argument, NULL, 'x'},                            \
    {"limit-rate", required_argument, NULL, OPT_PLACE_RATE},                  \
    {"bwlimit", required_argument, NULL, OPT_PLACE_RATE},                     \
    {"speed-limit", required_argument, NULL, OPT_PLACE_SPEED_LIMIT},          \
    {"speed-time", required_argument, NULL, OPT_PLACE_SPEED_TIME},            \
    {"retry", required_argument, NULL, OPT_PLACE_RETRY},                      \
    {"tries", required_argument, NULL, OPT_PLACE_RETRY},                      \
    {"max-tries", required_argument, NULL, OPT_PLACE_RETRY},                  \
    {"connect-timeout", required_argument, NULL, OPT_PLACE_CONNECT_TIMEOUT},  \
    {"timeout", required_argument, NULL, OPT_PLACE_TIMEOUT},                  \
    {"deadline", required_argument, NULL, OPT_PLACE_DEADLINE},                \
    {"max-time", required_argument, NULL, OPT_PLACE_DEADLINE},                \
    {"stop-at", required_argument, NULL, OPT_PLACE_STOP_AT},                  \
    {"compress", no_argument, NULL, 'z'},                                     \
    {"ipv4", no_argument, NULL, '4'},                                         \
    {"ipv6", no_argument, NULL, '6'},                                         \
    {"ssh", required_argument, NULL, 'e'},                                    \
    {"rsh", required_argument, NULL, 'e'},                                    \
    {"remote-belayd", required_argument, NULL, OPT_PLACE_REMOTE_BELAYD},      \
    {"json", no_argument, NULL, OPT_PLACE_JSON},                              \
    {"progress", optional_argument, NULL, OPT_PLACE_PROGRESS},                \
    {"no-progress", no_argument, NULL, OPT_PLACE_NO_PROGRESS},                \
    {"log-file", required_argument, NULL, OPT_PLACE_LOG_FILE},                \
    {"quiet", no_argument, NULL, 'q'},                                        \
    {"verbose", no_argument, NULL, 'v'}

#define PLACE_LETTERS "x:e:z46qv"

#define PLACE_HELP                                                            \
    "  -x, --connections N      1 to 16\n"                                    \
    "  -z, --compress           let the server compress\n"                    \
    "      --limit-rate RATE    bytes per second (also --bwlimit)\n"          \
    "      --speed-limit RATE, --speed-time S\n"                              \
    "                           connect anew when slower for so long\n"       \
    PROXY_HELP                                                                \
    "  -e, --ssh COMMAND        instead of ssh for HOST:PATH, belay+ssh://\n" \
    "                           (also --rsh)\n"                               \
    "      --remote-belayd CMD  belayd on that host\n"                        \
    "  -4, -6                   IPv4 or IPv6 only (--ipv4, --ipv6)\n"         \
    "      --retry N            end after N tries without progress; 0: never\n"\
    "                           (also --tries, --max-tries)\n"                \
    "      --connect-timeout S, --timeout S, --deadline S, --stop-at HH:MM\n" \
    "                           as for belay get (also --max-time)\n"         \
    "      --config FILE, --no-config\n"                                      \
    "                           defaults of these options, as for belay get\n"\
    "      --json               events as JSON on standard output\n"          \
    "      --progress[=bar|plain|json|none], --no-progress\n"                 \
    "      --log-file FILE      append messages to FILE\n"

/* Takes an option of the table above, or one about proxies and trust.
 * Returns -1, or the exit code when its value has another form, which was
 * told. */
int place_option(struct place *place, int opt, const char *value);

/* Adds to a list; false when it is full. */
bool place_add(const char **list, unsigned most, unsigned *count,
               const char *value);
/* BELAY_SSH of the environment; NULL: not set. */
const char *ssh_default(void);
/* Returns the exit code. */
int place_run(struct place *place, const char *file, const char *url);

#endif
