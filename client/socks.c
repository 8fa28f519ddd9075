#include "client/socks.h"

#include <arpa/inet.h>
#include <string.h>

#include "proto/base/check.h"

enum {
    VERSION = 5,
    AUTH_VERSION = 1,
    METHOD_NONE = 0,
    METHOD_PASSWORD = 2,
    METHOD_REFUSED = 0xff,
    COMMAND_CONNECT = 1,
    ADDRESS_IPV4 = 1,
    ADDRESS_NAME = 3,
    ADDRESS_IPV6 = 4,
};

static void put(struct socks *s, uint8_t byte)
{
    BELAY_ASSERT(s->out_len < sizeof s->out);
    s->out[s->out_len] = byte;
    s->out_len++;
}

static void put_text(struct socks *s, const char *text)
{
    size_t len = strlen(text);

    BELAY_ASSERT(len <= 255 && len < sizeof s->out - s->out_len);
    put(s, (uint8_t)len);
    memcpy(s->out + s->out_len, text, len);
    s->out_len += len;
}

static void await(struct socks *s, enum socks_state state, size_t len)
{
    s->state = state;
    s->in_len = 0;
    s->in_want = len;
}

static int fail(struct socks *s, int err, const char *reason)
{
    s->state = SOCKS_FAILED;
    s->reason = reason;
    return err;
}

int socks_init(struct socks *s, const struct proxy *proxy, const char *host,
               uint16_t port)
{
    memset(s, 0, sizeof *s);
    s->proxy = proxy;
    s->host = host;
    s->port = port;
    if (strlen(host) > 255) {
        return ERR_RANGE;
    }
    put(s, VERSION);
    if (proxy->user[0] != '\0') {
        put(s, 2);
        put(s, METHOD_NONE);
        put(s, METHOD_PASSWORD);
    } else {
        put(s, 1);
        put(s, METHOD_NONE);
    }
    await(s, SOCKS_METHOD, 2);
    return 0;
}

const uint8_t *socks_output(const struct socks *s, size_t *len)
{
    *len = s->out_len - s->out_at;
    return s->out + s->out_at;
}

void socks_sent(struct socks *s, size_t len)
{
    BELAY_ASSERT(len <= s->out_len - s->out_at);
    s->out_at += len;
    if (s->out_at == s->out_len) {
        s->out_at = 0;
        s->out_len = 0;
    }
}

size_t socks_wanted(const struct socks *s)
{
    return s->in_want - s->in_len;
}

const char *socks_reason(const struct socks *s)
{
    return s->reason != NULL ? s->reason : "";
}

/* ---- the steps. */

static void ask_for_server(struct socks *s)
{
    uint8_t address[16];

    put(s, VERSION);
    put(s, COMMAND_CONNECT);
    put(s, 0);
    if (inet_pton(AF_INET, s->host, address) == 1) {
        put(s, ADDRESS_IPV4);
        memcpy(s->out + s->out_len, address, 4);
        s->out_len += 4;
    } else if (inet_pton(AF_INET6, s->host, address) == 1) {
        put(s, ADDRESS_IPV6);
        memcpy(s->out + s->out_len, address, 16);
        s->out_len += 16;
    } else {
        put(s, ADDRESS_NAME);
        put_text(s, s->host);
    }
    put(s, (uint8_t)(s->port >> 8));
    put(s, (uint8_t)s->port);
    await(s, SOCKS_REPLY, 4);
}

static int on_method(struct socks *s)
{
    if (s->in[0] != VERSION) {
        return fail(s, ERR_MALFORMED, "it is not a SOCKS5 proxy");
    }
    switch (s->in[1]) {
    case METHOD_NONE:
        ask_for_server(s);
        return ERR_AGAIN;
    case METHOD_PASSWORD:
        if (s->proxy->user[0] == '\0') {
            break;
        }
        put(s, AUTH_VERSION);
        put_text(s, s->proxy->user);
        put_text(s, s->proxy->password);
        await(s, SOCKS_AUTH, 2);
        return ERR_AGAIN;
    case METHOD_REFUSED:
        return fail(s, ERR_AUTH, s->proxy->user[0] == '\0'
                                     ? "the proxy wants a user and password"
                                     : "the proxy takes no password");
    default:
        break;
    }
    return fail(s, ERR_MALFORMED, "the proxy picks a method that was not "
                                  "offered");
}

static int on_auth(struct socks *s)
{
    if (s->in[1] != 0) {
        return fail(s, ERR_AUTH, "the proxy refuses user and password");
    }
    ask_for_server(s);
    return ERR_AGAIN;
}

static int on_reply(struct socks *s)
{
    static const char *const reasons[] = {
        NULL,
        "the proxy failed",
        "the proxy does not allow it",
        "the proxy finds the network unreachable",
        "the proxy cannot reach the server",
        "the server refuses the connection of the proxy",
        "the connection of the proxy timed out",
        "the proxy cannot connect",
        "the proxy does not know this kind of address",
    };
    uint8_t code = s->in[1];

    if (s->in[0] != VERSION) {
        return fail(s, ERR_MALFORMED, "the proxy's reply is not SOCKS5");
    }
    if (code != 0) {
        return fail(s, ERR_CONNECT,
                    code < sizeof reasons / sizeof reasons[0]
                        ? reasons[code]
                        : "the proxy refuses for an unknown reason");
    }
    switch (s->in[3]) {
    case ADDRESS_IPV4:
        await(s, SOCKS_BOUND, 4 + 2);
        return ERR_AGAIN;
    case ADDRESS_IPV6:
        await(s, SOCKS_BOUND, 16 + 2);
        return ERR_AGAIN;
    case ADDRESS_NAME:
        await(s, SOCKS_NAME_LEN, 1);
        return ERR_AGAIN;
    default:
        return fail(s, ERR_MALFORMED, "the proxy's reply is not SOCKS5");
    }
}

int socks_input(struct socks *s, const uint8_t *data, size_t len)
{
    BELAY_ASSERT(len <= socks_wanted(s));
    memcpy(s->in + s->in_len, data, len);
    s->in_len += len;
    if (s->in_len < s->in_want) {
        return ERR_AGAIN;
    }
    switch (s->state) {
    case SOCKS_METHOD:
        return on_method(s);
    case SOCKS_AUTH:
        return on_auth(s);
    case SOCKS_REPLY:
        return on_reply(s);
    case SOCKS_NAME_LEN:
        await(s, SOCKS_BOUND, (size_t)s->in[0] + 2);
        return ERR_AGAIN;
    case SOCKS_BOUND:
        s->state = SOCKS_DONE;
        return 0;
    case SOCKS_DONE:
    case SOCKS_FAILED:
        break;
    }
    return ERR_STATE;
}
