/* Power loss at every call of the store, with every set of survivors that
 * RELIABILITY (d) allows, on the file system of memfs.h; and failed writebacks
 * with a kill after them. The store must come through without a violation,
 * and for each step of the recipe that is left out (a mutant, made of wrong
 * system calls) the same search must find one.
 *
 * CRASH_STATES: states per call, at most (all of them where there are fewer).
 * CRASH_SEED: seed of the choice where there are more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>

#include "proto/base/err.h"
#include "tests/crash/memfs.h"
#include "tests/crash/scenario.h"

#define NAME "f"
#define OLD "the older file"
#define SIZE (2 * SCENARIO_CHUNK + 100)
#define WAITING_MAX 32

enum start { FRESH, REPLACE, RESUME, REBASE };

/* What can go wrong, by promise. */
enum violation {
    WRONG_BYTES, /* P1: the final name holds what nobody asked for */
    NEITHER, /* C15: replacing lost the old and the new */
    NOT_DURABLE, /* P2: success was said, and it is gone */
    LOST_WORK, /* P3: a synced chunk or the journal is lost */
    STUCK, /* the next run does not heal it */
    VIOLATIONS
};

struct subject {
    const char *title;
    enum start start;
    const struct store_sys *sys;
    bool trust_journal;
    uint64_t sync_every;
};

static struct {
    const struct subject *subject;
    struct scenario scenario;
    const struct scenario_progress *progress; /* of the run that is cut off */
    bool begun; /* before that run, a partial was durable */
    uint64_t synced;
    unsigned int depth; /* 1: the first run, 2: a recovery */
    unsigned long states;
    unsigned long found[VIOLATIONS];
    uint8_t *content;
} world;

static unsigned long states_max = 1500;
static uint32_t random_state = 1;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* ---- Looking at a state. */

static bool final_is(const struct memfs *fs, const void *data, uint64_t len)
{
    uint64_t got;
    const uint8_t *bytes = memfs_look(fs, NAME, &got);

    return bytes != NULL && got == len && memcmp(bytes, data, len) == 0;
}

static bool final_right(const struct memfs *fs)
{
    return final_is(fs, world.content, SIZE);
}

static void count(enum violation violation)
{
    world.found[violation]++;
}

static void look_at_final(const struct memfs *fs, bool success)
{
    uint64_t len;
    bool absent = memfs_look(fs, NAME, &len) == NULL;
    bool old = world.subject->start == REPLACE &&
               final_is(fs, OLD, strlen(OLD));

    if (!absent && !old && !final_right(fs)) {
        count(WRONG_BYTES);
    }
    if (absent && world.subject->start == REPLACE) {
        count(NEITHER);
    }
    if (success && !final_right(fs)) {
        count(NOT_DURABLE);
    }
}

static void lose_everything_unsynced(struct memfs *fs)
{
    uint8_t fates[WAITING_MAX] = {0};

    memfs_power_loss(fs, fates);
}

static void explore(struct memfs *fs, unsigned int call);

/* Run the program again on what is left; fs is used up. */
static void recover(struct memfs *fs, const struct scenario_progress *cut)
{
    struct memfs *before = memfs_use(fs);
    const struct scenario_progress *outer = world.progress;
    struct scenario_progress progress;
    struct store_error why;
    bool was_right = final_right(fs);
    bool deeper = world.depth == 1 && next_random() % 64 == 0;
    bool begun = world.begun || cut->begun;
    uint64_t synced = world.synced | cut->synced;
    bool saved_begun = world.begun;
    uint64_t saved_synced = world.synced;
    int rc;

    if (deeper) {
        /* A crash during recovery is an ordinary crash. */
        world.depth = 2;
        world.begun = begun;
        world.synced = synced;
        world.progress = &progress;
    }
    memfs_hook = deeper ? explore : NULL;
    rc = scenario_run(&world.scenario, &progress, &why);
    memfs_hook = NULL;
    world.depth = 1;
    world.begun = saved_begun;
    world.synced = saved_synced;
    world.progress = outer;
    if (rc != 0 && !(rc == ERR_EXISTS && was_right)) {
        count(STUCK);
    } else if (!final_right(fs)) {
        count(WRONG_BYTES);
    } else if (memfs_names(fs) != 1) {
        count(STUCK);
    }
    if (rc == 0 && begun && progress.found != STORE_FOUND_PARTIAL &&
        progress.found != STORE_FOUND_DONE && !was_right) {
        count(LOST_WORK);
    }
    if (rc == 0 && progress.found == STORE_FOUND_PARTIAL &&
        (synced & ~progress.kept) != 0) {
        count(LOST_WORK);
    }
    if (rc == 0) {
        lose_everything_unsynced(fs);
        look_at_final(fs, true);
    }
    memfs_use(before);
}

