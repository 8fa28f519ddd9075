/* belayd's command line -> struct. Pure: nothing is opened or looked up. */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "server/limits.h"

enum options_mode {
    OPTIONS_SERVE,
    OPTIONS_STDIO,
    OPTIONS_HELP,
    OPTIONS_VERSION,
};

/* Strings are borrowed from argv. */
struct options {
    enum options_mode mode;
    const char *root;
    const char *listen[SERVER_LISTEN_MAX]; /* ADDR:PORT; checked elsewhere */
    size_t listen_count;
    const char *cache;    /* NULL: the default place */
    const char *log_file; /* NULL: standard error */
    bool plain;
    bool compression;
    bool verbose;
    unsigned workers;     /* 0: by the number of cores */
    unsigned connections; /* in all, */
    unsigned per_source;  /* and from one address */
};

/* ERR_USAGE with a sentence about what is wrong in message. */
MUST_USE int options_parse(int argc, char *const argv[], struct options *out,
                           char *message, size_t cap);

extern const char options_help[];

#endif
