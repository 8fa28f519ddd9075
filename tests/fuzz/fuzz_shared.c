/* What the processes of belayd share (server/census.c, conduct.c, permits.c,
 * metrics.c), when one of them has gone wrong and writes there what it likes.
 *
 * Input: a script of calls, as the parent and its workers make them, and of
 * bytes written over the shared memory.
 *
 * Promised: nobody looks outside of it, hangs, or holds a lock that he has;
 * numbers may be spoiled, but once all workers have died and been replaced,
 * everybody comes in as at the start. While nobody goes wrong, who is there is
 * counted exactly. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/base/limits.h"
#include "proto/io/rand.h"
#include "server/census.h"
#include "server/conduct.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "server/permits.h"
#include "server/shared.h"
#include "tests/fuzz/fuzz.h"

enum op {
    OP_ENTER,   /* worker, guest, chance */
    OP_ADVANCE, /* which of those that are there */
    OP_MEET,
    OP_LEAVE,
    OP_ASK,     /* worker, guest: everything that only asks */
    OP_HASH,    /* worker, guest, begin or end */
    OP_SERVE,   /* worker, guest or nobody */
    OP_DIES,    /* worker */
    OP_CONDUCT, /* guest, what, number (4), time that passes (2) */
    OP_PERMIT,  /* worker, take or give */
    OP_NUMBER,  /* worker, which number, how much (8) */
    OP_SPOIL,   /* which memory, where (2), length, bytes */
    OP_FILL,    /* which memory, byte */
    OP_COUNT,
};

#define OPS_MAX 300u
#define GUESTS 6u
#define THERE_MAX 32u
#define PERMITS 2u
#define REGIONS_MAX 8u

struct there {
    bool used;
    unsigned worker;
    unsigned guest;
    enum census_standing standing;
};

struct region {
    uint8_t *bytes;
    size_t len;
    bool ours; /* made by shared_new() */
};

struct game {
    struct script s;
    struct census *census;
    struct conduct *conduct;
    struct permits *permits;
    struct metrics *metrics;
    struct there there[THERE_MAX];
    struct region region[REGIONS_MAX];
    size_t regions;
    const struct shared_lock *held;
    unsigned taken[SERVER_WORKERS_MAX];
    unsigned deaths;
    uint64_t now;
    bool spoiled;
};

static struct game g;

/* ---- Instead of server/shared.c: of exactly the size, with sanitizers
 * around, and locks that are watched. */

void *shared_new(size_t bytes)
{
    uint8_t *memory = calloc(1, bytes);

    FUZZ_CHECK(memory != NULL && g.regions < REGIONS_MAX);
    g.region[g.regions++] = (struct region){memory, bytes, true};
    return memory;
}

void shared_free(void *memory, size_t bytes)
{
    (void)bytes;
    free(memory);
}

int shared_lock_init(struct shared_lock *lock)
{
    (void)lock;
    return 0;
}

void shared_lock_take(struct shared_lock *lock)
{
    FUZZ_CHECK(g.held == NULL);
    g.held = lock;
}

void shared_lock_give(struct shared_lock *lock)
{
    FUZZ_CHECK(g.held == lock);
    g.held = NULL;
}

/* The same places each time. */
uint64_t rand_u64(void)
{
    return 42;
}

/* ---- Guests. */

static struct census_guest guest_of(unsigned which)
{
    struct census_guest guest = {.exempt = which == 5};

    guest.origin.family = which == 0 ? 0 : which & 1 ? 4 : 6;
    guest.origin.bytes[0] = (uint8_t)which;
    return guest;
}

static unsigned script_worker(void)
{
    return script_u8(&g.s) % SERVER_WORKERS_MAX;
}

static void op_enter(void)
{
    unsigned worker = script_worker();
    unsigned which = script_u8(&g.s) % GUESTS;
    const struct census_guest guest = guest_of(which);
    enum census_verdict verdict =
        census_enter(g.census, worker, &guest, script_u8(&g.s) % 100u);

    FUZZ_CHECK(verdict <= CENSUS_STRANGERS);
    if (verdict != CENSUS_ENTERED && verdict != CENSUS_WAITS) {
        return;
    }
    for (size_t i = 0; i < THERE_MAX; i++) {
        if (!g.there[i].used) {
            g.there[i] = (struct there){
                true, worker, which,
                verdict == CENSUS_ENTERED ? CENSUS_STRANGER : CENSUS_QUEUED};
            return;
        }
    }
    FUZZ_CHECK(g.spoiled);
    census_leave(g.census, worker, &guest,
                 verdict == CENSUS_ENTERED ? CENSUS_STRANGER : CENSUS_QUEUED);
}

