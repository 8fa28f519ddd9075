#include "server/settings.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"

const char settings_help[] =
    "Usage: belayd --root DIR --tls-cert FILE --tls-key FILE [OPTION]...\n"
    "       belayd --root DIR --plain [OPTION]...\n"
    "       belayd --stdio [--root DIR] [OPTION]...\n"
    "       belayd init DIR [NAME]          make a key and a certificate\n"
    "       belayd token add FILE NAME      make a token for NAME\n"
    "Serve the regular files below DIR to belay clients.\n"
    "\n"
    "  --root DIR             directory to serve; links in it are not "
    "followed\n"
    "  --listen ADDR:PORT     address to serve on, [ADDR]:PORT for IPv6; may\n"
    "                         be repeated (default: [::]:7245 and\n"
    "                         0.0.0.0:7245); port 0 picks a free one\n"
    "  --tls-cert FILE        certificate and chain for TLS 1.3, PEM\n"
    "  --tls-key FILE         its key, readable for its owner only\n"
    "  --plain                serve without encryption; beside TLS, too, if\n"
    "                         a certificate is given\n"
    "  --client-ca FILE       clients may show certificates of these\n"
    "                         authorities\n"
    "  --tokens FILE          clients may show tokens: lines of NAME\n"
    "                         sha256:HEX\n"
    "  --access FILE          who may read what: lines of WHO[,WHO]... /PATH\n"
    "                         where WHO is *, -, token:NAME, cert:NAME or\n"
    "                         key:sha256:HEX; the longest path decides, and\n"
    "                         what no line is about nobody may read\n"
    "  --stdio                serve one client on standard input and output,\n"
    "                         as ssh runs it; DIR is then the login directory\n"
    "                         by default, and only trouble is logged\n"
    "  --cache DIR            where digests are kept; safe to delete\n"
    "                         (default: $CACHE_DIRECTORY, else\n"
    "                         $XDG_CACHE_HOME/belayd, else ~/.cache/belayd;\n"
    "                         /var/cache/belayd for root)\n"
    "  --workers N            worker processes, 1 to 8 (default: one for\n"
    "                         each core)\n"
    "  --max-connections N    connections in all (default: 1024)\n"
    "  --max-per-address N    connections of one IPv4 address or IPv6 /64\n"
    "                         (default: 32)\n"
    "  --exempt ADDR[/BITS]   address that many clients share, as of a proxy\n"
    "                         or a tunnel: neither limited by itself nor\n"
    "                         barred for what one of them did; may be "
    "repeated\n"
    "  --no-compression       never compress\n"
    "  --user NAME            user to become once the ports are open; root\n"
    "                         must say so, --user root stays root\n"
    "  --sandbox MODE         try: confine workers as far as the kernel can\n"
    "                         (default); require: or refuse to serve; "
    "strict:\n"
    "                         also end a worker at a forbidden system call;\n"
    "                         off\n"
    "  --metrics ADDR:PORT    tell numbers over HTTP for Prometheus, at\n"
    "                         /metrics; :PORT is that of 127.0.0.1\n"
    "  --log-file FILE        log to FILE, opened again on SIGHUP (default:\n"
    "                         standard error)\n"
    "  --verbose              log every request that fails\n"
    "  --version              print the version and exit\n"
    "  --help                 print this help and exit\n"
    "\n"
    "With --client-ca or --tokens nobody comes in without one of them.\n"
    "SIGHUP reads certificate, key, authorities, tokens and rules again; if\n"
    "any of them is no good, all stay as they are.\n"
    "SIGTERM and SIGINT let clients finish for at most 30 seconds; a second\n"
    "one ends at once. Exit status: 0 stopped as asked, 1 cannot serve,\n"
    "2 wrong usage.\n";

enum option_id {
    OPT_ROOT = 256,
    OPT_LISTEN,
    OPT_PLAIN,
    OPT_STDIO,
    OPT_TLS_CERT,
    OPT_TLS_KEY,
    OPT_CLIENT_CA,
    OPT_TOKENS,
    OPT_ACCESS,
    OPT_CACHE,
    OPT_WORKERS,
    OPT_CONNECTIONS,
    OPT_PER_SOURCE,
    OPT_EXEMPT,
    OPT_NO_COMPRESSION,
    OPT_USER,
    OPT_SANDBOX,
    OPT_METRICS,
    OPT_LOG_FILE,
    OPT_VERBOSE,
    OPT_VERSION,
    OPT_HELP,
};

