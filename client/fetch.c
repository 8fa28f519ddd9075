/* Fetch: life, the transfer's actions, the end. */
#include "client/fetch.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/fetch_internal.h"
#include "client/link.h"
#include "proto/data/text.h"
#include "proto/io/rand.h"

/* Complete chunks wait so long for their neighbours before they are written:
 * one write of 1 MiB costs half of four of 256 KiB. */
#define FLUSH_MS 20u
/* Who interrupts waits no longer than this for jobs under way. */
#define SETTLE_MS 1000u

/* ---- the end. */

void fetch_over(struct fetch *f, enum belay_reason end, const char *format, ...)
{
    va_list args;

    if (f->over) {
        return;
    }
    f->over = true;
    f->end = end;
    va_start(args, format);
    text_vprint(f->text, sizeof f->text, format, args);
    va_end(args);
    fetch_pump_later(f); /* settles from the top of the loop */
}

static bool jobs_left(const struct fetch *f)
{
    return pipeline_pending(f->pipeline) > 0 || f->local_busy > 0 ||
           loop_work_pending(f->sync_work) ||
           loop_work_pending(f->finish_work) || stream_busy(f->stream);
}

static void drop_link(struct link *link)
{
    dial_cancel(link->dial);
    link->dial = NULL;
    link_close(link);
    tunnel_free(link->tunnel);
    link->tunnel = NULL;
}

static void close_links(struct fetch *f)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        drop_link(&f->link[i]);
    }
}

static void tell_end(struct fetch *f)
{
    loop_timer_stop(f->settle_timer);
    f->ended = true;
    f->observer.end(f->observer.arg, f->end, f->text);
}

static void on_settle(void *arg)
{
    struct fetch *f = arg;

    if (!f->ended) {
        f->stuck = true;
        tell_end(f);
    }
}

/* The result is decided: tell it once nobody works on anything any more. */
void fetch_settle(struct fetch *f)
{
    if (!f->over || f->ended) {
        return;
    }
    close_links(f);
    loop_timer_stop(f->timer);
    loop_timer_stop(f->flush_timer);
    loop_timer_stop(f->rate_timer);
    loop_timer_stop(f->speed_timer);
    if (!jobs_left(f)) {
        fetch_store_close(f);
        tell_end(f);
    } /* else the done callbacks come back here */
}

void fetch_raise(struct fetch *f, enum belay_event_type type,
                 uint64_t value, bool detail, const char *text)
{
    struct belay_event event = {.struct_size = sizeof event,
                                .type = type,
                                .value = value,
                                .detail = detail,
                                .text = text};

    f->observer.note(f->observer.arg, &event);
}

void fetch_note(struct fetch *f, const char *format, ...)
{
    char text[700];
    va_list args;

    va_start(args, format);
    text_vprint(text, sizeof text, format, args);
    va_end(args);
    fetch_raise(f, BELAY_EVENT_NOTE, 0, false, text);
}

void fetch_event(struct fetch *f, enum belay_event_type type, uint64_t value,
                 const char *format, ...)
{
    char text[700];
    va_list args;

    va_start(args, format);
    text_vprint(text, sizeof text, format, args);
    va_end(args);
    fetch_raise(f, type, value,
                type == BELAY_EVENT_RESET || type == BELAY_EVENT_DAMAGED ||
                    type == BELAY_EVENT_SECURE ||
                    (type == BELAY_EVENT_WRONG &&
                     f->options.kind == BELAY_KIND_REPAIR),
                text);
}

/* ---- pipeline. */

static void run_finished(void *arg, struct run *run)
{
    struct fetch *f = arg;
    uint64_t now = loop_now_ms(f->loop);

    if (run->failed && !f->over) {
        fetch_store_error(f, &run->error);
    }
    for (unsigned k = 0; k < run->count && !f->over; k++) {
        struct piece *piece = &run->piece[k];

        if (piece->ok && f->stream != NULL) {
            stream_ready(f->stream, piece);
        } else {
            transfer_chunk_done(f->transfer, piece->chunk.conn,
                                piece->chunk.index, piece->digest, piece->ok,
                                now);
        }
    }
    fetch_pump_later(f);
}

