/* Digests of one version: settled ones are known, published ones bind, the
 * list completes across processes' caches, and what is dropped from memory
 * comes back. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/data/cid.h"
#include "proto/data/merkle.h"
#include "server/digestcache.h"
#include "server/digests.h"

static char dir[] = "/tmp/digests-test-XXXXXX";
static struct hasher *hasher;

static int
setup(void **state)
{
    (void)state;
    hasher = hasher_new();
    return hasher == NULL || mkdtemp(dir) == NULL;
}

static int
clear(void **state)
{
    char command[64];
    (void)state;
    hasher_free(hasher);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static struct fileid
file_of(uint64_t ino, uint64_t chunks)
{
    return (struct fileid){
        .dev = 1,
        .ino = ino,
        .size = (chunks << 12) - (chunks > 0 ? 5 : 0),
    };
}

static struct digest_state
state_of(uint64_t index, bool settled)
{
    struct digest_state s = { .settled = settled, .zero = index % 7 == 0 };
    memset(s.digest, (int)(index % 251), HASH_LEN);
    memcpy(s.digest, &index, sizeof(index));
    return s;
}

static void
put(struct digests *d, uint64_t index, bool settled)
{
    struct digest_state s = state_of(index, settled);
    assert_int_equal(digests_put(d, index, &s), 0);
}

static void
check(struct digests *d, uint64_t index, bool published, bool settled)
{
    struct digest_state want = state_of(index, settled);
    struct digest_state got;
    digests_get(d, index, &got);
    assert_int_equal(got.published, published);
    assert_int_equal(got.settled, settled);
    if (published) {
        assert_memory_equal(got.digest, want.digest, HASH_LEN);
        assert_int_equal(got.zero, want.zero);
    }
}

static void
test_settled_and_published(void **state)
{
    struct fileid id = file_of(1, 10);
    struct digests *d = digests_new(NULL, &id, 12);
    uint8_t out[10 * HASH_LEN];
    (void)state;
    assert_int_equal(digests_count(d), 10);
    assert_false(digests_any(d));
    check(d, 3, false, false);
    put(d, 3, false);
    check(d, 3, true, false);
    assert_false(digests_any(d)); /* published is not known */
    assert_int_equal(digests_unknown(d, 3, 4), 3);
    assert_false(digests_copy(d, 3, 1, out));
    /* Another digest contradicts it, settled or not. */
    struct digest_state other = state_of(4, true);
    assert_int_equal(digests_put(d, 3, &other), ERR_CHANGED);
    other.settled = false;
    assert_int_equal(digests_put(d, 3, &other), ERR_CHANGED);
    check(d, 3, true, false);
    put(d, 3, true);
    check(d, 3, true, true);
    put(d, 3, false); /* read again in a bad moment: it stays settled */
    check(d, 3, true, true);
    assert_true(digests_any(d));
    assert_true(digests_copy(d, 3, 1, out));
    assert_int_equal(digests_unknown(d, 0, 10), 0);
    assert_int_equal(digests_unknown(d, 3, 10), 4);
    assert_int_equal(digests_unknown(d, 3, 4), 4);
    assert_int_equal(digests_unknown(d, 4, 4), 4);
    digests_free(d);
}

static void
expect_cid(const struct fileid *id, uint64_t chunks, uint8_t cid[HASH_LEN])
{
    struct merkle_builder b;
    uint8_t root[HASH_LEN];
    merkle_builder_init(&b, id->size, 12);
    for (uint64_t i = 0; i < chunks; i++) {
        struct digest_state s = state_of(i, true);
        assert_int_equal(merkle_builder_add(&b, hasher, s.digest, 1), 0);
    }
    assert_int_equal(merkle_builder_root(&b, hasher, root), 0);
    assert_int_equal(cid_from_root(hasher, id->size, 12, root, cid), 0);
}

static void
test_cid(void **state)
{
    static const uint64_t counts[] = { 0, 1, 2, 1023, 1024, 1025, 5000 };
    (void)state;
    for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
        uint64_t n = counts[k];
        struct fileid id = file_of(2, n);
        struct digests *d = digests_new(NULL, &id, 12);
        uint8_t want[HASH_LEN];
        uint8_t got[HASH_LEN];
        assert_int_equal(digests_count(d), n);
        for (uint64_t i = 0; i < n; i++) {
            assert_false(digests_complete(d));
            put(d, n - 1 - i, true);
        }
        assert_true(digests_complete(d));
        assert_false(digests_cid(d, got));
        assert_true(digests_sync_helps(d));
        assert_int_equal(digests_sync(d, hasher), 0);
        assert_true(digests_cid(d, got));
        assert_false(digests_sync_helps(d));
        expect_cid(&id, n, want);
        assert_memory_equal(got, want, HASH_LEN);
        digests_free(d);
    }
}

