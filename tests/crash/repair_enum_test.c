/* Power loss at every call of a repair in place, with every set of survivors
 * (memfs.h): the file is nowhere worse than before, what was called done is
 * there, its time vouches for nothing that is not, and the next run heals.
 * Without the sync the same search must find a violation.
 *
 * CRASH_STATES: states per call, at most.  CRASH_SEED. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>

#include "proto/base/err.h"
#include "tests/crash/memfs.h"
#include "tests/crash/scenario.h"

#define NAME "f"
#define CHUNKS 3
#define SIZE (2 * SCENARIO_CHUNK + 100)
#define WAITING_MAX 32
#define MTIME 1000000000

enum violation {
    WORSE,       /* a byte is neither what it was nor what it shall be */
    NOT_DURABLE, /* success was said, and it is gone */
    FALSE_TIME,  /* the server's time on wrong bytes */
    STUCK,       /* the next run does not heal it */
    VIOLATIONS
};

static struct {
    const struct store_sys *sys;
    uint8_t *right;
    uint8_t was[SIZE + 50]; /* before the first run */
    size_t was_len;
    bool success;
    unsigned long states;
    unsigned long found[VIOLATIONS];
} world;

static unsigned long states_max = 1500;
static uint32_t random_state = 1;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* ---- one run. */

static size_t chunk_len(uint64_t index)
{
    uint64_t left = SIZE - index * SCENARIO_CHUNK;

    return left < SCENARIO_CHUNK ? (size_t)left : (size_t)SCENARIO_CHUNK;
}

/* Compare a chunk with what is wanted, and write it where it differs. */
static int repair_chunk(struct store *store, uint64_t index, uint64_t there)
{
    uint64_t at = index * SCENARIO_CHUNK;
    size_t len = chunk_len(index);
    uint8_t bytes[SCENARIO_CHUNK];
    struct iovec iov = {world.right + at, len};
    int rc = 0;

    if (at + len <= there) {
        rc = store_pread(store, at, bytes, len, NULL);
        if (rc != 0 || memcmp(bytes, world.right + at, len) == 0) {
            return rc;
        }
    }
    return store_pwrite(store, at, &iov, 1, NULL);
}

static int repair(void)
{
    static const struct store_attrs attrs = {0, true, MTIME, 0};
    const struct journal_identity id = {.size = SIZE,
                                        .chunk_log2 = SCENARIO_LOG2};
    struct store_opts opts = {.dir_path = ".",
                              .name = NAME,
                              .policy = STORE_REPLACE,
                              .sys = world.sys};
    struct store_report report;
    struct store *store;
    unsigned int warnings;
    int closed;
    int rc;

    world.success = false;
    rc = store_open_in_place(&opts, &store, &report, NULL);
    if (rc != 0) {
        return rc;
    }
    rc = store_begin(store, &id, NULL);
    for (uint64_t k = 0; rc == 0 && k < CHUNKS; k++) {
        rc = repair_chunk(store, k, report.part_size);
        if (rc == 0 && k == 1) {
            rc = store_sync(store, NULL);
        }
    }
    if (rc == 0) {
        rc = store_finish(store, &attrs, &warnings, NULL);
        world.success = rc == 0;
    }
    closed = store_close(store, NULL);
    return rc != 0 ? rc : closed;
}

/* ---- looking at a state. */

static bool is_right(const struct memfs *fs)
{
    uint64_t len;
    const uint8_t *bytes = memfs_look(fs, NAME, &len);

    return bytes != NULL && len == SIZE &&
           memcmp(bytes, world.right, SIZE) == 0;
}

static bool is_no_worse(const struct memfs *fs)
{
    uint64_t len;
    const uint8_t *bytes = memfs_look(fs, NAME, &len);

    if (bytes == NULL || (len < SIZE && len < world.was_len)) {
        return false;
    }
    for (uint64_t k = 0; k < len && k < SIZE; k++) {
        uint8_t was = k < world.was_len ? world.was[k] : 0;

        if (bytes[k] != was && bytes[k] != world.right[k]) {
            return false;
        }
    }
    return true;
}

