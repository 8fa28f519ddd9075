/* belay repair and belay verify with a URL: a file that is there already is
 * compared with the server's, and made right. */
#include <getopt.h>
#include <stdio.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/exitcode.h"
#include "client/cli/place.h"
#include "client/cli/usage.h"
#include "client/cli/values.h"

enum {
    OPT_COPY = 256,
    OPT_FORCE,
    OPT_MIRROR,
    OPT_SEED,
    OPT_RECEIPT,
    OPT_CHUNK_SIZE,
    OPT_NO_REMOTE_TIME,
};

const struct option cmd_repair_options[] = {
    {"copy", no_argument, NULL, OPT_COPY},
    {"force", no_argument, NULL, OPT_FORCE},
    {"mirror", required_argument, NULL, OPT_MIRROR},
    {"seed", required_argument, NULL, OPT_SEED},
    {"receipt", optional_argument, NULL, OPT_RECEIPT},
    {"chunk-size", required_argument, NULL, OPT_CHUNK_SIZE},
    {"no-remote-time", no_argument, NULL, OPT_NO_REMOTE_TIME},
    {"dry-run", no_argument, NULL, 'n'},
    PLACE_OPTIONS,
    PROXY_OPTIONS,
    SECURITY_OPTIONS,
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: belay repair [OPTION]... FILE URL\n"
    "\n"
    "Makes FILE, from whatever tool it came, the file at URL: compares it and\n"
    "fetches only what is wrong or missing.  Only verified bytes are written;\n"
    "when it is interrupted the same command goes on.\n"
    "\n"
    "      --copy               make a new file of it, which replaces FILE at\n"
    "                           the end, instead of writing into it\n"
    "      --force              even if no part of FILE is right\n"
    "  -n, --dry-run            compare only (belay verify FILE URL)\n"
    "      --mirror URL         fetch from there, too (up to 15 times)\n"
    "      --seed FILE          take what fits from this file (up to 14\n"
    "                           times)\n"
    "      --receipt[=FILE]     write a receipt (default: beside FILE)\n"
    "      --chunk-size SIZE    compare in chunks of 4K to 4M\n"
    "      --no-remote-time     do not give FILE the server's time\n"
    PLACE_HELP
    "  -q, --quiet              errors only\n"
    "  -v, --verbose            tell each range that is wrong\n"
    "  -h, --help               print this\n"
    "\n";

/* True: the option was taken. */
static bool take_flag(struct place *p, int opt)
{
    switch (opt) {
    case OPT_COPY:
        p->get.overwrite = true;
        return true;
    case OPT_FORCE:
        p->get.force = true;
        return true;
    case OPT_NO_REMOTE_TIME:
        p->get.no_remote_time = true;
        return true;
    case 'n':
        p->get.kind = BELAY_KIND_VERIFY;
        return true;
    default:
        return false;
    }
}

/* -1 to go on. */
static int take_value(struct place *p, int opt, const char *value)
{
    switch (opt) {
    case OPT_MIRROR:
        return place_add(p->mirrors, BELAY_MIRRORS_MAX,
                         &p->get.mirror_count, value)
                   ? -1
                   : usage_wrong("mirror", value, "there are too many");
    case OPT_SEED:
        return place_add(p->seeds, BELAY_SEEDS_MAX, &p->get.seed_count,
                         value)
                   ? -1
                   : usage_wrong("seed", value, "there are too many");
    case OPT_RECEIPT:
        p->get.receipt = value != NULL ? value : "";
        return -1;
    case OPT_CHUNK_SIZE:
        return value_chunk(value, &p->get.chunk_size)
                   ? -1
                   : usage_value(VALUE_CHUNK, value);
    default:
        return place_option(p, opt, value);
    }
}

int cmd_repair(int argc, char **argv)
{
    struct place place = {.get.struct_size = sizeof place.get,
                          .get.kind = BELAY_KIND_REPAIR,
                          .run.engine.struct_size =
                              sizeof place.run.engine};
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":nh" PLACE_LETTERS,
                              cmd_repair_options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(help_text, stdout);
            fputs(security_help, stdout);
            return EXIT_DONE;
        }
        if (opt == '?' || opt == ':') {
            return usage_option(opt, argv[optind - 1], cmd_repair_options);
        }
        int result = take_flag(&place, opt)
                         ? -1
                         : take_value(&place, opt, optarg);

        if (result >= 0) {
            return result;
        }
    }
    if (argc - optind != 2) {
        return usage_wrong("belay repair", "FILE URL",
                           "exactly these two are expected");
    }
    return place_run(&place, argv[optind], argv[optind + 1]);
}
