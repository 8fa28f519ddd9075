/* Bulk: what becomes of each file, cuts at every byte, and what a server may
 * do to it. */
#include "tests/unit/bulk_client.h"

/* Worlds of random files and links. */
#define SEEDS 60u

/* ---- outcomes. */

struct outcome_case {
    const char *name;
    enum plan plan;
    uint16_t code;
    uint32_t times;
    uint64_t size;
    bool unknown, probe, leave, pinned;
    enum bulk_outcome outcome;
    enum transfer_reason reason;
    unsigned opens;
};

#define SIZE 10000u

static const struct outcome_case outcomes[] = {
    {.name = "fine", .size = SIZE, .opens = 1},
    {.name = "empty", .size = 0, .opens = 1},
    {.name = "one chunk", .size = CHUNK_LEN, .opens = 1},
    {.name = "pinned", .size = SIZE, .pinned = true, .opens = 1},
    {.name = "unknown size", .size = SIZE, .unknown = true, .opens = 1},
    {.name = "larger than the guess", .size = BULK_GUESS_BYTES + 1,
     .unknown = true, .outcome = BULK_HANDED, .opens = 1},
    {.name = "as large as the guess", .size = BULK_GUESS_BYTES,
     .unknown = true, .opens = 1},
    {.name = "known to be large", .size = SMALL_MAX + 1,
     .outcome = BULK_HANDED, .opens = 0},
    {.name = "probed and fetched", .size = SIZE, .probe = true, .opens = 1},
    {.name = "probed and left", .size = SIZE, .probe = true, .leave = true,
     .outcome = BULK_SKIPPED, .opens = 1},
    {.name = "probed and large", .size = SMALL_MAX + 1, .probe = true,
     .unknown = true, .outcome = BULK_HANDED, .opens = 1},
    {.name = "not found", .plan = PLAN_OPEN_CODE, .code = WIRE_NOT_FOUND,
     .times = FOREVER, .size = SIZE, .outcome = BULK_BAD,
     .reason = TRANSFER_REFUSED, .opens = 1},
    {.name = "not a file", .plan = PLAN_OPEN_CODE, .code = WIRE_NOT_A_FILE,
     .times = FOREVER, .size = SIZE, .outcome = BULK_BAD,
     .reason = TRANSFER_NOT_A_FILE, .opens = 1},
    {.name = "not the pin", .plan = PLAN_OPEN_CODE, .code = WIRE_CHANGED,
     .times = FOREVER, .size = SIZE, .pinned = true, .outcome = BULK_BAD,
     .reason = TRANSFER_WRONG_CONTENT, .opens = 1},
    {.name = "pin on another grid", .plan = PLAN_OPEN_CODE,
     .code = WIRE_UNSUPPORTED, .times = FOREVER, .size = SIZE,
     .pinned = true, .outcome = BULK_HANDED, .opens = 1},
    {.name = "busy twice", .plan = PLAN_OPEN_CODE, .code = WIRE_BUSY,
     .times = 2, .size = SIZE, .opens = 3},
    {.name = "trouble twice", .plan = PLAN_OPEN_CODE, .code = WIRE_IO_ERROR,
     .times = 2, .size = SIZE, .opens = 3},
    {.name = "trouble for ever", .plan = PLAN_OPEN_CODE,
     .code = WIRE_IO_ERROR, .times = FOREVER, .size = SIZE,
     .outcome = BULK_BAD, .reason = TRANSFER_SERVER, .opens = 3},
    {.name = "cannot be read", .plan = PLAN_READ_CODE, .code = WIRE_IO_ERROR,
     .times = FOREVER, .size = SIZE, .outcome = BULK_BAD,
     .reason = TRANSFER_SERVER, .opens = 3},
    {.name = "cannot be read once", .plan = PLAN_READ_CODE,
     .code = WIRE_IO_ERROR, .times = 1, .size = SIZE, .opens = 2},
    {.name = "cancelled by nobody", .plan = PLAN_READ_CODE,
     .code = WIRE_CANCELLED, .times = FOREVER, .size = SIZE,
     .outcome = BULK_BAD, .reason = TRANSFER_SERVER, .opens = 3},
    {.name = "changed once", .plan = PLAN_CHECK_CODE,
     .code = WIRE_CHANGED_DURING, .times = 1, .size = SIZE, .opens = 2},
    {.name = "changes for ever", .plan = PLAN_CHECK_CODE,
     .code = WIRE_CHANGED_DURING, .times = FOREVER, .size = SIZE,
     .outcome = BULK_HANDED, .opens = 4},
    {.name = "changed before it was read", .plan = PLAN_READ_CODE,
     .code = WIRE_CHANGED_DURING, .times = 1, .size = SIZE, .opens = 2},
    {.name = "damaged once", .plan = PLAN_DAMAGE, .times = 1, .size = SIZE,
     .opens = 2},
    {.name = "damaged for ever", .plan = PLAN_DAMAGE, .times = FOREVER,
     .size = SIZE, .outcome = BULK_BAD, .reason = TRANSFER_WRONG_CONTENT,
     .opens = LIMIT_CHUNK_ATTEMPTS},
    {.name = "too new", .plan = PLAN_WEAK, .times = 1, .size = SIZE,
     .opens = 2},
    {.name = "never rests", .plan = PLAN_WEAK, .times = FOREVER,
     .size = SIZE, .outcome = BULK_HANDED, .opens = 3},
    {.name = "weak but pinned", .plan = PLAN_WEAK, .times = FOREVER,
     .size = SIZE, .pinned = true, .opens = 1},
    {.name = "another CID", .plan = PLAN_WRONG_CID, .times = FOREVER,
     .size = SIZE, .outcome = BULK_HANDED, .opens = 1},
};

