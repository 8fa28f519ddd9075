#include "server/packing.h"

#include "proto/data/zpack.h"

/* Quick where the compressor limits; where the link does, from the usual
 * level upwards as long as it stays busy. */
#define LEVEL_QUICK ZPACK_LEVEL_MIN
#define LEVEL_USUAL 6
#define LEVEL_TIGHT ZPACK_LEVEL_MAX

bool
packing_wanted(const struct packing *p)
{
    return p->way == PACKING_ON;
}

static bool
is_dry(const struct packing *p)
{
    return p->dry * 4 >= p->chunks * 3;
}

int
packing_level(const struct packing *p)
{
    return p->level == 0 ? LEVEL_QUICK : p->level;
}

/* At the end of a window of compressed chunks. */
static void
choose_level(struct packing *p)
{
    if (is_dry(p)) {
        p->level = LEVEL_QUICK;
    } else if (p->level < LEVEL_USUAL) {
        p->level = LEVEL_USUAL;
    } else if (p->dry * 10 < p->chunks && p->level < LEVEL_TIGHT) {
        p->level++;
    } else if (p->dry * 4 > p->chunks && p->level > LEVEL_USUAL) {
        p->level--;
    }
}

static void
change(struct packing *p, enum packing_way way)
{
    p->way = way;
    p->fresh = true;
    p->dry_windows = 0;
}

/* At the end of a window: go on, or the other way? */
static void
decide(struct packing *p)
{
    enum packing_way other = p->way == PACKING_ON ? PACKING_OFF : PACKING_ON;

    p->windows++;
    if (p->way == PACKING_ON) {
        choose_level(p);
        p->dry_windows = is_dry(p) ? p->dry_windows + 1 : 0;
        if (p->dry_windows < PACKING_DRY_WINDOWS) {
            return; /* the link limits: nothing can be gained */
        }
    }
    if (p->rate[other] == 0 || p->windows >= PACKING_TRIAL_EVERY) {
        p->windows = 0;
        p->rate[other] = 0;
        change(p, other);
    } else if (p->rate[other] > p->rate[p->way]) {
        change(p, other);
    }
}

void
packing_sent(struct packing *p, uint64_t now_ms, uint32_t raw_len,
             uint64_t unsent)
{
    if (p->bytes == 0) {
        p->began_ms = now_ms;
        p->chunks = 0;
        p->dry = 0;
    }
    p->bytes += raw_len;
    p->chunks++;
    p->dry += unsent == 0;
    uint64_t ms = now_ms - p->began_ms;
    if (ms < PACKING_WINDOW_MS || p->bytes < PACKING_WINDOW_BYTES) {
        return;
    }
    uint64_t rate = p->bytes * 1000 / ms;
    p->bytes = 0;
    if (p->fresh) {
        p->fresh = false;
        return;
    }
    p->rate[p->way] = rate;
    decide(p);
}
