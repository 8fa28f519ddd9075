/* belayd's command line -> struct. Pure: nothing is opened or looked up. */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "server/limits.h"
#include "server/origin.h"
#include "server/sandbox.h"

enum settings_mode {
    SETTINGS_SERVE,
    SETTINGS_STDIO,
    SETTINGS_HELP,
    SETTINGS_VERSION,
};

/* Strings are borrowed from argv. */
struct settings {
    enum settings_mode mode;
    const char *root;
    const char *listen[SERVER_LISTEN_MAX]; /* ADDR:PORT; checked elsewhere */
    size_t listen_count;
    const char *cache;    /* NULL: the default place */
    const char *log_file; /* NULL: standard error */
    const char *tls_cert; /* NULL: no TLS */
    const char *tls_key;
    const char *client_ca; /* NULL: clients show no certificates */
    const char *tokens;    /* NULL: no tokens */
    const char *access;    /* NULL: who comes in may read everything */
    const char *metrics; /* ADDR:PORT or :PORT for numbers; NULL: none */
    const char *user;     /* to become once ports are open; NULL: none */
    enum sandbox_mode sandbox;
    bool plain;
    bool compression;
    bool verbose;
    unsigned workers;     /* 0: by the number of cores */
    unsigned connections; /* in all, */
    unsigned per_source;  /* and from one address, except from these: */
    struct origin_range exempt[SERVER_EXEMPT_MAX];
    size_t exempt_count;
};

/* ERR_USAGE with a sentence about what is wrong in message. */
MUST_USE int settings_parse(int argc, char *const argv[],
                            struct settings *out, char *message, size_t cap);

/* Is this the address of somebody whom many share, so that nothing counts
 * against it? */
bool settings_exempt(const struct settings *settings,
                     const struct net_addr *addr);

extern const char settings_help[];

#endif
