#include "tests/sim/world_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From quiet_at on, so much virtual time and so many rounds are enough: an
 * hour, and more where the file takes long even without any trouble. */
#define PATIENCE_MS ((uint64_t)60 * 60 * 1000)
#define PATIENCE_TIMES 8u
#define ROUNDS_MAX 3000000u
#define RESTARTS_MAX 40u

static void wrong(struct world *w, const char *what)
{
    if (w->result->wrong == NULL) {
        w->result->wrong = what;
    }
}

void world_tell(const struct world *w, const char *format, ...)
{
    va_list args;

    if (!w->verbose) {
        return;
    }
    va_start(args, format);
    printf("%8" PRIu64 "  * ", w->now);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

/* ---- connections. */

/* A connection ended: is this download getting on? */
static void count_tries(struct world *w)
{
    uint64_t fresh = transfer_ledger(w->client.transfer)->fresh;

    /* What a change made useless was no progress. */
    w->barren = fresh > w->fresh_seen ? 1 : w->barren + 1;
    w->fresh_seen = fresh;
}

static void line_close(struct world *w, unsigned conn)
{
    struct line *l = &w->line[conn];

    if (w->client.transfer != NULL && (l->used || l->dialled_at != 0)) {
        count_tries(w);
    }
    if (l->used) {
        sconn_free(&l->server);
        net_clear(&l->net);
    }
    memset(l, 0, sizeof *l);
}

static void on_dial(void *arg, unsigned conn)
{
    struct world *w = arg;
    struct line *l = &w->line[conn];

    BELAY_ASSERT(!l->used && l->dialled_at == 0);
    l->dialled_at = w->now + 1;
    l->answer_at = w->now + 2 * w->plan.latency + 1;
    w->result->conns++;
}

static void on_closed(void *arg, unsigned conn)
{
    line_close(arg, conn);
}

static bool is_quiet(const struct world *w)
{
    return w->now >= w->plan.quiet_at;
}

static void plan_faults(struct world *w, struct net *n)
{
    const struct plan *p = &w->plan;
    struct rng *r = &w->rng;

    n->latency_ms = p->latency;
    n->bytes_per_ms = p->rate;
    if (p->narrow > 0) {
        n->cut_at = p->narrow;
        w->cuts++;
        return;
    }
    if (is_quiet(w)) {
        return;
    }
    if (rng_percent(r, p->cut)) {
        n->cut_at = rng_percent(r, 30) ? rng_below(r, 400)
                    : p->brief > 0
                        ? rng_below(r, p->brief)
                        : rng_below(r, w->source.contents->size + 2000);
        w->cuts++;
    }
    if (rng_percent(r, p->stall)) {
        n->stall_at = rng_below(r, w->source.contents->size + 1000);
        w->stalls++;
    }
    if (rng_percent(r, p->flip_down)) {
        n->down.flip_at = rng_below(r, w->source.contents->size + 500);
        w->flips++;
    }
    if (rng_percent(r, p->flip_up)) {
        n->up.flip_at = rng_below(r, 500);
        w->flips++;
    }
    if (rng_percent(r, p->replay)) {
        n->down.replay_at = rng_below(r, w->source.contents->size + 500);
        w->flips++;
    }
    if (rng_percent(r, p->replay)) {
        n->up.replay_at = rng_below(r, 500);
        w->flips++;
    }
}

static void answer_dial(struct world *w, unsigned conn)
{
    struct line *l = &w->line[conn];
    struct server *server = &w->server;
    unsigned source;

    l->dialled_at = 0;
    source = w->order[transfer_conn_source(w->client.transfer, conn)];
    if (source > 0) {
        server = &w->mirror[source - 1].server;
    }
    if (source > 0 && w->mirror[source - 1].dead && !is_quiet(w)) {
        count_tries(w);
        client_dial_failed(&w->client, conn, "connection refused");
        return;
    }
    if (!is_quiet(w) && rng_percent(&w->rng, w->plan.refuse)) {
        count_tries(w);
        client_dial_failed(&w->client, conn, "connection refused");
        return;
    }
    l->used = true;
    net_init(&l->net);
    plan_faults(w, &l->net);
    sconn_open(&l->server, server, &l->net, w->now);
    client_connected(&w->client, conn, &l->net);
    if (source > 0 && w->mirror[source - 1].impostor) {
        w->client.link[conn].impostor = true;
    }
}

static void lose(struct world *w, unsigned conn, const char *text)
{
    if (w->client.link[conn].open) {
        client_lost(&w->client, conn, text);
    }
    line_close(w, conn);
}

static void run_line(struct world *w, unsigned conn)
{
    struct line *l = &w->line[conn];

    if (l->dialled_at != 0 && l->answer_at <= w->now) {
        answer_dial(w, conn);
    }
    if (!l->used) {
        return;
    }
    sconn_run(&l->server, w->now);
    if (l->net.cut_at != NET_NEVER && l->net.down.delivered >= l->net.cut_at &&
        !w->client.link[conn].held) {
        lose(w, conn, "connection reset");
    } else if (net_at_end(&l->net.down) && !l->net.stalled &&
               !w->client.link[conn].held) {
        lose(w, conn, "the server closed the connection");
    }
}

/* ---- events of the world. */

static uint64_t after(struct world *w, unsigned mean_ms)
{
    return mean_ms == 0 ? NET_NEVER
                        : w->now + 1 + rng_below(&w->rng, 2 * mean_ms);
}

static void change(struct world *w)
{
    if (rng_percent(&w->rng, w->plan.vanish)) {
        source_vanish(&w->source);
        world_tell(w, "the file vanishes");
    } else {
        source_return(&w->source);
        if (w->plan.sly) {
            source_sly_change(&w->source, w->source.path, w->now);
        } else {
            source_change(&w->source, w->now, w->server.chunk_log2);
        }
        world_tell(w, "change %u, size %" PRIu64, w->source.changes,
             w->source.contents->size);
    }
    w->change_at = after(w, w->plan.change_ms);
    if (w->plan.calm_at != 0 && w->change_at > w->began + w->plan.calm_at) {
        w->change_at = NET_NEVER;
    }
}

static void begin_run(struct world *w)
{
    w->run_began = w->now;
    w->cuts = 0;
    w->stalls = 0;
    w->failures = w->disk.failures;
    w->fresh_seen = 0;
    w->barren = 0;
    client_start(&w->client, w->now);
}

/* The client dies, or ended and goes. */
static void end_run(struct world *w)
{
    if (w->client.transfer != NULL) {
        w->fresh += transfer_ledger(w->client.transfer)->fresh;
    }
    if (w->client.state == CLIENT_RUNS) {
        client_kill(&w->client);
    } else {
        client_end(&w->client);
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        line_close(w, i);
    }
}

static void restart(struct world *w)
{
    end_run(w);
    w->result->restarts++;
    vary_run(w);
    begin_run(w);
}

static void judge_name(struct world *w);

static void kill_client(struct world *w)
{
    bool power = rng_percent(&w->rng, w->plan.power);

    world_tell(w, power ? "the power fails" : "the client dies");
    end_run(w);
    if (power) {
        w->spoiled = true;
        w->result->power_cuts++;
        disk_power_cut(&w->disk, false);
        judge_name(w);
    }
    if (rng_percent(&w->rng, 20) && w->plan.spoil > 0) {
        w->spoiled |= disk_spoil(&w->disk, DISK_TARGET ".part",
                                 w->plan.spoil) > 0;
    }
    w->result->restarts++;
    vary_run(w);
    begin_run(w);
    w->kill_at = after(w, w->plan.kill_ms);
}

static void reboot(struct world *w)
{
    world_tell(w, "the server starts again");
    source_forget(&w->source);
    vary_limits(w);
    if (w->plan.smaller && w->server.max_chunk_log2 > 13) {
        w->server.max_chunk_log2 = 13;
        w->server.chunk_log2 = 12;
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        if (w->line[i].used) {
            lose(w, i, "connection reset");
        }
    }
    w->reboot_at = after(w, w->plan.reboot_ms);
}

static void happen(struct world *w)
{
    if (is_quiet(w)) {
        source_return(&w->source);
        memset(&w->server.faults, 0, sizeof w->server.faults);
        memset(&w->disk.faults, 0, sizeof w->disk.faults);
        return;
    }
    if (w->now >= w->change_at) {
        change(w);
    }
    if (w->now >= w->kill_at) {
        kill_client(w);
    }
    if (w->now >= w->reboot_at) {
        reboot(w);
    }
    vary_happen(w);
}

/* ---- judging. */

static void judge_ledger(struct world *w, const struct transfer_ledger *l)
{
    const struct transfer_identity *id =
        transfer_identity(w->client.transfer);
    uint64_t chunk = (uint64_t)1 << 16; /* none is larger here */

    if (l->size != id->size || l->have != id->size ||
        l->fresh + l->kept + l->reused != l->size) {
        wrong(w, "the ledger does not add up");
    }
    if (w->plan.mirrors > 0) {
        return; /* who lies wastes what he likes */
    }
    /* P3: a cut costs one unfinished chunk on that connection, no more. */
    if (w->stalls == 0 && w->flips == 0 && w->source.changes == 0 &&
        w->client.hold_percent == 0 && w->plan.rate > 20) {
        /* One connection never asks twice; of several, one may take over
         * what is already on its way on another. */
        if (l->repeated > (w->client.config.conns == 1
                               ? 0
                               : w->result->conns * 2 * chunk)) {
            wrong(w, "bytes were received that were there already");
        }
        if (l->wasted > (uint64_t)l->losses * chunk) {
            wrong(w, "a cut wasted more than one chunk");
        }
    }
    /* P3: what killed runs had verified is there.  (Of what is hashed again
     * for smaller chunks at that moment the ledger does not speak.) */
    if (!w->spoiled && w->flips == 0 && w->source.changes == 0 &&
        w->disk.failures == 0 && w->plan.donor == 0 &&
        !w->client.config.in_order && w->fresh + l->fresh > l->size) {
        wrong(w, "verified bytes were fetched again");
    }
    w->result->wire = l->wire;
    w->result->size = l->size;
}

/* Which version is it?  A mirror keeps the first one for ever. */
static const struct content *find_content(struct world *w,
                                          const struct pages *data,
                                          uint64_t since)
{
    const struct content *c = source_find(&w->source, data, since);

    for (unsigned k = 0; c == NULL && k < w->plan.mirrors; k++) {
        c = source_find(&w->mirror[k].source, data, 0);
    }
    return c;
}

/* P1: the final name leads to a version of the file, or to nothing. */
static void judge_name(struct world *w)
{
    const struct pages *target = disk_look(&w->disk, DISK_TARGET);

    if (target != NULL && !w->client.in_place &&
        find_content(w, target, 0) == NULL) {
        wrong(w, "the final name leads to no version of the file");
    }
}

/* P2: it stays, whatever happens next. */
static void judge_durable(struct world *w, const struct content *c)
{
    const struct pages *target;

    end_run(w);
    disk_power_cut(&w->disk, true);
    target = disk_look(&w->disk, DISK_TARGET);
    if (target == NULL || !pages_equal(target, &c->data)) {
        wrong(w, "what was told as done does not outlive a power cut");
    }
}

static void judge_identity(struct world *w, const struct content *c)
{
    const struct transfer_identity *id =
        transfer_identity(w->client.transfer);
    uint8_t cid[HASH_LEN];

    content_cid(&w->source, c, id->chunk_log2, cid);
    if (!id->cid_known || memcmp(cid, id->cid, HASH_LEN) != 0) {
        wrong(w, "the content id is not that of the content");
    }
    if (w->client.config.stop_on_change &&
        transfer_ledger(w->client.transfer)->changes > 0) {
        wrong(w, "it went on with another version");
    }
    if (w->pin != NULL && !pages_equal(&c->data, &w->pin->data)) {
        wrong(w, "success with something else than the pinned content");
    }
    judge_ledger(w, transfer_ledger(w->client.transfer));
}

static void judge_success(struct world *w)
{
    bool stream = w->client.config.in_order;
    const struct pages *data = stream ? &w->client.out
                                      : disk_look(&w->disk, DISK_TARGET);
    const struct content *c;

    w->result->finished = true;
    c = data == NULL ? NULL
                     : find_content(w, data,
                                    w->client.settled ? 0 : w->run_began);
    if (c == NULL) {
        wrong(w, "what was downloaded is no version of the file");
        return;
    }
    if (!w->client.settled) {
        judge_identity(w, c);
    }
    if (!stream) {
        judge_durable(w, c);
    }
}

/* Connections that the client had given up, and not closed. */
static unsigned lines_left(const struct world *w)
{
    unsigned left = 0;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        left += w->line[i].used || w->line[i].dialled_at != 0;
    }
    return left;
}

