/* belay cid: content ids of local files. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/exitcode.h"
#include "client/cli/usage.h"
#include "client/cli/values.h"

static const struct option long_options[] = {
    {"chunk-size", required_argument, NULL, 'k'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* A URL is no file, unless one has its name. */
static bool is_url(const char *path)
{
    struct belay_error error;

    return access(path, F_OK) != 0 &&
           belay_url_parse(path, NULL, &error) == BELAY_DONE;
}

static int cid_one(const char *path, uint32_t chunk_size)
{
    char cid[BELAY_CID_SIZE];
    char shown[2049];
    struct belay_error error;

    if (is_url(path)) {
        return usage_wrong("URL", path,
                           "only local files are hashed; belay ls --cid of "
                           "the directory tells what the server knows, and "
                           "belay get what was fetched");
    }
    if (belay_file_cid(path, chunk_size, cid, &error) != BELAY_DONE) {
        fprintf(stderr, "belay: %s\n", error.text);
        return (int)exit_code_of(error.reason);
    }
    (void)belay_text_escape(shown, sizeof shown, path);
    printf("%s  %s\n", cid, shown);
    return EXIT_DONE;
}

int cmd_cid(int argc, char **argv)
{
    uint32_t chunk_size = 0;
    int worst = EXIT_DONE;
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        switch (opt) {
        case 'k':
            if (!value_chunk(optarg, &chunk_size)) {
                return usage_wrong("bad chunk size", optarg,
                                   "expected a power of two from 4K to 4M");
            }
            break;
        case 'h':
            fputs("Usage: belay cid [--chunk-size SIZE] FILE...\n"
                  "\n"
                  "Prints the content id of each file, as a URL takes it "
                  "behind # to pin\nthe content.\n"
                  "\n"
                  "      --chunk-size SIZE    4K to 4M (default: what "
                  "fits the file)\n"
                  "  -h, --help               print this\n", stdout);
            return EXIT_DONE;
        default:
            return usage_option(opt, argv[optind - 1], long_options);
        }
    }
    if (optind == argc) {
        return usage_wrong("missing", "FILE", "nothing to do");
    }
    for (int k = optind; k < argc; k++) {
        worst = (int)exit_code_worse((enum exit_code)cid_one(argv[k],
                                                             chunk_size),
                                     (enum exit_code)worst);
    }
    return worst;
}
