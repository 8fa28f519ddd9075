#include "proto/data/uri.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/base/writer.h"
#include "proto/data/relpath.h"

#define SOCKET_PARAMETER "socket="
#define SOCKET_PARAMETER_LEN (sizeof SOCKET_PARAMETER - 1)

static const struct {
    const char *name;
    enum uri_scheme scheme;
    uint16_t port;  /* When none is given. */
} schemes[] = {
    {"belay", URI_TLS, PROTO_PORT},
    {"belay+tcp", URI_TCP, PROTO_PORT},
    {"belay+ssh", URI_SSH, 0},
    {"belay+unix", URI_UNIX, 0},
};

#define SCHEMES (sizeof schemes / sizeof schemes[0])

/* What is being parsed: `text` up to its NUL. */
struct parse {
    const char *text;
    struct uri *uri;
    struct uri_error *error;
};

/* Part of the text, [at, end). */
struct span {
    size_t at;
    size_t end;
};

static int fail(const struct parse *p, size_t pos, const char *reason)
{
    *p->error = (struct uri_error){pos, reason};
    return ERR_URI;
}

/* ---- Characters; the same in every locale. */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_alnum(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

static bool is_hex(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f');
}

static bool is_host_char(char c)
{
    return is_alnum(c) || c == '.' || c == '_' || c == '-';
}

/* May stand for itself in a path: RFC 3986's pchar without escapes, less `&`
 * within a query, and the slash. */
static bool is_path_char(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("-._~!$&'()*+,;=:@/", c));
}

/* Where `c` is first in the span, or its end. */
static size_t find(const struct parse *p, struct span s, char c)
{
    const char *found = s.at < s.end
                            ? memchr(p->text + s.at, c, s.end - s.at)
                            : NULL;
    return found != NULL ? (size_t)(found - p->text) : s.end;
}

/* ---- User, host, port */

/* Letters, digits, `.`, `_`, `-`; the first is no hyphen, so that no program
 * takes the word for an option. */
static int parse_word(const struct parse *p, struct span s, char *out,
                      size_t max)
{
    if (p->text[s.at] == '-') {
        return fail(p, s.at, "a user or host cannot begin with a hyphen");
    }
    if (s.end - s.at > max) {
        return fail(p, s.at, "this name is too long");
    }
    for (size_t i = s.at; i < s.end; i++) {
        if (!is_host_char(p->text[i])) {
            return fail(p, i, "only letters, digits, '.', '_' and '-' can "
                              "stand in a user or host");
        }
        out[i - s.at] = p->text[i];
    }
    out[s.end - s.at] = '\0';
    return 0;
}

/* Four numbers up to 255 without leading zeros. */
static bool is_ipv4(const char *s, size_t len)
{
    size_t at = 0;
    for (int part = 0; part < 4; part++) {
        unsigned int value = 0;
        size_t start = at;
        while (at < len && at - start < 3 && is_digit(s[at])) {
            value = 10 * value + (unsigned int)(s[at] - '0');
            at++;
        }
        if (at == start || value > 255 || (s[start] == '0' && at > start + 1)) {
            return false;
        }
        if (part < 3 && (at == len || s[at++] != '.')) {
            return false;
        }
    }
    return at == len;
}

/* IPv6address of RFC 3986: eight groups, or fewer around one `::`; the last
 * two may be written as an IPv4 address. */
static bool is_ipv6(const char *s, size_t len)
{
    size_t at = 0;
    size_t groups = 0;
    bool gap = false;
    if (len >= 2 && s[0] == ':' && s[1] == ':') {
        gap = true;
        at = 2;
    }
    while (at < len) {
        size_t digits = 0;
        while (at + digits < len && is_hex(s[at + digits])) {
            digits++;
        }
        if (at + digits < len && s[at + digits] == '.') {
            groups += 2;
            if (!is_ipv4(s + at, len - at)) {
                return false;
            }
            break;
        }
        if (digits < 1 || digits > 4) {
            return false;
        }
        groups++;
        at += digits;
        if (at == len) {
            break;
        }
        /* A colon, and behind it a group or the second colon of the gap. */
        if (s[at] != ':' || at + 1 == len) {
            return false;
        }
        at++;
        if (s[at] == ':') {
            if (gap) {
                return false;
            }
            gap = true;
            at++;
        }
    }
    return gap ? groups <= 7 : groups == 8;
}

