/* Walk: every entry once and in order, whatever the link does. */
#include "tests/unit/walk_client.h"

#define SEEDS 150u

static void assert_all(const struct world *w, const char *path)
{
    if (!w->done) {
        fail_msg("seed %u: not done: %s", (unsigned)w->seed, w->text);
    }
    assert_int_equal(w->begun, count_dirs(w, path));
    assert_int_equal(w->left, w->begun);
    assert_int_equal(w->incomplete, 0);
    assert_int_equal(w->refused, 0);
}

static void test_trees(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct world w;

        world_init(&w);
        w.seed = seed;
        w.depth_max = (unsigned)seed % 5;
        w.page_max = 1 + (unsigned)seed % 9;
        run(&w);
        assert_all(&w, "top");
        world_free(&w);
    }
}

static void test_one_directory(void **state)
{
    struct world w;
    struct shape s;

    (void)state;
    world_init(&w);
    w.config.recursive = false;
    w.files_max = 3000;
    w.page_max = 64;
    run(&w);
    s = shape_of(&w, "top");
    assert_true(w.done);
    assert_int_equal(w.begun, 1);
    assert_int_equal(w.left, 1);
    assert_int_equal(w.entries, s.dirs + s.files);
    assert_true(w.entries > 100);
    world_free(&w);
}

static void test_prune(void **state)
{
    struct world w;
    unsigned all;

    (void)state;
    world_init(&w);
    w.seed = 3;
    w.dirs_max = 5;
    all = count_dirs(&w, "top");
    w.prune = "d00001";
    run(&w);
    assert_true(w.done);
    assert_true(w.begun < all);
    assert_int_equal(w.left, w.begun);
    world_free(&w);
}

/* ---- cuts. */

/* Cut once behind byte `at`; false: so many did not come. */
static bool cut_once(uint64_t at)
{
    struct world w;
    bool was_cut;

    world_init(&w);
    w.seed = 3;
    w.depth_max = 2;
    w.files_max = 8;
    w.walk = walk_new(&w.config, w.now);
    assert_non_null(w.walk);
    for (unsigned n = 0; n < STEPS_MAX && !w.done && !w.failed; n++) {
        if (w.dials == 1 && w.up) {
            w.cut_received = at;
        }
        step(&w);
    }
    assert_all(&w, "top");
    was_cut = w.dials > 1;
    assert_in_range(w.dials, 1, 2);
    world_free(&w);
    return was_cut;
}

static void test_cut_at_every_byte(void **state)
{
    uint64_t at = 1;

    (void)state;
    while (cut_once(at)) {
        at++;
    }
    assert_in_range(at, 500, 5000);
}

static bool sometimes_stale(struct world *w, const struct sender_job *job,
                            struct sender_result *out)
{
    (void)job;
    if (pick(w, 12) != 0) {
        return false;
    }
    out->code = pick(w, 2) == 0 ? WIRE_CHANGED : WIRE_BUSY;
    return true;
}

static void test_random(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        struct world w;

        world_init(&w);
        w.seed = seed;
        w.random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
        w.rough = true;
        w.config.line.seed = seed;
        w.config.line.wait_first = true;
        w.depth_max = pick(&w, 5);
        w.dirs_max = 1 + pick(&w, 5);
        w.files_max = pick(&w, 60);
        w.page_max = 1 + pick(&w, 60);
        w.cut_every = pick(&w, 3) == 0 ? 0 : 400 + pick(&w, 5000);
        run(&w);
        assert_all(&w, "top");
        world_free(&w);
    }
}

/* A directory that changes while it is listed is begun anew; what was told
 * stays told once. */
static void test_changing(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed < 40; seed++) {
        struct world w;

        world_init(&w);
        w.seed = seed;
        w.random = seed;
        w.hostile = sometimes_stale;
        w.honest = true;
        run(&w);
        assert_true(w.done || w.failed);
        if (w.done && w.incomplete == 0) {
            assert_int_equal(w.begun, count_dirs(&w, "top"));
        }
        world_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trees),
        cmocka_unit_test(test_one_directory),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_changing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
