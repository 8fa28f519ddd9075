/* The command line of belayd (server/settings.c) and ranges of addresses
 * (server/origin.c).
 *
 * Input: the length of a message, an address, then arguments, each with its
 * NUL.
 *
 * Promised: what is accepted is served no more openly than was asked for, and
 * no limit is switched off; what is refused has a reason. A range is of one
 * written form and has the addresses that a look bit by bit says it has. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "server/settings.h"
#include "tests/fuzz/fuzz.h"

#define ARGS_MAX 40u
#define MESSAGE_MAX 256u

struct line {
    char *argv[ARGS_MAX + 2];
    int argc;
    char *text;
    size_t len;
};

static void make_line(struct line *line, const uint8_t *bytes, size_t len)
{
    static char program[] = "belayd";

    line->text = malloc(len + 1);
    FUZZ_CHECK(line->text != NULL);
    memcpy(line->text, bytes, len);
    line->text[len] = '\0';
    line->len = len;
    line->argv[0] = program;
    line->argc = 1;
    for (size_t at = 0; at < len && line->argc <= (int)ARGS_MAX;
         at += strlen(line->text + at) + 1) {
        line->argv[line->argc++] = line->text + at;
    }
    line->argv[line->argc] = NULL;
}

/* ---- Addresses. */

static unsigned bit(const uint8_t *bytes, unsigned i)
{
    return bytes[i / 8] >> (7 - i % 8) & 1u;
}

/* The address as bytes, in the form that a range has. */
static unsigned address_make(struct script *s, struct net_addr *addr,
                             uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    unsigned kind = script_u8(s) % 4u;
    uint8_t raw[16];

    for (size_t i = 0; i < sizeof raw; i++) {
        raw[i] = script_u8(s);
    }
    memset(addr, 0, sizeof *addr);
    memset(bytes, 0, 16);
    if (kind == 0) {
        return 0;
    }
    if (kind == 1) {
        struct sockaddr_in in = {.sin_family = AF_INET};

        memcpy(&in.sin_addr, raw, 4);
        memcpy(&addr->storage, &in, sizeof in);
        addr->len = sizeof in;
    } else {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

        if (kind == 3) {
            memmove(raw + 12, raw, 4);
            memcpy(raw, mapped, sizeof mapped);
        }
        memcpy(&in6.sin6_addr, raw, 16);
        memcpy(&addr->storage, &in6, sizeof in6);
        addr->len = sizeof in6;
    }
    if (kind == 1) {
        memcpy(bytes, raw, 4);
        return 4;
    }
    if (memcmp(raw, mapped, sizeof mapped) == 0) {
        memcpy(bytes, raw + 12, 4);
        return 4;
    }
    memcpy(bytes, raw, 16);
    return 6;
}

static bool in_range(const struct origin_range *range, unsigned family,
                     const uint8_t bytes[16])
{
    bool same = family == range->family;

    for (unsigned i = 0; same && i < range->bits; i++) {
        same = bit(range->bytes, i) == bit(bytes, i);
    }
    return same;
}

static void check_range(const struct origin_range *range)
{
    unsigned most = range->family == 4 ? 32 : 128;
    struct origin_range again;
    char address[INET6_ADDRSTRLEN];
    char text[INET6_ADDRSTRLEN + 8];

    FUZZ_CHECK(range->family == 4 || range->family == 6);
    FUZZ_CHECK(range->bits <= most);
    for (unsigned i = range->bits; i < 128; i++) {
        FUZZ_CHECK(bit(range->bytes, i) == 0);
    }
    FUZZ_CHECK(inet_ntop(range->family == 4 ? AF_INET : AF_INET6,
                         range->bytes, address, sizeof address) != NULL);
    (void)snprintf(text, sizeof text, "%s/%u", address, range->bits);
    FUZZ_CHECK(origin_range_parse(text, &again) == 0);
    FUZZ_CHECK(memcmp(&again, range, sizeof again) == 0);
}