/* Only in the file system in use. */
static bool has_time(void)
{
    struct stat st;
    int fd = memfs_sys.openat(AT_FDCWD, NAME, O_RDONLY, 0);
    bool has = fd >= 0 && memfs_sys.fstat(fd, &st) == 0 &&
               st.st_mtim.tv_sec == MTIME;

    if (fd >= 0) {
        memfs_sys.close(fd);
    }
    return has;
}

static void look(const struct memfs *fs, bool success)
{
    world.found[WORSE] += !is_no_worse(fs);
    world.found[NOT_DURABLE] += success && !is_right(fs);
    world.found[FALSE_TIME] += has_time() && !is_right(fs);
}

static void lose(struct memfs *fs, const uint8_t *fates)
{
    memfs_power_loss(fs, fates);
    world.states++;
}

static void try_fates(const struct memfs *fs, const uint8_t *fates)
{
    static const uint8_t nothing[WAITING_MAX];
    bool success = world.success;
    struct memfs *left = memfs_copy(fs);
    struct memfs *before;

    lose(left, fates);
    before = memfs_use(left);
    memfs_hook = NULL;
    look(left, success);
    world.found[STUCK] += repair() != 0 || !is_right(left) ||
                          memfs_names(left) != 1;
    lose(left, nothing);
    look(left, true);
    memfs_use(before);
    memfs_free(left);
    world.success = success;
}

static void explore(struct memfs *fs, unsigned int call)
{
    unsigned int waiting = memfs_waiting(fs);
    uint8_t fates[WAITING_MAX] = {0};
    unsigned long total = 1;

    (void)call;
    assert_true(waiting <= WAITING_MAX);
    for (unsigned int i = 0; i < waiting && total <= states_max; i++) {
        total *= 3;
    }
    for (unsigned long n = 0; n < total && n < states_max; n++) {
        unsigned long rest = n;

        for (unsigned int i = 0; i < waiting; i++) {
            fates[i] = (uint8_t)(total <= states_max ? rest % 3
                                                     : next_random() % 3);
            rest /= 3;
        }
        try_fates(fs, fates);
    }
    memfs_hook = explore;
}

/* ---- the search. */

static void search(const char *title, size_t was_len,
                   const struct store_sys *sys)
{
    struct memfs *fs = memfs_new();
    struct memfs *before = memfs_use(fs);

    memset(&world, 0, sizeof world);
    world.sys = sys;
    world.right = scenario_content(SIZE, 7, 1);
    world.was_len = was_len;
    memset(world.was, 0x5a, sizeof world.was);
    /* The first chunk is right already, as far as it is there. */
    memcpy(world.was, world.right, SCENARIO_CHUNK);
    memfs_put(fs, NAME, world.was, was_len);
    memfs_hook = explore;
    assert_int_equal(repair(), 0);
    explore(fs, 0);
    memfs_hook = NULL;
    assert_true(is_right(fs));
    print_message("%s: %lu states; worse %lu, not durable %lu, false time "
                  "%lu, stuck %lu\n", title, world.states,
                  world.found[WORSE], world.found[NOT_DURABLE],
                  world.found[FALSE_TIME], world.found[STUCK]);
    memfs_use(before);
    memfs_free(fs);
    free(world.right);
}

static void test_repair(void **state)
{
    static const struct {
        const char *title;
        size_t was_len;
    } cases[] = {
        {"as long as it shall be", SIZE},
        {"too short", SCENARIO_CHUNK + 10},
        {"empty", 0},
        {"too long", SIZE + 50},
    };

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        search(cases[k].title, cases[k].was_len, &memfs_sys);
        assert_true(world.states > 50);
        for (unsigned int i = 0; i < VIOLATIONS; i++) {
            assert_int_equal(world.found[i], 0);
        }
    }
}

static int no_sync(int fd)
{
    (void)fd;
    return 0;
}

static void test_mutant_no_sync(void **state)
{
    struct store_sys careless = memfs_sys;

    (void)state;
    careless.fsync = no_sync;
    search("no fsync", SIZE, &careless);
    assert_true(world.found[NOT_DURABLE] > 0);
    assert_true(world.found[FALSE_TIME] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repair),
        cmocka_unit_test(test_mutant_no_sync),
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