static const struct option long_options[] = {
    { "root", required_argument, NULL, OPT_ROOT },
    { "listen", required_argument, NULL, OPT_LISTEN },
    { "plain", no_argument, NULL, OPT_PLAIN },
    { "stdio", no_argument, NULL, OPT_STDIO },
    { "tls-cert", required_argument, NULL, OPT_TLS_CERT },
    { "tls-key", required_argument, NULL, OPT_TLS_KEY },
    { "client-ca", required_argument, NULL, OPT_CLIENT_CA },
    { "tokens", required_argument, NULL, OPT_TOKENS },
    { "access", required_argument, NULL, OPT_ACCESS },
    { "cache", required_argument, NULL, OPT_CACHE },
    { "workers", required_argument, NULL, OPT_WORKERS },
    { "max-connections", required_argument, NULL, OPT_CONNECTIONS },
    { "max-per-address", required_argument, NULL, OPT_PER_SOURCE },
    { "exempt", required_argument, NULL, OPT_EXEMPT },
    { "no-compression", no_argument, NULL, OPT_NO_COMPRESSION },
    { "user", required_argument, NULL, OPT_USER },
    { "sandbox", required_argument, NULL, OPT_SANDBOX },
    { "metrics", required_argument, NULL, OPT_METRICS },
    { "log-file", required_argument, NULL, OPT_LOG_FILE },
    { "verbose", no_argument, NULL, OPT_VERBOSE },
    { "version", no_argument, NULL, OPT_VERSION },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

/* What is being parsed, and where complaints go. */
struct parse {
    struct settings *out;
    char *message;
    size_t cap;
};

static int
complain(struct parse *p, const char *text, const char *arg)
{
    snprintf(p->message, p->cap, "%s%s%s", text, arg != NULL ? ": " : "",
             arg != NULL ? arg : "");
    return ERR_USAGE;
}

/* A number from 1 to max: no limit is ever switched off. */
static int
parse_number(struct parse *p, const char *what, const char *text,
             unsigned max, unsigned *out)
{
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len > 9 || text[len] != '\0') {
        return complain(p, what, text);
    }
    unsigned long value = strtoul(text, NULL, 10);
    if (value < 1 || value > max) {
        return complain(p, what, text);
    }
    *out = (unsigned)value;
    return 0;
}

static int
parse_sandbox(struct parse *p, const char *text)
{
    static const char *const words[] = {
        [SANDBOX_TRY] = "try",
        [SANDBOX_REQUIRE] = "require",
        [SANDBOX_STRICT] = "strict",
        [SANDBOX_OFF] = "off",
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            p->out->sandbox = (enum sandbox_mode)i;
            return 0;
        }
    }
    return complain(p, "--sandbox takes try, require, strict or off", text);
}

static int
parse_exempt(struct parse *p, const char *text)
{
    struct settings *o = p->out;

    if (o->exempt_count == SERVER_EXEMPT_MAX) {
        return complain(p, "too many addresses that are exempt", NULL);
    }
    if (origin_range_parse(text, &o->exempt[o->exempt_count]) != 0) {
        return complain(p, "--exempt takes an address or ADDR/BITS, in "
                           "numbers", text);
    }
    o->exempt_count++;
    return 0;
}

static bool
take_door(struct settings *o, int id, const char *arg)
{
    const char **to = id == OPT_TLS_CERT    ? &o->tls_cert
                      : id == OPT_TLS_KEY   ? &o->tls_key
                      : id == OPT_CLIENT_CA ? &o->client_ca
                      : id == OPT_TOKENS    ? &o->tokens
                      : id == OPT_ACCESS    ? &o->access
                                            : NULL;
    if (to != NULL) {
        *to = arg;
    }
    return to != NULL;
}

static int
take_value(struct parse *p, int id, const char *arg)
{
    struct settings *o = p->out;

    if (take_door(o, id, arg)) {
        return 0;
    }
    switch (id) {
    case OPT_ROOT:
        o->root = arg;
        return 0;
    case OPT_LISTEN:
        if (o->listen_count == SERVER_LISTEN_MAX) {
            return complain(p, "too many addresses to listen on", NULL);
        }
        o->listen[o->listen_count++] = arg;
        return 0;
    case OPT_CACHE:
        o->cache = arg;
        return 0;
    case OPT_LOG_FILE:
        o->log_file = arg;
        return 0;
    case OPT_METRICS:
        o->metrics = arg;
        return 0;
    case OPT_USER:
        o->user = arg;
        return 0;
    case OPT_SANDBOX:
        return parse_sandbox(p, arg);
    case OPT_WORKERS:
        return parse_number(p, "--workers takes a number from 1 to 8", arg,
                            SERVER_WORKERS_MAX, &o->workers);
    case OPT_CONNECTIONS:
        return parse_number(
            p, "--max-connections takes a number from 1 to 65536", arg, 65536,
            &o->connections);
    case OPT_PER_SOURCE:
        return parse_number(
            p, "--max-per-address takes a number from 1 to 65536", arg, 65536,
            &o->per_source);
    case OPT_EXEMPT:
        return parse_exempt(p, arg);
    default:
        BELAY_UNREACHABLE();
    }
}

