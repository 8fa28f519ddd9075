#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/data/cid.h"
#include "tests/sim/client.h"
#include "tests/sim/server.h"

/* From quiet_at on, so much virtual time and so many rounds are enough. */
#define PATIENCE_MS ((uint64_t)60 * 60 * 1000)
#define ROUNDS_MAX 3000000u
#define RESTARTS_MAX 40u

/* What goes wrong in this world, and how, follows from the seed. */
struct plan {
    uint64_t quiet_at;
    unsigned cut;      /* percent of the connections */
    unsigned stall;
    unsigned flip_down;
    unsigned flip_up;
    unsigned replay;   /* percent of the connections, each way */
    unsigned refuse;   /* dials */
    unsigned change_ms; /* mean time between changes; 0: none */
    unsigned vanish;   /* percent of the changes */
    unsigned kill_ms;  /* mean time between deaths of the client */
    unsigned power;    /* percent of the deaths are power cuts */
    unsigned spoil;    /* percent of the pages rot after a death */
    unsigned reboot_ms; /* mean time between restarts of the server */
    bool frantic;      /* many changes within one tick of the clock */
    bool sly;          /* ... that show in nothing but the time */
    uint64_t calm_at;  /* no changes behind this; 0: until quiet_at */
    uint64_t narrow;   /* every connection is cut after so many bytes */
    uint64_t rate;
    uint64_t latency;
    bool pinned;
    unsigned mirrors;  /* servers besides the first */
    unsigned donor;    /* percent of a donor that is right; 0: none */
    bool donor_self;   /* ... which is the file itself, to be repaired */
    bool smaller;      /* after a reboot the server makes smaller chunks */
    struct disk_faults disk;
};

struct line {
    bool used;
    uint64_t dialled_at; /* 0: none */
    uint64_t answer_at;
    struct net net;
    struct sconn server;
};

/* One more server, with its own copy of the content, or of something else. */
struct mirror {
    struct source source;
    struct server server;
    bool dead; /* until all is quiet */
};

#define MIRRORS_MAX 3u

struct world {
    struct rng rng;
    struct plan plan;
    struct source source;
    struct server server;
    struct mirror mirror[MIRRORS_MAX];
    uint8_t *donor;
    struct disk disk;
    struct client client;
    struct line line[TRANSFER_CONNS_MAX];
    uint64_t now;
    uint64_t change_at;
    uint64_t kill_at;
    uint64_t reboot_at;
    uint64_t began;
    uint64_t run_began;
    unsigned cuts; /* in the present run of the client */
    unsigned stalls;
    unsigned failures; /* of the disk, before that run */
    unsigned flips;
    bool spoiled;   /* the disk lost something that was there */
    uint64_t fresh; /* verified bytes of the runs before */
    uint64_t fresh_seen; /* ... and of this one, when it last got more */
    unsigned barren; /* connections that ended since then */
    const struct content *pin;
    uint64_t content_seed;
    bool verbose;
    struct world_result *result;
};

static void wrong(struct world *w, const char *what)
{
    if (w->result->wrong == NULL) {
        w->result->wrong = what;
    }
}

