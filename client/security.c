#include "client/security.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/belay-sandbox.h"
#include "client/knownhosts.h"
#include "client/report.h"
#include "proto/base/registry.h"
#include "proto/data/text.h"
#include "proto/data/uri.h"

#define PATH_TEXT 4096

static bool copy(char **to, const char *from)
{
    *to = from != NULL ? strdup(from) : NULL;
    return from == NULL || *to != NULL;
}

/* NULL: the user's own file, if there is a place for it; "": none. */
static bool set_known_hosts(struct security *s, const char *given)
{
    char path[PATH_TEXT];

    if (given != NULL) {
        return *given == '\0' || copy(&s->known_hosts, given);
    }
    return !knownhosts_path(path, sizeof path) ||
           copy(&s->known_hosts, path);
}

static enum belay_reason check(const struct belay_security *o,
                               struct security *s, struct belay_error *error)
{
    size_t token_len = o->token != NULL ? strlen(o->token) : 0;

    if (o->pin != NULL &&
        tls_pin_parse(o->pin, strlen(o->pin), s->trust.pin) != 0) {
        return report(error, BELAY_USAGE, "a pin is sha256: and 64 "
                                          "hexadecimal digits");
    }
    s->trust.has_pin = o->pin != NULL;
    s->trust.accept_new = o->accept_new;
    if ((o->cert_file == NULL) != (o->key_file == NULL)) {
        return report(error, BELAY_USAGE, "a certificate and its key are "
                                          "given together");
    }
    if (o->token != NULL && (token_len < 1 || token_len > LIMIT_TOKEN)) {
        return report(error, BELAY_USAGE, "a token has 1 to %u bytes",
                      (unsigned)LIMIT_TOKEN);
    }
    return BELAY_DONE;
}

/* Told once and before anybody is asked, whatever the files hold. */
static enum belay_reason check_file(const char *what, const char *path,
                                    struct belay_error *error)
{
    int fd = path != NULL ? open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY |
                                           O_CLOEXEC)
                          : -1;
    int sys_errno = errno;
    char shown[400];

    if (fd >= 0) {
        close(fd);
    }
    if (path == NULL || fd >= 0) {
        return BELAY_DONE;
    }
    (void)text_escape(shown, sizeof shown, path, strlen(path));
    return report(error, belay_reason_of_file(sys_errno),
                  "cannot read %s %s: %s", what, shown, strerror(sys_errno));
}

static enum belay_reason check_files(const struct belay_security *o,
                                     struct belay_error *error)
{
    enum belay_reason reason =
        check_file("the authorities in", o->ca_file, error);

    if (reason == BELAY_DONE) {
        reason = check_file("your certificate", o->cert_file, error);
    }
    if (reason == BELAY_DONE) {
        reason = check_file("the key of your certificate", o->key_file, error);
    }
    return reason;
}

enum belay_reason security_init(struct security *s,
                                const struct belay_security *options,
                                struct belay_error *error)
{
    struct belay_security o = {.struct_size = sizeof o};
    enum belay_reason reason;

    memset(s, 0, sizeof *s);
    if (options != NULL) {
        report_take(&o, sizeof o, options);
    }
    reason = check(&o, s, error);
    if (reason == BELAY_DONE) {
        reason = check_files(&o, error);
    }
    if (reason == BELAY_DONE &&
        !(copy(&s->ca_file, o.ca_file) && copy(&s->cert_file, o.cert_file) &&
          copy(&s->key_file, o.key_file) && copy(&s->token, o.token) &&
          set_known_hosts(s, o.known_hosts))) {
        reason = report(error, BELAY_INTERNAL, "out of memory");
    }
    s->trust.ca_file = s->ca_file;
    s->trust.cert_file = s->cert_file;
    s->trust.key_file = s->key_file;
    s->trust.known_hosts = s->known_hosts;
    if (reason != BELAY_DONE) {
        security_clear(s);
    }
    return reason;
}

void security_clear(struct security *s)
{
    free(s->ca_file);
    free(s->cert_file);
    free(s->key_file);
    free(s->known_hosts);
    if (s->token != NULL) {
        explicit_bzero(s->token, strlen(s->token));
        free(s->token);
    }
    memset(s, 0, sizeof *s);
}

enum belay_reason belay_security_check(const struct belay_security *options,
                                       struct belay_error *error)
{
    struct security s = {0};
    enum belay_reason reason = security_init(&s, options, error);

    security_clear(&s);
    return reason;
}

