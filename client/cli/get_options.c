#include "client/cli/get_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/commands.h"
#include "client/cli/exitcode.h"
#include "client/cli/get_help.h"
#include "client/cli/get_release.h"
#include "client/cli/place.h"
#include "client/cli/proxy_options.h"
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
    OPT_FROM0,
    OPT_INCLUDE,
    OPT_EXCLUDE,
    OPT_FAILED,
    OPT_NOTHING,
    OPT_SPEED_LIMIT,
    OPT_SPEED_TIME,
    OPT_STOP_AT,
    OPT_JSON,
    OPT_LOG_FILE,
    OPT_MANIFEST,
    OPT_MANIFEST_KEY,
    OPT_ORIGIN,
    OPT_NO_STATE,
    OPT_MIRROR,
    OPT_SEED,
    OPT_RECEIPT,
    OPT_REMOTE_BELAYD,
    OPT_LINKS,
    OPT_CHECK,
};

const struct option cmd_get_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"directory", required_argument, NULL, 'd'},
    {"directory-prefix", required_argument, NULL, 'd'},
    {"connections", required_argument, NULL, 'x'},
    {"compress", no_argument, NULL, 'z'},
    {"continue", no_argument, NULL, 'c'},
    {"fail", no_argument, NULL, 'f'},
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
    {"recursive", no_argument, NULL, 'r'},
    {"links", no_argument, NULL, OPT_LINKS},
    {"check", no_argument, NULL, OPT_CHECK},
    {"input-file", required_argument, NULL, 'i'},
    {"files-from", required_argument, NULL, 'i'},
    {"from0", no_argument, NULL, OPT_FROM0},
    {"jobs", required_argument, NULL, 'j'},
    {"include", required_argument, NULL, OPT_INCLUDE},
    {"exclude", required_argument, NULL, OPT_EXCLUDE},
    {"failed", required_argument, NULL, OPT_FAILED},
    {"dry-run", no_argument, NULL, 'n'},
    {"error-on-nothing", no_argument, NULL, OPT_NOTHING},
    {"speed-limit", required_argument, NULL, OPT_SPEED_LIMIT},
    {"speed-time", required_argument, NULL, OPT_SPEED_TIME},
    {"stop-at", required_argument, NULL, OPT_STOP_AT},
    {"json", no_argument, NULL, OPT_JSON},
    {"log-file", required_argument, NULL, OPT_LOG_FILE},
    {"manifest", required_argument, NULL, OPT_MANIFEST},
    {"manifest-key", required_argument, NULL, OPT_MANIFEST_KEY},
    {"key", required_argument, NULL, OPT_MANIFEST_KEY},
    {"origin", required_argument, NULL, OPT_ORIGIN},
    {"no-state", no_argument, NULL, OPT_NO_STATE},
    PROXY_OPTIONS,
    SECURITY_OPTIONS,
    {"mirror", required_argument, NULL, OPT_MIRROR},
    {"seed", required_argument, NULL, OPT_SEED},
    {"receipt", optional_argument, NULL, OPT_RECEIPT},
    {"ssh", required_argument, NULL, 'e'},
    {"rsh", required_argument, NULL, 'e'},
    {"remote-belayd", required_argument, NULL, OPT_REMOTE_BELAYD},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int bad_value(int opt, const char *value)
{
    switch (opt) {
    case OPT_RATE:
    case OPT_MAX_SIZE:
    case OPT_SPEED_LIMIT:
        return usage_value(VALUE_BYTES, value);
    case OPT_SHA256:
        return usage_wrong("bad digest", value,
                           "expected 64 hexadecimal digits");
    case OPT_CHECKSUM:
        return usage_wrong("bad checksum", value, "expected sha256:HEX");
    case OPT_RETRY:
        return usage_value(VALUE_TRIES, value);
    case OPT_CHUNK_SIZE:
        return usage_value(VALUE_CHUNK, value);
    case OPT_IF_CHANGED:
        return usage_wrong("bad value", value, "expected reuse or stop");
    case OPT_PROGRESS:
        return usage_value(VALUE_PROGRESS, value);
    case OPT_STOP_AT:
        return usage_value(VALUE_CLOCK, value);
    case OPT_INCLUDE:
    case OPT_EXCLUDE:
        return usage_wrong("pattern", value, "there are too many");
    case OPT_MIRROR:
        return usage_wrong("mirror", value, "there are too many");
    case OPT_SEED:
        return usage_wrong("seed", value, "there are too many");
    case 'j':
        return usage_wrong("bad number of files", value,
                           "expected 1 to 64");
    case 'x':
        return strstr(value, "://") != NULL
                   ? usage_wrong("bad number of connections", value,
                                 "expected 1 to 16; a proxy is --proxy")
                   : usage_value(VALUE_CONNECTIONS, value);
    default:
        return usage_value(VALUE_SECONDS, value);
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
        return value_bytes(value, &o->run.engine.rate);
    case OPT_SPEED_LIMIT:
        return value_bytes(value, &g->speed_limit);
    case OPT_SPEED_TIME:
        return value_seconds(value, &g->speed_ms);
    case 'j':
        return value_number(value, 1, 64, &o->run.engine.files);
    case OPT_INCLUDE:
    case OPT_EXCLUDE:
        return filter_add(&o->filter, opt == OPT_INCLUDE, value);
    case OPT_MIRROR:
        return place_add(o->mirrors, BELAY_MIRRORS_MAX, &g->mirror_count,
                         value);
    case OPT_SEED:
        return place_add(o->seeds, BELAY_SEEDS_MAX, &g->seed_count, value);
    case OPT_RECEIPT:
        g->receipt = value != NULL ? value : "";
        return true;
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
        return value_seconds(value, &o->run.engine.deadline_ms);
    case OPT_STOP_AT:
        return value_clock(value, &o->run.engine.deadline_ms);
    case OPT_MAX_SIZE:
        return value_bytes(value, &g->max_size);
    case OPT_CHUNK_SIZE:
        return value_chunk(value, &g->chunk_size);
    case OPT_IF_CHANGED:
        g->stop_on_change = strcmp(value, "stop") == 0;
        return g->stop_on_change || strcmp(value, "reuse") == 0;
    case OPT_PROGRESS:
        return progress_mode_parse(value, &o->run.progress);
    default:
        return false;
    }
}

