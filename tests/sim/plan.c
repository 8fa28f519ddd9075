/* The plan of a world: everything is drawn from the seed. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world_internal.h"

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

/* A file of zeros, which takes few bytes, and a list that no connection
 * carries whole, while much changes within one tick. */
static void plan_pieces(struct world *w, struct rng *r)
{
    struct plan *p = &w->plan;

    w->server.chunk_log2 = 12;
    w->server.hasty = true;
    w->client.config.want_chunk_log2 = 0;
    source_blank(&w->source, rng_between(r, 200, 500) << 12);
    w->source.tick_ms = 1000;
    p->narrow = rng_between(r, 6000, 8000);
    p->latency = rng_below(r, 30);
    p->rate = 300;
    p->sly = true;
    p->vanish = 0;
    p->kill_ms = 0;
    p->reboot_ms = 0;
    p->change_ms = (unsigned)rng_between(r, 10, 200);
    p->calm_at = rng_between(r, 300, 3000);
}

/* So many barren connections that only the refund of the budget helps, by a
 * few chunks each time. */
static void plan_refund(struct world *w, struct rng *r)
{
    struct plan *p = &w->plan;

    w->client.config.conns = 1;
    w->server.faults.race = 0;
    p->change_ms = 0;
    p->kill_ms = 0;
    p->quiet_at += 100000;
    p->refuse = 40;
    p->cut = 90;
    if (rng_percent(r, 70)) {
        p->brief = (uint64_t)5 << w->server.chunk_log2;
    }
}

/* Drawn from numbers of their own, so that worlds without these stay as they
 * are. */
static void plan_help(struct world *w, uint64_t seed)
{
    struct plan *p = &w->plan;
    struct rng r = rng_make(seed, 1);

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
        w->server.hasty = rng_percent(&r, 50);
    }
    if (p->narrow > 0 && !p->pinned && p->mirrors == 0 && p->donor == 0 &&
        rng_percent(&r, 20)) {
        plan_pieces(w, &r);
    }
    if (p->narrow == 0 && rng_percent(&r, 6)) {
        /* It rests for long, and changes just while it is read. */
        p->change_ms = 0;
        w->server.faults.race = (unsigned)rng_between(&r, 2, 30);
        w->server.cid_after = NET_NEVER;
        w->server.eager = false;
        w->now += 3000;
        w->began = w->now;
    }
    if (p->narrow == 0 && rng_percent(&r, 20)) {
        w->client.config.tries_max = (unsigned)rng_between(&r, 5, 12);
        if (rng_percent(&r, 30)) {
            plan_refund(w, &r);
        }
    }
    p->io_errors = w->server.faults.io_error > 0;
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
    struct rng r = rng_make(seed, 2);
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
    struct rng r = rng_make(seed, 3);

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
    if (w->plan.narrow > 0) {
        w->client.hold_percent = 0; /* it would take hours */
    }
}

static void tell_plan(const struct world *w)
{
    static const char *const manners[] = {"honest", "forges", "damages"};
    const struct plan *p = &w->plan;
    const struct transfer_config *c = &w->client.config;

    world_tell(w,
               "size %" PRIu64 ", chunks 2^%u (asked for: 2^%u), quiet at "
               "%" PRIu64 ", %u connections, latency %" PRIu64
               ", rate %" PRIu64,
               w->source.contents->size, w->server.chunk_log2,
               c->want_chunk_log2, p->quiet_at, c->conns, p->latency,
               p->rate);
    world_tell(w,
               "cut %u%%, narrow %" PRIu64 ", stall %u%%, flips %u%% and "
               "%u%%, replay %u%%, refuse %u%%, kill %u ms, power %u%%, "
               "spoil %u%%, reboot %u ms",
               p->cut, p->narrow, p->stall, p->flip_down, p->flip_up,
               p->replay, p->refuse, p->kill_ms, p->power, p->spoil,
               p->reboot_ms);
    world_tell(w,
               "disk: short %u, full %u, broken %u, sync %u, names %u per "
               "mille",
               p->disk.shorter, p->disk.full, p->disk.broken, p->disk.sync,
               p->disk.names);
    world_tell(w, "work %" PRIu64 " ms, content ids %s%s%s, races %u%%",
               w->client.work_ms, w->server.cid_after == 0 ? "soon" : "late",
               w->server.eager ? ", eager" : "",
               w->server.hasty ? ", hasty" : "", w->server.faults.race);
    world_tell(w,
               "%u tries, changes %u ms%s%s, vanish %u%%%s%s%s, donor "
               "%u%%%s",
               c->tries_max, p->change_ms, p->frantic ? ", frantic" : "",
               p->sly ? ", sly" : "", p->vanish, p->pinned ? ", pinned" : "",
               c->in_order ? ", in order" : "", p->smaller ? ", smaller" : "",
               p->donor, p->donor_self ? ", itself" : "");
    world_tell(w, "%s%sgoaway %u ms, hurry %u ms%s",
               p->varies ? "other options each time, " : "",
               p->limits ? "limits, " : "", p->goaway_ms, p->hurry_ms,
               c->wait_first ? "" : ", no waiting for the first answer");
    for (unsigned k = 0; k < p->mirrors; k++) {
        const struct mirror *m = &w->mirror[k];

        world_tell(w, "mirror %u %s%s%s%s", k + 1,
                   manners[m->server.manner], m->dead ? ", dead" : "",
                   m->impostor ? ", impostor" : "",
                   pages_equal(&m->source.contents->data,
                               &w->source.contents->data)
                       ? ""
                       : ", another content");
    }
}

void plan_world(struct world *w, uint64_t seed)
{
    uint64_t size;

    w->rng = rng_make(seed, 0);
    /* What happens depends on the number of chunks, not on their size. */
    w->server.chunk_log2 = rng_percent(&w->rng, 80)
                               ? 12
                               : (uint8_t)rng_between(&w->rng, 13, 15);
    w->server.max_chunk_log2 = LIMIT_CHUNK_LOG2_RECOMMENDED;
    w->server.idle_timeout_s = LIMIT_IDLE_DEFAULT_S;
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
        if (w->plan.rate < 5) {
            w->plan.rate = 5; /* it would take hours */
        }
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
    make_client(w);
    plan_help(w, seed);
    make_mirrors(w, seed);
    make_donor(w, seed);
    vary_plan(w, seed);
    vary_limits(w);
    tell_plan(w);
}