/* The host at the start of the span; the rest of the span is left in it. */
static int parse_host(const struct parse *p, struct span *s)
{
    struct uri *uri = p->uri;
    struct span host = *s;
    int err;
    if (s->at < s->end && p->text[s->at] == '[') {
        host.at++;
        host.end = find(p, host, ']');
        size_t len = host.end - host.at;
        if (host.end == s->end || len > URI_HOST_MAX ||
            !is_ipv6(p->text + host.at, len)) {
            return fail(p, host.at, "not an IPv6 address in brackets");
        }
        memcpy(uri->host, p->text + host.at, len);
        uri->host[len] = '\0';
        uri->host_is_ipv6 = true;
        s->at = host.end + 1;
    } else {
        host.end = find(p, host, ':');
        if (host.at == host.end) {
            return fail(p, host.at, "the host is missing");
        }
        err = parse_word(p, host, uri->host, URI_HOST_MAX);
        if (err != 0) {
            return err;
        }
        s->at = host.end;
    }
    for (char *c = uri->host; *c != '\0'; c++) {
        *c = lower(*c);
    }
    return 0;
}

static int parse_port(const struct parse *p, struct span s)
{
    unsigned int port = 0;
    if (s.at == s.end) {
        return 0;
    }
    if (p->text[s.at] != ':') {
        return fail(p, s.at, "only a port can follow the host");
    }
    /* RFC 3986 allows a colon without digits. */
    if (++s.at == s.end) {
        return 0;
    }
    for (size_t i = s.at; i < s.end; i++) {
        if (!is_digit(p->text[i])) {
            return fail(p, i, "a port is a number");
        }
        port = 10 * port + (unsigned int)(p->text[i] - '0');
        if (port > UINT16_MAX) {
            return fail(p, s.at, "a port is at most 65535");
        }
    }
    if (port == 0) {
        return fail(p, s.at, "port 0 cannot be reached");
    }
    p->uri->port = (uint16_t)port;
    return 0;
}

static int parse_user(const struct parse *p, struct span s)
{
    size_t colon = find(p, s, ':');
    if (colon < s.end) {
        return fail(p, colon, "a password does not belong into an address");
    }
    if (p->uri->scheme != URI_SSH) {
        return fail(p, s.at, "a user can be given with belay+ssh only");
    }
    if (s.at == s.end) {
        return fail(p, s.at, "the user is missing before '@'");
    }
    return parse_word(p, s, p->uri->user, URI_USER_MAX);
}

static int parse_authority(const struct parse *p, struct span s)
{
    if (p->uri->scheme == URI_UNIX) {
        return s.at == s.end ? 0
                             : fail(p, s.at, "belay+unix has no host: write "
                                             "belay+unix:///path?socket=...");
    }
    size_t at_sign = find(p, s, '@');
    int err;
    if (at_sign < s.end) {
        err = parse_user(p, (struct span){s.at, at_sign});
        if (err != 0) {
            return err;
        }
        s.at = at_sign + 1;
    }
    err = parse_host(p, &s);
    return err != 0 ? err : parse_port(p, s);
}

/* ---- Path, socket, pin */

/* One character or escape at `*at`; moves on behind it. */
static int parse_byte(const struct parse *p, struct span s, size_t *at,
                      char *out)
{
    char c = p->text[*at];
    if (c == ' ') {
        return fail(p, *at, "write a space as %20");
    }
    if (c != '%') {
        if (!is_path_char(c) && (unsigned char)c < 0x80) {
            return fail(p, *at, "this character has to be written as an "
                                "escape, % and two hex digits");
        }
        *out = c;
        (*at)++;
        return 0;
    }
    uint8_t byte;
    if (s.end - *at < 3 || cid_hex_decode(p->text + *at + 1, 1, &byte) != 0) {
        return fail(p, *at, "two hex digits have to follow %");
    }
    if (byte == '\0') {
        return fail(p, *at, "a path cannot contain NUL");
    }
    if (byte == '/') {
        return fail(p, *at, "a name cannot contain '/'");
    }
    *out = (char)byte;
    *at += 3;
    return 0;
}

/* Decodes the span to `out`, of at most `max` bytes, and a NUL. */
static int parse_bytes(const struct parse *p, struct span s, char *out,
                       size_t max)
{
    size_t len = 0;
    for (size_t at = s.at; at < s.end;) {
        if (len == max) {
            return fail(p, at, "the path is too long");
        }
        int err = parse_byte(p, s, &at, &out[len]);
        if (err != 0) {
            return err;
        }
        len++;
    }
    out[len] = '\0';
    return 0;
}

/* Rule N1 on the path just decoded, with a reason.  `pos` is where it starts
 * in the text. */
