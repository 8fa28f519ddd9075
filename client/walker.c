#include "client/walker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/fetch.h"
#include "client/wire.h"
#include "proto/io/rand.h"

/* Entries told in one turn of the loop. */
#define TURN_ENTRIES 4096u

struct walker {
    struct loop *loop;
    struct walker_options options;
    struct walker_observer observer;
    struct walk *walk;
    struct dialer *dialer;
    struct trust *trust; /* NULL: plain */
    struct receiver_auth auth;
    struct wire_shared shared;
    struct wire wire;
    struct loop_timer *timer;
    struct loop_defer *turn_defer;
    bool paused;
    bool ended;
    enum belay_reason refused; /* before the first turn; BELAY_DONE: not */
    char why[TRUST_TEXT_MAX];
};

void walker_line_event(const struct line_note *n, char *text, size_t cap,
                       struct belay_event *event)
{
    memset(event, 0, sizeof *event);
    event->struct_size = sizeof *event;
    event->text = text;
    switch (n->type) {
    case LINE_NOTE_LOST:
        event->type = BELAY_EVENT_RESET;
        event->detail = true;
        event->value = n->line + 1;
        (void)snprintf(text, cap, "connection %u lost: %s", n->line + 1,
                       n->text);
        break;
    case LINE_NOTE_WAIT:
        event->type = BELAY_EVENT_STALL;
        event->value = n->wait_ms;
        (void)snprintf(text, cap, "no connection; next try in %.1f s",
                       (double)n->wait_ms / 1000);
        break;
    case LINE_NOTE_BACK:
        event->type = BELAY_EVENT_BACK;
        (void)snprintf(text, cap, "connected again");
        break;
    case LINE_NOTE_SERVER:
        event->type = BELAY_EVENT_NOTE;
        (void)snprintf(text, cap, "the server says: %s", n->text);
        break;
    }
}

void walker_note_event(bool detail, const char *text,
                       struct belay_event *event)
{
    *event = (struct belay_event){.struct_size = sizeof *event,
                                  .type = BELAY_EVENT_NOTE,
                                  .detail = detail,
                                  .text = text};
}

/* ---- the wire. */

static void on_connected(void *arg, unsigned number, bool ok,
                         const char *text)
{
    struct walker *w = arg;
    uint64_t now = loop_now_ms(w->loop);

    (void)number;
    if (!ok) {
        walk_dial_failed(w->walk, text, now);
        return;
    }
    walk_connected(w->walk, now);
    if (!walk_conn_open(w->walk)) {
        wire_close(&w->wire);
    }
}

static void on_input(void *arg, unsigned number, const uint8_t *data,
                     size_t len)
{
    struct walker *w = arg;

    (void)number;
    walk_feed(w->walk, data, len, loop_now_ms(w->loop));
}

static void on_lost(void *arg, unsigned number, const char *text)
{
    struct walker *w = arg;

    (void)number;
    walk_lost(w->walk, text, loop_now_ms(w->loop));
}

static void on_distrust(void *arg, const char *text)
{
    struct walker *w = arg;

    w->refused = security_reason(w->trust);
    (void)snprintf(w->why, sizeof w->why, "%s", text);
    wire_close(&w->wire);
    loop_defer_arm(w->turn_defer);
}

static void on_told(void *arg, bool detail, const char *text)
{
    struct walker *w = arg;
    struct belay_event event;

    walker_note_event(detail, text, &event);
    w->observer.note(w->observer.arg, &event);
}

static void on_recorded(void *arg, const char *text)
{
    on_told(arg, false, text);
}

static void on_hopeless(void *arg, const char *text)
{
    struct walker *w = arg;

    w->refused = BELAY_NOT_BELAY;
    (void)snprintf(w->why, sizeof w->why, "%s", text);
}

static void on_wire_turn(void *arg)
{
    struct walker *w = arg;

    loop_defer_arm(w->turn_defer);
}

static struct receiver *receiver_of(void *arg, unsigned number)
{
    struct walker *w = arg;

    (void)number;
    return walk_receiver(w->walk);
}

static const struct wire_events wire_events = {
    .connected = on_connected,
    .input = on_input,
    .lost = on_lost,
    .distrust = on_distrust,
    .recorded = on_recorded,
    .turn = on_wire_turn,
    .receiver = receiver_of,
    .told = on_told,
    .hopeless = on_hopeless,
};

/* ---- the machine's actions. */

static void end(struct walker *w, enum belay_reason reason, const char *text)
{
    walker_stop(w);
    w->observer.end(w->observer.arg, reason, text);
}