static void room_again(void *arg)
{
    fetch_pump_later(arg); /* held links go on from there */
}

void fetch_arm_flush(struct fetch *f)
{
    if (!f->flush_armed) {
        f->flush_armed = true;
        loop_timer_start(f->flush_timer, FLUSH_MS);
    }
}

static void on_flush(void *arg)
{
    struct fetch *f = arg;
    uint64_t now = loop_now_ms(f->loop);

    f->flush_armed = false;
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct link *link = &f->link[i];

        if (link->run == NULL || link->run->count == 0) {
            continue;
        }
        if (now >= link->run_since + FLUSH_MS) {
            link_flush(link);
        } else {
            fetch_arm_flush(f);
        }
    }
    fetch_pump_later(f);
}

/* ---- connections. */

static void on_dialed(void *arg, int fd, const char *text)
{
    struct link *link = arg;
    struct fetch *f = link->fetch;
    uint64_t now = loop_now_ms(f->loop);

    link->dial = NULL;
    if (fd < 0) {
        transfer_dial_failed(f->transfer, link->conn, text, now);
        fetch_pump(f);
        return;
    }
    transfer_connected(f->transfer, link->conn, now);
    if (!transfer_conn_open(f->transfer, link->conn)) {
        close(fd);
    } else if (link_open(link, fd) != 0) {
        transfer_lost(f->transfer, link->conn, "out of memory", now);
    } else {
        link_send(link);
    }
    fetch_pump(f);
}

const struct uri *fetch_source_uri(const struct fetch *f, unsigned source)
{
    return source == 0 ? f->options.uri : &f->options.mirrors[source - 1];
}

static void on_tunnel(void *arg, int fd, bool hopeless, const char *text)
{
    struct link *link = arg;
    char copy[700];

    if (fd < 0) {
        /* The text is the tunnel's, which ends before anything follows. */
        (void)snprintf(copy, sizeof copy, "%s", text);
        text = copy;
        tunnel_free(link->tunnel);
        link->tunnel = NULL;
    }
    if (fd < 0 && hopeless) {
        fetch_over(link->fetch, BELAY_NOT_BELAY, "%s", text);
        return;
    }
    on_dialed(link, fd, text);
}

static void on_tunnel_told(void *arg, bool detail, const char *text)
{
    struct link *link = arg;

    fetch_raise(link->fetch, BELAY_EVENT_NOTE, 0, detail, text);
}

static void start_tunnel(struct fetch *f, struct link *link, unsigned source)
{
    const struct tunnel_options options = {
        .argv = f->options.ssh[source].argv,
        .host = fetch_source_uri(f, source)->host,
        .timeout_ms = f->options.connect_timeout_ms + TUNNEL_LOGIN_MS,
        .done = on_tunnel,
        .tell = on_tunnel_told,
        .arg = link,
    };

    tunnel_free(link->tunnel);
    link->tunnel = NULL;
    if (tunnel_start(f->loop, &options, &link->tunnel) != 0) {
        transfer_dial_failed(f->transfer, link->conn, "out of memory",
                             loop_now_ms(f->loop));
    }
}

static void start_dial(struct fetch *f, unsigned conn, unsigned source)
{
    struct link *link = &f->link[conn];

    if (fetch_source_uri(f, source)->scheme == URI_SSH) {
        start_tunnel(f, link, source);
        return;
    }
    if (dial_start(f->dialer[source], f->options.connect_timeout_ms,
                   on_dialed, link, &link->dial) != 0) {
        transfer_dial_failed(f->transfer, conn, "out of memory",
                             loop_now_ms(f->loop));
    }
}

static void drop_conn(struct fetch *f, unsigned conn)
{
    drop_link(&f->link[conn]);
}

/* ---- the pump. */