static int check_path(const struct parse *p, size_t pos)
{
    struct uri *uri = p->uri;
    struct relpath_part part;
    size_t walk = 0;
    uri->path_len = strlen(uri->path);
    if (relpath_check(uri->path, uri->path_len) == 0) {
        return 0;
    }
    if (uri->path[0] == '/') {
        return fail(p, pos, "the path cannot be absolute: it starts in the "
                            "tree that the server opens");
    }
    if (uri->path[uri->path_len - 1] == '/') {
        return fail(p, pos, "the path cannot end with '/'");
    }
    while (relpath_next(uri->path, uri->path_len, &walk, &part)) {
        if (part.len == 0) {
            return fail(p, pos, "the path has an empty component");
        }
        if (part.len > LIMIT_COMPONENT) {
            return fail(p, pos, "a component of the path is too long");
        }
    }
    return fail(p, pos, "the path cannot contain '.' or '..'");
}

/* The span begins with the slash that ends the authority, or is empty. */
static int parse_path(const struct parse *p, struct span s)
{
    if (s.at < s.end) {
        s.at++;
    }
    int err = parse_bytes(p, s, p->uri->path, LIMIT_PATH);
    return err != 0 ? err : check_path(p, s.at);
}

/* The span begins with the question mark, or is empty. */
static int parse_query(const struct parse *p, struct span s)
{
    if (p->uri->scheme != URI_UNIX) {
        return s.at == s.end ? 0
                             : fail(p, s.at, "this address has no query; "
                                             "write '?' in a name as %3F");
    }
    size_t value = s.at + 1 + SOCKET_PARAMETER_LEN;
    if (value >= s.end ||
        memcmp(p->text + s.at + 1, SOCKET_PARAMETER,
               SOCKET_PARAMETER_LEN) != 0) {
        return fail(p, s.at, "belay+unix needs ?socket= and the path of a "
                             "socket");
    }
    s.at = value;
    if (p->text[s.at] != '/') {
        return fail(p, s.at, "the path of the socket has to be absolute");
    }
    size_t ampersand = find(p, s, '&');
    if (ampersand < s.end) {
        return fail(p, ampersand, "socket is the only parameter; write '&' "
                                  "in a name as %26");
    }
    return parse_bytes(p, s, p->uri->socket, URI_SOCKET_MAX);
}

/* The span begins with the number sign, or is empty. */
static int parse_pin(const struct parse *p, struct span s)
{
    if (s.at == s.end) {
        return 0;
    }
    s.at++;
    if (cid_parse(p->text + s.at, s.end - s.at, &p->uri->chunk_log2,
                  p->uri->cid) != 0) {
        return fail(p, s.at, "a content id has to follow '#', such as "
                             "bl1-18- and 64 lower-case hex digits; in a "
                             "name '#' is %23");
    }
    p->uri->pinned = true;
    return 0;
}

/* ---- The whole */

/* Length of the scheme in front of "://", or 0. */
static size_t scheme_len(const char *text)
{
    const char *end = strstr(text, "://");
    for (const char *c = text; end != NULL && c < end; c++) {
        if (!is_alnum(*c) && *c != '+' && *c != '-' && *c != '.') {
            return 0;
        }
    }
    return end != NULL ? (size_t)(end - text) : 0;
}

/* What begins a pin behind the form host:path. */
#define SCP_PIN "#bl1-"

/* Where the colon of the form host:path stands, or 0 when it is another. */
static size_t scp_colon(const char *text)
{
    const char *host = strchr(text, '@');
    size_t until = strcspn(text, ":/");
    /* Colons within brackets belong to the address. */
    host = host != NULL && (size_t)(host - text) < until ? host + 1 : text;
    if (*host == '[') {
        const char *end = strchr(host, ']');
        if (end == NULL) {
            return 0;
        }
        until = (size_t)(end - text) + 1;
    }
    return text[until] == ':' ? until : 0;
}

bool uri_is_remote(const char *text)
{
    return scheme_len(text) > 0 || scp_colon(text) > 0;
}

static int parse_scp(const struct parse *p, size_t colon)
{
    p->uri->scheme = URI_SSH;
    int err = parse_authority(p, (struct span){0, colon});
    if (err != 0) {
        return err;
    }
    /* U1-12: taken literally, as scp does; nothing is an escape here, and only
     * what looks like a pin is one. */
    size_t at = colon + 1;
    p->uri->absolute = p->text[at] == '/';
    at += p->uri->absolute ? 1 : 0;
    struct span path = {at, strlen(p->text)};
    const char *pin = strrchr(p->text + at, '#');
    if (pin != NULL && strncmp(pin, SCP_PIN, sizeof SCP_PIN - 1) == 0) {
        path.end = (size_t)(pin - p->text);
        err = parse_pin(p, (struct span){path.end, strlen(p->text)});
    }
    if (err != 0) {
        return err;
    }
    if (path.end - path.at > LIMIT_PATH) {
        return fail(p, at, "the path is too long");
    }
    memcpy(p->uri->path, p->text + at, path.end - at);
    p->uri->path[path.end - at] = '\0';
    return check_path(p, at);
}