static void plan_file(struct world *w, const struct outcome_case *t)
{
    struct remote *r = world_file(w, t->size);

    r->plan = t->plan;
    r->code = t->code;
    r->times = t->times;
    r->tell_size = !t->unknown;
    r->probe = t->probe;
    r->fetch = !t->leave;
    r->pinned = t->pinned;
}

static void assert_outcome(const struct remote *r,
                           const struct outcome_case *t)
{
    if (r->ended != 1 || r->outcome != t->outcome || r->reason != t->reason) {
        fail_msg("%s: ended %u, outcome %d, reason %d: %s", t->name,
                 r->ended, (int)r->outcome, (int)r->reason, r->text);
    }
}

static void test_outcomes(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof outcomes / sizeof outcomes[0]; k++) {
        const struct outcome_case *t = &outcomes[k];
        struct bulk_ledger ledger;
        struct world w;

        world_init(&w);
        plan_file(&w, t);
        start(&w);
        run(&w);
        if (!w.done) {
            fail_msg("%s: not done", t->name);
        }
        assert_outcome(&w.remote[0], t);
        if (w.remote[0].opens != t->opens) {
            fail_msg("%s: asked for %u times", t->name, w.remote[0].opens);
        }
        assert_tidy(&w);
        bulk_ledger(w.b, &ledger);
        assert_int_equal(ledger.files, t->outcome == BULK_GOOD);
        assert_int_equal(ledger.bytes,
                         t->outcome == BULK_GOOD ? t->size : 0);
        assert_int_equal(ledger.files, w.stores);
        world_free(&w);
    }
}

/* All of them at once, each many times: nobody disturbs the others. */
static void test_together(void **state)
{
    const unsigned count = sizeof outcomes / sizeof outcomes[0];
    struct world w;

    (void)state;
    world_init(&w);
    w.config.conns = 3;
    for (unsigned k = 0; k < 10 * count; k++) {
        plan_file(&w, &outcomes[k % count]);
    }
    start(&w);
    run(&w);
    assert_true(w.done);
    for (unsigned k = 0; k < 10 * count; k++) {
        assert_outcome(&w.remote[k], &outcomes[k % count]);
    }
    assert_tidy(&w);
    world_free(&w);
}

/* Each file waits as long as it was asked to, and not for others. */
static void test_waits(void **state)
{
    static const uint32_t wait_ms[] = {40000, 200, 9000, 3000, 200, 20000};
    const unsigned count = sizeof wait_ms / sizeof wait_ms[0];
    struct world w;

    (void)state;
    world_init(&w);
    for (unsigned k = 0; k < count; k++) {
        struct remote *r = world_file(&w, 100);

        r->plan = PLAN_OPEN_CODE;
        r->code = WIRE_BUSY;
        r->times = 1;
        r->wait_ms = wait_ms[k];
    }
    start(&w);
    run(&w);
    assert_true(w.done);
    for (unsigned k = 0; k < count; k++) {
        assert_int_equal(w.remote[k].outcome, BULK_GOOD);
        assert_in_range(w.remote[k].ended_at, 1000 + wait_ms[k],
                        1000 + wait_ms[k] + 1000);
    }
    world_free(&w);
}

/* ---- cuts. */

#define CUT_FILES 3u