/* May the first server have told that it will not, ever? */
static bool no_help(const struct world *w)
{
    return w->plan.vanish > 0 || w->plan.io_errors ||
           (w->plan.smaller && w->client.config.in_order);
}

/* May everybody else be out of the question, so that it is told why the last
 * one is, too? */
static bool impostors_only(const struct world *w)
{
    bool any = false;

    for (unsigned k = 0; k < w->plan.mirrors; k++) {
        any |= w->mirror[k].impostor;
    }
    return any && (no_help(w) || w->flips > 0 ||
                   (w->source.changes > 0 && w->pin != NULL));
}

/* Nobody serves what ordered output can be compared with. */
static bool out_of_reach(const struct world *w)
{
    const struct transfer_config *c = &w->client.config;

    return c->in_order && c->pinned &&
           c->pin_log2 > w->server.max_chunk_log2;
}

/* May the transfer give up for this reason in this world? */
static bool may_fail(const struct world *w, enum transfer_reason reason)
{
    bool changing = w->source.changes > 0;

    switch (reason) {
    case TRANSFER_UNREACHABLE:
        if (!w->client.config.wait_first && !w->client.contact) {
            return true;
        }
        /* While versions come and go the ledger tells too little. */
        return w->client.config.tries_max > 0 &&
               (changing ||
                transfer_ledger(w->client.transfer)->changes > 0 ||
                w->barren + lines_left(w) >= w->client.config.tries_max);
    case TRANSFER_REFUSED:
        return w->plan.vanish > 0 ||
               (w->plan.smaller && w->client.config.in_order);
    case TRANSFER_SERVER:
        /* A list of a file that changes all the time helps nobody. */
        return w->plan.io_errors || (changing && w->server.hasty);
    case TRANSFER_NOT_BELAY:
    case TRANSFER_PROTOCOL:
    case TRANSFER_VERSION:
        return w->flips > 0;
    case TRANSFER_WRONG_CONTENT:
        /* Whoever has the content finishes it, unless he was of no help. */
        return w->flips > 0 || (changing && w->pin != NULL) ||
               (w->plan.mirrors > 0 &&
                (no_help(w) || w->client.config.stop_on_change));
    case TRANSFER_UNREADABLE:
        return w->disk.failures > w->failures;
    case TRANSFER_CHANGED:
        return (changing || w->plan.mirrors > 0) &&
               (w->client.config.in_order ||
                w->client.config.stop_on_change);
    case TRANSFER_DISTRUSTED:
        return impostors_only(w);
    default:
        return false;
    }
}

