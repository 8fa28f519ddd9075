/* The digest cache: what is written is read, by other openers too; what is
 * damaged, foreign or of another key is unknown; full means the old half
 * goes. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/digestcache.h"

#define MAX_BYTES (UINT64_C(64) << 20)

static char dir[] = "/tmp/digestcache-test-XXXXXX";

static int
make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int
remove_dir(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static int
empty_dir(void **state)
{
    char command[80];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s/*", dir);
    return system(command);
}

static void
in_dir(const char *name, char path[96])
{
    snprintf(path, 96, "%s/%s", dir, name);
}

static const struct fileid some_file = {
    .dev = 1,
    .ino = 2,
    .size = UINT64_C(3000) << 18,
    .mtime_ns = 4,
    .ctime_ns = 5,
};

static struct digestcache_key
key_of(uint64_t block)
{
    return (struct digestcache_key){
        .id = some_file,
        .chunk_log2 = 18,
        .block = block,
        .count = block == 2 ? 3000 - 2048 : 1024,
    };
}

static void
set(struct digestcache_block *b, uint32_t i, uint8_t fill, bool zero)
{
    b->known[i / 64] |= UINT64_C(1) << (i % 64);
    if (zero) {
        b->zero[i / 64] |= UINT64_C(1) << (i % 64);
    }
    memset(b->digest[i], fill, HASH_LEN);
}

static bool
has(const struct digestcache_block *b, uint32_t i, uint8_t fill)
{
    uint8_t want[HASH_LEN];
    memset(want, fill, sizeof(want));
    return (b->known[i / 64] >> (i % 64) & 1) != 0 &&
           memcmp(b->digest[i], want, HASH_LEN) == 0;
}

static struct digestcache *
open_cache(void)
{
    struct digestcache *cache = NULL;
    assert_int_equal(digestcache_open(dir, MAX_BYTES, &cache), 0);
    return cache;
}

static void
test_write_and_read(void **state)
{
    static struct digestcache_block in;
    static struct digestcache_block out;
    struct digestcache *cache = open_cache();
    struct digestcache_key key = key_of(2);
    (void)state;
    memset(&in, 0, sizeof(in));
    assert_false(digestcache_read(cache, &key, &out));
    uint64_t generation = digestcache_generation(cache);
    set(&in, 0, 7, false);
    set(&in, 951, 8, true);
    assert_int_equal(digestcache_write(cache, &key, &in), 0);
    assert_int_not_equal(digestcache_generation(cache), generation);
    assert_true(digestcache_read(cache, &key, &out));
    assert_memory_equal(in.known, out.known, sizeof(in.known));
    assert_memory_equal(in.zero, out.zero, sizeof(in.zero));
    assert_true(has(&out, 0, 7));
    assert_true(has(&out, 951, 8));
    /* More of the same block is added. */
    memset(&in, 0, sizeof(in));
    set(&in, 5, 9, false);
    assert_int_equal(digestcache_write(cache, &key, &in), 0);
    assert_true(digestcache_read(cache, &key, &out));
    assert_true(has(&out, 0, 7) && has(&out, 5, 9) && has(&out, 951, 8));
    digestcache_close(cache);
    /* Another opener sees it; another key does not. */
    cache = open_cache();
    assert_true(digestcache_read(cache, &key, &out));
    assert_true(has(&out, 5, 9));
    struct digestcache_key other = key;
    other.id.ctime_ns++;
    assert_false(digestcache_read(cache, &other, &out));
    other = key;
    other.chunk_log2++;
    assert_false(digestcache_read(cache, &other, &out));
    other = key;
    other.block--;
    assert_false(digestcache_read(cache, &other, &out));
    digestcache_close(cache);
}

static void
test_contradiction_is_thrown_away(void **state)
{
    static struct digestcache_block b;
    struct digestcache *cache = open_cache();
    struct digestcache_key key = key_of(0);
    (void)state;
    memset(&b, 0, sizeof(b));
    set(&b, 1, 1, false);
    set(&b, 2, 2, false);
    assert_int_equal(digestcache_write(cache, &key, &b), 0);
    set(&b, 2, 3, false);
    assert_int_equal(digestcache_write(cache, &key, &b), 0);
    assert_true(digestcache_read(cache, &key, &b));
    assert_false(has(&b, 1, 1));
    assert_false(has(&b, 2, 2));
    assert_false(has(&b, 2, 3));
    digestcache_close(cache);
}

static void
test_cid_and_tree_id(void **state)
{
    struct digestcache *cache = open_cache();
    uint8_t cid[HASH_LEN] = { 1, 2, 3 };
    uint8_t out[HASH_LEN];
    uint8_t tree[DIGESTCACHE_TREE_ID];
    (void)state;
    memcpy(tree, digestcache_tree_id(cache), sizeof(tree));
    assert_false(digestcache_read_cid(cache, &some_file, 18, out));
    assert_int_equal(digestcache_write_cid(cache, &some_file, 18, cid), 0);
    assert_true(digestcache_read_cid(cache, &some_file, 18, out));
    assert_memory_equal(cid, out, HASH_LEN);
    assert_false(digestcache_read_cid(cache, &some_file, 19, out));
    digestcache_close(cache);
    cache = open_cache();
    assert_memory_equal(tree, digestcache_tree_id(cache), sizeof(tree));
    digestcache_close(cache);
}