/* Options without a value; false: it is none of them. */
static bool set_flag(struct get_options *o, int opt)
{
    switch (opt) {
    case 'z':
        o->get.compression = true;
        return true;
    case 'q':
        o->run.quiet = true;
        return true;
    case 'v':
        o->run.verbose++;
        return true;
    case '4':
    case '6':
        o->get.family = opt == '4' ? 4 : 6;
        return true;
    case 'n':
        o->get.dry_run = true;
        return true;
    case 'r':
        o->recursive = true;
        return true;
    case OPT_LINKS:
        o->links = true;
        return true;
    case OPT_CHECK:
        o->check = true;
        return true;
    case OPT_OVERWRITE:
        o->get.overwrite = true;
        return true;
    case OPT_NO_CLOBBER:
        o->get.no_clobber = true;
        return true;
    case OPT_NO_REMOTE_TIME:
        o->get.no_remote_time = true;
        return true;
    case OPT_NO_PROGRESS:
        o->run.progress = PROGRESS_NONE;
        return true;
    case OPT_FROM0:
        o->separator = '\0';
        return true;
    case OPT_NOTHING:
        o->run.error_on_nothing = true;
        return true;
    case OPT_JSON:
        o->run.json = true;
        return true;
    case OPT_NO_STATE:
        o->trust.trust.no_state = true;
        return true;
    default:
        return false;
    }
}

/* Which of the options that may not go together come from the file? */
static void note_source(struct get_options *o, int opt, const char *argument)
{
    bool filed = usage_has_place(argument);

    switch (opt) {
    case OPT_NO_CLOBBER:
        o->filed.no_clobber = filed;
        break;
    case 'd':
    case 'P':
        o->filed.directory = filed;
        break;
    case OPT_IF_CHANGED:
        o->filed.if_changed = filed;
        break;
    case OPT_CHUNK_SIZE:
        o->filed.chunk_size = filed;
        break;
    default:
        break;
    }
}

