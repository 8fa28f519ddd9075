/* Transfer: content from local files (donors).
 *
 * Before anything is asked for, the complete digest list tells what the
 * chunks have to be.  The chunks of each donor are hashed, one donor after
 * the other, and what fits is copied; only the rest is fetched.  The file
 * that is repaired is a donor as well: what stands in its right place stays
 * there. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/session/transfer_internal.h"

/* Of donors, of which there is one. */
static bool has_self(const struct transfer *t)
{
    return t->config.donors[0].self;
}

/* Donors are looked at: nothing may be asked for yet. */
bool seed_busy(const struct transfer *t)
{
    return t->seed.state != SEED_NONE;
}

/* ... and local work is all there is to do: no connection is needed. */
bool seed_local(const struct transfer *t)
{
    return t->phase == PHASE_FETCH &&
           (t->seed.state == SEED_HASH || t->seed.state == SEED_COPY);
}

static void seed_drop(struct transfer *t)
{
    grid_free(&t->seed.grid);
    free(t->seed.copies);
    t->seed.copies = NULL;
    t->seed.copy_count = 0;
    t->seed.copy_next = 0;
}

void seed_free(struct transfer *t)
{
    seed_drop(t);
}

void seed_init(struct transfer *t)
{
    BELAY_ASSERT(t->config.donor_count <= TRANSFER_DONORS_MAX);
    t->seed.state = t->config.donor_count > 0 ? SEED_LIST : SEED_NONE;
}

static void seed_end(struct transfer *t)
{
    seed_drop(t);
    t->seed.state = SEED_NONE;
    t->sample_at = t->now; /* how fast the link is shows only now */
    t->sample_wire = t->ledger.wire;
}

/* The digests are of another version now: look again when it is known. */
void seed_restart(struct transfer *t)
{
    if (t->seed.state == SEED_NONE) {
        return;
    }
    t->seed.restart = true;
}

/* The server does not tell its digests: do without the donors where that is
 * possible. */
bool seed_without_list(struct transfer *t)
{
    if (has_self(t) || t->config.compare_only) {
        return false;
    }
    list_clear(t);
    seed_end(t);
    return true;
}

/* The verified list came: hints of other bytes are none. */
void seed_listed(struct transfer *t)
{
    for (uint64_t i = 0; i < t->grid.count; i++) {
        if (grid_state(&t->grid, i) == CHUNK_HINT &&
            memcmp(t->grid.digest[i], t->expect[i], HASH_LEN) != 0) {
            grid_set(&t->grid, i, CHUNK_MISSING, 0);
        }
    }
}

/* ---- one donor. */

/* Of the file itself as much as a grid has room for: what is behind that is
 * wrong anyway.  Other donors can be done without. */
static uint64_t donor_size(const struct transfer *t,
                           const struct transfer_donor *donor)
{
    uint64_t most = TRANSFER_CHUNKS_MAX << t->grid.log2;

    return donor->self && donor->size > most ? most : donor->size;
}

/* Begin with the next donor that can be of use; false: there is none, or no
 * memory for it, and that is told. */
static bool seed_begin(struct transfer *t)
{
    struct seeding *s = &t->seed;

    for (; s->donor < t->config.donor_count; s->donor++) {
        const struct transfer_donor *donor = &t->config.donors[s->donor];

        if ((t->grid.missing_bytes == 0 && !t->config.compare_only) ||
            (donor->size == 0 && !donor->self)) {
            continue;
        }
        int err = grid_init(&s->grid, donor_size(t, donor), t->grid.log2);

        if (err == ERR_LIMIT) {
            continue;
        }
        if (err != 0) {
            transfer_fail(t, TRANSFER_NOMEM, "out of memory");
            return false;
        }
        for (uint64_t i = 0; i < s->grid.count; i++) {
            grid_set(&s->grid, i, CHUNK_LOCAL, ORIGIN_FRESH);
        }
        s->state = SEED_HASH;
        return true;
    }
    return false;
}

struct match {
    const struct grid *grid;
    uint32_t *index;
    uint32_t count;
    bool self;
};

/* Which chunk of the donor has this digest?  Its own place comes first. */
static uint64_t seed_find(const struct match *m, uint64_t i,
                          const uint8_t *digest)
{
    if (i < m->grid->count && grid_state(m->grid, i) == CHUNK_HAVE &&
        memcmp(m->grid->digest[i], digest, HASH_LEN) == 0) {
        return i;
    }
    return match_find(m->grid, m->index, m->count, digest);
}

/* Plan the copies; what stands in its place already is held.  As after a
 * change, data of one file that moves down is copied upwards and the other
 * way round, so that it is read before it is overwritten. */
