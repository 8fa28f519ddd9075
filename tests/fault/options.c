#include "tests/fault/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/numbers.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define RATE_MAX (UINT64_C(1) << 40)
#define BUFFER_MIN UINT64_C(4096)
#define BUFFER_MAX (UINT64_C(1) << 30)
#define BUFFER_PLAIN (UINT64_C(256) << 10)
/* With a delay the buffer holds what is under way: enough here for some
 * 400 Mbit/s over 100 ms. */
#define BUFFER_DELAYED (UINT64_C(5) << 20)

const char options_help[] =
    "usage: belay-fault --listen ADDR:PORT --connect ADDR:PORT [rules]\n"
    "\n"
    "A TCP proxy that breaks connections on purpose. It prints\n"
    "\"listening on ADDR:PORT\" when it is ready (port 0: the kernel\n"
    "chooses) and one JSON line of counters on SIGUSR1 and at its end\n"
    "(SIGTERM or SIGINT).\n"
    "\n"
    "  --listen ADDR:PORT     where clients connect ([ADDR]:PORT for IPv6)\n"
    "  --connect ADDR:PORT    the server; several are used in turn, one\n"
    "                         connection each\n"
    "  --stats FILE           write the counters there as well\n"
    "  --seed N               start of all random choices (default 1)\n"
    "\n"
    "Which bytes count (default: --down)\n"
    "  --down, --up           server to client, client to server\n"
    "\n"
    "Resets (real TCP RST to both ends)\n"
    "  --rst-after BYTES      each connection, after its first BYTES\n"
    "  --rst-every BYTES      all connections at once, each time BYTES have\n"
    "                         passed in all\n"
    "  --rst-every-time SEC   all connections at once, every SEC seconds\n"
    "  --rst-jitter PCT       vary the three above by up to PCT per cent\n"
    "  --cut-at LIST          connection k is cut after exactly the k-th of\n"
    "                         LIST bytes: 100,-,5M (\"-\": not cut)\n"
    "  --cut-with KIND        rst (default), fin, stall, half-open, truncate\n"
    "  --rst-max N            no more faults at byte positions or times\n"
    "                         after N of them (a reset of all counts once)\n"
    "\n"
    "Other faults in each connection\n"
    "  --fin-after BYTES      clean end of stream after BYTES\n"
    "  --truncate BYTES       drop what follows BYTES, pass the end on\n"
    "  --stall-after BYTES    stop forwarding after BYTES\n"
    "  --stall-for SEC        ... and go on after SEC (default: never)\n"
    "  --half-open-after BYTES  drop both directions, keep sockets open\n"
    "  --flip-every BYTES     flip one random bit in every BYTES\n"
    "  --refuse-first N       accept and reset the first N connections\n"
    "  --blackhole-first N    accept the next N and never answer\n"
    "\n"
    "Shape\n"
    "  --rate BYTES           per second and connection\n"
    "  --rate-total BYTES     per second, all connections together\n"
    "  --delay MS             each direction\n"
    "  --split N              forward in writes of at most N bytes\n"
    "  --buffer BYTES         held per direction (default 256K; 5M with\n"
    "                         --delay)\n"
    "\n"
    "  --help, --version\n"
    "\n"
    "BYTES take K, M, G, T (powers of 1024). SEC and MS take decimals.\n";

enum {
    OPT_LISTEN = 1, OPT_CONNECT, OPT_STATS, OPT_SEED, OPT_DOWN, OPT_UP,
    OPT_RST_AFTER, OPT_RST_EVERY, OPT_RST_EVERY_TIME, OPT_RST_JITTER,
    OPT_CUT_AT, OPT_CUT_WITH, OPT_RST_MAX, OPT_FIN_AFTER, OPT_TRUNCATE,
    OPT_STALL_AFTER, OPT_STALL_FOR, OPT_HALF_OPEN_AFTER, OPT_FLIP_EVERY,
    OPT_REFUSE_FIRST, OPT_BLACKHOLE_FIRST, OPT_RATE, OPT_RATE_TOTAL,
    OPT_DELAY, OPT_SPLIT, OPT_BUFFER, OPT_HELP, OPT_VERSION,
};

