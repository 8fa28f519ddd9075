#include "client/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/trust.h"
#include "proto/io/loop.h"
#include "proto/io/tls.h"

int channel_open(struct channel *c, int fd, struct trust *trust)
{
    c->fd = fd;
    c->tls = NULL;
    c->trust = trust;
    c->shaking = trust != NULL;
    c->read_wants_write = false;
    if (trust != NULL && trust_connect(trust, fd, &c->tls) != 0) {
        channel_close(c);
        return ERR_NOMEM;
    }
    return 0;
}

void channel_close(struct channel *c)
{
    if (c->fd < 0) {
        return;
    }
    tls_free(c->tls);
    c->tls = NULL;
    close(c->fd);
    c->fd = -1;
}

int channel_shake(struct channel *c)
{
    int err = c->shaking ? tls_handshake(c->tls) : 0;

    if (err == 0 && c->shaking) {
        err = trust_settle(c->trust, c->tls);
        c->shaking = err != 0;
    } else if (err == ERR_TLS && trust_is_accident(c->trust, c->tls)) {
        err = ERR_RESET;
    } else if (err == ERR_TLS) {
        trust_refuse(c->trust, c->tls);
    }
    return err;
}

/* One record at a time comes out of TLS. */
static int read_tls(struct channel *c, struct iovec *iov, int count,
                    size_t *got)
{
    int err = 0;

    *got = 0;
    c->read_wants_write = false;
    for (int k = 0; k < count; k++) {
        uint8_t *to = iov[k].iov_base;
        size_t at = 0;

        while (at < iov[k].iov_len) {
            size_t n = 0;

            err = tls_read(c->tls, to + at, iov[k].iov_len - at, &n);
            if (err != 0) {
                c->read_wants_write =
                    err == ERR_AGAIN && tls_wants(c->tls) == TLS_WANT_WRITE;
                /* What came before an end counts; the end comes again. */
                return *got > 0 ? 0 : err;
            }
            at += n;
            *got += n;
        }
    }
    return 0;
}

static int read_plain(struct channel *c, const struct iovec *iov, int count,
                      size_t *got)
{
    ssize_t n;

    do {
        n = readv(c->fd, iov, count);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *got = (size_t)n;
        return 0;
    }
    if (n == 0) {
        return ERR_EOF;
    }
    return errno == EAGAIN ? ERR_AGAIN : ERR_RESET;
}

int channel_readv(struct channel *c, struct iovec *iov, int count,
                  size_t *got)
{
    return c->tls != NULL ? read_tls(c, iov, count, got)
                          : read_plain(c, iov, count, got);
}

int channel_send(struct channel *c, const uint8_t *data, size_t len,
                 size_t *sent)
{
    ssize_t n;

    if (c->tls != NULL) {
        return tls_write(c->tls, data, len, sent);
    }
    do {
        n = send(c->fd, data, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        *sent = (size_t)n;
        return 0;
    }
    return errno == EAGAIN ? ERR_AGAIN : ERR_RESET;
}

unsigned channel_events(const struct channel *c, unsigned wanted)
{
    if (c->shaking) {
        return tls_wants(c->tls) == TLS_WANT_READ ? LOOP_READ : LOOP_WRITE;
    }
    return wanted | (c->read_wants_write && (wanted & LOOP_READ) != 0
                         ? LOOP_WRITE
                         : 0);
}

bool channel_has_input(const struct channel *c)
{
    return c->tls != NULL && !c->shaking && tls_has_input(c->tls);
}

bool channel_is_refused(struct channel *c)
{
    if (c->tls == NULL || tls_fault(c->tls) != TLS_FAULT_REFUSED) {
        return false;
    }
    trust_refuse(c->trust, c->tls);
    return true;
}

const char *channel_problem(const struct channel *c, int err)
{
    if (err == ERR_TLS && c->shaking) {
        return trust_problem(c->trust);
    }
    if (err == ERR_EOF && c->shaking) {
        return "the server closed the connection within the TLS handshake; "
               "perhaps it does not serve TLS (belay+tcp:// is without)";
    }
    if (err == ERR_EOF) {
        return "the server closed the connection";
    }
    return c->tls != NULL ? tls_problem(c->tls) : strerror(errno);
}