/* One connection is cut behind byte `at`; false: so many did not come. */
static bool cut_once(uint64_t at, bool sending)
{
    unsigned opens[CUT_FILES], ended[CUT_FILES];
    bool was_cut = false;
    struct world w;

    world_init(&w);
    for (unsigned k = 0; k < CUT_FILES; k++) {
        world_file(&w, 100 + 4100 * (k % 2))->probe = k == 2;
        w.remote[k].fetch = true;
    }
    start(&w);
    for (unsigned n = 0; !w.done; n++) {
        assert_false(w.failed);
        assert_true(n < STEPS_MAX);
        if (w.dials == 1 && w.link[0].up) {
            w.link[0].cut_received = sending ? 0 : at;
            w.link[0].cut_sent = sending ? at : 0;
        }
        step(&w);
        if (!was_cut && w.dials == 1 && !w.link[0].up &&
            !w.link[0].dialling) {
            was_cut = true;
            for (unsigned k = 0; k < CUT_FILES; k++) {
                opens[k] = w.remote[k].opens;
                ended[k] = w.remote[k].ended;
            }
        }
    }
    for (unsigned k = 0; k < CUT_FILES; k++) {
        const struct remote *r = &w.remote[k];

        assert_int_equal(r->ended, 1);
        assert_int_equal(r->outcome, BULK_GOOD);
        if (was_cut && ended[k] != 0) {
            assert_int_equal(r->opens, opens[k]);
        }
        assert_in_range(r->opens, 1, 2);
    }
    assert_int_equal(w.stores, CUT_FILES);
    assert_tidy(&w);
    world_free(&w);
    return was_cut;
}

static void test_cut_at_every_byte(void **state)
{
    uint64_t at = 1;

    (void)state;
    while (cut_once(at, false)) {
        at++;
    }
    assert_true(at > 4500); /* all data and more came before */
    at = 1;
    while (cut_once(at, true)) {
        at++;
    }
    assert_true(at > 100);
}

/* ---- random links and files. */

static void plan_random(struct world *w)
{
    const unsigned count = sizeof outcomes / sizeof outcomes[0];
    const struct outcome_case *t;

    t = pick(w, 4) == 0 ? &outcomes[pick(w, count)] : &outcomes[0];
    plan_file(w, t);
    if (t == &outcomes[0]) {
        struct remote *r = &w->remote[w->count - 1];

        r->size = pick(w, 3) == 0 ? pick(w, 30000) : pick(w, 3000);
        r->tell_size = pick(w, 2) == 0;
        r->probe = pick(w, 8) == 0;
        r->pinned = pick(w, 8) == 0;
        r->fetch = true;
    }
}

static void random_world(uint32_t seed)
{
    struct world w;

    world_init(&w);
    w.random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    w.rough = true;
    w.config.conns = pick(&w, 5);
    w.config.items_max = 1 + pick(&w, 200);
    w.config.line.seed = seed;
    w.config.line.wait_first = true;
    w.cut_every = pick(&w, 3) == 0 ? 0 : 3000 + pick(&w, 200000);
    w.server.max_requests = (uint16_t)(16 + pick(&w, 100));
    w.server.max_handles = (uint16_t)(16 + pick(&w, 60));
    w.server.requests_total_max = pick(&w, 3) == 0 ? 20 + pick(&w, 200) : 0;
    w.server.grease = true;
    w.server.grease_seed = seed;
    w.refuse_dials = pick(&w, 3);
    for (uint32_t k = pick(&w, FILES_MAX - 2) + 2; k > 0; k--) {
        plan_random(&w);
    }
    start(&w);
    run(&w);
    if (!w.done) {
        fail_msg("seed %u: not done (%d): %s", seed, (int)w.fail_reason,
                 w.fail_text);
    }
    for (uint32_t k = 0; k < w.count; k++) {
        const struct remote *r = &w.remote[k];

        assert_int_equal(r->ended, 1);
        if (r->plan == PLAN_FINE && r->outcome == BULK_BAD) {
            fail_msg("seed %u: %s: %s", seed, r->path, r->text);
        }
    }
    world_free(&w);
}

static void test_random(void **state)
{
    (void)state;
    uint32_t seeds = SEEDS;
#ifdef BELAY_SANITIZED
    /* Five times as slow: all of them only in a long run. */
    const char *is_long = getenv("BELAY_LONG");
    if (is_long == NULL || is_long[0] == '\0') {
        seeds = SEEDS / 3;
    }
#endif
    for (uint32_t seed = 1; seed <= seeds; seed++) {
        random_world(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