static const struct option options_table[] = {
    { "listen", required_argument, NULL, OPT_LISTEN },
    { "connect", required_argument, NULL, OPT_CONNECT },
    { "stats", required_argument, NULL, OPT_STATS },
    { "seed", required_argument, NULL, OPT_SEED },
    { "down", no_argument, NULL, OPT_DOWN },
    { "up", no_argument, NULL, OPT_UP },
    { "rst-after", required_argument, NULL, OPT_RST_AFTER },
    { "rst-every", required_argument, NULL, OPT_RST_EVERY },
    { "rst-every-time", required_argument, NULL, OPT_RST_EVERY_TIME },
    { "rst-jitter", required_argument, NULL, OPT_RST_JITTER },
    { "cut-at", required_argument, NULL, OPT_CUT_AT },
    { "cut-with", required_argument, NULL, OPT_CUT_WITH },
    { "rst-max", required_argument, NULL, OPT_RST_MAX },
    { "fin-after", required_argument, NULL, OPT_FIN_AFTER },
    { "truncate", required_argument, NULL, OPT_TRUNCATE },
    { "stall-after", required_argument, NULL, OPT_STALL_AFTER },
    { "stall-for", required_argument, NULL, OPT_STALL_FOR },
    { "half-open-after", required_argument, NULL, OPT_HALF_OPEN_AFTER },
    { "flip-every", required_argument, NULL, OPT_FLIP_EVERY },
    { "refuse-first", required_argument, NULL, OPT_REFUSE_FIRST },
    { "blackhole-first", required_argument, NULL, OPT_BLACKHOLE_FIRST },
    { "rate", required_argument, NULL, OPT_RATE },
    { "rate-total", required_argument, NULL, OPT_RATE_TOTAL },
    { "delay", required_argument, NULL, OPT_DELAY },
    { "split", required_argument, NULL, OPT_SPLIT },
    { "buffer", required_argument, NULL, OPT_BUFFER },
    { "help", no_argument, NULL, OPT_HELP },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 },
};

static enum options_result
options_cut_list(struct options *options, const char *text)
{
    size_t count = 1;
    for (const char *p = text; *p != '\0'; p++) {
        count += *p == ',';
    }
    if (count > OPTIONS_CUT_MAX) {
        return OPTIONS_BAD;
    }
    free(options->cut_at);
    options->cut_count = 0;
    options->cut_at = calloc(count, sizeof(options->cut_at[0]));
    char *copy = strdup(text);
    if (options->cut_at == NULL || copy == NULL) {
        free(copy);
        return OPTIONS_NO_MEMORY;
    }
    enum options_result result = OPTIONS_RUN;
    char *rest = copy;
    for (char *item = strsep(&rest, ","); item != NULL;
        item = strsep(&rest, ",")) {
        uint64_t *place = &options->cut_at[options->cut_count];
        *place = OPTIONS_OFF;
        if (strcmp(item, "-") != 0 && numbers_bytes(item, place) != 0) {
            result = OPTIONS_BAD;
            break;
        }
        options->cut_count++;
    }
    free(copy);
    return result;
}

static enum options_result
options_cut_kind(struct options *options, const char *text)
{
    static const struct {
        const char *name;
        enum fault_action action;
    } kinds[] = {
        { "rst", FAULT_RST },
        { "fin", FAULT_FIN },
        { "stall", FAULT_STALL },
        { "half-open", FAULT_HALF_OPEN },
        { "truncate", FAULT_TRUNCATE },
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(text, kinds[i].name) == 0) {
            options->cut_with = kinds[i].action;
            return OPTIONS_RUN;
        }
    }
    return OPTIONS_BAD;
}

/* The options that are one plain number. */
static enum options_result
options_number(struct options *options, int opt, const char *text)
{
    uint64_t percent = 0;
    int err;
    switch (opt) {
    case OPT_SEED: err = numbers_count(text, &options->seed); break;
    case OPT_RST_MAX: err = numbers_count(text, &options->fault_max); break;
    case OPT_REFUSE_FIRST:
        err = numbers_count(text, &options->refuse_first);
        break;
    case OPT_BLACKHOLE_FIRST:
        err = numbers_count(text, &options->blackhole_first);
        break;
    case OPT_RST_JITTER:
        err = numbers_count(text, &percent);
        if (percent > 100) {
            return OPTIONS_BAD;
        }
        options->jitter_percent = (unsigned)percent;
        break;
    case OPT_RST_EVERY_TIME:
        err = numbers_time(text, NS_PER_S, &options->rst_every_ns);
        break;
    case OPT_STALL_FOR:
        err = numbers_time(text, NS_PER_S, &options->stall_for_ns);
        break;
    case OPT_DELAY:
        err = numbers_time(text, NS_PER_MS, &options->delay_ns);
        break;
    default:
        return OPTIONS_BAD;
    }
    return err == 0 ? OPTIONS_RUN : OPTIONS_BAD;
}

