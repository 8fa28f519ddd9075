/* Options about whom to believe and who we are, the same for every command
 * that talks to servers. A command puts SECURITY_OPTIONS into its table, lets
 * security_option() have what is not its own, and calls security_finish(). */
#ifndef CLIENT_CLI_SECURITY_OPTIONS_H
#define CLIENT_CLI_SECURITY_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>

#include "client/belay.h"

enum {
    OPT_SECURITY_FIRST = 4096,
    OPT_CACERT = OPT_SECURITY_FIRST,
    OPT_PIN,
    OPT_CERT,
    OPT_CERT_KEY,
    OPT_KNOWN_HOSTS,
    OPT_ACCEPT_NEW,
    OPT_TOKEN_FILE,
    OPT_SANDBOX,
    OPT_SECURITY_END,
};

#define SECURITY_OPTIONS                                          \
    {"cacert", required_argument, NULL, OPT_CACERT},              \
    {"pin", required_argument, NULL, OPT_PIN},                    \
    {"cert", required_argument, NULL, OPT_CERT},                  \
    {"cert-key", required_argument, NULL, OPT_CERT_KEY},                    \
    {"known-hosts", required_argument, NULL, OPT_KNOWN_HOSTS},    \
    {"accept-new", no_argument, NULL, OPT_ACCEPT_NEW},            \
    {"token-file", required_argument, NULL, OPT_TOKEN_FILE},      \
    {"sandbox", required_argument, NULL, OPT_SANDBOX}

#define SECURITY_TOKEN_MAX 4096

enum sandbox_mode {
    SANDBOX_AUTO,    /* as much as the kernel has */
    SANDBOX_REQUIRE, /* nothing may be missing */
    SANDBOX_OFF,
};

/* `options` points into the others; texts of argv are borrowed. */
struct security_options {
    struct belay_security options;
    const char *token_file;
    const char *sandbox_word; /* NULL: not said */
    enum sandbox_mode sandbox;
    char token[SECURITY_TOKEN_MAX + 2];
};

/* Takes one of the options above; false: it is not one of them. */
bool security_option(struct security_options *o, int opt, const char *value);

/* After the last option: checks, and reads the token, of the file or of
 * BELAY_TOKEN.  Returns -1 to go on, else the exit code, and one line told
 * why. */
int security_finish(struct security_options *o);

/* The lines of --help. */
extern const char security_help[];

#endif
