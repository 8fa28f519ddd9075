#include "client/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"
#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"

#define CONNECT_TIMEOUT_MS TIMER_DIAL_MS

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
    OPT_EXIT_CODES,
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
    {"exit-codes", no_argument, NULL, OPT_EXIT_CODES},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: belay get [OPTION]... URL...      download files, verified\n"
    "       belay cid [--chunk-size SIZE] FILE...   print content ids\n"
    "\n"
    "URLs are belay+tcp://HOST[:PORT]/PATH; #bl1-CC-HEX behind one pins its\n"
    "content.  What was received before a break or Ctrl-C is kept in\n"
    "FILE.part, and the same command goes on from there.\n"
    "\n"
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
    "      --exit-codes         print what the exit codes mean\n"
    "  -h, --help               print this\n"
    "  -V, --version            print the version\n";

static int wrong(const char *what, const char *value, const char *why)
{
    char shown[TEXT_ESCAPE_SIZE(MAX_SHOWN_TEXT)];

    (void)text_escape(shown, sizeof shown, value, strlen(value));
    fprintf(stderr, "belay: %s %s: %s\nTry 'belay --help'.\n", what, shown,
            why);
    return EXIT_USAGE;
}

/* What getopt_long() did not like. */
static int wrong_option(const char *argument)
{
    char letter[3] = {'-', (char)optopt, '\0'};
    unsigned matches = 0;
    bool plain = false;
    size_t len = strcspn(argument, "=");

    for (const struct option *o = long_options; o->name != NULL; o++) {
        matches += len > 2 && strncmp(argument, "--", 2) == 0 &&
                   strncmp(argument + 2, o->name, len - 2) == 0;
        plain = plain || (o->val == optopt && o->has_arg == no_argument);
    }
    if (optopt == 0) {
        return wrong("option", argument,
                     matches > 1 ? "it could mean several options"
                                 : "there is no such option");
    }
    if (plain && matches > 0 && argument[len] == '=') {
        return wrong("option", argument, "it takes no value");
    }
    return wrong("option", letter, "there is no such option");
}

/* "500k", "1.5M", "2G": k is 1024. */
static bool parse_bytes(const char *text, uint64_t *out)
{
    char *end;
    double value;
    double scale = 1;

    errno = 0;
    value = strtod(text, &end);
    if (end == text || errno != 0 || !(value >= 0)) {
        return false;
    }
    switch (*end) {
    case 'k':
    case 'K':
        scale = 1024;
        break;
    case 'm':
    case 'M':
        scale = 1048576;
        break;
    case 'g':
    case 'G':
        scale = 1073741824;
        break;
    case 't':
    case 'T':
        scale = 1099511627776.0;
        break;
    case '\0':
        break;
    default:
        return false;
    }
    if (*end != '\0') {
        end++;
        if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0) {
            end += strlen(end);
        }
    }
    value *= scale;
    if (*end != '\0' || value >= 9.2e18 || value < 1) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

static bool parse_seconds(const char *text, uint64_t *ms)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value > 0) || value > 1e9) {
        return false;
    }
    *ms = (uint64_t)(value * 1000);
    *ms += *ms == 0; /* the shortest that can be asked for */
    return true;
}

static bool parse_number(const char *text, unsigned long least,
                         unsigned long most, unsigned *out)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || text[0] == '-' ||
        value < least || value > most) {
        return false;
    }
    *out = (unsigned)value;
    return true;
}

static bool parse_retry(const char *text, struct fetch_options *f)
{
    f->wait_first = true;
    if (strcmp(text, "inf") == 0 || strcmp(text, "0") == 0) {
        f->tries = 0;
        return true;
    }
    return parse_number(text, 1, 1000000, &f->tries);
}

static bool parse_chunk(const char *text, unsigned *log2)
{
    uint64_t bytes;

    if (!parse_bytes(text, &bytes)) {
        return false;
    }
    for (*log2 = LIMIT_CHUNK_LOG2_MIN; *log2 <= LIMIT_CHUNK_LOG2_MAX;
         ++*log2) {
        if (bytes == (uint64_t)1 << *log2) {
            return true;
        }
    }
    return false;
}

static bool parse_digest(const char *text, struct fetch_options *f)
{
    f->have_sha256 = strlen(text) == (size_t)2 * HASH_LEN &&
                     cid_hex_decode(text, HASH_LEN, f->sha256) == 0;
    return f->have_sha256;
}

static bool parse_checksum(const char *text, struct fetch_options *f)
{
    static const char *const prefixes[] = {"sha256:", "sha256=", "sha-256:",
                                           "sha-256="};

    for (size_t k = 0; k < sizeof prefixes / sizeof prefixes[0]; k++) {
        size_t len = strlen(prefixes[k]);

        if (strncasecmp(text, prefixes[k], len) == 0) {
            return parse_digest(text + len, f);
        }
    }
    return false;
}

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
        return wrong("bad size", value, "expected a number such as 500k or 2M");
    case OPT_SHA256:
        return wrong("bad digest", value, "expected 64 hexadecimal digits");
    case OPT_CHECKSUM:
        return wrong("bad checksum", value, "expected sha256:HEX");
    case OPT_RETRY:
        return wrong("bad number of tries", value,
                     "expected a number from 1, or inf");
    case OPT_CHUNK_SIZE:
        return wrong("bad chunk size", value,
                     "expected a power of two from 4K to 4M");
    case OPT_IF_CHANGED:
        return wrong("bad value", value, "expected reuse or stop");
    case OPT_PROGRESS:
        return wrong("bad progress mode", value,
                     "expected bar, plain or none");
    case 'x':
        return wrong("bad number of connections", value,
                     "expected 1 to 16");
    default:
        return wrong("bad number of seconds", value,
                     "expected a positive number");
    }
}

