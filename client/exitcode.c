#include "client/exitcode.h"

#include <stdio.h>

enum exit_code exit_code_of(enum fetch_end end)
{
    switch (end) {
    case FETCH_OK:
    case FETCH_UP_TO_DATE:
    case FETCH_SKIPPED:
        return EXIT_DONE;
    case FETCH_USAGE:
        return EXIT_USAGE;
    case FETCH_UNREACHABLE:
    case FETCH_SERVER:
        return EXIT_TEMPORARY;
    case FETCH_REFUSED:
        return EXIT_REFUSED;
    case FETCH_ACCESS:
        return EXIT_ACCESS;
    case FETCH_NOT_BELAY:
        return EXIT_PROTOCOL;
    case FETCH_WRONG_CONTENT:
        return EXIT_CONTENT;
    case FETCH_CHANGED:
        return EXIT_CHANGED;
    case FETCH_DISK:
    case FETCH_NOT_DURABLE:
        return EXIT_DISK;
    case FETCH_EXISTS:
        return EXIT_EXISTS;
    case FETCH_BUSY:
        return EXIT_BUSY;
    case FETCH_LIMIT:
        return EXIT_LIMIT;
    case FETCH_INTERRUPTED:
        return EXIT_SIGNAL;
    case FETCH_INTERNAL:
        break;
    }
    return EXIT_FAULT;
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
}
