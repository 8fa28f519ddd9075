#include "server/conduct.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"
#include "proto/io/rand.h"
#include "server/shared.h"

#define REQUEST_MS (1000u / SMALL_REQUESTS_PER_S)
#define BURST_MS (REQUEST_MS * (uint64_t)SMALL_REQUESTS_BURST)

_Static_assert(1000u % SMALL_REQUESTS_PER_S == 0, "whole milliseconds");

/* Flags are numbers, of which any value may be found: a bool that a process
 * gone wrong has written over would have none that the language knows. */
struct record {
    uint8_t bytes[8]; /* of the origin */
    uint8_t used;
    uint8_t barred;   /* until the penalty is served */
    uint64_t penalty; /* served at this time */
    uint64_t spent;   /* requests are paid back at this time */
};

struct set {
    struct record record[CONDUCT_WAYS];
};

struct table {
    struct shared_lock lock;
    struct set set[]; /* of IPv4, then of IPv6 */
};

/* Only the records are shared: a process that goes wrong cannot make another
 * one look outside of them. */
struct conduct {
    struct table *table;
    size_t bytes;
    uint32_t sets; /* of one family */
    uint64_t seed;
};

int
conduct_new(uint32_t origins, struct conduct **out)
{
    BELAY_ASSERT(origins >= CONDUCT_WAYS && (origins & (origins - 1)) == 0);
    struct conduct *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return ERR_NOMEM;
    }
    c->sets = origins / CONDUCT_WAYS;
    c->seed = rand_u64();
    c->bytes = sizeof(struct table) + 2 * (size_t)c->sets * sizeof(struct set);
    c->table = shared_new(c->bytes);
    int err = c->table == NULL ? ERR_NOMEM : shared_lock_init(&c->table->lock);
    if (err != 0) {
        conduct_free(c);
        return err;
    }
    *out = c;
    return 0;
}

void
conduct_free(struct conduct *conduct)
{
    if (conduct != NULL) {
        shared_free(conduct->table, conduct->bytes);
        free(conduct);
    }
}

static struct set *
set_of(struct conduct *c, const struct origin *origin)
{
    uint64_t i = origin_hash(origin, c->seed) % c->sets;
    return &c->table->set[origin->family == 6 ? c->sets + i : i];
}

static struct record *
find(struct set *set, const struct origin *origin)
{
    for (size_t i = 0; i < CONDUCT_WAYS; i++) {
        struct record *r = &set->record[i];
        if (r->used != 0 && memcmp(r->bytes, origin->bytes,
                              sizeof(r->bytes)) == 0) {
            return r;
        }
    }
    return NULL;
}

static uint64_t
later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A free record, or the one that is missed least. */
static struct record *
make(struct set *set, const struct origin *origin)
{
    struct record *best = &set->record[0];

    for (size_t i = 0; i < CONDUCT_WAYS && best->used != 0; i++) {
        struct record *r = &set->record[i];
        if (r->used == 0 || later(r->penalty, r->spent) <
                            later(best->penalty, best->spent)) {
            best = r;
        }
    }
    *best = (struct record){ .used = 1 };
    memcpy(best->bytes, origin->bytes, sizeof(best->bytes));
    return best;
}

static struct record *
find_or_make(struct set *set, const struct origin *origin)
{
    struct record *r = find(set, origin);
    return r != NULL ? r : make(set, origin);
}

static uint64_t
left_ms(const struct record *r, uint64_t now)
{
    uint64_t left = r->penalty > now ? r->penalty - now : 0;
    return left < PENALTY_MAX_MS ? left : PENALTY_MAX_MS;
}

static uint64_t
barred_ms(const struct record *r, uint64_t now)
{
    return r->barred != 0 ? left_ms(r, now) : 0;
}

uint64_t
conduct_penalize(struct conduct *conduct, const struct origin *origin,
                 uint64_t ms, uint64_t now)
{
    shared_lock_take(&conduct->table->lock);
    struct record *r = find_or_make(set_of(conduct, origin), origin);
    if (r->penalty <= now) {
        r->barred = 0;
    }
    uint64_t left = left_ms(r, now);
    left = ms < PENALTY_MAX_MS - left ? left + ms : PENALTY_MAX_MS;
    r->penalty = now + left;
    if (left >= PENALTY_ACT_MS) {
        r->barred = 1;
    }
    uint64_t barred = barred_ms(r, now);
    shared_lock_give(&conduct->table->lock);
    return barred;
}

uint64_t
conduct_barred(struct conduct *conduct, const struct origin *origin,
               uint64_t now)
{
    shared_lock_take(&conduct->table->lock);
    const struct record *r = find(set_of(conduct, origin), origin);
    uint64_t barred = r == NULL ? 0 : barred_ms(r, now);
    shared_lock_give(&conduct->table->lock);
    return barred;
}

uint64_t
conduct_spend(struct conduct *conduct, const struct origin *origin,
              uint64_t count, uint64_t now)
{
    uint64_t wait = 0;

    shared_lock_take(&conduct->table->lock);
    struct set *set = set_of(conduct, origin);
    struct record *r = count > 0 ? find_or_make(set, origin)
                                 : find(set, origin);
    if (r != NULL) {
        r->spent = later(r->spent, now) + count * REQUEST_MS;
        wait = r->spent > now + BURST_MS ? r->spent - now - BURST_MS : 0;
    }
    shared_lock_give(&conduct->table->lock);
    return wait;
}
