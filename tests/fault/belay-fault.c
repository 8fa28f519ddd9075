/* belay-fault: a TCP proxy that breaks connections on purpose. */
#include <stdio.h>

#include "tests/fault/options.h"
#include "tests/fault/proxy.h"

#ifndef BELAY_VERSION
#define BELAY_VERSION "development"
#endif

#define EXIT_USAGE 2

int
main(int argc, char **argv)
{
    struct options options = { 0 };
    char error_text[256];
    int status = EXIT_USAGE;
    switch (options_parse(&options, argc, argv, error_text,
        sizeof(error_text))) {
    case OPTIONS_RUN:
        status = proxy_run(&options);
        break;
    case OPTIONS_HELP:
        status = fputs(options_help, stdout) >= 0 ? 0 : 1;
        break;
    case OPTIONS_VERSION:
        status = puts("belay-fault " BELAY_VERSION) >= 0 ? 0 : 1;
        break;
    case OPTIONS_BAD:
        fprintf(stderr, "belay-fault: %s\ntry: belay-fault --help\n",
            error_text);
        break;
    case OPTIONS_NO_MEMORY:
        fputs("belay-fault: out of memory\n", stderr);
        status = 1;
        break;
    }
    options_clear(&options);
    return status;
}
