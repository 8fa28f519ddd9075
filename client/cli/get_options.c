#include "client/cli/get_options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/exitcode.h"
#include "client/cli/usage.h"
#include "client/cli/values.h"

enum {
    OPT_RATE = 256,
    OPT_SHA256,
    OPT_CHECKSUM,
    OPT_RETRY,
    OPT_CONNECT_TIMEOUT,
    OPT_TIMEOUT,
    OPT_DEADLINE,
    OPT_MAX_SIZE,
    OPT_CHUNK_SIZE,
    OPT_OVERWRITE,
    OPT_NO_CLOBBER,
    OPT_IF_CHANGED,
    OPT_NO_REMOTE_TIME,
    OPT_PROGRESS,
    OPT_NO_PROGRESS,
};

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"directory", required_argument, NULL, 'd'},
    {"directory-prefix", required_argument, NULL, 'd'},
    {"connections", required_argument, NULL, 'x'},
    {"compress", no_argument, NULL, 'z'},
    {"continue", no_argument, NULL, 'c'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"ipv4", no_argument, NULL, '4'},
    {"ipv6", no_argument, NULL, '6'},
    {"limit-rate", required_argument, NULL, OPT_RATE},
    {"bwlimit", required_argument, NULL, OPT_RATE},
    {"sha256", required_argument, NULL, OPT_SHA256},
    {"checksum", required_argument, NULL, OPT_CHECKSUM},
    {"retry", required_argument, NULL, OPT_RETRY},
    {"tries", required_argument, NULL, OPT_RETRY},
    {"max-tries", required_argument, NULL, OPT_RETRY},
    {"connect-timeout", required_argument, NULL, OPT_CONNECT_TIMEOUT},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"deadline", required_argument, NULL, OPT_DEADLINE},
    {"max-time", required_argument, NULL, OPT_DEADLINE},
    {"max-size", required_argument, NULL, OPT_MAX_SIZE},
    {"chunk-size", required_argument, NULL, OPT_CHUNK_SIZE},
    {"overwrite", no_argument, NULL, OPT_OVERWRITE},
    {"no-clobber", no_argument, NULL, OPT_NO_CLOBBER},
    {"if-changed", required_argument, NULL, OPT_IF_CHANGED},
    {"no-remote-time", no_argument, NULL, OPT_NO_REMOTE_TIME},
    {"progress", optional_argument, NULL, OPT_PROGRESS},
    {"no-progress", no_argument, NULL, OPT_NO_PROGRESS},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "What to save where\n"
    "  -o, --output FILE        save as FILE; - is standard output, in order\n"
    "                           and verified\n"
    "  -d, --directory DIR      save in DIR (also -P)\n"
    "      --overwrite          replace a target that is another file\n"
    "      --no-clobber         leave a target that exists alone\n"
    "      --no-remote-time     do not give the file the server's time\n"
    "      --max-size SIZE      refuse larger files\n"
    "\n"
    "What must be in it\n"
    "      --sha256 HEX         this SHA-256 (also --checksum sha256:HEX)\n"
    "      --if-changed reuse|stop\n"
    "                           when it changes on the server: fetch the\n"
    "                           new version, keeping equal parts (default),\n"
    "                           or end\n"
    "\n"
    "How to fetch it; SIZE and RATE like 500k, 2M, 1.5G; S is seconds\n"
    "  -x, --connections N      1 to 16 (default: as many as help)\n"
    "  -z, --compress           let the server compress\n"
    "  -4, -6                   IPv4 or IPv6 only\n"
    "      --limit-rate RATE    bytes per second in all (also --bwlimit)\n"
    "      --chunk-size SIZE    4K to 4M (default: the server's choice)\n"
    "      --retry N            end after N tries in a row without progress,\n"
    "                           and wait for a server that is not up yet;\n"
    "                           inf: never end\n"
    "      --connect-timeout S  for one try to connect (default 10)\n"
    "      --timeout S          silence until the server must answer a ping\n"
    "                           (default 30)\n"
    "      --deadline S         for each file; what is there then is kept\n"
    "\n"
    "What to tell\n"
    "      --progress[=bar|plain|none]\n"
    "                           default: a bar on a terminal, else a line\n"
    "                           every 30 s; SIGUSR1 asks for one\n"
    "  -q, --quiet              errors only\n"
    "  -v, --verbose            lost connections and a byte ledger, too\n"
    "  -h, --help               print this\n";

static bool parse_progress(const char *text, enum progress_mode *mode)
{
    static const char *const names[] = {"auto", "bar", "plain", "none"};

    if (text == NULL) {
        *mode = PROGRESS_BAR;
        return true;
    }
    for (unsigned k = 0; k < 4; k++) {
        if (strcmp(text, names[k]) == 0) {
            *mode = (enum progress_mode)k;
            return true;
        }
    }
    return false;
}