static void act(struct fetch *f, const struct transfer_action *a)
{
    switch (a->type) {
    case TRANSFER_DIAL:
        start_dial(f, a->conn, a->source);
        break;
    case TRANSFER_DROP:
        drop_conn(f, a->conn);
        break;
    case TRANSFER_BEGIN:
        fetch_store_begin(f);
        fetch_pump_later(f); /* links may wait for this */
        break;
    case TRANSFER_REBASE:
    case TRANSFER_FINISH:
        f->store_step = a->type; /* see store_step_done() */
        break;
    case TRANSFER_IDENTITY:
        fetch_store_identity(f);
        break;
    case TRANSFER_HASH:
    case TRANSFER_COPY:
        local_add(f, a);
        break;
    case TRANSFER_COMPARED:
        fetch_compared(f);
        break;
    case TRANSFER_FAIL:
        fetch_failed(f, a->reason);
        break;
    case TRANSFER_NOTE:
        fetch_tell(f, a);
        break;
    case TRANSFER_IDLE:
        break;
    }
}

static void arm_timer(struct fetch *f)
{
    uint64_t now = loop_now_ms(f->loop);
    uint64_t at = transfer_deadline(f->transfer);

    if (at != UINT64_MAX) {
        /* Never 0: a timer that is always due would starve the rest. */
        loop_timer_start(f->timer, at > now ? at - now : 1);
    }
}

static bool begin_again(struct fetch *f);

/* What changes the store as a whole waits until no worker writes into it or
 * syncs it: a chunk that came twice may still be on its way when the transfer
 * needs it no more.  False: not yet, and nothing else may happen before. */
static bool store_step_done(struct fetch *f)
{
    enum transfer_action_type step = f->store_step;

    if (step == TRANSFER_IDLE) {
        return true;
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        link_flush(&f->link[i]);
    }
    if (pipeline_pending(f->pipeline) > 0 ||
        loop_work_pending(f->sync_work)) {
        return false;
    }
    f->store_step = TRANSFER_IDLE;
    if (step == TRANSFER_REBASE) {
        fetch_store_rebase(f);
    } else {
        fetch_store_finish(f);
    }
    return true;
}

/* Do what the transfer says until it has nothing more to say. */
void fetch_pump(struct fetch *f)
{
    struct transfer_action action;

    if (f->in_pump || f->over) {
        return;
    }
    f->in_pump = true;
    if (transfer_deadline(f->transfer) <= loop_now_ms(f->loop)) {
        /* Its timer may never come while there is always something to do. */
        transfer_tick(f->transfer, loop_now_ms(f->loop));
    }
    while (!f->over && !f->restart && store_step_done(f) && !f->over &&
           transfer_next(f->transfer, loop_now_ms(f->loop), &action) !=
               TRANSFER_IDLE) {
        act(f, &action);
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX && !f->over; i++) {
        if (f->link[i].channel.fd >= 0) {
            link_send(&f->link[i]);
        }
    }
    f->in_pump = false;
    if (f->restart) {
        fetch_pump_later(f);
    } else if (!f->over) {
        fetch_store_sync(f);
        arm_timer(f);
    }
}

void fetch_pump_later(struct fetch *f)
{
    loop_defer_arm(f->pump_defer);
}

static void on_defer(void *arg)
{
    struct fetch *f = arg;

    if (f->restart && !f->over) {
        f->restart = false;
        if (!begin_again(f)) {
            fetch_over(f, BELAY_INTERNAL, "out of memory");
        }
    }
    if (f->over) {
        fetch_settle(f);
        return;
    }
    for (unsigned i = 0; f->begun && i < TRANSFER_CONNS_MAX; i++) {
        if (f->link[i].held) {
            link_resume(&f->link[i]);
        }
    }
    fetch_pump(f);
}

static void on_timer(void *arg)
{
    struct fetch *f = arg;

    if (f->over) {
        return;
    }
    transfer_tick(f->transfer, loop_now_ms(f->loop));
    fetch_pump(f);
}