static uint64_t patience(const struct world *w)
{
    return PATIENCE_MS +
           PATIENCE_TIMES * w->source.contents->size / w->plan.rate;
}

/* True when the world is over. */
static bool judge_end(struct world *w)
{
    enum transfer_reason reason = w->client.reason;
    bool disk = w->client.store_error != 0;

    if (w->client.state == CLIENT_DONE) {
        judge_success(w);
        return true;
    }
    world_tell(w, "failed: %s", disk ? "disk" : transfer_reason_name(reason));
    if (disk ? w->disk.failures == w->failures : !may_fail(w, reason)) {
        wrong(w, "it gave up without need");
        return true;
    }
    judge_name(w);
    if ((reason == TRANSFER_WRONG_CONTENT ||
         reason == TRANSFER_DISTRUSTED) &&
        w->pin != NULL && w->source.changes > 0) {
        return true; /* the pinned content is gone for ever */
    }
    if (out_of_reach(w)) {
        return true;
    }
    if (w->result->restarts >= RESTARTS_MAX && !is_quiet(w)) {
        return true;
    }
    if (is_quiet(w) && w->now > w->plan.quiet_at + patience(w) / 2) {
        wrong(w, "it still fails when all is quiet");
        return true;
    }
    w->now += 500;
    restart(w);
    return false;
}