static int bad_value(int opt, const char *value)
{
    switch (opt) {
    case OPT_RATE:
    case OPT_MAX_SIZE:
        return usage_wrong("bad size", value,
                           "expected a number such as 500k or 2M");
    case OPT_SHA256:
        return usage_wrong("bad digest", value,
                           "expected 64 hexadecimal digits");
    case OPT_CHECKSUM:
        return usage_wrong("bad checksum", value, "expected sha256:HEX");
    case OPT_RETRY:
        return usage_wrong("bad number of tries", value,
                           "expected a number from 1, or inf");
    case OPT_CHUNK_SIZE:
        return usage_wrong("bad chunk size", value,
                           "expected a power of two from 4K to 4M");
    case OPT_IF_CHANGED:
        return usage_wrong("bad value", value, "expected reuse or stop");
    case OPT_PROGRESS:
        return usage_wrong("bad progress mode", value,
                           "expected bar, plain or none");
    case 'x':
        return usage_wrong("bad number of connections", value,
                           "expected 1 to 16");
    default:
        return usage_wrong("bad number of seconds", value,
                           "expected a positive number");
    }
}

/* Options whose value has a form; false when the value does not fit. */
static bool set_value(struct get_options *o, int opt, const char *value)
{
    struct belay_get_options *g = &o->get;

    switch (opt) {
    case 'x':
        return value_number(value, 1, 16, &g->connections);
    case OPT_RATE:
        return value_bytes(value, &o->engine.rate);
    case OPT_SHA256:
        g->sha256 = value;
        return value_sha256(value);
    case OPT_CHECKSUM:
        return value_checksum(value, &g->sha256);
    case OPT_RETRY:
        g->wait_first = true;
        return value_tries(value, &g->tries);
    case OPT_CONNECT_TIMEOUT:
        return value_seconds(value, &g->connect_timeout_ms);
    case OPT_TIMEOUT:
        return value_seconds(value, &g->silence_ms);
    case OPT_DEADLINE:
        return value_seconds(value, &o->engine.deadline_ms);
    case OPT_MAX_SIZE:
        return value_bytes(value, &g->max_size);
    case OPT_CHUNK_SIZE:
        return value_chunk(value, &g->chunk_size);
    case OPT_IF_CHANGED:
        g->stop_on_change = strcmp(value, "stop") == 0;
        return g->stop_on_change || strcmp(value, "reuse") == 0;
    case OPT_PROGRESS:
        return parse_progress(value, &o->progress);
    default:
        return false;
    }
}

/* One option; -1 to go on. */
static int take_option(struct get_options *o, int opt, const char *value,
                       const char *argument)
{
    switch (opt) {
    case 'o':
        o->get.output = value;
        return -1;
    case 'd':
    case 'P':
        o->get.directory = value;
        return -1;
    case 'z':
        o->get.compression = true;
        return -1;
    case 'c':
        return -1; /* resuming needs no flag; accepted out of habit */
    case 'C':
        return strcmp(value, "-") == 0
                   ? -1
                   : usage_wrong("-C", value,
                                 "only '-C -' is accepted; a resume finds "
                                 "its own place");
    case 'q':
        o->quiet = true;
        return -1;
    case 'v':
        o->verbose++;
        return -1;
    case '4':
    case '6':
        o->get.family = opt == '4' ? 4 : 6;
        return -1;
    case OPT_OVERWRITE:
        o->get.overwrite = true;
        return -1;
    case OPT_NO_CLOBBER:
        o->get.no_clobber = true;
        return -1;
    case OPT_NO_REMOTE_TIME:
        o->get.no_remote_time = true;
        return -1;
    case OPT_NO_PROGRESS:
        o->progress = PROGRESS_NONE;
        return -1;
    case 'h':
        get_options_help();
        return EXIT_DONE;
    case '?':
    case ':':
        return usage_option(opt, argument, long_options);
    default:
        return set_value(o, opt, value) ? -1 : bad_value(opt, value);
    }
}

static int check_together(struct get_options *o)
{
    const struct belay_get_options *g = &o->get;

    if (o->url_count == 0) {
        return usage_wrong("missing", "URL", "nothing to do");
    }
    if (o->url_count > 1 && g->output != NULL) {
        return usage_wrong("-o", g->output,
                           "one output, but several URLs; use -d DIR");
    }
    if (o->url_count > 1 && g->sha256 != NULL) {
        return usage_wrong("several URLs", "and --sha256",
                           "one digest cannot be that of all");
    }
    if (g->overwrite && g->no_clobber) {
        return usage_wrong("--overwrite", "and --no-clobber",
                           "they contradict each other");
    }
    if (g->output != NULL && strcmp(g->output, "-") == 0) {
        o->get.output = NULL;
        o->get.to_fd = true;
        o->get.fd = STDOUT_FILENO;
    }
    if (g->to_fd && g->directory != NULL) {
        return usage_wrong("-d", g->directory,
                           "standard output has no directory");
    }
    return -1;
}

int get_options_parse(int argc, char **argv, struct get_options *out)
{
    int opt;

    memset(out, 0, sizeof *out);
    out->get.struct_size = sizeof out->get;
    out->engine.struct_size = sizeof out->engine;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":o:d:P:x:C:zcqv46h", long_options,
                              NULL)) != -1) {
        int result = take_option(out, opt, optarg, argv[optind - 1]);

        if (result >= 0) {
            return result;
        }
    }
    out->urls = argv + optind;
    out->url_count = argc - optind;
    return check_together(out);
}

void get_options_help(void)
{
    fputs("Usage: belay get [OPTION]... URL...\n\n", stdout);
    fputs(help_text, stdout);
}
