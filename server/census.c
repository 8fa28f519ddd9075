#include "server/census.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"
#include "proto/io/rand.h"
#include "server/limits.h"
#include "server/shared.h"

/* How likely a stranger is turned away where that begins, in percent; it rises
 * evenly to 100. */
#define DROP_PERCENT 30u

/* Flags are numbers, of which any value may be found: a bool that a process
 * gone wrong has written over would have none that the language knows. */
struct place {
    struct origin origin;
    uint8_t used;
    uint16_t count[SERVER_WORKERS_MAX];
    uint16_t strangers[SERVER_WORKERS_MAX];
    uint16_t hashing[SERVER_WORKERS_MAX];
};

struct desk {
    uint8_t alive;
    uint8_t serving;
    uint8_t exempt;       /* while serving, */
    struct origin origin; /* and whom */
    unsigned count;
    unsigned strangers;
};

struct table {
    struct shared_lock lock;
    unsigned total;
    unsigned strangers;
    unsigned origins;
    struct desk desk[SERVER_WORKERS_MAX];
    struct place place[];
};

/* Only the table is shared: a process that goes wrong can spoil the numbers,
 * but not make another one look outside of it. */
struct census {
    struct table *table;
    size_t bytes;
    struct census_limits limits;
    uint64_t seed;
    size_t places; /* a power of two, twice the connections at least */
};

static unsigned
at_least(unsigned least, unsigned value)
{
    return value > least ? value : least;
}

struct census_limits
census_limits_for(unsigned total, unsigned per_origin)
{
    unsigned origin = at_least(MAX_UNAUTH_PER_SOURCE, per_origin / 4);

    return (struct census_limits){
        .total = total,
        .per_origin = per_origin,
        .strangers_drop = at_least(UNAUTH_DROP_START, total / 16),
        .strangers = at_least(UNAUTH_DROP_ALL, total / 4),
        .strangers_per_origin = origin < per_origin ? origin : per_origin,
        .hashing_per_origin = MAX_HASH_JOBS_PER_SOURCE,
    };
}

static size_t
places_for(unsigned total)
{
    size_t n = 16;
    while (n < 2 * (size_t)total) {
        n *= 2;
    }
    return n;
}

int
census_new(const struct census_limits *limits, struct census **out)
{
    struct census *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return ERR_NOMEM;
    }
    c->limits = *limits;
    c->seed = rand_u64();
    c->places = places_for(limits->total);
    c->bytes = sizeof(struct table) + c->places * sizeof(struct place);
    c->table = shared_new(c->bytes);
    int err = c->table == NULL ? ERR_NOMEM : shared_lock_init(&c->table->lock);
    if (err != 0) {
        census_free(c);
        return err;
    }
    *out = c;
    return 0;
}

void
census_free(struct census *census)
{
    if (census != NULL) {
        shared_free(census->table, census->bytes);
        free(census);
    }
}

/* A holder that died left at worst one count wrong, and the parent takes back
 * all counts of a dead worker. */
static struct table *
lock(struct census *c)
{
    shared_lock_take(&c->table->lock);
    return c->table;
}

static void
unlock(struct census *c)
{
    shared_lock_give(&c->table->lock);
}

/* ---- Places. */

/* The place of an origin, or a free one for it; the table is never full. */
static struct place *
find(struct census *c, const struct origin *origin)
{
    struct table *t = c->table;
    size_t mask = c->places - 1;
    size_t i = (size_t)origin_hash(origin, c->seed) & mask;

    for (size_t n = 0; n < mask && t->place[i].used != 0 &&
                       !origin_equal(&t->place[i].origin, origin); n++) {
        i = (i + 1) & mask;
    }
    return &t->place[i];
}

static unsigned
sum_of(const uint16_t counts[SERVER_WORKERS_MAX])
{
    unsigned sum = 0;
    for (size_t w = 0; w < SERVER_WORKERS_MAX; w++) {
        sum += counts[w];
    }
    return sum;
}