static void act(struct walker *w, const struct walk_action *a)
{
    struct belay_event event;
    char text[LINE_TEXT + 40];

    switch (a->type) {
    case WALK_DIAL:
        wire_dial(&w->wire);
        break;
    case WALK_DROP:
        wire_close(&w->wire);
        break;
    case WALK_DIR:
    case WALK_ENTRY:
    case WALK_REFUSED:
    case WALK_LEAVE:
        w->observer.tell(w->observer.arg, a);
        break;
    case WALK_NOTE:
        walker_line_event(&a->note, text, sizeof text, &event);
        w->observer.note(w->observer.arg, &event);
        break;
    case WALK_FAIL:
        if (a->reason == TRANSFER_NOT_A_DIRECTORY) {
            (void)snprintf(text, sizeof text, "%s; a file is fetched by "
                           "belay get without -r", a->text);
        }
        end(w, fetch_reason(a->reason),
            a->reason == TRANSFER_NOT_A_DIRECTORY ? text : a->text);
        break;
    case WALK_END:
        end(w, BELAY_DONE, "");
        break;
    case WALK_IDLE:
        break;
    }
}

static void on_turn(void *arg)
{
    struct walker *w = arg;
    struct walk_action action;
    uint64_t now = loop_now_ms(w->loop);
    unsigned told = 0;
    uint64_t at;

    if (w->refused != BELAY_DONE && !w->ended) {
        end(w, w->refused, w->why);
    }
    while (!w->ended && told < TURN_ENTRIES &&
           walk_next(w->walk, !w->paused, now, &action) != WALK_IDLE) {
        act(w, &action);
        told++;
    }
    if (w->ended) {
        return;
    }
    if (wire_is_open(&w->wire)) {
        wire_send(&w->wire);
    }
    if (told == TURN_ENTRIES) {
        loop_defer_arm(w->turn_defer);
    }
    at = walk_deadline(w->walk);
    if (at != UINT64_MAX) {
        loop_timer_start(w->timer, at > now ? at - now : 1);
    }
}

static void on_timer(void *arg)
{
    struct walker *w = arg;

    walk_tick(w->walk, loop_now_ms(w->loop));
    loop_defer_arm(w->turn_defer);
}

/* ---- for the owner. */

void walker_pause(struct walker *w, bool paused)
{
    if (w->paused && !paused) {
        loop_defer_arm(w->turn_defer);
    }
    w->paused = paused;
}

void walker_prune(struct walker *w)
{
    walk_prune(w->walk);
}

size_t walker_path(const struct walker *w, const struct walk_dir *dir,
                   struct bytes_view name, bool below,
                   char out[LIMIT_PATH + 1])
{
    return walk_path(w->walk, dir, name, below, out);
}

void walker_stop(struct walker *w)
{
    w->ended = true;
    wire_close(&w->wire);
    loop_timer_stop(w->timer);
}

/* ---- life. */

static int make_parts(struct walker *w)
{
    const struct walker_options *o = &w->options;
    struct walk_config config = {
        .line = {.agent = "belay/" BELAY_VERSION,
                 .auth = security_auth(o->security, o->uri, &w->auth),
                 .max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX,
                 .wait_first = o->wait_first,
                 .tries_max = o->tries,
                 .silence_ms = o->stall_ms,
                 .seed = rand_u64()},
        .path = (const uint8_t *)o->uri->path,
        .path_len = o->uri->path_len,
        .recursive = o->recursive,
        .with_cid = o->with_cid,
    };

    w->shared = (struct wire_shared){
        .loop = w->loop,
        .rate = o->rate,
        .connect_timeout_ms = o->connect_timeout_ms,
        .events = &wire_events,
        .arg = w,
        .buffer = malloc(WIRE_BUFFER),
        .ssh = o->ssh,
        .ssh_host = o->uri->host,
    };
    w->walk = walk_new(&config, loop_now_ms(w->loop));
    if (w->shared.buffer == NULL || w->walk == NULL ||
        dialer_new(w->loop, o->uri->host, o->uri->port, o->family,
                   &w->dialer) != 0 ||
        dialer_set_proxy(w->dialer, o->proxy) != 0 ||
        loop_timer_new(w->loop, on_timer, w, &w->timer) != 0 ||
        loop_defer_new(w->loop, on_turn, w, &w->turn_defer) != 0) {
        return ERR_NOMEM;
    }
    w->refused = security_trust(o->security, o->uri, true, &w->trust,
                                w->why);
    w->shared.trust = w->trust;
    w->shared.dialer = w->dialer;
    return wire_init(&w->wire, &w->shared, 0);
}

int walker_start(struct loop *loop, const struct walker_options *options,
                 const struct walker_observer *observer, struct walker **out)
{
    struct walker *w = calloc(1, sizeof *w);

    if (w == NULL) {
        return ERR_NOMEM;
    }
    w->loop = loop;
    w->options = *options;
    w->observer = *observer;
    if (make_parts(w) != 0) {
        walker_free(w);
        return ERR_NOMEM;
    }
    loop_defer_arm(w->turn_defer);
    *out = w;
    return 0;
}

bool walker_lingers(const struct walker *w)
{
    return w != NULL && dialer_lingers(w->dialer);
}

void walker_free(struct walker *w)
{
    if (w == NULL) {
        return;
    }
    wire_clear(&w->wire);
    loop_timer_free(w->timer);
    loop_defer_free(w->turn_defer);
    dialer_free(w->dialer);
    walk_free(w->walk);
    trust_free(w->trust);
    free(w->shared.buffer);
    free(w);
}