/* What the file says does not contradict the command line: it gives way. */
static void give_way(struct get_options *o)
{
    struct belay_get_options *g = &o->get;

    if (o->filed.no_clobber && g->overwrite) {
        g->no_clobber = false;
    }
    if (o->filed.directory && g->output != NULL &&
        strcmp(g->output, "-") == 0) {
        g->directory = NULL;
    }
    if (o->filed.if_changed && o->recursive) {
        g->stop_on_change = false;
    }
    if (o->filed.chunk_size && o->recursive) {
        g->chunk_size = 0;
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
    case 'e':
        o->get.ssh = value;
        return -1;
    case OPT_REMOTE_BELAYD:
        o->get.remote_belayd = value;
        return -1;
    case 'i':
        if (o->list != NULL) {
            return usage_wrong("-i", value,
                               "only one list is read; join them with "
                               "'cat A B | belay get -i -'");
        }
        o->list = value;
        return -1;
    case OPT_FAILED:
        o->failed = value;
        return -1;
    case OPT_LOG_FILE:
        o->run.log_file = value;
        return -1;
    case OPT_MANIFEST:
        o->manifest = value;
        return -1;
    case OPT_MANIFEST_KEY:
        return trust_add_key(&o->trust, value);
    case OPT_ORIGIN:
        o->trust.trust.origin = value;
        return -1;
    case 'c': /* resuming needs no flag; accepted out of habit */
        return strcmp(argument, "-nc") == 0
                   ? usage_wrong("option", argument,
                                 "-n is a dry run; --no-clobber leaves what "
                                 "is there")
                   : -1;
    case 'f':
        return -1; /* what fails always fails; curl's */
    case 'C':
        return strcmp(value, "-") == 0
                   ? -1
                   : usage_wrong("-C", value,
                                 "only '-C -' is accepted; a resume finds "
                                 "its own place");
    case 'h':
        get_help_all();
        return EXIT_DONE;
    case '?':
    case ':':
        return usage_option(opt, argument, cmd_get_options);
    default:
        return set_flag(o, opt) || proxy_option(&o->get, opt, value) ||
                       security_option(&o->run.security, opt, value) ||
                       set_value(o, opt, value)
                   ? -1
                   : bad_value(opt, value);
    }
}

/* Where all files go. */
static int check_output(struct get_options *o)
{
    struct belay_get_options *g = &o->get;

    if (g->output == NULL) {
        return -1;
    }
    if (o->url_count > 1 || o->list != NULL) {
        return usage_wrong("-o", g->output,
                           "one output, but several URLs; use -d DIR");
    }
    if (strcmp(g->output, "-") != 0) {
        return -1;
    }
    if (g->directory != NULL) {
        return usage_wrong("-d", g->directory,
                           "standard output has no directory");
    }
    g->output = NULL;
    g->to_fd = true;
    g->fd = STDOUT_FILENO;
    o->run.output_is_data = !g->dry_run;
    return -1;
}

/* What a manifest decides is not asked for besides. */
static int check_manifest(const struct get_options *o)
{
    if (o->manifest == NULL && o->trust.trust.key_count > 0 &&
        o->run.security.options.cert_file != NULL) {
        return usage_wrong("--key", "with --cert",
                           "the key of a certificate is --cert-key");
    }
    if (o->manifest == NULL) {
        return o->trust.trust.key_count > 0 || o->trust.trust.no_state ||
                       o->trust.trust.origin != NULL
                   ? usage_wrong("--manifest-key, --origin and --no-state",
                                 "without --manifest", "there is none")
                   : -1;
    }
    if (o->trust.trust.key_count == 0) {
        return usage_wrong("--manifest", "without --manifest-key",
                           "whose signature counts?");
    }
    if (o->get.output != NULL || o->list != NULL || o->get.sha256 != NULL ||
        o->failed != NULL || o->filter.includes + o->filter.excludes > 0) {
        return usage_wrong("--manifest", "with -o, -i, --sha256, --failed, "
                           "--include or --exclude",
                           "it says itself which files, and what is in them");
    }
    if (o->url_count > 1 ||
        (o->url_count == 0 && !get_release_remote(o->manifest))) {
        return usage_wrong("--manifest", o->manifest,
                           "expected one URL, of the directory of its files");
    }
    return -1;
}

