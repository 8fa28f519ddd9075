/* Wire: the socket of one line (proto/session/line.h), from dialling to its
 * end.  For machines whose data is small enough to be copied; the sockets of
 * large files are client/link.h's.
 *
 * The owner sends through its receiver: what that has queued goes out by
 * wire_send().  What arrives is handed to `input`, which takes all of it.
 *
 * Loop thread only. */
#ifndef CLIENT_WIRE_H
#define CLIENT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/channel.h"
#include "client/dial.h"
#include "client/rate.h"
#include "proto/io/loop.h"
#include "proto/session/receiver.h"

/* Bytes read at once, into one buffer that all wires of an owner share. */
#define WIRE_BUFFER ((size_t)256 << 10)

/* What a wire tells its owner.  After a call the wire may be closed. */
struct wire_events {
    /* Connected; or not (text says why).  Exactly one for each dial. */
    void (*connected)(void *arg, unsigned number, bool ok, const char *text);
    void (*input)(void *arg, unsigned number, const uint8_t *data,
                  size_t len);
    void (*lost)(void *arg, unsigned number, const char *text);
    /* TLS failed for good, as shared->trust knows: no wire to this server. */
    void (*distrust)(void *arg, const char *text);
    /* The server's key was new and is recorded now; the text says so. */
    void (*recorded)(void *arg, const char *text);
    /* Something happened; asked once after the others. */
    void (*turn)(void *arg);
    struct receiver *(*receiver)(void *arg, unsigned number);
    /* The way through ssh: what there is to tell on it; and that it will
     * never lead there, after which no wire of this owner is of use. */
    void (*told)(void *arg, bool detail, const char *text);
    void (*hopeless)(void *arg, const char *text);
};

struct wire_shared {
    struct loop *loop;
    struct dialer *dialer;
    const struct ssh_command *ssh; /* borrowed; NULL: by the dialer */
    const char *ssh_host;          /* for texts; borrowed */
    struct trust *trust; /* borrowed; NULL: plain */
    struct rate *rate; /* NULL: no limit */
    uint64_t connect_timeout_ms;
    const struct wire_events *events;
    void *arg;
    uint8_t *buffer; /* WIRE_BUFFER bytes */
};

struct wire {
    const struct wire_shared *shared;
    unsigned number;
    struct channel channel;
    struct dial *dial;
    struct tunnel *tunnel; /* the program that the bytes go through */
    struct loop_poll *poll;
    struct loop_defer *again; /* read on: TLS holds received bytes */
    struct loop_timer *rate_timer;
    unsigned watched; /* LOOP_ bits */
    bool held;
    bool throttled;
    struct rate_taker taker;
};

/* Makes a closed wire.  ERR_NOMEM. */
int wire_init(struct wire *wire, const struct wire_shared *shared,
              unsigned number) MUST_USE;
void wire_clear(struct wire *wire);
bool wire_is_open(const struct wire *wire);
void wire_dial(struct wire *wire);
/* Closes, or stops dialling; no call about it follows. */
void wire_close(struct wire *wire);
void wire_send(struct wire *wire);
/* While held nothing is read. */
void wire_hold(struct wire *wire, bool held);

#endif