static void tell(const struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void tell(const struct world *w, const char *format, ...)
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

/* ---- the plan. */

static uint64_t pick_size(struct rng *r, unsigned log2)
{
    static const unsigned chunks[] = {1, 2, 3, 5, 7, 11, 13};
    uint64_t chunk = (uint64_t)1 << log2;

    switch (rng_below(r, 8)) {
    case 0:
        return rng_below(r, 3);
    case 1:
        return rng_between(r, chunk - 1, chunk + 1);
    case 2:
        return rng_between(r, 2 * chunk - 1, 2 * chunk + 1);
    case 3:
        return chunks[rng_below(r, 7)] * chunk;
    case 4:
        return rng_below(r, 70 * chunk);
    default:
        return rng_below(r, 24 * chunk);
    }
}

static unsigned sometimes(struct rng *r, unsigned percent, unsigned most)
{
    return rng_percent(r, percent) ? (unsigned)rng_between(r, 1, most) : 0;
}

static void make_plan(struct world *w)
{
    struct plan *p = &w->plan;
    struct rng *r = &w->rng;
    struct server_faults *f = &w->server.faults;

    p->quiet_at = rng_percent(r, 20) ? rng_between(r, 500, 6000)
                                     : rng_between(r, 5000, 90000);
    p->cut = sometimes(r, 60, 100);
    p->stall = sometimes(r, 15, 30);
    p->flip_down = sometimes(r, 10, 30);
    p->flip_up = sometimes(r, 4, 20);
    p->refuse = sometimes(r, 20, 60);
    p->change_ms = rng_percent(r, 40) ? (unsigned)rng_between(r, 50, 20000)
                                      : 0;
    p->frantic = rng_percent(r, 10);
    p->sly = rng_percent(r, 15);
    if (p->frantic || (p->sly && rng_percent(r, 70))) {
        p->change_ms = (unsigned)rng_between(r, 2, 600);
    }
    f->race = p->sly ? (unsigned)rng_between(r, 0, 15) : 0;
    p->vanish = sometimes(r, 10, 30);
    p->kill_ms = rng_percent(r, 30) ? (unsigned)rng_between(r, 100, 20000)
                                    : 0;
    p->spoil = sometimes(r, 50, 60);
    p->reboot_ms = rng_percent(r, 15) ? (unsigned)rng_between(r, 1000, 30000)
                                      : 0;
    p->smaller = rng_percent(r, 20);
    p->rate = rng_between(r, 1, 300);
    p->latency = rng_between(r, 0, 300);
    p->pinned = rng_percent(r, 15);
    f->busy = sometimes(r, 15, 50);
    f->io_error = sometimes(r, 6, 8);
    f->pending = sometimes(r, 20, 60);
    f->goaway = sometimes(r, 15, 10);
    if (p->sly && rng_percent(r, 60)) {
        /* The file settles soon, the download goes on long after that: what
         * was received under a weak version has to be found out. */
        p->quiet_at = rng_between(r, 3000, 12000);
        p->change_ms = (unsigned)rng_between(r, 50, 600);
        p->calm_at = rng_between(r, 200, 1500);
        p->rate = rng_between(r, 1, 12);
        p->cut = (unsigned)rng_between(r, 30, 90);
        p->kill_ms = rng_percent(r, 50) ? (unsigned)rng_between(r, 500, 4000)
                                        : 0;
        f->race = 0;
    }
    if (rng_percent(r, 10)) {
        /* A link that never carries much: chunks have to become smaller.
         * Nothing else may stand in its way. */
        memset(f, 0, sizeof *f);
        p->cut = 0;
        p->stall = 0;
        p->flip_down = 0;
        p->flip_up = 0;
        p->narrow = rng_between(r, 6000, rng_percent(r, 50) ? 8000 : 30000);
    }
}

/* Drawn from numbers of their own, so that worlds without these stay as they
 * are. */
static void plan_help(struct world *w, uint64_t seed)
{
    struct plan *p = &w->plan;
    struct rng r = {.state = seed * UINT64_C(0xD1B54A32D192ED03) + 7};

    if (rng_percent(&r, 20)) {
        p->mirrors = (unsigned)rng_between(&r, 1, MIRRORS_MAX);
    }
    if (rng_percent(&r, 15) && !w->client.config.in_order) {
        p->donor = (unsigned)rng_between(&r, 1, 100);
        p->donor_self = rng_percent(&r, 40);
    }
    if (p->pinned && p->mirrors > 0 && rng_percent(&r, 50)) {
        /* Whether a mirror has the pinned content shows only at the end. */
        w->client.config.want_chunk_log2 =
            w->client.config.pin_log2 == 12 ? 13 : 12;
        p->refuse = 60;
    }
    if (p->narrow > 0 && rng_percent(&r, 30)) {
        /* Lists that come in pieces, of versions that are weak. */
        p->sly = true;
        w->source.tick_ms = 1000;
        p->change_ms = (unsigned)rng_between(&r, 300, 3000);
        p->calm_at = rng_between(&r, 2000, 30000);
    }
    if (p->narrow == 0 && rng_percent(&r, 6)) {
        /* It rests for long, and changes just while it is read. */
        p->change_ms = 0;
        w->server.faults.race = (unsigned)rng_between(&r, 2, 20);
        w->server.cid_after = NET_NEVER;
        w->server.eager = false;
        w->now += 3000;
        w->began = w->now;
    }
    if (p->narrow == 0 && rng_percent(&r, 20)) {
        w->client.config.tries_max = (unsigned)rng_between(&r, 5, 12);
        if (rng_percent(&r, 30)) {
            /* So many barren ones that only the refund helps. */
            w->client.config.conns = 1;
            p->change_ms = 0;
            p->kill_ms = 0;
            p->quiet_at += 100000;
            p->refuse = 40;
            p->cut = 90;
        }
    }
    p->power = sometimes(&r, 50, 100);
    p->replay = p->narrow == 0 ? sometimes(&r, 5, 20) : 0;
    if (rng_percent(&r, 15)) {
        p->disk.shorter = sometimes(&r, 50, 200);
        p->disk.full = sometimes(&r, 30, 5);
        p->disk.broken = sometimes(&r, 30, 5);
        p->disk.sync = sometimes(&r, 30, 200);
        p->disk.names = sometimes(&r, 30, 50);
    }
}

/* A copy of the first content, damaged here and there, maybe shifted. */
static void make_donor(struct world *w, uint64_t seed)
{
    const struct content *c = w->source.path->content;
    struct transfer_config *config = &w->client.config;
    struct rng r = {.state = seed + 77};
    uint64_t shift = rng_percent(&r, 30)
                         ? rng_below(&r, 3) << w->server.chunk_log2
                         : 0;
    uint64_t size = c->size > shift ? c->size - shift : 0;

    if (w->plan.donor == 0) {
        return;
    }
    w->donor = malloc(size + 1);
    BELAY_ASSERT(w->donor != NULL);
    pages_read(&c->data, shift, w->donor, size);
    for (uint64_t at = 0; at < size; at += 1 << 12) {
        if (!rng_percent(&r, w->plan.donor)) {
            w->donor[at] ^= 1;
        }
    }
    config->donor_count = 1;
    config->donors[0].size = size;
    config->donors[0].self = w->plan.donor_self;
    w->client.donor[0] = w->plan.donor_self ? NULL : w->donor;
    if (w->plan.donor_self) {
        w->client.in_place = true;
        disk_put(&w->disk, DISK_TARGET, w->donor, size);
    }
}

static void make_mirrors(struct world *w, uint64_t seed)
{
    static const char *const path = DISK_TARGET;
    struct transfer_config *config = &w->client.config;
    const struct content *first = w->source.path->content;
    struct rng r = {.state = seed + 99};

    config->mirror_count = w->plan.mirrors;
    for (unsigned k = 0; k < w->plan.mirrors; k++) {
        struct mirror *m = &w->mirror[k];
        uint64_t kind = rng_below(&r, w->plan.pinned ? 4 : 6);

        config->mirror[k].path = (const uint8_t *)path;
        config->mirror[k].path_len = strlen(path);
        m->server = w->server;
        m->server.source = &m->source;
        m->server.rng.state = rng_next(&r);
        m->server.cid_after = rng_percent(&r, 50) ? 0 : NET_NEVER;
        m->server.manner = kind == 0   ? SERVER_FORGES
                           : kind == 1 ? SERVER_DAMAGES
                                       : SERVER_HONEST;
        m->dead = kind == 2;
        if (kind == 3) {
            source_init(&m->source, rng_next(&r), first->size,
                        w->source.tick_ms);
        } else {
            source_copy(&m->source, first, w->source.tick_ms);
        }
        /* Tokens of different servers do not collide. */
        m->source.path->number += (uint64_t)1 << (40 + k);
        memset(&m->server.faults, 0, sizeof m->server.faults);
    }
}

static void make_client(struct world *w)
{
    struct transfer_config *c = &w->client.config;
    struct rng *r = &w->rng;

    c->path = (const uint8_t *)DISK_TARGET;
    c->path_len = strlen(DISK_TARGET);
    c->max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX;
    c->compression = rng_percent(r, 70);
    c->conns = (unsigned)rng_below(r, 6);
    c->wait_first = true;
    c->agent = "sim";
    c->window_chunks_bytes = 256 << 10;
    c->in_order = w->plan.narrow == 0 && rng_percent(r, 12);
    if (rng_percent(r, 30)) {
        c->want_chunk_log2 = (uint8_t)rng_between(r, 12, 15);
    }
    if (w->plan.pinned) {
        w->pin = w->source.path->content;
        c->pinned = true;
        c->pin_log2 = (uint8_t)rng_between(r, 12, 15);
        if (rng_percent(r, 70)) {
            c->want_chunk_log2 = 0; /* as the pin says */
        }
        content_cid(&w->source, w->pin, c->pin_log2, c->pin_cid);
    }
    w->client.work_ms = rng_below(r, 4) == 0 ? rng_below(r, 3000)
                                             : rng_below(r, 20);
    w->client.hold_percent = sometimes(r, 10, 20);
}

static void tell_plan(const struct world *w)
{
    static const char *const manners[] = {"honest", "forges", "damages"};
    const struct plan *p = &w->plan;
    const struct transfer_config *c = &w->client.config;

    tell(w, "size %" PRIu64 ", chunks 2^%u (asked for: 2^%u), quiet at %" PRIu64
         ", %u connections, latency %" PRIu64 ", rate %" PRIu64,
         w->source.contents->size, w->server.chunk_log2, c->want_chunk_log2,
         p->quiet_at, c->conns, p->latency, p->rate);
    tell(w, "cut %u%%, narrow %" PRIu64 ", stall %u%%, flips %u%% and %u%%, "
         "replay %u%%, refuse %u%%, kill %u ms, power %u%%, spoil %u%%, "
         "reboot %u ms",
         p->cut, p->narrow, p->stall, p->flip_down, p->flip_up, p->replay,
         p->refuse, p->kill_ms, p->power, p->spoil, p->reboot_ms);
    tell(w, "disk: short %u, full %u, broken %u, sync %u, names %u per mille",
         p->disk.shorter, p->disk.full, p->disk.broken, p->disk.sync,
         p->disk.names);
    tell(w, "%u tries, changes %u ms%s%s, vanish %u%%%s%s%s, donor %u%%%s",
         c->tries_max, p->change_ms, p->frantic ? ", frantic" : "",
         p->sly ? ", sly" : "", p->vanish, p->pinned ? ", pinned" : "",
         c->in_order ? ", in order" : "", p->smaller ? ", smaller" : "",
         p->donor, p->donor_self ? ", itself" : "");
    for (unsigned k = 0; k < p->mirrors; k++) {
        const struct mirror *m = &w->mirror[k];

        tell(w, "mirror %u %s%s%s", k + 1, manners[m->server.manner],
             m->dead ? ", dead" : "",
             pages_equal(&m->source.contents->data,
                         &w->source.contents->data)
                 ? ""
                 : ", another content");
    }
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
        n->cut_at = rng_percent(r, 30)
                        ? rng_below(r, 400)
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
    source = transfer_conn_source(w->client.transfer, conn);
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
        tell(w, "the file vanishes");
    } else {
        source_return(&w->source);
        if (w->plan.sly) {
            source_sly_change(&w->source, w->source.path, w->now);
        } else {
            source_change(&w->source, w->now, w->server.chunk_log2);
        }
        tell(w, "change %u, size %" PRIu64, w->source.changes,
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
    begin_run(w);
}

static void judge_name(struct world *w);

static void kill_client(struct world *w)
{
    bool power = rng_percent(&w->rng, w->plan.power);

    tell(w, power ? "the power fails" : "the client dies");
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
    begin_run(w);
    w->kill_at = after(w, w->plan.kill_ms);
}

static void reboot(struct world *w)
{
    tell(w, "the server starts again");
    source_forget(&w->source);
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

/* May the transfer give up for this reason in this world? */
static bool may_fail(const struct world *w, enum transfer_reason reason)
{
    bool changing = w->source.changes > 0;

    switch (reason) {
    case TRANSFER_UNREACHABLE:
        /* While versions come and go the ledger tells too little. */
        return w->client.config.tries_max > 0 &&
               (changing ||
                w->barren + lines_left(w) >= w->client.config.tries_max);
    case TRANSFER_REFUSED:
        return w->plan.vanish > 0 ||
               (w->plan.smaller && w->client.config.in_order);
    case TRANSFER_SERVER:
        return w->server.faults.io_error > 0;
    case TRANSFER_NOT_BELAY:
    case TRANSFER_PROTOCOL:
    case TRANSFER_VERSION:
        return w->flips > 0;
    case TRANSFER_WRONG_CONTENT:
        return w->flips > 0 || w->plan.mirrors > 0 ||
               (changing && w->pin != NULL);
    case TRANSFER_CHANGED:
        return (changing || w->plan.mirrors > 0) &&
               w->client.config.in_order;
    default:
        return false;
    }
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
    tell(w, "failed: %s", disk ? "disk" : transfer_reason_name(reason));
    if (disk ? w->disk.failures == w->failures : !may_fail(w, reason)) {
        wrong(w, "it gave up without need");
        return true;
    }
    judge_name(w);
    if (reason == TRANSFER_WRONG_CONTENT && w->pin != NULL &&
        w->source.changes > 0) {
        return true; /* the pinned content is gone for ever */
    }
    if (w->result->restarts >= RESTARTS_MAX && !is_quiet(w)) {
        return true;
    }
    if (is_quiet(w) && w->now > w->plan.quiet_at + PATIENCE_MS / 2) {
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
        if (w->now > w->plan.quiet_at + PATIENCE_MS) {
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
    uint64_t size;

    BELAY_ASSERT(w != NULL);
    memset(result, 0, sizeof *result);
    w->result = result;
    w->verbose = verbose;
    w->rng.state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    /* What happens depends on the number of chunks, not on their size. */
    w->server.chunk_log2 = rng_percent(&w->rng, 80)
                               ? 12
                               : (uint8_t)rng_between(&w->rng, 13, 15);
    w->server.max_chunk_log2 = LIMIT_CHUNK_LOG2_RECOMMENDED;
    w->server.job_ms = rng_below(&w->rng, 50);
    w->server.rng.state = rng_next(&w->rng);
    w->server.source = &w->source;
    w->server.hasher = hasher_new();
    w->server.zpack = zpack_new();
    w->client.hasher = w->server.hasher;
    w->client.zpack = w->server.zpack;
    BELAY_ASSERT(w->server.hasher != NULL && w->server.zpack != NULL);
    make_plan(w);
    size = pick_size(&w->rng, w->server.chunk_log2);
    if (w->plan.narrow > 0 && rng_percent(&w->rng, 50)) {
        /* So many chunks that one connection does not carry their list. */
        size = rng_between(&w->rng, w->plan.narrow * 128,
                           w->plan.narrow * 192);
    }
    w->server.cid_after = rng_percent(&w->rng, 50) ? 0 : NET_NEVER;
    w->content_seed = rng_next(&w->rng);
    source_init(&w->source, w->content_seed, size,
                w->plan.frantic || w->plan.sly ? 1000
                                               : rng_between(&w->rng, 1,
                                                             1000));
    w->server.eager = rng_percent(&w->rng, 30);
    w->now = w->plan.calm_at != 0 ? 0 : rng_below(&w->rng, 5000);
    w->began = w->now;
    disk_init(&w->disk, rng_next(&w->rng));
    w->client.disk = &w->disk;
    w->client.rng.state = rng_next(&w->rng);
    w->client.verbose = verbose;
    w->client.dial = on_dial;
    w->client.closed = on_closed;
    w->client.arg = w;
    make_client(w);
    plan_help(w, seed);
    make_mirrors(w, seed);
    make_donor(w, seed);
    w->disk.faults = w->plan.disk;
    w->change_at = after(w, w->plan.change_ms);
    w->kill_at = after(w, w->plan.kill_ms);
    w->reboot_at = after(w, w->plan.reboot_ms);
    tell_plan(w);
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