static void try_fates(const struct memfs *fs, const uint8_t *fates)
{
    const struct scenario_progress cut = *world.progress;
    unsigned int depth = world.depth;
    struct memfs *left = memfs_copy(fs);

    world.states++;
    memfs_power_loss(left, fates);
    look_at_final(left, cut.success);
    if (depth == 1) {
        recover(left, &cut);
    } else {
        /* One level is enough: run it without further crashes. */
        world.depth = 3;
        recover(left, &cut);
    }
    world.depth = depth;
    memfs_free(left);
}

/* Every set of fates where there are few, else the corners and a sample. */
static void explore_fates(const struct memfs *fs, unsigned long most)
{
    unsigned int waiting = memfs_waiting(fs);
    uint8_t fates[WAITING_MAX] = {0};
    unsigned int kinds[WAITING_MAX];
    unsigned long total = 1;

    assert_true(waiting <= WAITING_MAX);
    for (unsigned int i = 0; i < waiting; i++) {
        kinds[i] = memfs_can_tear(fs, i) ? 3 : 2;
        total = total > most ? total : total * kinds[i];
    }
    if (total <= most) {
        for (unsigned long n = 0; n < total; n++) {
            unsigned long rest = n;

            for (unsigned int i = 0; i < waiting; i++) {
                fates[i] = (uint8_t)(rest % kinds[i]);
                rest /= kinds[i];
            }
            try_fates(fs, fates);
        }
        return;
    }
    for (unsigned long n = 0; n < most; n++) {
        for (unsigned int i = 0; i < waiting; i++) {
            switch (n < 2ul * waiting ? n % 2 : 2) {
            case 0: /* only one survives */
                fates[i] = i == n / 2;
                break;
            case 1: /* only one is lost */
                fates[i] = i != n / 2;
                break;
            default:
                fates[i] = (uint8_t)(next_random() % kinds[i]);
                break;
            }
        }
        try_fates(fs, fates);
    }
}

static void explore(struct memfs *fs, unsigned int call)
{
    (void)call;
    memfs_hook = NULL;
    explore_fates(fs, world.depth == 1 ? states_max : 40);
    memfs_hook = explore;
}

/* ---- Starting points. */

static void put_partial(const struct subject *subject)
{
    uint8_t *bytes = scenario_content(SIZE, 7, 1);
    struct store_opts opts = {0, ".", NAME, STORE_KEEP, NULL,
                              &memfs_sys, NULL};
    struct journal_identity id = {
        .size = SIZE,
        .chunk_log2 = SCENARIO_LOG2,
        .version_len = 1,
        .version = {1},
        .version_strong = true,
    };
    struct hasher *hasher = hasher_new();
    struct store_report report;
    struct store *store;

    (void)subject;
    assert_non_null(hasher);
    assert_int_equal(store_open(&opts, &store, &report, NULL), 0);
    assert_int_equal(store_begin(store, &id, NULL), 0);
    for (uint64_t i = 0; i < 2; i++) {
        struct iovec iov = {bytes + i * SCENARIO_CHUNK, SCENARIO_CHUNK};
        uint8_t digest[1][HASH_LEN];

        assert_int_equal(hash_sha256(hasher, iov.iov_base, iov.iov_len,
                                     digest[0]),
                         0);
        assert_int_equal(
            store_pwrite(store, i * SCENARIO_CHUNK, &iov, 1, NULL), 0);
        assert_int_equal(store_mark(store, i, 1,
                                    (const uint8_t(*)[HASH_LEN])digest, NULL),
                         0);
    }
    assert_int_equal(store_sync(store, NULL), 0);
    assert_int_equal(store_close(store, NULL), 0);
    hasher_free(hasher);
    free(bytes);
}

static struct memfs *make_start(const struct subject *subject)
{
    struct memfs *fs = memfs_new();