/* Options whose value has a form; false when the value does not fit. */
static bool set_value(struct options *o, int opt, const char *value)
{
    struct fetch_options *f = &o->fetch;
    unsigned log2 = 0;

    switch (opt) {
    case 'x':
        return parse_number(value, 1, TRANSFER_CONNS_MAX, &f->conns);
    case OPT_RATE:
        return parse_bytes(value, &f->rate);
    case OPT_SHA256:
        return parse_digest(value, f);
    case OPT_CHECKSUM:
        return parse_checksum(value, f);
    case OPT_RETRY:
        return parse_retry(value, f);
    case OPT_CONNECT_TIMEOUT:
        return parse_seconds(value, &f->connect_timeout_ms);
    case OPT_TIMEOUT:
        return parse_seconds(value, &f->stall_ms);
    case OPT_DEADLINE:
        return parse_seconds(value, &f->deadline_ms);
    case OPT_MAX_SIZE:
        return parse_bytes(value, &f->max_size);
    case OPT_CHUNK_SIZE:
        if (!parse_chunk(value, &log2)) {
            return false;
        }
        f->want_chunk_log2 = (uint8_t)log2;
        o->cid_log2 = log2;
        return true;
    case OPT_IF_CHANGED:
        f->stop_on_change = strcmp(value, "stop") == 0;
        return f->stop_on_change || strcmp(value, "reuse") == 0;
    case OPT_PROGRESS:
        return parse_progress(value, &o->progress);
    default:
        return false;
    }
}

static void print_version(void)
{
    printf("belay %s, protocol version %u\n", BELAY_VERSION, PROTO_VERSION);
}

/* One option; -1 to go on. */
static int take_option(struct options *o, int opt, const char *value,
                       const char *argument)
{
    switch (opt) {
    case 'o':
        o->output = value;
        return -1;
    case 'd':
    case 'P':
        o->dir = value;
        return -1;
    case 'z':
        o->fetch.compression = true;
        return -1;
    case 'c':
        return -1; /* resuming needs no flag; accepted out of habit */
    case 'C':
        return strcmp(value, "-") == 0
                   ? -1
                   : wrong("-C", value, "only '-C -' is accepted; a resume "
                                        "finds its own place");
    case 'q':
        o->quiet = true;
        return -1;
    case 'v':
        o->verbose++;
        return -1;
    case '4':
        o->fetch.family = DIAL_IPV4;
        return -1;
    case '6':
        o->fetch.family = DIAL_IPV6;
        return -1;
    case OPT_OVERWRITE:
        o->fetch.overwrite = true;
        return -1;
    case OPT_NO_CLOBBER:
        o->fetch.no_clobber = true;
        return -1;
    case OPT_NO_REMOTE_TIME:
        o->fetch.remote_time = false;
        return -1;
    case OPT_NO_PROGRESS:
        o->progress = PROGRESS_NONE;
        return -1;
    case 'h':
        fputs(help_text, stdout);
        return EXIT_DONE;
    case 'V':
        print_version();
        return EXIT_DONE;
    case OPT_EXIT_CODES:
        exit_code_print();
        return EXIT_DONE;
    case '?':
        return wrong_option(argument);
    case ':':
        return wrong("option", argument, "it needs a value");
    default:
        return set_value(o, opt, value) ? -1 : bad_value(opt, value);
    }
}

static int check_together(const struct options *o)
{
    bool to_stdout = o->output != NULL && strcmp(o->output, "-") == 0;

    if (o->operand_count == 0) {
        return wrong("missing", o->command == COMMAND_GET ? "URL" : "FILE",
                     "nothing to do");
    }
    if (o->command == COMMAND_CID) {
        return -1;
    }
    if (o->operand_count > 1 && o->output != NULL) {
        return wrong("-o", o->output,
                     "one output, but several URLs; use -d DIR");
    }
    if (o->operand_count > 1 && o->fetch.have_sha256) {
        return wrong("several URLs", "and --sha256",
                     "one digest cannot be that of all");
    }
    if (o->fetch.overwrite && o->fetch.no_clobber) {
        return wrong("--overwrite", "and --no-clobber",
                     "they contradict each other");
    }
    if (to_stdout && o->dir != NULL) {
        return wrong("-d", o->dir, "standard output has no directory");
    }
    return -1;
}

int options_parse(int argc, char **argv, struct options *out)
{
    int opt;
    int result;
    int first = 1;

    memset(out, 0, sizeof *out);
    out->fetch.remote_time = true;
    out->fetch.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (argc > 1 && strcmp(argv[1], "get") == 0) {
        first = 2;
    } else if (argc > 1 && strcmp(argv[1], "cid") == 0) {
        out->command = COMMAND_CID;
        first = 2;
    } else if (argc > 1 && argv[1][0] != '-') {
        return wrong("unknown command", argv[1], "expected get or cid");
    }
    optind = first;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":o:d:P:x:C:zcqv46hV",
                              long_options, NULL)) != -1) {
        const char *argument = argv[optind - 1];

        result = take_option(out, opt, optarg, argument);
        if (result >= 0) {
            return result;
        }
    }
    out->operands = argv + optind;
    out->operand_count = argc - optind;
    if (first == 1 && out->operand_count == 0) {
        fputs(help_text, stderr);
        return EXIT_USAGE;
    }
    if (first == 1) {
        return wrong("unknown command", argv[optind], "expected get or cid");
    }
    return check_together(out);
}
