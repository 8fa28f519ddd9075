#include "client/cli/ask_trust.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool ask_trust_possible(const struct ask_trust *ask,
                        const struct security_options *security)
{
    const struct belay_security *s = &security->options;

    return !ask->refused && s->ca_file == NULL && s->pin == NULL &&
           (s->known_hosts == NULL || *s->known_hosts != '\0') &&
           (security->token_file == NULL ||
            strcmp(security->token_file, "-") != 0) &&
           isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

/* Only a whole word counts: a key that is accepted by mistake is believed for
 * ever. */
static bool read_yes(void)
{
    char line[64];

    for (;;) {
        fputs("Go on, and expect this key from now on? (yes/no) ", stderr);
        if (fgets(line, sizeof line, stdin) == NULL) {
            fputc('\n', stderr);
            return false;
        }
        if (strcmp(line, "yes\n") == 0) {
            return true;
        }
        if (strcmp(line, "no\n") == 0 || strcmp(line, "n\n") == 0) {
            return false;
        }
        if (strchr(line, '\n') == NULL) {
            return false;
        }
    }
}

static bool record(const char *host, const char *pin,
                   const struct security_options *security)
{
    const struct belay_known_host options = {
        .struct_size = sizeof options,
        .host = host,
        .pin = pin,
        .known_hosts = security->options.known_hosts,
    };
    struct belay_error error;

    if (belay_know_host(&options, &error) != BELAY_DONE) {
        fprintf(stderr, "belay: %s\n", error.text);
        return false;
    }
    return true;
}

bool ask_trust(struct ask_trust *ask, const char *url, const char *pin,
               const struct security_options *security)
{
    struct belay_url parts = {.struct_size = sizeof parts};
    char host[sizeof ask->host];
    bool bracket;

    if (belay_url_parse(url, &parts, NULL) != BELAY_DONE) {
        return false;
    }
    bracket = strchr(parts.host, ':') != NULL;
    (void)snprintf(host, sizeof host, "%s%s%s:%u", bracket ? "[" : "",
                   parts.host, bracket ? "]" : "", parts.port);
    if (strcmp(host, ask->host) == 0 && strcmp(pin, ask->pin) == 0) {
        return true; /* a file that began before the answer */
    }
    fprintf(stderr,
            "belay: the identity of %s cannot be verified: no authority "
            "vouches for it, and it\nis not a known host.  Its key is\n"
            "    %s\n"
            "Compare it with what the operator of the server says "
            "(belayd init prints it).\n", host, pin);
    ask->refused = !read_yes() || !record(host, pin, security);
    if (!ask->refused) {
        memcpy(ask->host, host, sizeof host);
        (void)snprintf(ask->pin, sizeof ask->pin, "%s", pin);
    }
    return !ask->refused;
}