    memfs_use(fs);
    memset(&world, 0, sizeof world);
    world.subject = subject;
    world.content = scenario_content(SIZE, 7, subject->start == REBASE ? 2
                                                                       : 1);
    world.scenario = (struct scenario){
        .sys = subject->sys,
        .dir_path = ".",
        .name = NAME,
        .policy = subject->start == REPLACE ? STORE_REPLACE : STORE_KEEP,
        .content = world.content,
        .size = SIZE,
        .version = subject->start == REBASE ? 2 : 1,
        .sync_every = subject->sync_every,
        .trust_journal = subject->trust_journal,
    };
    world.depth = 1;
    if (subject->start == REPLACE) {
        memfs_put(fs, NAME, OLD, strlen(OLD));
    } else if (subject->start != FRESH) {
        put_partial(subject);
        world.begun = true;
        world.synced = subject->start == RESUME ? 3 : 0;
    }
    return fs;
}

static unsigned long all_found(void)
{
    unsigned long sum = 0;

    for (int i = 0; i < VIOLATIONS; i++) {
        sum += world.found[i];
    }
    return sum;
}

static void tell(const char *search)
{
    print_message("%s, %s: %lu states; wrong bytes %lu, neither %lu, not "
                  "durable %lu, lost work %lu, stuck %lu\n",
                  world.subject->title, search, world.states,
                  world.found[WRONG_BYTES], world.found[NEITHER],
                  world.found[NOT_DURABLE], world.found[LOST_WORK],
                  world.found[STUCK]);
}

static void lose_power_everywhere(const struct subject *subject)
{
    struct memfs *fs = make_start(subject);
    struct scenario_progress progress = {.begun = false};
    struct store_error why;
    int rc;

    world.progress = &progress;
    memfs_hook = explore;
    rc = scenario_run(&world.scenario, &progress, &why);
    memfs_hook = NULL;
    assert_int_equal(rc, 0);
    explore_fates(fs, states_max); /* right after success was said */
    tell("power loss");
    memfs_free(fs);
    free(world.content);
}

/* ---- Failed writebacks. */

static unsigned int fail_at;
static unsigned int kill_at;

/* Run again and again, as a user does; then lose what was not synced. */
static void finish_after_failure(struct memfs *fs)
{
    struct memfs *before = memfs_use(fs);
    struct scenario_progress progress;
    struct store_error why;
    int rc = ERR_IO;

    world.states++;
    for (int tries = 0; tries < 5 && rc != 0; tries++) {
        if (final_right(fs) && memfs_names(fs) == 1) {
            rc = 0;
        } else {
            rc = scenario_run(&world.scenario, &progress, &why);
        }
        look_at_final(fs, rc == 0);
        memfs_kill(fs);
    }
    if (rc != 0) {
        count(STUCK);
    }
    lose_everything_unsynced(fs);
    look_at_final(fs, rc == 0);
    memfs_use(before);
}

static void fail_and_kill(struct memfs *fs, unsigned int call)
{
    if (call == fail_at) {
        memfs_fail_writeback(fs);
    }
    if (call == kill_at) {
        struct memfs *left = memfs_copy(fs);

        memfs_hook = NULL;
        memfs_kill(left);
        finish_after_failure(left);
        memfs_free(left);
        memfs_hook = fail_and_kill;
    }
}

/* Writeback fails at one call, the process is killed at a later one or lives
 * on; for all pairs. */
static void fail_writeback_everywhere(const struct subject *subject)
{
    unsigned int calls = 60;

    for (unsigned int pair = 0; pair < calls * calls; pair++) {
        struct memfs *fs = make_start(subject);
        struct scenario_progress progress = {.begun = false};
        struct store_error why;
        static unsigned long states;
        static unsigned long found[VIOLATIONS];
        unsigned int first = memfs_calls(fs);
        int rc;

        if (pair == 0) {
            states = 0;
            memset(found, 0, sizeof found);
        }
        world.states = states;
        memcpy(world.found, found, sizeof found);
        world.progress = &progress;
        fail_at = first + 1 + pair / calls;
        kill_at = first + 1 + pair % calls;
        memfs_hook = fail_and_kill;
        rc = scenario_run(&world.scenario, &progress, &why);
        memfs_hook = NULL;
        look_at_final(fs, rc == 0);
        memfs_kill(fs);
        if (rc != 0) {
            finish_after_failure(fs);
        } else {
            lose_everything_unsynced(fs);
            look_at_final(fs, true);
        }
        calls = pair == 0 ? memfs_calls(fs) - first : calls;
        states = world.states;
        memcpy(found, world.found, sizeof found);
        memfs_free(fs);
        free(world.content);
    }
    tell("failed writeback");
}

/* ---- Systems that do less, rightly: the store copes. */

static int no_rename_new(int dir, const char *from, const char *to)
{
    (void)dir;
    (void)from;
    (void)to;
    errno = EINVAL;
    return -1;
}

