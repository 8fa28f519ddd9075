/* belay verify: is a local file right?  Nothing is written. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/exitcode.h"
#include "client/cli/place.h"
#include "client/cli/usage.h"

#define OPT_RECEIPT 256
/* Wrong ranges that are told without -v. */
#define RANGES_TOLD 20u

const struct option cmd_verify_options[] = {
    {"receipt", required_argument, NULL, OPT_RECEIPT},
    PLACE_OPTIONS,
    PROXY_OPTIONS,
    SECURITY_OPTIONS,
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: belay verify [OPTION]... FILE URL\n"
    "       belay verify [OPTION]... FILE --receipt RECEIPT\n"
    "       belay verify [OPTION]... FILE '#bl1-CC-HEX'\n"
    "\n"
    "Compares FILE with the server's file, with a receipt (no server is\n"
    "asked), or with a content id.  Exit code 0: it is right; 14: it is not,\n"
    "and the wrong ranges are told.  Nothing is written.\n"
    "\n"
    "      --receipt RECEIPT    as belay get --receipt wrote it\n"
    "\n"
    "With a URL\n"
    PLACE_HELP
    "  -q, --quiet              only what is wrong\n"
    "  -v, --verbose            every range that is wrong\n"
    "  -h, --help               print this\n"
    "\n";

struct ranges {
    const char *shown;
    uint64_t told;
    uint64_t most;
};

static void on_wrong(void *arg, uint64_t from, uint64_t to)
{
    struct ranges *r = arg;

    if (r->told++ < r->most) {
        fprintf(stderr, "belay: %s: bytes %" PRIu64 " to %" PRIu64
                        " are wrong\n", r->shown, from, to - 1);
    } else if (r->told == r->most + 1) {
        fprintf(stderr, "belay: %s: there are more; -v tells all\n",
                r->shown);
    }
}

static int offline(struct belay_verify_options *what, bool quiet,
                   unsigned verbose)
{
    struct belay_verify_result result = {.struct_size = sizeof result};
    struct belay_error error;
    char shown[400];
    char bytes[32];
    struct ranges ranges = {.shown = shown,
                            .most = verbose > 0 ? UINT64_MAX - 1
                                                : RANGES_TOLD};
    enum belay_reason reason;

    (void)belay_text_escape(shown, sizeof shown, what->path);
    what->struct_size = sizeof *what;
    what->wrong = on_wrong;
    what->arg = &ranges;
    reason = belay_verify(what, &result, &error);
    if (reason != BELAY_DONE) {
        fprintf(stderr, "belay: %s: %s\n", shown, error.text);
    } else if (!quiet) {
        belay_text_bytes(result.size, bytes, sizeof bytes);
        fprintf(stderr, "belay: %s: %s, right, %s\n", shown, bytes,
                result.cid);
    }
    return (int)exit_code_of(reason);
}

int cmd_verify(int argc, char **argv)
{
    struct belay_verify_options what = {0};
    struct place place = {.get.struct_size = sizeof place.get,
                          .get.kind = BELAY_KIND_VERIFY,
                          .run.engine.struct_size =
                              sizeof place.run.engine};
    int result;
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":h" PLACE_LETTERS,
                              cmd_verify_options, NULL)) != -1) {
        switch (opt) {
        case OPT_RECEIPT:
            what.receipt = optarg;
            break;
        case 'h':
            fputs(help_text, stdout);
            fputs(security_help, stdout);
            return EXIT_DONE;
        case '?':
        case ':':
            return usage_option(opt, argv[optind - 1], cmd_verify_options);
        default:
            result = place_option(&place, opt, optarg);
            if (result >= 0) {
                return result;
            }
        }
    }
    if (argc - optind != (what.receipt != NULL ? 1 : 2)) {
        return usage_wrong("belay verify", "FILE",
                           "a file and one of URL, --receipt RECEIPT and "
                           "'#bl1-...' are expected");
    }
    what.path = argv[optind];
    /* A content id has no colon; a URL has, and host:path as well. */
    if (what.receipt == NULL && strchr(argv[optind + 1], ':') != NULL) {
        return place_run(&place, what.path, argv[optind + 1]);
    }
    if (what.receipt == NULL) {
        what.cid = argv[optind + 1];
    }
    return offline(&what, place.run.quiet, place.run.verbose);
}
