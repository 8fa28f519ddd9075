/* A connection through another program: ssh, which runs `belayd --stdio` on
 * the far side.
 *
 * The tunnel is ready when the first bytes of a Belay server arrive. What the
 * remote shell printed before them is told and skipped (spec B1-W3); what the
 * program says on standard error is told line by line, escaped. When it ends
 * before it is ready, its exit status says why.
 *
 * Loop thread only. */
#ifndef CLIENT_TUNNEL_H
#define CLIENT_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* For a login, beyond the time for reaching the host: whoever types a password
 * needs longer than a network, and sshd gives so long (LoginGraceTime). */
#define TUNNEL_LOGIN_MS 120000u

struct loop;
struct tunnel;

/* The outcome. fd >= 0 is a socket that now belongs to the callee, non-blocking
 * and with the server's first bytes in it. Else text, printable and borrowed
 * for the call, says what failed; hopeless: it would fail again. */
typedef void tunnel_done_fn(void *arg, int fd, bool hopeless,
                            const char *text);

/* Something to tell, printable, borrowed for the call. detail: of interest
 * only to who looks closely. May come as long as the tunnel lives. */
typedef void tunnel_tell_fn(void *arg, bool detail, const char *text);

struct tunnel_options {
    char *const *argv;   /* borrowed for tunnel_start() */
    const char *host;    /* for texts; borrowed for tunnel_start() */
    uint64_t timeout_ms; /* until ready */
    tunnel_done_fn *done;
    tunnel_tell_fn *tell;
    void *arg;
};

/* Starts the program. Exactly one done callback follows, later, unless the
 * tunnel is freed before. ERR_NOMEM: none will. */
MUST_USE int tunnel_start(struct loop *loop,
                          const struct tunnel_options *options,
                          struct tunnel **out);

/* Ends the program; its socket had better be closed before. No callback
 * follows. Waits for a moment until the program has gone. NULL is allowed. Not
 * from inside tell. */
void tunnel_free(struct tunnel *tunnel);

#endif
