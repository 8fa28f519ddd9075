/* belay ls: what is in a directory of the server. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/entry_print.h"
#include "client/cli/exitcode.h"
#include "client/cli/jail.h"
#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/place.h"
#include "client/cli/proxy_options.h"
#include "client/cli/security_options.h"
#include "client/cli/usage.h"
#include "client/cli/values.h"

enum {
    OPT_JSON = 256,
    OPT_CID,
    OPT_RETRY,
    OPT_CONNECT_TIMEOUT,
    OPT_TIMEOUT,
    OPT_REMOTE_BELAYD,
};

const struct option cmd_ls_options[] = {
    {"long", no_argument, NULL, 'l'},
    {"recursive", no_argument, NULL, 'r'},
    {"json", no_argument, NULL, OPT_JSON},
    {"cid", no_argument, NULL, OPT_CID},
    {"retry", required_argument, NULL, OPT_RETRY},
    {"connect-timeout", required_argument, NULL, OPT_CONNECT_TIMEOUT},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"ipv4", no_argument, NULL, '4'},
    {"ipv6", no_argument, NULL, '6'},
    {"quiet", no_argument, NULL, 'q'},
    {"ssh", required_argument, NULL, 'e'},
    {"rsh", required_argument, NULL, 'e'},
    {"remote-belayd", required_argument, NULL, OPT_REMOTE_BELAYD},
    {"help", no_argument, NULL, 'h'},
    PROXY_OPTIONS,
    SECURITY_OPTIONS,
    {NULL, 0, NULL, 0},
};

struct listing {
    struct belay_list_options options;
    struct belay_get_options way; /* proxy and ssh */
    struct security_options security;
    bool details;
    bool json;
    bool quiet;
    int broken; /* errno: standard output takes no more; or 0 */
    struct belay_engine *engine;
    enum exit_code worst;
};

static void help(void)
{
    fputs("Usage: belay ls [OPTION]... URL...\n"
          "\n"
          "Lists directories of a server, sorted by the bytes of the names.\n"
          "Names are printed with control characters escaped as \\xNN.\n"
          "\n"
          "  -l, --long         mode, size, time (UTC) and link targets, too\n"
          "  -r, --recursive    with all that is in the directories\n"
          "      --cid          content ids, where the server knows them\n"
          "      --json         one JSON object a line\n"
          "      --retry N      wait for the server; N tries in a row\n"
          "      --connect-timeout S, --timeout S\n"
          "      --config FILE, --no-config\n"
          "                     defaults of these, as for belay get\n"
          "  -4, -6             IPv4 or IPv6 only (--ipv4, --ipv6)\n"
          PROXY_HELP
          "  -e, --ssh COMMAND        instead of ssh for HOST:PATH and\n"
          "                           belay+ssh:// ($BELAY_SSH; also --rsh)\n"
          "      --remote-belayd CMD  belayd on that host\n"
          "  -q, --quiet        errors only\n"
          "  -h, --help         print this\n"
          "\n", stdout);
    fputs(security_help, stdout);
}

/* ---- output. */

static void on_entry(struct listing *l, const struct belay_entry *e)
{
    if (l->broken != 0) {
        return;
    }
    errno = 0;
    if (!(l->json ? entry_print_json(stdout, e)
                  : entry_print_line(stdout, l->details,
                                     l->options.with_cid, e))) {
        l->broken = errno != 0 ? errno : EIO;
        belay_interrupt(l->engine);
    }
}

static void tell_end(const struct belay_event *event)
{
    const char *name = belay_job_name(event->job);
    char hint[2048] = "";

    if (event->reason == BELAY_UNREACHABLE ||
        event->reason == BELAY_NOT_BELAY) {
        outcome_scheme_hint(name, hint, sizeof hint);
    }
    fprintf(stderr, "belay: %s: %s%s\n", name, event->text, hint);
}

static void on_event(void *arg, const struct belay_event *event)
{
    struct listing *l = arg;
    enum exit_code code = exit_code_of(event->reason);

    switch (event->type) {
    case BELAY_EVENT_ENTRY:
        on_entry(l, event->entry);
        return;
    case BELAY_EVENT_FILE:
        fprintf(stderr, "belay: %s: %s: %s\n", belay_job_name(event->job),
                event->entry->shown, event->text);
        break;
    case BELAY_EVENT_END:
        if (code != EXIT_DONE && l->broken == 0) {
            tell_end(event);
        }
        break;
    default:
        if (!event->detail && !l->quiet && event->text[0] != '\0') {
            fprintf(stderr, "belay: %s: %s\n", belay_job_name(event->job),
                    event->text);
        }
        return;
    }
    l->worst = exit_code_worse(code, l->worst);
}