static bool
take_flag(struct settings *o, int id)
{
    switch (id) {
    case OPT_PLAIN:
        o->plain = true;
        return true;
    case OPT_STDIO:
        o->mode = SETTINGS_STDIO;
        return true;
    case OPT_NO_COMPRESSION:
        o->compression = false;
        return true;
    case OPT_VERBOSE:
        o->verbose = true;
        return true;
    default:
        return false;
    }
}

bool
settings_exempt(const struct settings *settings, const struct net_addr *addr)
{
    for (size_t i = 0; i < settings->exempt_count; i++) {
        if (origin_range_has(&settings->exempt[i], addr)) {
            return true;
        }
    }
    return false;
}

/* Nothing is served more openly than it was asked for. */
static int
judge_doors(struct parse *p)
{
    const struct settings *o = p->out;
    bool locked = o->client_ca != NULL || o->tokens != NULL;

    if ((o->tls_cert == NULL) != (o->tls_key == NULL)) {
        return complain(p, "--tls-cert and --tls-key go together", NULL);
    }
    if (o->mode == SETTINGS_STDIO) {
        return locked || o->access != NULL || o->tls_cert != NULL
                   ? complain(p, "--stdio leaves it to ssh who comes in; "
                                 "certificates, tokens and rules do not go "
                                 "with it", NULL)
                   : 0;
    }
    if (o->tls_cert == NULL && locked) {
        return complain(p, "--client-ca and --tokens need --tls-cert and "
                           "--tls-key", NULL);
    }
    if (o->tls_cert == NULL && !o->plain) {
        return complain(p, "say --tls-cert and --tls-key ('belayd init' "
                           "makes them), or --plain to serve without "
                           "encryption", NULL);
    }
    return 0;
}

static int
judge(struct parse *p)
{
    struct settings *o = p->out;

    if (o->root == NULL && o->mode == SETTINGS_STDIO) {
        o->root = "."; /* U1-11: the login directory */
    }
    if (o->root == NULL || o->root[0] == '\0') {
        return complain(p, "--root DIR says which directory to serve", NULL);
    }
    if (o->mode == SETTINGS_STDIO && o->listen_count > 0) {
        return complain(p, "--stdio and --listen exclude each other", NULL);
    }
    if (o->mode == SETTINGS_STDIO && o->metrics != NULL) {
        return complain(p, "--stdio and --metrics exclude each other", NULL);
    }
    return judge_doors(p);
}

/* What other servers call it. */
static const char *
hint_at(const char *word)
{
    static const struct {
        const char *words;
        const char *hint;
    } table[] = {
        { " -p --port -l -L --address --bind --bind-address --host ",
          "; --listen ADDR:PORT says where to listen" },
        { " -d -D --daemon --detach --no-detach -f --foreground ",
          "; it stays in the foreground: systemd or & put it elsewhere" },
        { " -r --directory --dir --docroot --document-root --path ",
          "; --root DIR says what to serve" },
        { " -c --config ", "; all is said by options" },
        { " -v -V --debug ", "; --verbose, --version" },
        { " -h ", "; --help" },
        { " --cert --certificate --ssl-cert ", "; --tls-cert FILE" },
        { " --key --private-key --ssl-key ", "; --tls-key FILE" },
        { " --insecure --no-tls --no-ssl ", "; --plain" },
    };
    char padded[40];

    (void)snprintf(padded, sizeof(padded), " %.*s ",
                   (int)strcspn(word, "="), word);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strstr(table[i].words, padded) != NULL) {
            return table[i].hint;
        }
    }
    return "";
}

static int
unknown_option(struct parse *p, const char *argument)
{
    const char letter[3] = { '-', (char)optopt, '\0' };

    snprintf(p->message, p->cap, "unknown option: %.100s%s", argument,
             hint_at(optopt != 0 ? letter : argument));
    return ERR_USAGE;
}

int
settings_parse(int argc, char *const argv[], struct settings *out,
               char *message, size_t cap)
{
    struct parse p = { .out = out, .message = message, .cap = cap };

    *out = (struct settings){
        .mode = SETTINGS_SERVE,
        .compression = true,
        .sandbox = SANDBOX_TRY,
        .connections = MAX_CONNECTIONS,
        .per_source = MAX_CONNECTIONS_PER_SOURCE,
    };
    optind = 0;
    opterr = 0;
    int id;
    while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (id == OPT_HELP || id == OPT_VERSION) {
            out->mode = id == OPT_HELP ? SETTINGS_HELP : SETTINGS_VERSION;
            return 0;
        }
        if (id == '?') {
            return unknown_option(&p, argv[optind - 1]);
        }
        if (id == ':') {
            return complain(&p, "option needs a value", argv[optind - 1]);
        }
        int err = take_flag(out, id) ? 0 : take_value(&p, id, optarg);
        if (err != 0) {
            return err;
        }
    }
    if (optind < argc) {
        return complain(&p, "unexpected argument, --root DIR says what to "
                            "serve", argv[optind]);
    }
    return judge(&p);
}