static int pages_pinned(int fd)
{
    (void)fd;
    return 0;
}

static int openat_no_direct(int dir, const char *name, int flags, mode_t mode)
{
    if (flags & O_DIRECT) {
        errno = EINVAL;
        return -1;
    }
    return memfs_sys.openat(dir, name, flags, mode);
}

/* ---- Mutants: one step of the recipe does nothing. */

static int fsync_dirs_only(int fd)
{
    return memfs_is_dir(fd) ? memfs_sys.fsync(fd) : 0;
}

static int fsync_files_only(int fd)
{
    return memfs_is_dir(fd) ? 0 : memfs_sys.fsync(fd);
}

static int nothing(int fd)
{
    (void)fd;
    return 0;
}

static ssize_t one_head_copy(int fd, const struct iovec *iov, int count_iov,
                             off_t offset)
{
    if (iov[0].iov_len == JOURNAL_COPY_LEN && count_iov == 1 &&
        offset == JOURNAL_COPY_LEN) {
        offset = 0;
    }
    return memfs_sys.pwritev(fd, iov, count_iov, offset);
}

static int no_pages(int fd, uint64_t size, uint64_t *pages)
{
    (void)fd;
    (void)size;
    *pages = 0;
    return 0;
}

static int fdatasync_again(int fd)
{
    return memfs_sys.fdatasync(fd) == 0 ? 0 : memfs_sys.fdatasync(fd);
}

static int fsync_again(int fd)
{
    return memfs_sys.fsync(fd) == 0 ? 0 : memfs_sys.fsync(fd);
}

static struct store_sys changed;

static void change_nothing(void)
{
    changed = memfs_sys;
}

static void expect_none(const struct subject *subject)
{
    lose_power_everywhere(subject);
    assert_true(world.states > 50);
    assert_int_equal(all_found(), 0);
    fail_writeback_everywhere(subject);
    assert_true(world.states > 100);
    assert_int_equal(all_found(), 0);
}

