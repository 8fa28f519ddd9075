/* belay trust: the file of known hosts. */
#include <getopt.h>
#include <stdio.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/exitcode.h"
#include "client/cli/usage.h"

static const char help_text[] =
    "Usage: belay trust [--replace] HOST[:PORT] sha256:HEX\n"
    "       belay trust --forget HOST[:PORT]\n"
    "\n"
    "Records the key of a server that no authority vouches for; `belayd "
    "init`\n"
    "prints it.  From then on this host must show this key.\n"
    "\n"
    "      --replace            forget the host's other keys\n"
    "      --forget             forget the host\n"
    "      --known-hosts FILE   instead of ~/.config/belay/known_hosts\n"
    "      --config FILE, --no-config\n"
    "                           where else that may stand\n"
    "  -h, --help               print this\n";

const struct option cmd_trust_options[] = {
    {"replace", no_argument, NULL, 'r'},
    {"forget", no_argument, NULL, 'f'},
    {"known-hosts", required_argument, NULL, 'k'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

int cmd_trust(int argc, char **argv)
{
    struct belay_known_host options = {.struct_size = sizeof options};
    struct belay_error error;
    bool forget = false;
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":h", cmd_trust_options, NULL)) !=
           -1) {
        switch (opt) {
        case 'r':
            options.replace = true;
            break;
        case 'f':
            forget = true;
            break;
        case 'k':
            options.known_hosts = optarg;
            break;
        case 'h':
            fputs(help_text, stdout);
            return EXIT_DONE;
        default:
            return usage_option(opt, argv[optind - 1], cmd_trust_options);
        }
    }
    if (argc - optind != (forget ? 1 : 2)) {
        return usage_wrong("wrong number of", "arguments",
                           forget ? "expected HOST[:PORT]"
                                  : "expected HOST[:PORT] sha256:HEX");
    }
    options.host = argv[optind];
    options.pin = forget ? NULL : argv[optind + 1];
    if (belay_know_host(&options, &error) == BELAY_DONE) {
        return EXIT_DONE;
    }
    fprintf(stderr, "belay: %s\n", error.text);
    return (int)exit_code_of(error.reason);
}