/* Frees the place at i and moves those that had to go past it. */
static void
vacate(struct census *c, size_t i)
{
    struct table *t = c->table;
    size_t mask = c->places - 1;

    t->origins--;
    memset(&t->place[i], 0, sizeof(t->place[i]));
    for (size_t n = 1; n <= mask && t->place[(i + n) & mask].used != 0; n++) {
        struct place *p = &t->place[(i + n) & mask];
        struct place moved = *p;
        memset(p, 0, sizeof(*p));
        *find(c, &moved.origin) = moved;
    }
}

/* ---- Coming and going. */

/* Random early drop: a flood of strangers meets a growing chance, so that a
 * well-behaved one among them gets in after a few tries. */
static bool
turned_away(const struct census *c, unsigned chance)
{
    unsigned from = c->limits.strangers_drop;
    unsigned all = c->limits.strangers;
    unsigned now = c->table->strangers;

    if (now < from || now >= all) {
        return now >= all;
    }
    return chance < DROP_PERCENT +
                        (100u - DROP_PERCENT) * (now - from) / (all - from);
}

/* For another stranger of this origin. */
static bool
has_room(const struct census *c, const struct place *p,
         const struct census_guest *guest)
{
    return guest->exempt ||
           sum_of(p->strangers) < c->limits.strangers_per_origin;
}

static enum census_verdict
judge(const struct census *c, const struct place *p,
      const struct census_guest *guest, unsigned chance)
{
    if (c->table->total >= c->limits.total) {
        return CENSUS_FULL;
    }
    if (!guest->exempt && sum_of(p->count) >= c->limits.per_origin) {
        return CENSUS_ORIGIN_FULL;
    }
    if (turned_away(c, chance)) {
        return CENSUS_STRANGERS;
    }
    return has_room(c, p, guest) ? CENSUS_ENTERED : CENSUS_WAITS;
}

static void
more_strange(struct table *t, struct place *p, unsigned worker)
{
    p->strangers[worker]++;
    t->desk[worker].strangers++;
    t->strangers++;
}

enum census_verdict
census_enter(struct census *census, unsigned worker,
             const struct census_guest *guest, unsigned chance)
{
    BELAY_ASSERT(worker < SERVER_WORKERS_MAX);
    struct table *t = lock(census);
    struct place *p = find(census, &guest->origin);
    enum census_verdict verdict = judge(census, p, guest, chance);
    if (verdict == CENSUS_ENTERED || verdict == CENSUS_WAITS) {
        t->origins += p->used == 0;
        p->used = 1;
        p->origin = guest->origin;
        p->count[worker]++;
        t->desk[worker].count++;
        t->total++;
    }
    if (verdict == CENSUS_ENTERED) {
        more_strange(t, p, worker);
    }
    unlock(census);
    return verdict;
}

static void
less_strange(struct table *t, struct place *p, unsigned worker)
{
    if (p->strangers[worker] > 0) {
        p->strangers[worker]--;
        t->desk[worker].strangers--;
        t->strangers--;
    }
}

bool
census_advance(struct census *census, unsigned worker,
               const struct census_guest *guest)
{
    struct table *t = lock(census);
    struct place *p = find(census, &guest->origin);
    bool may = has_room(census, p, guest) &&
               t->strangers < census->limits.strangers;
    if (may) {
        more_strange(t, p, worker);
    }
    unlock(census);
    return may;
}

void
census_meet(struct census *census, unsigned worker,
            const struct census_guest *guest)
{
    struct table *t = lock(census);
    less_strange(t, find(census, &guest->origin), worker);
    unlock(census);
}

void
census_leave(struct census *census, unsigned worker,
             const struct census_guest *guest,
             enum census_standing standing)
{
    struct table *t = lock(census);
    struct place *p = find(census, &guest->origin);
    if (standing == CENSUS_STRANGER) {
        less_strange(t, p, worker);
    }
    if (p->used != 0 && p->count[worker] > 0) {
        p->count[worker]--;
        t->desk[worker].count--;
        t->total--;
        if (sum_of(p->count) == 0) {
            vacate(census, (size_t)(p - t->place));
        }
    }
    unlock(census);
}

unsigned
census_sharers(struct census *census, const struct census_guest *guest)
{
    struct table *t = lock(census);
    unsigned count = 1;
    if (t->origins > 1 && !guest->exempt) {
        count = sum_of(find(census, &guest->origin)->count);
    }
    unlock(census);
    return at_least(1, count);
}

