/* Walker: a listing of the server, of one directory or of a tree.
 *
 * The runner of proto/session/walk.h: the socket and the clock around the
 * pure machine.  Loop thread only. */
#ifndef CLIENT_WALKER_H
#define CLIENT_WALKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/belay.h"
#include "client/dial.h"
#include "client/rate.h"
#include "client/security.h"
#include "proto/data/uri.h"
#include "proto/io/loop.h"
#include "proto/session/walk.h"

struct walker_options {
    const struct uri *uri; /* server and directory; borrowed until the end */
    bool recursive;
    bool with_cid;
    unsigned tries;        /* 0: no limit once there was contact */
    bool wait_first;
    enum dial_family family;
    uint64_t connect_timeout_ms;
    uint64_t stall_ms;     /* silence before a PING; 0: default */
    struct rate *rate;     /* borrowed, shared; NULL: no limit */
    const struct proxy *proxy; /* borrowed for the call; NULL: none */
    const struct ssh_command *ssh; /* borrowed until the end; NULL: none */
    const struct security *security; /* borrowed */
};

struct walker_observer {
    /* WALK_DIR, WALK_ENTRY, WALK_REFUSED or WALK_LEAVE of walk.h.  It may
     * call walker_prune(), walker_pause() and walker_path(). */
    void (*tell)(void *arg, const struct walk_action *action);
    void (*note)(void *arg, const struct belay_event *event);
    /* The last call: BELAY_DONE when everything was told. */
    void (*end)(void *arg, enum belay_reason reason, const char *text);
    void *arg;
};

struct walker;

/* Connects at once; ERR_NOMEM. */
int walker_start(struct loop *loop, const struct walker_options *options,
                 const struct walker_observer *observer,
                 struct walker **out) MUST_USE;
/* While paused nothing is told; what comes meanwhile is bounded. */
void walker_pause(struct walker *walker, bool paused);
void walker_prune(struct walker *walker);
/* As walk_path(). */
size_t walker_path(const struct walker *walker, const struct walk_dir *dir,
                   struct bytes_view name, bool below,
                   char out[LIMIT_PATH + 1]);
/* Ends now, without another call. */
void walker_stop(struct walker *walker);
bool walker_lingers(const struct walker *walker);
void walker_free(struct walker *walker);

/* The event that a note of a line amounts to, for haul and walker; the text
 * goes to `text`. */
void walker_line_event(const struct line_note *note, char *text, size_t cap,
                       struct belay_event *event);
/* The same of a plain sentence, which is borrowed. */
void walker_note_event(bool detail, const char *text,
                       struct belay_event *event);

#endif