static void op_guest(enum op op)
{
    struct there *t = &g.there[script_u8(&g.s) % THERE_MAX];
    const struct census_guest guest = guest_of(t->guest);

    if (!t->used) {
        return;
    }
    if (op == OP_LEAVE) {
        census_leave(g.census, t->worker, &guest, t->standing);
        t->used = false;
    } else if (op == OP_ADVANCE && t->standing == CENSUS_QUEUED) {
        if (census_advance(g.census, t->worker, &guest)) {
            t->standing = CENSUS_STRANGER;
        }
    } else if (op == OP_MEET && t->standing == CENSUS_STRANGER) {
        census_meet(g.census, t->worker, &guest);
        t->standing = CENSUS_KNOWN;
    }
}

/* Counted by hand. */
static void check_counts(void)
{
    unsigned total = 0;
    unsigned strangers = 0;

    for (size_t i = 0; i < THERE_MAX; i++) {
        total += g.there[i].used;
        strangers += g.there[i].used &&
                     g.there[i].standing == CENSUS_STRANGER;
    }
    FUZZ_CHECK(census_total(g.census) == total);
    FUZZ_CHECK(census_strangers(g.census) == strangers);
}

static void op_ask(void)
{
    unsigned worker = script_worker();
    const struct census_guest guest = guest_of(script_u8(&g.s) % GUESTS);
    struct origin origin;
    char text[ORIGIN_TEXT_MAX];

    FUZZ_CHECK(census_sharers(g.census, &guest) >= 1);
    (void)census_has_idler(g.census, worker);
    if (census_blame(g.census, worker, &origin)) {
        origin_text(&origin, text);
        FUZZ_CHECK(memchr(text, '\0', sizeof text) != NULL && *text != '\0');
        FUZZ_CHECK(conduct_penalize(g.conduct, &origin, PENALTY_CRASH_MS,
                                    g.now) <= PENALTY_MAX_MS);
    }
}

static void op_hash(void)
{
    unsigned worker = script_worker();
    const struct census_guest guest = guest_of(script_u8(&g.s) % GUESTS);

    if (script_u8(&g.s) & 1u) {
        census_hash_end(g.census, worker, &guest);
    } else {
        (void)census_hash_begin(g.census, worker, &guest);
    }
}

static void op_serve(void)
{
    unsigned worker = script_worker();
    unsigned which = script_u8(&g.s);
    const struct census_guest guest = guest_of(which % GUESTS);
    struct origin origin;

    census_serve(g.census, worker, which & 0x80u ? NULL : &guest);
    bool found = census_blame(g.census, worker, &origin);
    if (!(which & 0x80u)) {
        FUZZ_CHECK(found == !guest.exempt);
        FUZZ_CHECK(!found || origin_equal(&origin, &guest.origin));
    }
}

/* ---- What a parent does about a dead worker. */

static void dies(unsigned worker)
{
    permits_worker_died(g.permits, worker);
    census_worker_died(g.census, worker);
    metrics_worker_died(g.metrics, worker);
    g.taken[worker] = 0;
    g.deaths++;
    for (size_t i = 0; i < THERE_MAX; i++) {
        g.there[i].used = g.there[i].used && g.there[i].worker != worker;
    }
    census_worker_started(g.census, worker);
}

/* ---- The other tables. */

static void op_conduct(void)
{
    const struct origin origin = guest_of(script_u8(&g.s) % GUESTS).origin;
    uint8_t what = script_u8(&g.s) % 3u;
    uint32_t number = script_u32(&g.s);

    g.now += script_u16(&g.s);
    if (what == 0) {
        uint64_t ms = conduct_penalize(g.conduct, &origin, number, g.now);
        FUZZ_CHECK(ms <= PENALTY_MAX_MS);
        FUZZ_CHECK(g.spoiled || number < PENALTY_ACT_MS || ms > 0);
    } else if (what == 1) {
        FUZZ_CHECK(conduct_barred(g.conduct, &origin, g.now) <=
                   PENALTY_MAX_MS);
    } else {
        (void)conduct_spend(g.conduct, &origin, number % 10000u, g.now);
    }
}

/* A worker has one slice at a time. */
static void op_permit(void)
{
    unsigned worker = script_worker();

    if (g.taken[worker] > 0) {
        permits_give(g.permits, worker);
        g.taken[worker] = 0;
    } else if (permits_take(g.permits, worker)) {
        g.taken[worker] = 1;
    }
}