static int parse_scheme(const struct parse *p, size_t len)
{
    for (size_t i = 0; i < SCHEMES; i++) {
        size_t k = 0;
        while (k < len && schemes[i].name[k] == lower(p->text[k])) {
            k++;
        }
        if (k == len && schemes[i].name[k] == '\0') {
            p->uri->scheme = schemes[i].scheme;
            p->uri->port = schemes[i].port;
            return 0;
        }
    }
    return fail(p, 0, "the scheme has to be belay, belay+tcp, belay+ssh or "
                      "belay+unix");
}

int uri_parse(const char *text, struct uri *uri, struct uri_error *error)
{
    const struct parse p = {text, uri, error};
    memset(uri, 0, sizeof *uri);
    size_t scheme = scheme_len(text);
    if (scheme == 0) {
        size_t colon = scp_colon(text);
        return colon > 0 ? parse_scp(&p, colon)
                         : fail(&p, 0, "an address begins with belay://, or "
                                       "is host:path");
    }
    int err = parse_scheme(&p, scheme);
    if (err != 0) {
        return err;
    }
    /* RFC 3986: the fragment ends everything before it, then the query, then
     * the first slash ends the authority. */
    struct span all = {scheme + 3, strlen(text)};
    size_t fragment = find(&p, all, '#');
    size_t query = find(&p, (struct span){all.at, fragment}, '?');
    size_t path = find(&p, (struct span){all.at, query}, '/');
    err = parse_authority(&p, (struct span){all.at, path});
    if (err == 0) {
        err = parse_path(&p, (struct span){path, query});
    }
    if (err == 0) {
        err = parse_query(&p, (struct span){query, fragment});
    }
    if (err == 0) {
        err = parse_pin(&p, (struct span){fragment, all.end});
    }
    return err;
}

/* ---- Writing */

static void put_text(struct writer *w, const char *text)
{
    writer_bytes(w, (const uint8_t *)text, strlen(text));
}

/* `&` is escaped as well: it would end the parameter in a query. */
static void put_escaped(struct writer *w, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (const char *c = text; *c != '\0'; c++) {
        uint8_t byte = (uint8_t)*c;
        if (is_path_char(*c) && *c != '&') {
            writer_u8(w, byte);
        } else {
            writer_u8(w, '%');
            writer_u8(w, (uint8_t)digits[byte >> 4]);
            writer_u8(w, (uint8_t)digits[byte & 15]);
        }
    }
}

static void put_port(struct writer *w, uint16_t port)
{
    char text[7];
    size_t at = sizeof text - 1;
    text[at] = '\0';
    do {
        text[--at] = (char)('0' + port % 10);
        port /= 10;
    } while (port > 0);
    text[--at] = ':';
    put_text(w, text + at);
}

static void put_authority(struct writer *w, const struct uri *uri,
                          uint16_t default_port)
{
    if (uri->user[0] != '\0') {
        put_text(w, uri->user);
        put_text(w, "@");
    }
    put_text(w, uri->host_is_ipv6 ? "[" : "");
    put_text(w, uri->host);
    put_text(w, uri->host_is_ipv6 ? "]" : "");
    if (uri->port != default_port) {
        put_port(w, uri->port);
    }
}

int uri_format(const struct uri *uri, char *text, size_t cap)
{
    BELAY_ASSERT((size_t)uri->scheme < SCHEMES);
    BELAY_ASSERT(schemes[uri->scheme].scheme == uri->scheme);
    struct writer w;
    writer_init(&w, (uint8_t *)text, cap);
    if (uri->absolute) {
        put_authority(&w, uri, 0);
        put_text(&w, ":/");
        put_text(&w, uri->path);
    } else {
        put_text(&w, schemes[uri->scheme].name);
        put_text(&w, "://");
        put_authority(&w, uri, schemes[uri->scheme].port);
        put_text(&w, "/");
        put_escaped(&w, uri->path);
    }
    if (uri->scheme == URI_UNIX) {
        put_text(&w, "?" SOCKET_PARAMETER);
        put_escaped(&w, uri->socket);
    }
    if (uri->pinned) {
        char pin[CID_TEXT_LEN + 1];
        cid_encode(uri->chunk_log2, uri->cid, pin);
        put_text(&w, "#");
        put_text(&w, pin);
    }
    writer_u8(&w, '\0');
    return writer_err(&w);
}

const char *uri_basename(const struct uri *uri)
{
    const char *slash = strrchr(uri->path, '/');
    const char *name = slash != NULL ? slash + 1 : uri->path;
    return name[0] != '\0' ? name : NULL;
}
