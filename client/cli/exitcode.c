#include "client/cli/exitcode.h"

#include <stdio.h>

enum exit_code exit_code_of(enum belay_reason reason)
{
    switch (reason) {
    case BELAY_DONE:
    case BELAY_UP_TO_DATE:
    case BELAY_SKIPPED:
    case BELAY_WOULD_FETCH:
        return EXIT_DONE;
    case BELAY_USAGE:
        return EXIT_USAGE;
    case BELAY_UNREACHABLE:
    case BELAY_SERVER:
        return EXIT_TEMPORARY;
    case BELAY_REFUSED:
        return EXIT_REFUSED;
    case BELAY_ACCESS:
        return EXIT_ACCESS;
    case BELAY_WRONG_HOST:
    case BELAY_UNKNOWN_HOST:
        return EXIT_HOST;
    case BELAY_NOT_BELAY:
        return EXIT_PROTOCOL;
    case BELAY_WRONG_CONTENT:
    case BELAY_UNTRUSTED:
        return EXIT_CONTENT;
    case BELAY_DIFFERS:
        return EXIT_DIFFERS;
    case BELAY_CHANGED:
        return EXIT_CHANGED;
    case BELAY_DISK:
    case BELAY_NOT_DURABLE:
        return EXIT_DISK;
    case BELAY_NO_READER:
        return EXIT_PIPE;
    case BELAY_EXISTS:
        return EXIT_EXISTS;
    case BELAY_BUSY:
        return EXIT_BUSY;
    case BELAY_LIMIT:
        return EXIT_LIMIT;
    case BELAY_INTERRUPTED:
        return EXIT_SIGNAL;
    case BELAY_INTERNAL:
        break;
    }
    return EXIT_FAULT;
}

enum exit_code exit_code_of_file(int error)
{
    return exit_code_of(belay_reason_of_file(error));
}

static int rank(enum exit_code code)
{
    switch (code) {
#define EXIT_RANK(name, value, rank_, sentence) \
    case name:                                  \
        return rank_;
        EXIT_LIST(EXIT_RANK)
#undef EXIT_RANK
    }
    return 0;
}

enum exit_code exit_code_worse(enum exit_code a, enum exit_code b)
{
    return rank(a) >= rank(b) ? a : b;
}

void exit_code_print(void)
{
#define EXIT_LINE(name, code, rank_, sentence) \
    printf("  %3d  %s\n", code, sentence);
    EXIT_LIST(EXIT_LINE)
#undef EXIT_LINE
    printf("Of several files the worst decides: one that failed for good "
           "rather than one\nthat failed for now (6, 75).\n");
}