static void
test_unsettled_make_no_cid(void **state)
{
    struct fileid id = file_of(3, 3);
    struct digests *d = digests_new(NULL, &id, 12);
    uint8_t cid[HASH_LEN];
    (void)state;
    put(d, 0, true);
    put(d, 1, false);
    put(d, 2, true);
    assert_int_equal(digests_sync(d, hasher), 0);
    assert_false(digests_cid(d, cid));
    put(d, 1, true);
    assert_int_equal(digests_sync(d, hasher), 0);
    assert_true(digests_cid(d, cid));
    digests_free(d);
}

/* Two lists of one file over one cache, as two connections of two workers
 * would have them, and a third that comes later. */
static void
test_lists_complete_each_other(void **state)
{
    struct digestcache *cache = NULL;
    struct fileid id = file_of(4, 3000);
    uint8_t want[HASH_LEN];
    uint8_t got[HASH_LEN];
    (void)state;
    assert_int_equal(digestcache_open(dir, UINT64_C(64) << 20, &cache), 0);
    struct digests *one = digests_new(cache, &id, 12);
    struct digests *two = digests_new(cache, &id, 12);
    for (uint64_t i = 0; i < 3000; i++) {
        put(i % 3 == 0 ? one : two, i, true);
    }
    assert_int_equal(digests_sync(one, hasher), 0);
    assert_false(digests_cid(one, got));
    assert_false(digests_dirty(one));
    assert_true(digests_dirty(two));
    assert_int_equal(digests_sync(two, hasher), 0);
    expect_cid(&id, 3000, want);
    assert_true(digests_cid(two, got));
    assert_memory_equal(got, want, HASH_LEN);
    assert_true(digests_cid(one, got)); /* the other one stored it */
    for (uint64_t i = 0; i < 3000; i += 7) {
        check(one, i, true, true);
    }
    digests_free(one);
    digests_free(two);
    struct digests *three = digests_new(cache, &id, 12);
    assert_true(digests_cid(three, got));
    assert_memory_equal(got, want, HASH_LEN);
    check(three, 2999, true, true);
    assert_int_equal(digests_unknown(three, 0, 3000), 3000);
    digests_free(three);
    /* What was only published is not stored. */
    struct fileid weak = file_of(5, 3);
    one = digests_new(cache, &weak, 12);
    put(one, 0, false);
    assert_false(digests_dirty(one));
    assert_int_equal(digests_sync(one, hasher), 0);
    digests_free(one);
    one = digests_new(cache, &weak, 12);
    check(one, 0, false, false);
    digests_free(one);
    digestcache_close(cache);
}

static void
test_tree(void **state)
{
    struct fileid id = file_of(6, 13);
    struct digests *d = digests_new(NULL, &id, 12);
    uint8_t *nodes = NULL;
    uint8_t cid[HASH_LEN];
    uint8_t want[HASH_LEN];
    (void)state;
    assert_int_equal(digests_tree(d, hasher, &nodes), ERR_AGAIN);
    for (uint64_t i = 0; i < 13; i++) {
        put(d, i, true);
    }
    assert_int_equal(digests_tree(d, hasher, &nodes), 0);
    assert_int_equal(cid_from_root(hasher, id.size, 12,
                                   merkle_tree_root(nodes, 13), cid),
                     0);
    expect_cid(&id, 13, want);
    assert_memory_equal(cid, want, HASH_LEN);
    free(nodes);
    digests_free(d);
    id = file_of(7, 0);
    d = digests_new(NULL, &id, 12);
    assert_int_equal(digests_tree(d, hasher, &nodes), ERR_LIMIT);
    digests_free(d);
}

/* More blocks than memory may hold: the stored ones give way. */
static void
test_memory_is_bounded(void **state)
{
    struct digestcache *cache = NULL;
    uint64_t n = UINT64_C(2100) * DIGESTS_BLOCK;
    struct fileid id = file_of(8, n);
    (void)state;
    assert_int_equal(digestcache_open(dir, UINT64_C(256) << 20, &cache), 0);
    struct digests *d = digests_new(cache, &id, 12);
    for (uint64_t at = 0; at < n; at += DIGESTS_BLOCK) {
        put(d, at, true);
        if (at % (100 * DIGESTS_BLOCK) == 0) {
            assert_int_equal(digests_sync(d, hasher), 0);
        }
    }
    assert_int_equal(digests_sync(d, hasher), 0);
    for (uint64_t at = 0; at < n; at += 50 * DIGESTS_BLOCK) {
        check(d, at, true, true);
        check(d, at + 1, false, false);
    }
    digests_free(d);
    digestcache_close(cache);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settled_and_published),
        cmocka_unit_test(test_cid),
        cmocka_unit_test(test_unsettled_make_no_cid),
        cmocka_unit_test(test_lists_complete_each_other),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, setup, clear);
}