/* Ends, with or without the jobs that are under way. */
static void hasten(struct fetch *f)
{
    if (!f->ended) {
        loop_timer_start(f->settle_timer, SETTLE_MS);
    }
}

/* ---- life. */

/* In place of the one before, which stays if there is no memory. */
static bool make_transfer(struct fetch *f)
{
    const struct fetch_options *o = &f->options;
    struct transfer *made;
    struct transfer_config config = {
        .path = (const uint8_t *)o->uri->path,
        .path_len = o->uri->path_len,
        .pinned = o->uri->pinned,
        .pin_log2 = o->uri->chunk_log2,
        .want_chunk_log2 = o->want_chunk_log2,
        .max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX,
        .compression = o->compression,
        .conns = o->conns,
        .tries_max = o->tries,
        .wait_first = o->wait_first,
        .stop_on_change = o->stop_on_change,
        .probe = f->probing,
        .in_order = o->name == NULL,
        .window_chunks_bytes = STREAM_WINDOW,
        .max_size = o->max_size,
        .mirror_count = o->mirror_count,
        .silence_ms = o->stall_ms,
        .agent = "belay/" BELAY_VERSION,
        .auth = security_auth(o->security, o->uri, &f->auth),
        .seed = rand_u64(),
    };

    memcpy(config.pin_cid, o->uri->cid, HASH_LEN);
    for (unsigned k = 0; k < config.mirror_count; k++) {
        config.mirror[k].path = (const uint8_t *)o->mirrors[k].path;
        config.mirror[k].path_len = o->mirrors[k].path_len;
    }
    donors_config(f, &config);
    made = transfer_new(&config, loop_now_ms(f->loop));
    if (made == NULL) {
        return false;
    }
    transfer_free(f->transfer);
    f->transfer = made;
    return true;
}

/* The target exists and shall be replaced: from a look to a download. */
static bool begin_again(struct fetch *f)
{
    close_links(f);
    f->probing = false;
    f->probed = true;
    f->begun = false;
    donors_add_target(f);
    if (!make_transfer(f)) {
        return false;
    }
    (void)fetch_store_open(f);
    return true;
}

static int make_parts(struct fetch *f)
{
    struct pipeline_config config = {.loop = f->loop,
                                     .memory = f->options.memory,
                                     .done = run_finished,
                                     .room = room_again,
                                     .arg = f};

    for (unsigned k = 0; k <= f->options.mirror_count; k++) {
        const struct uri *uri = fetch_source_uri(f, k);

        if (dialer_new(f->loop, uri->host, uri->port, f->options.family,
                       &f->dialer[k]) != 0 ||
            dialer_set_proxy(f->dialer[k], f->options.proxy) != 0) {
            return ERR_NOMEM;
        }
    }
    if (pipeline_new(&config, &f->pipeline) != 0 ||
        loop_timer_new(f->loop, on_timer, f, &f->timer) != 0 ||
        loop_timer_new(f->loop, on_flush, f, &f->flush_timer) != 0 ||
        loop_timer_new(f->loop, fetch_rate_again, f, &f->rate_timer) != 0 ||
        loop_timer_new(f->loop, fetch_speed_check, f, &f->speed_timer) != 0 ||
        loop_timer_new(f->loop, on_settle, f, &f->settle_timer) != 0 ||
        loop_defer_new(f->loop, on_defer, f, &f->pump_defer) != 0 ||
        loop_work_new(f->loop, fetch_sync_work, fetch_sync_done, f,
                      &f->sync_work) != 0 ||
        loop_work_new(f->loop, fetch_finish_work, fetch_finish_done, f,
                      &f->finish_work) != 0 ||
        local_init(f) != 0) {
        return ERR_NOMEM;
    }
    return f->options.name == NULL ? stream_new(f, &f->stream) : 0;
}

/* Local files that the transfer has to know of from the start. */
static bool open_local(struct fetch *f)
{
    if (f->options.kind != BELAY_KIND_GET) {
        return place_open(f);
    }
    if (f->options.anew && !copy_open(f)) {
        return false;
    }
    donors_open_seeds(f);
    return true;
}