/* ---- for one server. */

/* Files that say whom to believe, and cannot be used. */
static enum belay_reason of_files(int err)
{
    return err == ERR_NOMEM ? BELAY_INTERNAL
           : err == ERR_IO  ? BELAY_DISK
                            : BELAY_USAGE;
}

enum belay_reason security_trust(const struct security *s,
                                 const struct uri *uri, bool first,
                                 struct trust **out, char why[TLS_TEXT_MAX])
{
    struct trust_options options = {.ca_file = NULL};
    int err;

    *out = NULL;
    if (s != NULL) {
        options = s->trust;
    }
    if (uri->scheme != URI_TLS) {
        return BELAY_DONE;
    }
    if (!first) {
        options.cert_file = NULL;
        options.key_file = NULL;
        options.has_pin = false;
    }
    err = trust_new(&options, uri->host, uri->port, out, why);
    if (err == 0) {
        return BELAY_DONE;
    }
    return of_files(err);
}

const struct receiver_auth *security_auth(const struct security *s,
                                          const struct uri *uri,
                                          struct receiver_auth *out)
{
    if (s == NULL) {
        return NULL;
    }
    *out = (struct receiver_auth){
        .token = (const uint8_t *)s->token,
        .token_len = s->token != NULL ? strlen(s->token) : 0,
        .external = uri->scheme == URI_TLS && s->cert_file != NULL,
        .secure = uri->scheme != URI_TCP,
    };
    return out->token != NULL || out->external ? out : NULL;
}

enum belay_reason security_reason(const struct trust *trust)
{
    switch (trust_verdict(trust)) {
    case TRUST_NO_BELAY:
        return BELAY_NOT_BELAY;
    case TRUST_DENIED:
        return BELAY_ACCESS;
    case TRUST_UNTRUSTED:
        return BELAY_WRONG_HOST;
    case TRUST_UNKNOWN:
        return BELAY_UNKNOWN_HOST;
    }
    return BELAY_INTERNAL;
}

/* ---- belay_know_host(). */

/* "host:port", "[v6]:port", or without the port: as a URL would say it. */
static bool parse_place(const char *place, struct uri *uri)
{
    char text[URI_HOST_MAX + 64];
    struct uri_error where;
    int len = snprintf(text, sizeof text, "belay://%s/", place);

    return strchr(place, '/') == NULL && len > 0 &&
           (size_t)len < sizeof text && uri_parse(text, uri, &where) == 0;
}

static enum belay_reason remember(const struct belay_known_host *o,
                                  const char *path, const struct uri *uri,
                                  struct belay_error *error)
{
    uint8_t pin[HASH_LEN];
    size_t forgotten = 0;
    char why[TLS_TEXT_MAX];
    int err;

    if (o->pin != NULL && tls_pin_parse(o->pin, strlen(o->pin), pin) != 0) {
        return report(error, BELAY_USAGE, "a pin is sha256: and 64 "
                                          "hexadecimal digits");
    }
    if (o->pin != NULL && !o->replace) {
        err = knownhosts_add(path, uri->host, uri->port, pin, why);
    } else {
        err = knownhosts_replace(path, uri->host, uri->port,
                                 o->pin != NULL ? pin : NULL, &forgotten,
                                 why);
    }
    if (err != 0) {
        return report(error, of_files(err), "%s", why);
    }
    if (o->pin == NULL && forgotten == 0) {
        return report(error, BELAY_UP_TO_DATE, "%s is not a known host; there "
                      "is nothing to forget", uri->host);
    }
    return BELAY_DONE;
}

enum belay_reason belay_know_host(const struct belay_known_host *options,
                              struct belay_error *error)
{
    struct belay_known_host o = {.struct_size = sizeof o};
    char path[PATH_TEXT];
    enum belay_reason reason;
    struct uri *uri;

    report_take(&o, sizeof o, options);
    if (o.known_hosts == NULL && !knownhosts_path(path, sizeof path)) {
        return report(error, BELAY_DISK, "there is no place for known hosts: "
                                         "HOME is not set");
    }
    uri = malloc(sizeof *uri);
    if (uri == NULL) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    if (o.host == NULL || !parse_place(o.host, uri)) {
        reason = report(error, BELAY_USAGE, "expected HOST or HOST:PORT");
    } else {
        reason = remember(&o, o.known_hosts != NULL ? o.known_hosts : path,
                          uri, error);
    }
    free(uri);
    return reason;
}