static void test_recipe(void **state)
{
    static const struct subject subjects[] = {
        {"fresh", FRESH, &memfs_sys, false, 2},
        {"fresh, no syncs on the way", FRESH, &memfs_sys, false, 0},
        {"fresh, many syncs", FRESH, &memfs_sys, false, 1},
        {"replace", REPLACE, &memfs_sys, false, 2},
        {"resume", RESUME, &memfs_sys, false, 1},
        {"rebase", REBASE, &memfs_sys, false, 1},
        {"rebase, no syncs on the way", REBASE, &memfs_sys, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        expect_none(&subjects[i]);
    }
}

static void test_recipe_on_poor_systems(void **state)
{
    struct subject subject = {"commit by link", FRESH, &changed, false, 2};

    (void)state;
    change_nothing();
    changed.rename_new = no_rename_new;
    expect_none(&subject);
    subject.title = "pages stay, direct reads";
    subject.start = RESUME;
    change_nothing();
    changed.drop_pages = pages_pinned;
    expect_none(&subject);
    subject.title = "pages stay, no direct reads";
    changed.openat = openat_no_direct;
    expect_none(&subject);
}

static void test_mutant_no_sync_before_rename(void **state)
{
    struct subject subject = {"no fsync before the rename", FRESH, &changed,
                              false, 0};

    (void)state;
    change_nothing();
    changed.fsync = fsync_dirs_only;
    lose_power_everywhere(&subject);
    assert_true(world.found[WRONG_BYTES] > 0);
    assert_true(world.found[NOT_DURABLE] > 0);
}

static void test_mutant_no_dir_sync(void **state)
{
    struct subject subject = {"no fsync of the directory", FRESH, &changed,
                              false, 2};

    (void)state;
    change_nothing();
    changed.fsync = fsync_files_only;
    lose_power_everywhere(&subject);
    assert_true(world.found[NOT_DURABLE] > 0);
    assert_true(world.found[LOST_WORK] > 0);
}

static void test_mutant_trusted_journal(void **state)
{
    struct subject subject = {"the journal is trusted", FRESH, &memfs_sys,
                              true, 2};

    (void)state;
    lose_power_everywhere(&subject);
    assert_true(world.found[WRONG_BYTES] > 0);
}

static void test_mutant_no_background_sync(void **state)
{
    struct subject subject = {"fdatasync does nothing", FRESH, &changed,
                              false, 1};

    (void)state;
    change_nothing();
    changed.fdatasync = nothing;
    lose_power_everywhere(&subject);
    assert_true(world.found[LOST_WORK] > 0);
}

static void test_mutant_one_head_copy(void **state)
{
    struct subject subject = {"one head copy", FRESH, &changed, false, 2};

    (void)state;
    change_nothing();
    changed.pwritev = one_head_copy;
    lose_power_everywhere(&subject);
    assert_true(world.found[LOST_WORK] > 0);
}

static void test_mutant_cache_is_believed(void **state)
{
    struct subject subject = {"the cache is believed", FRESH, &changed, false,
                              1};

    (void)state;
    change_nothing();
    changed.drop_pages = pages_pinned;
    changed.count_pages = no_pages;
    fail_writeback_everywhere(&subject);
    assert_true(world.found[NOT_DURABLE] > 0);
}

static void test_mutant_sync_again(void **state)
{
    struct subject subject = {"a failed sync is tried again", FRESH, &changed,
                              false, 1};

    (void)state;
    change_nothing();
    changed.fdatasync = fdatasync_again;
    changed.fsync = fsync_again;
    fail_writeback_everywhere(&subject);
    assert_true(world.found[NOT_DURABLE] > 0);
}

/* Repair in place: what the first run wrote and could not sync is in the
 * cache only.  The second run must see what the device has, or it finds
 * nothing to repair and calls that a success. */
static void test_place_asks_the_device(void **state)
{
    static const uint8_t wrong[SCENARIO_CHUNK] = {1};
    uint8_t right[SCENARIO_CHUNK] = {2};
    uint8_t got[SCENARIO_CHUNK];
    struct memfs *fs = memfs_new();
    struct memfs *before = memfs_use(fs);
    struct journal_identity id = {.size = sizeof wrong,
                                  .chunk_log2 = SCENARIO_LOG2};
    struct store_opts opts = {.dir_path = ".",
                              .name = "f",
                              .policy = STORE_REPLACE,
                              .sys = &memfs_sys};
    struct store_attrs attrs = {.mode = 0};
    struct iovec iov = {right, sizeof right};
    struct store_report report;
    struct store_error why;
    struct store *store;
    unsigned int warnings;

    (void)state;
    memfs_put(fs, "f", wrong, sizeof wrong);
    assert_int_equal(store_open_in_place(&opts, &store, &report, &why), 0);
    assert_int_equal(store_begin(store, &id, &why), 0);
    assert_int_equal(store_pwrite(store, 0, &iov, 1, &why), 0);
    memfs_fail_writeback(fs);
    assert_int_equal(store_finish(store, &attrs, &warnings, &why), ERR_IO);
    assert_int_equal(store_close(store, NULL), 0);
    assert_int_equal(store_open_in_place(&opts, &store, &report, &why), 0);
    assert_int_equal(store_begin(store, &id, &why), 0);
    assert_int_equal(store_pread(store, 0, got, sizeof got, &why), 0);
    assert_memory_equal(got, wrong, sizeof got);
    assert_int_equal(store_close(store, NULL), 0);
    /* A failed sync that nobody was told of yet ends the second run. */
    assert_int_equal(store_open_in_place(&opts, &store, &report, &why), 0);
    assert_int_equal(store_begin(store, &id, &why), 0);
    assert_int_equal(store_pwrite(store, 0, &iov, 1, &why), 0);
    memfs_fail_writeback(fs);
    assert_int_equal(store_close(store, NULL), 0);
    assert_int_equal(store_open_in_place(&opts, &store, &report, &why), 0);
    assert_int_equal(store_begin(store, &id, &why), ERR_IO);
    assert_int_equal(store_close(store, NULL), 0);
    memfs_use(before);
    memfs_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipe),
        cmocka_unit_test(test_place_asks_the_device),
        cmocka_unit_test(test_recipe_on_poor_systems),
        cmocka_unit_test(test_mutant_no_sync_before_rename),
        cmocka_unit_test(test_mutant_no_dir_sync),
        cmocka_unit_test(test_mutant_trusted_journal),
        cmocka_unit_test(test_mutant_no_background_sync),
        cmocka_unit_test(test_mutant_one_head_copy),
        cmocka_unit_test(test_mutant_cache_is_believed),
        cmocka_unit_test(test_mutant_sync_again),
    };
    const char *states = getenv("CRASH_STATES");
    const char *seed = getenv("CRASH_SEED");

    if (states != NULL) {
        states_max = strtoul(states, NULL, 10);
    }
    if (seed != NULL) {
        random_state = (uint32_t)strtoul(seed, NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