int fetch_start(struct loop *loop, const struct fetch_options *options,
                const struct fetch_observer *observer, struct fetch **out)
{
    struct fetch *f = calloc(1, sizeof *f);

    if (f == NULL) {
        return ERR_NOMEM;
    }
    f->loop = loop;
    f->options = *options;
    f->observer = *observer;
    f->started = loop_now_ms(loop);
    f->synced_at = f->started;
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        f->link[i].fetch = f;
        f->link[i].conn = i;
        f->link[i].channel.fd = -1;
    }
    if (make_parts(f) != 0) {
        fetch_free(f);
        return ERR_NOMEM;
    }
    fetch_trust_begin(f);
    (void)open_local(f); /* what is wrong it tells */
    if (!make_transfer(f)) {
        fetch_free(f);
        return ERR_NOMEM;
    }
    *out = f;
    if (!f->over && fetch_store_open(f) && f->probing && !make_transfer(f)) {
        fetch_over(f, BELAY_INTERNAL, "out of memory");
    }
    if (options->speed_limit > 0 && options->speed_ms > 0) {
        loop_timer_start(f->speed_timer, options->speed_ms);
    }
    fetch_pump_later(f);
    return 0;
}

void fetch_interrupt(struct fetch *f)
{
    fetch_over(f, BELAY_INTERRUPTED, "interrupted");
    hasten(f);
}

void fetch_expire(struct fetch *f)
{
    fetch_over(f, BELAY_LIMIT, "the time allowed is over");
    hasten(f);
}

bool fetch_stuck(const struct fetch *f)
{
    return f->stuck;
}

bool fetch_lingers(const struct fetch *f)
{
    for (unsigned k = 0; k <= f->options.mirror_count; k++) {
        if (dialer_lingers(f->dialer[k])) {
            return true;
        }
    }
    return false;
}

void fetch_free(struct fetch *f)
{
    if (f == NULL) {
        return;
    }
    BELAY_ASSERT(!f->stuck);
    close_links(f);
    fetch_store_close(f);
    stream_free(f->stream);
    local_free(f);
    loop_timer_free(f->timer);
    loop_timer_free(f->flush_timer);
    loop_timer_free(f->rate_timer);
    loop_timer_free(f->speed_timer);
    loop_timer_free(f->settle_timer);
    loop_defer_free(f->pump_defer);
    loop_work_free(f->sync_work);
    loop_work_free(f->finish_work);
    pipeline_free(f->pipeline);
    for (unsigned k = 0; k <= f->options.mirror_count; k++) {
        dialer_free(f->dialer[k]);
        trust_free(f->trust[k]);
    }
    donors_close(&f->donors);
    recall_clear(&f->recall);
    transfer_free(f->transfer);
    free(f);
}

void fetch_stats(const struct fetch *f, struct fetch_stats *out)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);

    memset(out, 0, sizeof *out);
    out->ledger = *transfer_ledger(f->transfer);
    out->conns = transfer_conns_used(f->transfer);
    out->verifying = f->verifying;
    out->partial = f->begun && f->options.kind == BELAY_KIND_GET &&
                   f->stream == NULL && !f->finished;
    out->elapsed_ms = loop_now_ms(f->loop) - f->started;
    out->chunk_log2 = id->chunk_log2;
    out->cid_known = id->cid_known;
    memcpy(out->cid, id->cid, HASH_LEN);
    out->pin_shown = f->trust[0] != NULL &&
                     trust_shown(f->trust[0], out->pin);
    out->wrong_chunks = f->wrong_chunks;
    out->wrong_bytes = f->wrong_bytes;
}

bool fetch_source_stats(const struct fetch *f, unsigned source,
                        struct transfer_source_stats *out)
{
    if (f->transfer == NULL || source >= transfer_sources(f->transfer)) {
        return false;
    }
    transfer_source_stats(f->transfer, source, out);
    return true;
}