static void op_number(void)
{
    unsigned worker = script_worker();
    enum metrics_id id = script_u8(&g.s) % METRICS_IDS;
    struct metrics_slot *slot = metrics_of_worker(g.metrics, worker);

    metrics_add(slot, id, script_u64(&g.s));
    if (id == METRICS_CONNECTIONS_NOW) {
        metrics_sub(slot, id, script_u64(&g.s));
    }
}

/* Of a permit only what a worker wrote down is in the memory. */
static void op_spoil(bool fill)
{
    const struct region *r = &g.region[script_u8(&g.s) % g.regions];
    size_t at = fill ? 0 : script_u16(&g.s) % r->len;
    size_t len = fill ? r->len : script_u8(&g.s);
    uint8_t byte = fill ? script_u8(&g.s) : 0;

    g.spoiled = true;
    for (size_t i = 0; i < len && at + i < r->len; i++) {
        r->bytes[at + i] = fill ? byte : script_u8(&g.s);
    }
}

static void step(void)
{
    enum op op = script_u8(&g.s) % OP_COUNT;

    switch (op) {
    case OP_ENTER:
        op_enter();
        break;
    case OP_ADVANCE:
    case OP_MEET:
    case OP_LEAVE:
        op_guest(op);
        break;
    case OP_ASK:
        op_ask();
        break;
    case OP_HASH:
        op_hash();
        break;
    case OP_SERVE:
        op_serve();
        break;
    case OP_DIES:
        dies(script_worker());
        break;
    case OP_CONDUCT:
        op_conduct();
        break;
    case OP_PERMIT:
        op_permit();
        break;
    case OP_NUMBER:
        op_number();
        break;
    default:
        op_spoil(op == OP_FILL);
        break;
    }
    FUZZ_CHECK(g.held == NULL);
    if (!g.spoiled) {
        check_counts();
    }
}

/* ---- The beginning and the end. */

static void begin(void)
{
    const struct census_limits limits = {
        .total = 20, .per_origin = 6, .strangers_drop = 4, .strangers = 8,
        .strangers_per_origin = 3, .hashing_per_origin = 2};

    FUZZ_CHECK(census_new(&limits, &g.census) == 0);
    FUZZ_CHECK(conduct_new(CONDUCT_WAYS, &g.conduct) == 0);
    FUZZ_CHECK(permits_new(PERMITS, &g.permits) == 0);
    FUZZ_CHECK(metrics_new(&g.metrics) == 0);
    uint8_t *numbers = (uint8_t *)metrics_of_worker(g.metrics, 0);
    size_t len = (size_t)((uint8_t *)metrics_of_parent(g.metrics) - numbers);
    g.region[g.regions++] = (struct region){numbers, len, false};
    g.now = 1000;
    for (unsigned w = 0; w < SERVER_WORKERS_MAX; w++) {
        census_worker_started(g.census, w);
    }
}

/* All workers die: nobody is there any more, and all can come in. */
static void check_healed(void)
{
    const struct census_guest guest = guest_of(1);
    struct origin origin;
    unsigned left = 0;

    for (unsigned w = 0; w < SERVER_WORKERS_MAX; w++) {
        dies(w);
    }
    FUZZ_CHECK(census_total(g.census) == 0);
    FUZZ_CHECK(census_strangers(g.census) == 0);
    FUZZ_CHECK(!census_blame(g.census, 0, &origin));
    FUZZ_CHECK(census_enter(g.census, 0, &guest, 0) == CENSUS_ENTERED);
    census_leave(g.census, 0, &guest, CENSUS_STRANGER);
    FUZZ_CHECK(census_total(g.census) == 0);
    /* A worker that lies when it dies brings what one can have, no more. */
    while (left <= PERMITS + SERVER_SLICES * g.deaths &&
           permits_take(g.permits, 0)) {
        left++;
    }
    FUZZ_CHECK(left <= PERMITS + SERVER_SLICES * g.deaths);
    FUZZ_CHECK(g.spoiled || left == PERMITS);
}

static void check_text(void)
{
    static char text[METRICS_TEXT_MAX];
    size_t len = 0;

    FUZZ_CHECK(metrics_render(g.metrics, g.now, text, sizeof text, &len) ==
               0);
    FUZZ_CHECK(len > 0 && text[len - 1] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(&g, 0, sizeof g);
    g.s = (struct script){data, size};
    begin();
    for (unsigned i = 0; i < OPS_MAX && g.s.left > 0; i++) {
        step();
    }
    check_text();
    check_healed();
    census_free(g.census);
    conduct_free(g.conduct);
    permits_free(g.permits);
    metrics_free(g.metrics);
    return 0;
}