static void check_exempt(const struct settings *o, struct script address)
{
    struct net_addr addr;
    uint8_t bytes[16];
    unsigned family = address_make(&address, &addr, bytes);
    bool any = false;

    for (size_t i = 0; i < o->exempt_count; i++) {
        check_range(&o->exempt[i]);
        bool has = origin_range_has(&o->exempt[i], &addr);
        FUZZ_CHECK(has == in_range(&o->exempt[i], family, bytes));
        any = any || has;
    }
    FUZZ_CHECK(settings_exempt(o, &addr) == any);
}

/* ---- The command line. */

/* A word of it, or NULL. */
static void check_word(const struct line *line, const char *word)
{
    FUZZ_CHECK(word == NULL || (word >= line->text &&
                                word <= line->text + line->len));
}

static void check_words(const struct line *line, const struct settings *o)
{
    const char *const words[] = {o->cache, o->log_file, o->tls_cert,
                                 o->tls_key, o->client_ca, o->tokens,
                                 o->access, o->metrics, o->user};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        check_word(line, words[i]);
    }
    for (size_t i = 0; i < o->listen_count; i++) {
        FUZZ_CHECK(o->listen[i] != NULL);
        check_word(line, o->listen[i]);
    }
}

static void check_serving(const struct settings *o)
{
    bool locked = o->client_ca != NULL || o->tokens != NULL;

    FUZZ_CHECK(o->root != NULL && o->root[0] != '\0');
    FUZZ_CHECK((o->tls_cert == NULL) == (o->tls_key == NULL));
    FUZZ_CHECK(o->workers <= SERVER_WORKERS_MAX);
    FUZZ_CHECK(o->connections >= 1 && o->connections <= 65536);
    FUZZ_CHECK(o->per_source >= 1 && o->per_source <= 65536);
    FUZZ_CHECK(o->listen_count <= SERVER_LISTEN_MAX);
    FUZZ_CHECK(o->exempt_count <= SERVER_EXEMPT_MAX);
    FUZZ_CHECK(o->sandbox <= SANDBOX_OFF);
    if (o->mode == SETTINGS_STDIO) {
        FUZZ_CHECK(!locked && o->access == NULL && o->tls_cert == NULL);
        FUZZ_CHECK(o->listen_count == 0 && o->metrics == NULL);
    } else {
        FUZZ_CHECK(o->tls_cert != NULL || (o->plain && !locked));
    }
}

/* Is this word among the arguments? What was never said is not so. */
static bool is_said(const struct line *line, const char *start)
{
    for (int i = 1; i < line->argc; i++) {
        if (strncmp(line->argv[i], start, strlen(start)) == 0) {
            return true;
        }
    }
    return false;
}

static void check_said(const struct line *line, const struct settings *o)
{
    /* An option may be shortened as far as it is the only one. */
    FUZZ_CHECK(!o->plain || is_said(line, "--p"));
    FUZZ_CHECK(o->mode != SETTINGS_STDIO || is_said(line, "--s"));
    FUZZ_CHECK(o->sandbox == SANDBOX_TRY || is_said(line, "--sa"));
    FUZZ_CHECK(o->exempt_count == 0 || is_said(line, "--e"));
    FUZZ_CHECK(o->user == NULL || is_said(line, "--u"));
    FUZZ_CHECK(o->metrics == NULL || is_said(line, "--me"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, size};
    size_t cap = script_u8(&s) % MESSAGE_MAX + 1u;
    struct script address = s;
    struct line line;
    struct settings o;
    char *message = malloc(cap);

    for (unsigned i = 0; i < 17; i++) {
        (void)script_u8(&s);
    }
    FUZZ_CHECK(message != NULL);
    memset(message, 'x', cap);
    make_line(&line, s.at, s.left);
    int err = settings_parse(line.argc, line.argv, &o, message, cap);
    if (err != 0) {
        FUZZ_CHECK(err == ERR_USAGE);
        FUZZ_CHECK(memchr(message, '\0', cap) != NULL);
        FUZZ_CHECK(cap == 1 || message[0] != '\0');
    } else if (o.mode == SETTINGS_SERVE || o.mode == SETTINGS_STDIO) {
        check_serving(&o);
        check_words(&line, &o);
        check_said(&line, &o);
        check_exempt(&o, address);
    }
    free(message);
    free(line.text);
    return 0;
}
