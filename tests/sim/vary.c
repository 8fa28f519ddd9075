/* What changes while a world goes on: the options of the next run, the limits
 * of a server that starts again, the weather.  Drawn from numbers of their
 * own, so that worlds without it stay as they are. */
#include <inttypes.h>

#include "tests/sim/world_internal.h"

static void draw_limits(struct rng *r, struct server *s)
{
    s->idle_timeout_s = (uint16_t)rng_between(r, LIMIT_IDLE_MIN_S,
                                               LIMIT_IDLE_DEFAULT_S);
    s->requests_total = rng_percent(r, 50) ? rng_between(r, 3, 40) : 0;
}

void vary_limits(struct world *w)
{
    if (!w->plan.limits) {
        return;
    }
    draw_limits(&w->vary, &w->server);
    for (unsigned k = 0; k < w->plan.mirrors; k++) {
        draw_limits(&w->vary, &w->mirror[k].server);
    }
}

/* Lists of a version that changes within one tick of the clock, and that is
 * asked for again and again. */
static void plan_unsteady(struct world *w, struct rng *r)
{
    struct plan *p = &w->plan;

    w->server.hasty = true;
    w->server.faults.race = 0;
    w->source.tick_ms = 1000;
    p->sly = true;
    p->vanish = 0;
    p->change_ms = (unsigned)rng_between(r, 20, 200);
    p->calm_at = rng_between(r, 500, 5000);
    p->latency = rng_below(r, 40);
}

void vary_plan(struct world *w, uint64_t seed)
{
    struct plan *p = &w->plan;
    struct rng *r = &w->vary;

    *r = rng_make(seed, 4);
    for (unsigned k = 0; k <= p->mirrors; k++) {
        w->order[k] = k;
    }
    p->varies = rng_percent(r, 12);
    p->limits = rng_percent(r, 12);
    if (p->narrow > 0) {
        return; /* nothing else may stand in its way */
    }
    if (rng_percent(r, 10)) {
        p->goaway_ms = (unsigned)rng_between(r, 200, 8000);
    }
    if (rng_percent(r, 10)) {
        p->hurry_ms = (unsigned)rng_between(r, 50, 8000);
    }
    if (rng_percent(r, 10)) {
        w->client.config.wait_first = false;
    }
    if (p->mirrors > 0 && rng_percent(r, 15)) {
        w->mirror[rng_below(r, p->mirrors)].impostor = true;
    }
    if (p->mirrors == 0 && !p->pinned && rng_percent(r, 4)) {
        plan_unsteady(w, r);
    }
    if (p->varies && p->kill_ms == 0) {
        p->kill_ms = (unsigned)rng_between(r, 500, 15000);
    }
}

/* Another one is named first. */
static void vary_order(struct world *w)
{
    for (unsigned k = w->plan.mirrors; k > 0; k--) {
        unsigned other = (unsigned)rng_below(&w->vary, k + 1);
        unsigned kept = w->order[k];

        w->order[k] = w->order[other];
        w->order[other] = kept;
    }
}

static void vary_pin(struct world *w)
{
    struct transfer_config *c = &w->client.config;
    struct rng *r = &w->vary;

    c->pinned = rng_percent(r, 50);
    w->pin = NULL;
    if (c->pinned) {
        w->pin = source_first(&w->source);
        c->pin_log2 = (uint8_t)rng_between(r, 12, 15);
        content_cid(&w->source, w->pin, c->pin_log2, c->pin_cid);
    }
}

/* The same file is asked for with other options. */
void vary_run(struct world *w)
{
    struct transfer_config *c = &w->client.config;
    struct rng *r = &w->vary;

    if (!w->plan.varies || w->now >= w->plan.quiet_at) {
        c->stop_on_change = false;
        return;
    }
    c->conns = (unsigned)rng_below(r, 6);
    c->compression = rng_percent(r, 70);
    c->silence_ms = rng_percent(r, 30) ? rng_between(r, 4000, 60000) : 0;
    c->stop_on_change = rng_percent(r, 15);
    c->want_chunk_log2 = (uint8_t)(rng_percent(r, 50)
                                       ? rng_between(r, 12, 15)
                                       : 0);
    if (w->plan.narrow == 0 && w->plan.donor == 0) {
        w->spoiled |= c->in_order; /* nothing of it stays */
        c->in_order = rng_percent(r, 10);
    }
    if (rng_percent(r, 30)) {
        vary_pin(w);
    }
    vary_order(w);
    world_tell(w,
               "now %u connections, chunks of 2^%u%s%s%s, server %u first",
               c->conns, c->want_chunk_log2, c->pinned ? ", pinned" : "",
               c->in_order ? ", in order" : "",
               c->stop_on_change ? ", no change" : "", w->order[0]);
}

static uint64_t later(struct world *w, unsigned mean_ms)
{
    return mean_ms == 0 ? NET_NEVER
                        : w->now + 1 + rng_below(&w->vary, 2 * mean_ms);
}

void vary_begin(struct world *w)
{
    w->goaway_at = later(w, w->plan.goaway_ms);
    w->hurry_at = later(w, w->plan.hurry_ms);
}

uint64_t vary_next(const struct world *w)
{
    return w->goaway_at < w->hurry_at ? w->goaway_at : w->hurry_at;
}

void vary_happen(struct world *w)
{
    if (w->now >= w->goaway_at) {
        world_tell(w, "the operator stops the servers");
        for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
            struct line *l = &w->line[i];

            if (l->used && !l->server.closed) {
                sender_goaway(l->server.sender, w->now);
            }
        }
        w->goaway_at = later(w, w->plan.goaway_ms);
    }
    if (w->now >= w->hurry_at) {
        world_tell(w, "the network is back");
        transfer_hurry(w->client.transfer, w->now);
        w->hurry_at = later(w, w->plan.hurry_ms);
    }
}