/* The first option that is about single files; NULL: none. */
static const char *option_of_files(const struct get_options *o)
{
    const struct belay_get_options *g = &o->get;
    const struct {
        bool given;
        const char *name;
    } table[] = {
        {o->list != NULL, "-i"},
        {o->failed != NULL, "--failed"},
        {g->output != NULL, "-o"},
        {g->sha256 != NULL, "--sha256"},
        {g->stop_on_change, "--if-changed"},
        {g->chunk_size > 0, "--chunk-size"},
        {o->manifest != NULL, "--manifest"},
        {g->receipt != NULL, "--receipt"},
        {g->seed_count > 0, "--seed"},
        {g->mirror_count > 0, "--mirror"},
    };

    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        if (table[k].given) {
            return table[k].name;
        }
    }
    return NULL;
}

/* What a directory has no use for. */
static int check_recursive(const struct get_options *o)
{
    const char *name = option_of_files(o);

    if (!o->recursive) {
        return o->links || o->check
                   ? usage_wrong("--links and --check", "without -r",
                                 "they are about directories")
                   : -1;
    }
    return name != NULL
               ? usage_wrong(name, "with -r",
                             "it is for single files, not for directories")
               : -1;
}

static int check_together(struct get_options *o)
{
    const struct belay_get_options *g = &o->get;
    int result = check_recursive(o);

    if (result < 0) {
        result = check_manifest(o);
    }
    if (result >= 0 || o->manifest != NULL) {
        return result;
    }
    if (o->url_count == 0 && g->mirror_count > 0) {
        return usage_wrong("missing", "URL",
                           "--mirror names one more source of a file; -r "
                           "fetches a directory");
    }
    if (o->url_count == 0 && o->list == NULL) {
        return usage_wrong("missing", "URL", "nothing to do");
    }
    if ((o->url_count > 1 || o->list != NULL) && g->sha256 != NULL) {
        return usage_wrong("several URLs", "and --sha256",
                           "one digest cannot be that of all; in a list, "
                           "sha256=HEX is that of a line");
    }
    if ((o->url_count > 1 || o->list != NULL) &&
        (g->mirror_count > 0 ||
         (g->receipt != NULL && g->receipt[0] != '\0'))) {
        return usage_wrong("several URLs", "and --mirror or --receipt=FILE",
                           "these are of one file; in a list, mirror=URL is "
                           "that of a line");
    }
    o->get.mirrors = o->mirrors;
    o->get.seeds = o->seeds;
    if (g->overwrite && g->no_clobber) {
        return usage_wrong("--overwrite", "and --no-clobber",
                           "they contradict each other");
    }
    if (o->separator == '\0' && o->list == NULL) {
        return usage_wrong("--from0", "without -i", "there is no list");
    }
    if (g->speed_limit > 0 && g->speed_ms == 0) {
        o->get.speed_ms = PLACE_SPEED_TIME_MS;
    }
    return check_output(o);
}

int get_options_parse(int argc, char **argv, struct get_options *out)
{
    int opt;

    memset(out, 0, sizeof *out);
    out->get.struct_size = sizeof out->get;
    out->run.engine.struct_size = sizeof out->run.engine;
    out->separator = '\n';
    out->get.ssh = ssh_default();
    out->run.jail = &out->jail;
    out->jail.job = &out->get;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":o:d:P:i:j:x:C:e:rnzcfqv46h",
                              cmd_get_options, NULL)) != -1) {
        int result = take_option(out, opt, optarg, argv[optind - 1]);

        note_source(out, opt, argv[optind - 1]);
        if (result >= 0) {
            return result;
        }
    }
    out->urls = argv + optind;
    out->url_count = argc - optind;
    proxy_defaults(&out->get);
    give_way(out);
    opt = check_together(out);
    return opt >= 0 ? opt : security_finish(&out->run.security);
}