/* ---- the command. */

static int take_option(struct listing *l, int opt, const char *argument)
{
    struct belay_list_options *o = &l->options;
    bool good = true;

    switch (opt) {
    case 'l':
        l->details = true;
        break;
    case 'r':
        o->recursive = true;
        break;
    case 'q':
        l->quiet = true;
        break;
    case '4':
    case '6':
        o->family = opt == '4' ? 4 : 6;
        break;
    case OPT_JSON:
        l->json = true;
        break;
    case OPT_CID:
        o->with_cid = true;
        break;
    case OPT_RETRY:
        o->wait_first = true;
        good = value_tries(optarg, &o->tries);
        break;
    case OPT_CONNECT_TIMEOUT:
        good = value_seconds(optarg, &o->connect_timeout_ms);
        break;
    case OPT_TIMEOUT:
        good = value_seconds(optarg, &o->silence_ms);
        break;
    case 'h':
        help();
        return EXIT_DONE;
    case '?':
    case ':':
        return usage_option(opt, argument, cmd_ls_options);
    case 'e':
        l->way.ssh = optarg;
        break;
    case OPT_REMOTE_BELAYD:
        l->way.remote_belayd = optarg;
        break;
    default:
        good = proxy_option(&l->way, opt, optarg) ||
               security_option(&l->security, opt, optarg);
    }
    return good ? -1
                : usage_wrong("bad value", optarg,
                              "expected a positive number");
}

static void tell_jail(void *arg, bool detail, const char *text)
{
    (void)arg;
    if (!detail) {
        fprintf(stderr, "belay: %s\n", text);
    }
}

/* What says how the servers are reached, as the engine and the jail take it. */
static void choose_way(struct listing *l)
{
    proxy_defaults(&l->way);
    if (l->way.ssh == NULL) {
        l->way.ssh = ssh_default();
    }
    l->way.struct_size = sizeof l->way;
    l->way.family = l->options.family;
    l->way.connect_timeout_ms = l->options.connect_timeout_ms;
    l->options.proxy = l->way.proxy;
    l->options.no_proxy = l->way.no_proxy;
    l->options.ssh = l->way.ssh;
    l->options.remote_belayd = l->way.remote_belayd;
}

/* A listing writes no files. */
static int enter_jail(struct listing *l, char **urls, int count)
{
    struct jail jail = {.job = &l->way};
    bool good = true;
    int result = EXIT_FAULT;

    for (int k = 0; k < count && good; k++) {
        good = jail_url(&jail, urls[k]);
    }
    if (good) {
        result = jail_enter(&jail, &l->security, tell_jail, NULL);
    } else {
        fputs("belay: out of memory\n", stderr);
    }
    jail_clear(&jail);
    return result;
}

static int list_all(struct listing *l, char **urls, int count)
{
    struct belay_engine_options engine = {.struct_size = sizeof engine,
                                          .event = on_event,
                                          .arg = l,
                                          .files = 1,
                                          .security =
                                              &l->security.options};
    struct belay_error error;
    int result;

    if (belay_engine_new(&engine, &l->engine, &error) != BELAY_DONE) {
        fprintf(stderr, "belay: %s\n", error.text);
        return (int)exit_code_of(error.reason);
    }
    for (int k = 0; k < count; k++) {
        l->options.url = urls[k];
        if (belay_list(l->engine, &l->options, NULL, &error) != BELAY_DONE) {
            fprintf(stderr, "belay: %s\n", error.text);
            (void)belay_engine_free(l->engine);
            return (int)exit_code_of(error.reason);
        }
    }
    belay_run(l->engine);
    result = l->broken != 0 ? output_failed(l->broken) : (int)l->worst;
    if (!belay_engine_free(l->engine)) {
        (void)fflush(stdout);
        _exit(result); /* a name service hangs */
    }
    return result;
}

int cmd_ls(int argc, char **argv)
{
    struct listing l = {
        .options = {.struct_size = sizeof(struct belay_list_options)},
        .worst = EXIT_DONE,
    };
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":lrRqe:46h", cmd_ls_options,
                              NULL)) != -1) {
        int result = take_option(&l, opt == 'R' ? 'r' : opt,
                                 argv[optind - 1]);

        if (result >= 0) {
            return result;
        }
    }
    if (optind == argc) {
        return usage_wrong("missing", "URL", "nothing to do");
    }
    opt = security_finish(&l.security);
    if (opt >= 0) {
        return opt;
    }
    choose_way(&l);
    opt = enter_jail(&l, argv + optind, argc - optind);
    if (opt >= 0) {
        return opt;
    }
    return list_all(&l, argv + optind, argc - optind);
}
