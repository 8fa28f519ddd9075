#include "client/proxy.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SCHEME "socks5h://"
#define PORT_DEFAULT 1080u

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX of `len` characters; NUL is not allowed. */
static bool decode(const char *text, size_t len, char out[256])
{
    size_t at = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%') {
            int high = len - i > 2 ? digit_of(text[i + 1]) : -1;
            int low = len - i > 2 ? digit_of(text[i + 2]) : -1;

            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0' || at == 255) {
            return false;
        }
        out[at++] = c;
    }
    out[at] = '\0';
    return true;
}

static bool take_login(const char *text, size_t len, struct proxy *out)
{
    const char *colon = memchr(text, ':', len);
    size_t user_len = colon != NULL ? (size_t)(colon - text) : len;

    return user_len > 0 && decode(text, user_len, out->user) &&
           (colon == NULL ||
            decode(colon + 1, len - user_len - 1, out->password));
}

static bool take_port(const char *text, uint16_t *port)
{
    unsigned value = 0;

    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return false;
        }
        value = value * 10 + (unsigned)(*text - '0');
        if (value > UINT16_MAX) {
            return false;
        }
    }
    *port = (uint16_t)value;
    return value > 0;
}

static bool take_host(const char *text, size_t len, struct proxy *out)
{
    if (len > 1 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len) != NULL) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= 0x20 || text[i] == '/' ||
            text[i] == 0x7f) {
            return false;
        }
    }
    if (len == 0 || len >= sizeof out->host) {
        return false;
    }
    memcpy(out->host, text, len);
    out->host[len] = '\0';
    return true;
}

int proxy_parse(const char *text, struct proxy *out)
{
    const char *at;
    const char *colon;
    size_t len;

    memset(out, 0, sizeof *out);
    out->port = PORT_DEFAULT;
    if (strncasecmp(text, SCHEME, strlen(SCHEME)) != 0) {
        return strstr(text, "://") != NULL ? ERR_UNSUPPORTED : ERR_URI;
    }
    text += strlen(SCHEME);
    at = strrchr(text, '@');
    if (at != NULL) {
        if (!take_login(text, (size_t)(at - text), out)) {
            return ERR_URI;
        }
        text = at + 1;
    }
    len = strlen(text);
    if (len > 0 && text[len - 1] == '/') {
        len--;
    }
    colon = memrchr(text, ':', len);
    if (colon != NULL && memchr(colon, ']', len - (size_t)(colon - text)) ==
                             NULL) {
        char port[8] = "";
        size_t port_len = len - (size_t)(colon - text) - 1;

        if (port_len >= sizeof port) {
            return ERR_URI;
        }
        memcpy(port, colon + 1, port_len);
        if (!take_port(port, &out->port)) {
            return ERR_URI;
        }
        len = (size_t)(colon - text);
    }
    return take_host(text, len, out) ? 0 : ERR_URI;
}

static bool entry_names(const char *entry, size_t len, const char *host)
{
    size_t host_len = strlen(host);

    if (len == 1 && entry[0] == '*') {
        return true;
    }
    if (len > 1 && entry[0] == '[' && entry[len - 1] == ']') {
        entry++;
        len -= 2;
    }
    if (len > 0 && entry[0] == '.') {
        entry++;
        len--;
    }
    if (len == 0 || len > host_len ||
        strncasecmp(host + host_len - len, entry, len) != 0) {
        return false;
    }
    return len == host_len || host[host_len - len - 1] == '.';
}

bool proxy_excepts(const char *list, const char *host)
{
    static const char separators[] = ", \t\r\n";

    while (list != NULL && *list != '\0') {
        size_t len;

        list += strspn(list, separators);
        len = strcspn(list, separators);
        if (entry_names(list, len, host)) {
            return true;
        }
        list += len;
    }
    return false;
}