/* The options that are a number of bytes; NULL when opt is none of them. */
static uint64_t *
options_byte_place(struct options *options, int opt)
{
    switch (opt) {
    case OPT_RST_AFTER: return &options->rst_after;
    case OPT_RST_EVERY: return &options->rst_every;
    case OPT_FIN_AFTER: return &options->fin_after;
    case OPT_TRUNCATE: return &options->truncate_at;
    case OPT_STALL_AFTER: return &options->stall_after;
    case OPT_HALF_OPEN_AFTER: return &options->half_open_after;
    case OPT_FLIP_EVERY: return &options->flip_every;
    case OPT_RATE: return &options->rate;
    case OPT_RATE_TOTAL: return &options->rate_total;
    case OPT_SPLIT: return &options->split;
    case OPT_BUFFER: return &options->buffer;
    default: return NULL;
    }
}

static enum options_result
options_one(struct options *options, int opt, char *text)
{
    switch (opt) {
    case OPT_HELP: return OPTIONS_HELP;
    case OPT_VERSION: return OPTIONS_VERSION;
    case OPT_DOWN: options->rules_up = false; return OPTIONS_RUN;
    case OPT_UP: options->rules_up = true; return OPTIONS_RUN;
    case OPT_LISTEN: options->listen = text; return OPTIONS_RUN;
    case OPT_STATS: options->stats_path = text; return OPTIONS_RUN;
    case OPT_CUT_AT: return options_cut_list(options, text);
    case OPT_CUT_WITH: return options_cut_kind(options, text);
    case OPT_CONNECT:
        if (options->connect_count == OPTIONS_CONNECT_MAX) {
            return OPTIONS_BAD;
        }
        options->connect[options->connect_count++] = text;
        return OPTIONS_RUN;
    default:
        break;
    }
    uint64_t *place = options_byte_place(options, opt);
    if (place != NULL) {
        return numbers_bytes(text, place) == 0 ? OPTIONS_RUN : OPTIONS_BAD;
    }
    return options_number(options, opt, text);
}

/* What only the whole command line can show. Returns a sentence or NULL. */
static const char *
options_complaint(struct options *options)
{
    if (options->listen == NULL || options->connect_count == 0) {
        return "--listen and --connect are both needed";
    }
    if (options->rate > RATE_MAX || options->rate_total > RATE_MAX) {
        return "a rate is at most 1T";
    }
    if (options->stall_for_ns > 0 && options->stall_after == OPTIONS_OFF &&
        options->cut_with != FAULT_STALL) {
        return "--stall-for needs --stall-after or --cut-with stall";
    }
    if (options->buffer == 0) {
        options->buffer =
            options->delay_ns > 0 ? BUFFER_DELAYED : BUFFER_PLAIN;
    }
    if (options->buffer < BUFFER_MIN || options->buffer > BUFFER_MAX) {
        return "--buffer is 4K to 1G";
    }
    return NULL;
}

enum options_result
options_parse(struct options *options, int argc, char **argv,
    char *error_text, size_t error_len)
{
    *options = (struct options){
        .seed = 1,
        .rst_after = OPTIONS_OFF,
        .fin_after = OPTIONS_OFF,
        .stall_after = OPTIONS_OFF,
        .half_open_after = OPTIONS_OFF,
        .truncate_at = OPTIONS_OFF,
        .cut_with = FAULT_RST,
        .fault_max = UINT64_MAX,
    };
    opterr = 0;
    optind = 1;
    int index = 0;
    int opt;
    while ((opt = getopt_long(argc, argv, "", options_table, &index)) != -1) {
        if (opt == '?') {
            snprintf(error_text, error_len, "unknown option, or its value is "
                "missing: %s", argv[optind - 1]);
            return OPTIONS_BAD;
        }
        enum options_result result = options_one(options, opt, optarg);
        if (result == OPTIONS_BAD) {
            snprintf(error_text, error_len, "bad value for --%s: %s",
                options_table[index].name, optarg);
        }
        if (result != OPTIONS_RUN) {
            return result;
        }
    }
    if (optind < argc) {
        snprintf(error_text, error_len, "not an option: %s", argv[optind]);
        return OPTIONS_BAD;
    }
    const char *complaint = options_complaint(options);
    if (complaint != NULL) {
        snprintf(error_text, error_len, "%s", complaint);
        return OPTIONS_BAD;
    }
    return OPTIONS_RUN;
}

void
options_clear(struct options *options)
{
    free(options->cut_at);
    options->cut_at = NULL;
    options->cut_count = 0;
}