static uint64_t seed_plan(struct transfer *t, const struct match *m)
{
    struct seeding *s = &t->seed;
    uint64_t kept = 0;
    uint64_t left = 0;
    uint64_t right = t->grid.count;

    for (uint64_t i = 0; i < t->grid.count; i++) {
        uint64_t from;

        if (grid_state(&t->grid, i) != CHUNK_MISSING) {
            continue;
        }
        from = seed_find(m, i, t->expect[i]);
        if (from >= m->grid->count) {
            continue;
        }
        if (m->self && from == i) {
            memcpy(t->grid.digest[i], t->expect[i], HASH_LEN);
            grid_set(&t->grid, i, CHUNK_HAVE, ORIGIN_KEPT);
            kept++;
        } else if (m->self && from < i) {
            s->copies[--right] = (struct copy){from, i};
        } else {
            s->copies[left++] = (struct copy){from, i};
        }
    }
    memmove(s->copies + left, s->copies + right,
            (t->grid.count - right) * sizeof *s->copies);
    s->copy_count = left + (t->grid.count - right);
    return kept;
}

static void seed_compare(struct transfer *t)
{
    struct seeding *s = &t->seed;
    struct match m = {.grid = &s->grid,
                      .self = t->config.donors[s->donor].self};
    uint64_t kept;

    s->copy_next = 0;
    s->copies = calloc(t->grid.count + 1, sizeof *s->copies);
    m.index = match_index(&s->grid, &m.count);
    if (s->copies == NULL || m.index == NULL) {
        free(m.index);
        transfer_fail(t, TRANSFER_NOMEM, "out of memory");
        return;
    }
    kept = seed_plan(t, &m);
    free(m.index);
    grid_account(t);
    s->state = SEED_COPY;
    transfer_say(t, &(struct note){.note = TRANSFER_NOTE_DONOR,
                                   .conn = s->donor,
                                   .first = kept,
                                   .count = s->copy_count});
    if (t->config.compare_only) {
        t->phase = PHASE_OVER;
        t->fail_told = true;
        t->compared = true;
    }
}

void seed_copied(struct transfer *t, bool ok)
{
    struct seeding *s = &t->seed;
    const struct copy *copy = &s->copies[s->copy_next++];

    s->copy_asked = false;
    if (ok && !s->restart &&
        grid_state(&t->grid, copy->to) == CHUNK_MISSING) {
        memcpy(t->grid.digest[copy->to], t->expect[copy->to], HASH_LEN);
        grid_set(&t->grid, copy->to, CHUNK_HAVE, ORIGIN_REUSED);
    }
}

bool seed_next_copy(struct transfer *t, struct transfer_action *a)
{
    struct seeding *s = &t->seed;

    if (t->phase != PHASE_FETCH || s->state != SEED_COPY || s->restart ||
        s->copy_asked || s->copy_next == s->copy_count) {
        return false;
    }
    s->copy_asked = true;
    a->type = TRANSFER_COPY;
    a->donor = s->donor;
    a->from = s->copies[s->copy_next].from;
    a->from_offset = a->from << t->grid.log2;
    a->first = s->copies[s->copy_next].to;
    a->count = 1;
    a->chunk_log2 = t->grid.log2;
    memcpy(s->wanted, t->expect[a->first], HASH_LEN);
    a->digest = s->wanted; /* outlives a list that a change throws away */
    return true;
}

/* ---- the order of things. */

/* One step forward; false: something has to happen first. */
static bool seed_step(struct transfer *t)
{
    struct seeding *s = &t->seed;

    switch (s->state) {
    case SEED_NONE:
        return false;
    case SEED_LIST:
        if (t->expect == NULL || !t->expect_final) {
            list_ask(t, LIST_SEED);
            list_pump(t);
            return false;
        }
        if (t->grid.unhashed > 0 || t->grid.piped > 0 ||
            t->hash_pending > 0) {
            return false; /* what an earlier run left comes first */
        }
        break;
    case SEED_HASH:
        if (s->grid.unhashed > 0 || t->hash_pending > 0) {
            return false;
        }
        seed_compare(t);
        return t->phase == PHASE_FETCH;
    case SEED_COPY:
        if (s->copy_asked || s->copy_next < s->copy_count) {
            return false;
        }
        seed_drop(t);
        s->donor++;
        break;
    }
    if (!seed_begin(t)) {
        seed_end(t);
    }
    return true;
}

void seed_pump(struct transfer *t)
{
    struct seeding *s = &t->seed;

    if (s->state == SEED_NONE) {
        return;
    }
    if (s->restart) {
        if (s->copy_asked || (s->state == SEED_HASH && t->hash_pending > 0)) {
            return;
        }
        seed_drop(t);
        s->restart = false;
        s->donor = 0;
        s->state = SEED_LIST;
    }
    while (t->phase == PHASE_FETCH && t->confirmed && !t->need_begin &&
           !t->need_rebase && t->list.use == LIST_NONE && seed_step(t)) {
        continue;
    }
}