/* ---- the loop. */

static uint64_t next_event(struct world *w)
{
    uint64_t at = client_deadline(&w->client);

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct line *l = &w->line[i];

        if (l->dialled_at != 0 && l->answer_at < at) {
            at = l->answer_at;
        }
        if (l->used && sconn_deadline(&l->server) < at) {
            at = sconn_deadline(&l->server);
        }
    }
    if (!is_quiet(w)) {
        at = w->change_at < at ? w->change_at : at;
        at = w->kill_at < at ? w->kill_at : at;
        at = w->reboot_at < at ? w->reboot_at : at;
        at = vary_next(w) < at ? vary_next(w) : at;
        at = w->plan.quiet_at < at ? w->plan.quiet_at : at;
    }
    return at;
}

static void loop(struct world *w)
{
    unsigned still = 0;
    unsigned rounds = 0;

    for (;;) {
        uint64_t next;

        happen(w);
        w->client.now = w->now;
        for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
            run_line(w, i);
        }
        client_run(&w->client, w->now);
        if (w->client.state != CLIENT_RUNS) {
            if (judge_end(w)) {
                return;
            }
            continue;
        }
        if (w->now > w->plan.quiet_at + patience(w)) {
            wrong(w, "it does not come to an end");
            return;
        }
        if (++rounds > ROUNDS_MAX) {
            wrong(w, "too many rounds");
            return;
        }
        next = next_event(w);
        if (next == NET_NEVER) {
            wrong(w, "nothing will ever happen again");
            return;
        }
        if (next > w->now) {
            w->now = next;
            still = 0;
        } else if (++still > 2000) {
            wrong(w, "busy without end at one moment");
            return;
        }
    }
}

void world_run(uint64_t seed, bool verbose, struct world_result *result)
{
    struct world *w = calloc(1, sizeof *w);

    BELAY_ASSERT(w != NULL);
    memset(result, 0, sizeof *result);
    w->result = result;
    w->verbose = verbose;
    w->client.verbose = verbose;
    w->client.dial = on_dial;
    w->client.closed = on_closed;
    w->client.arg = w;
    plan_world(w, seed);
    w->disk.faults = w->plan.disk;
    w->change_at = after(w, w->plan.change_ms);
    w->kill_at = after(w, w->plan.kill_ms);
    w->reboot_at = after(w, w->plan.reboot_ms);
    vary_begin(w);
    begin_run(w);
    loop(w);
    result->trace = w->client.trace;
    result->steps = w->client.steps;
    result->ended_at = w->now;
    result->changes = w->source.changes;
    result->disk_failures = w->disk.failures;
    end_run(w);
    disk_free(&w->disk);
    source_free(&w->source);
    for (unsigned k = 0; k < w->plan.mirrors; k++) {
        source_free(&w->mirror[k].source);
    }
    free(w->donor);
    hasher_free(w->server.hasher);
    zpack_free(w->server.zpack);
    free(w);
}