/* ---- Damage. */

static void
fill_cache(void)
{
    static struct digestcache_block b;
    struct digestcache *cache = open_cache();
    memset(&b, 0, sizeof(b));
    for (uint32_t i = 0; i < 1024; i++) {
        set(&b, i, (uint8_t)i, false);
    }
    for (uint64_t block = 0; block < 2; block++) {
        struct digestcache_key key = key_of(block);
        assert_int_equal(digestcache_write(cache, &key, &b), 0);
    }
    digestcache_close(cache);
}

static void
flip(const char *path, off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x20;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Each flipped byte is either found by the check or does no harm: what is
 * read afterwards is right or unknown. */
static void
test_flipped_bytes(void **state)
{
    char path[96];
    struct stat st;
    unsigned moved_count = 0;
    (void)state;
    in_dir("digests.mdb", path);
    fill_cache();
    assert_int_equal(stat(path, &st), 0);
    for (off_t at = 40; at < st.st_size; at += st.st_size / 40 + 1) {
        empty_dir(state);
        fill_cache();
        flip(path, at);
        bool moved = false;
        assert_int_equal(digestcache_repair(dir, &moved), 0);
        moved_count += moved;
        struct digestcache *cache = open_cache();
        static struct digestcache_block out;
        struct digestcache_key key = key_of(1);
        if (digestcache_read(cache, &key, &out)) {
            for (uint32_t i = 0; i < 1024; i++) {
                assert_true(has(&out, i, (uint8_t)i));
            }
        }
        digestcache_close(cache);
    }
    assert_true(moved_count > 10);
}

/* ---- Free pages, which only writers look at: without a check a worker comes
 * to grief at each write, and so does the next one. */

static uint64_t
number_at(int fd, off_t at)
{
    uint64_t value = 0;
    assert_int_equal(pread(fd, &value, sizeof(value), at), sizeof(value));
    return value;
}

/* Where the root of the free list is: in the newer one of the two pages that
 * describe the file, as LMDB lays them out. */
static off_t
free_root(int fd)
{
    const off_t page = sysconf(_SC_PAGESIZE);
    off_t newer = number_at(fd, 144) > number_at(fd, page + 144) ? 0 : page;
    uint64_t root = number_at(fd, newer + 80);
    assert_in_range(root, 2, 100000);
    return (off_t)root * page;
}

static void
test_damaged_free_list(void **state)
{
    static const uint8_t zeros[64];
    const uint64_t beyond = UINT64_MAX / 4096;
    char path[96];
    (void)state;
    in_dir("digests.mdb", path);
    for (int how = 0; how < 3; how++) {
        bool moved = true;
        for (int i = 0; i < 3; i++) {
            fill_cache();
        }
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        off_t root = free_root(fd);
        if (how == 1) {
            assert_int_equal(pwrite(fd, zeros, sizeof(zeros), root),
                             sizeof(zeros));
        } else if (how == 2) {
            /* The first record: its head and key, a count, a page. */
            off_t at = root + (off_t)(number_at(fd, root + 16) & 0xffff) + 24;
            assert_in_range(number_at(fd, at - 8), 1, 500);
            assert_int_equal(pwrite(fd, &beyond, sizeof(beyond), at),
                             sizeof(beyond));
        }
        close(fd);
        assert_int_equal(digestcache_repair(dir, &moved), 0);
        assert_int_equal(moved, how > 0);
    }
}

/* A page that stands in another's place reads well, but the first change to it
 * would free what is in use. */
static void
test_misplaced_page(void **state)
{
    char path[96];
    uint64_t number = 0;
    struct stat st;
    bool moved = false;
    (void)state;
    in_dir("digests.mdb", path);
    fill_cache();
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    /* The last page that has a number is one of a block's digests. */
    const off_t page = sysconf(_SC_PAGESIZE);
    off_t at = st.st_size - page;
    while (number_at(fd, at) != (uint64_t)(at / page)) {
        at -= page;
        assert_true(at > 2 * page);
    }
    number = number_at(fd, at) - 1;
    assert_int_equal(pwrite(fd, &number, sizeof(number), at),
                     sizeof(number));
    close(fd);
    assert_int_equal(digestcache_repair(dir, &moved), 0);
    assert_true(moved);
}

static void
test_foreign_and_torn_files(void **state)
{
    static const char junk[5000] = "not a database";
    char path[96];
    char bad[96];
    bool moved = false;
    (void)state;
    in_dir("digests.mdb", path);
    in_dir("digests.mdb.bad", bad);
    assert_int_equal(digestcache_repair(dir, &moved), 0);
    assert_false(moved);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    close(fd);
    assert_int_equal(digestcache_repair(dir, &moved), 0);
    assert_true(moved);
    assert_int_equal(access(bad, F_OK), 0);
    fill_cache();
    assert_int_equal(truncate(path, 8192), 0);
    assert_int_equal(digestcache_repair(dir, &moved), 0);
    assert_true(moved);
    fill_cache();
    assert_int_equal(digestcache_repair(dir, &moved), 0);
    assert_false(moved);
}

static void
test_clean_mark(void **state)
{
    char path[96];
    char mark[96];
    bool moved = true;
    (void)state;
    in_dir("digests.mdb", path);
    in_dir("digests.mdb.clean", mark);
    fill_cache();
    digestcache_mark_clean(dir);
    assert_int_equal(access(mark, F_OK), 0);
    assert_int_equal(digestcache_repair(dir, &moved), 0);
    assert_false(moved);
    assert_int_not_equal(access(mark, F_OK), 0); /* good for one start */
    /* It does not vouch for a file that was written since. */
    digestcache_mark_clean(dir);
    assert_int_equal(truncate(path, 8192), 0);
    assert_int_equal(digestcache_repair(dir, &moved), 0);
    assert_true(moved);
}

static void
test_unusable_places(void **state)
{
    struct digestcache *cache = NULL;
    char path[96];
    (void)state;
    assert_int_equal(digestcache_open("/nonexistent", MAX_BYTES, &cache),
                     ERR_IO);
    in_dir("digests.mdb", path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_not_equal(digestcache_open(dir, MAX_BYTES, &cache), 0);
    assert_null(cache);
}

/* ---- Full. */

static void
test_full_cache_goes_on(void **state)
{
    static struct digestcache_block b;
    static struct digestcache_block out;
    struct digestcache *cache = NULL;
    struct digestcache_key key = key_of(0);
    struct stat st;
    char path[96];
    (void)state;
    memset(&b, 0, sizeof(b));
    for (uint32_t i = 0; i < 1024; i++) {
        set(&b, i, 1, false);
    }
    assert_int_equal(digestcache_open(dir, UINT64_C(1) << 20, &cache), 0);
    for (uint64_t ino = 0; ino < 200; ino++) {
        key.id.ino = ino;
        assert_int_equal(digestcache_write(cache, &key, &b), 0);
        assert_true(digestcache_read(cache, &key, &out));
    }
    digestcache_close(cache);
    in_dir("digests.mdb", path);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 1, 3 << 19);
}

/* ---- Two openers at once: in processes, as the workers are. */

static void
test_two_processes(void **state)
{
    static struct digestcache_block b;
    static struct digestcache_block out;
    int to_child[2];
    int to_parent[2];
    char byte = 0;
    (void)state;
    assert_int_equal(pipe(to_child), 0);
    assert_int_equal(pipe(to_parent), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct digestcache *cache = NULL;
        struct digestcache_key key = key_of(1);
        bool ok = digestcache_open(dir, MAX_BYTES, &cache) == 0 &&
                  read(to_child[0], &byte, 1) == 1 &&
                  digestcache_read(cache, &key, &out) && has(&out, 3, 3);
        memset(&b, 0, sizeof(b));
        set(&b, 4, 4, false);
        ok = ok && digestcache_write(cache, &key, &b) == 0 &&
             write(to_parent[1], "x", 1) == 1;
        /* Killed in the middle of its life. */
        _exit(ok ? 0 : 1);
    }
    struct digestcache *cache = open_cache();
    struct digestcache_key key = key_of(1);
    memset(&b, 0, sizeof(b));
    set(&b, 3, 3, false);
    assert_int_equal(digestcache_write(cache, &key, &b), 0);
    uint64_t generation = digestcache_generation(cache);
    assert_int_equal(write(to_child[1], "x", 1), 1);
    assert_int_equal(read(to_parent[0], &byte, 1), 1);
    assert_int_not_equal(digestcache_generation(cache), generation);
    assert_true(digestcache_read(cache, &key, &out));
    assert_true(has(&out, 3, 3) && has(&out, 4, 4));
    digestcache_close(cache);
    for (int i = 0; i < 2; i++) {
        close(to_child[i]);
        close(to_parent[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_write_and_read, empty_dir),
        cmocka_unit_test_teardown(test_contradiction_is_thrown_away,
                                  empty_dir),
        cmocka_unit_test_teardown(test_cid_and_tree_id, empty_dir),
        cmocka_unit_test_teardown(test_flipped_bytes, empty_dir),
        cmocka_unit_test_teardown(test_damaged_free_list, empty_dir),
        cmocka_unit_test_teardown(test_misplaced_page, empty_dir),
        cmocka_unit_test_teardown(test_foreign_and_torn_files, empty_dir),
        cmocka_unit_test_teardown(test_clean_mark, empty_dir),
        cmocka_unit_test_teardown(test_unusable_places, empty_dir),
        cmocka_unit_test_teardown(test_full_cache_goes_on, empty_dir),
        cmocka_unit_test_teardown(test_two_processes, empty_dir),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