bool
census_hash_begin(struct census *census, unsigned worker,
                  const struct census_guest *guest)
{
    if (guest->exempt) {
        return true;
    }
    (void)lock(census);
    struct place *p = find(census, &guest->origin);
    bool may = sum_of(p->hashing) < census->limits.hashing_per_origin;
    if (may && p->used != 0) {
        p->hashing[worker]++;
    }
    unlock(census);
    return may;
}

void
census_hash_end(struct census *census, unsigned worker,
                const struct census_guest *guest)
{
    if (guest->exempt) {
        return;
    }
    (void)lock(census);
    struct place *p = find(census, &guest->origin);
    if (p->hashing[worker] > 0) {
        p->hashing[worker]--;
    }
    unlock(census);
}

bool
census_has_idler(struct census *census, unsigned worker)
{
    bool found = false;
    const struct table *t = lock(census);

    for (size_t w = 0; w < SERVER_WORKERS_MAX; w++) {
        found |= t->desk[w].alive != 0 &&
                 t->desk[w].count < t->desk[worker].count;
    }
    unlock(census);
    return found;
}

/* ---- Workers. */

/* Without the lock: a desk has one writer, and the parent looks at it when
 * that one is dead. */
void
census_serve(struct census *census, unsigned worker,
             const struct census_guest *guest)
{
    struct desk *desk = &census->table->desk[worker];

    if (guest != NULL) {
        desk->origin = guest->origin;
        desk->exempt = guest->exempt;
    }
    desk->serving = guest != NULL;
}

static bool
only_guest(const struct census *c, unsigned worker, struct origin *out)
{
    unsigned found = 0;

    for (size_t i = 0; i < c->places; i++) {
        const struct place *p = &c->table->place[i];
        if (p->count[worker] > 0) {
            *out = p->origin;
            found++;
        }
    }
    return found == 1;
}

bool
census_blame(struct census *census, unsigned worker, struct origin *out)
{
    const struct desk *desk = &lock(census)->desk[worker];
    bool found = false;

    if (desk->serving != 0) {
        *out = desk->origin;
        found = desk->exempt == 0;
    } else {
        found = only_guest(census, worker, out);
    }
    unlock(census);
    return found;
}

void
census_worker_started(struct census *census, unsigned worker)
{
    lock(census)->desk[worker].alive = 1;
    unlock(census);
}

/* A worker may have been killed between two of its steps, so that sums are
 * made anew from the places. */
static void
sum_up(struct census *c)
{
    struct table *t = c->table;

    t->total = 0;
    t->strangers = 0;
    t->origins = 0;
    for (size_t w = 0; w < SERVER_WORKERS_MAX; w++) {
        t->desk[w].count = 0;
        t->desk[w].strangers = 0;
    }
    for (size_t i = 0; i < c->places; i++) {
        const struct place *p = &t->place[i];

        for (size_t w = 0; p->used != 0 && w < SERVER_WORKERS_MAX; w++) {
            t->desk[w].count += p->count[w];
            t->desk[w].strangers += p->strangers[w];
        }
        t->origins += p->used != 0;
        t->total += sum_of(p->count);
        t->strangers += sum_of(p->strangers);
    }
}

void
census_worker_died(struct census *census, unsigned worker)
{
    struct table *t = lock(census);

    memset(&t->desk[worker], 0, sizeof(t->desk[worker]));
    for (size_t i = 0; i < census->places; i++) {
        t->place[i].count[worker] = 0;
        t->place[i].strangers[worker] = 0;
        t->place[i].hashing[worker] = 0;
    }
    /* Moving places while walking could skip some: walk until none moves. */
    for (size_t i = 0; i < census->places; i++) {
        while (t->place[i].used != 0 && sum_of(t->place[i].count) == 0) {
            vacate(census, i);
        }
    }
    sum_up(census);
    unlock(census);
}

unsigned
census_total(struct census *census)
{
    unsigned total = lock(census)->total;
    unlock(census);
    return total;
}

unsigned
census_strangers(struct census *census)
{
    unsigned strangers = lock(census)->strangers;
    unlock(census);
    return strangers;
}
