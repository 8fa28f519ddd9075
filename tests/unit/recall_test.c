/* Digests of a file that was read: those of each chunk by itself, and only as
 * long as the file is the same. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <unistd.h>

#include "client/filecid.h"
#include "client/recall.h"
#include "proto/base/err.h"
#include "proto/data/cid.h"

#define LOG2 12
#define CHUNK ((size_t)1 << LOG2)

static int
make_file(uint64_t size)
{
    char path[] = "/tmp/belay-recall-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    for (uint64_t at = 0; at < size; at += 4) {
        uint32_t word = (uint32_t)at * 2654435761u;
        size_t len = size - at < 4 ? (size_t)(size - at) : 4;

        assert_int_equal(pwrite(fd, &word, len, (off_t)at), len);
    }
    return fd;
}

/* The slow way: chunk by chunk. */
static void
check_digests(const struct recall *r, int fd, uint64_t size)
{
    uint64_t count = cid_chunk_count(size, LOG2);
    struct hasher *hasher = hasher_new();
    uint8_t data[CHUNK], want[HASH_LEN];
    uint8_t(*got)[HASH_LEN] = calloc(count + 1, HASH_LEN);

    assert_true(hasher != NULL && got != NULL);
    for (uint64_t first = 0; first <= count; first++) {
        for (uint64_t n = 0; n <= count - first; n++) {
            assert_true(recall_digests(r, LOG2, first, n, got));
            for (uint64_t k = 0; k < n; k++) {
                ssize_t len = pread(fd, data, CHUNK,
                                    (off_t)((first + k) << LOG2));

                assert_int_equal(len, cid_chunk_len(size, LOG2, first + k));
                assert_int_equal(
                    hash_sha256(hasher, data, (size_t)len, want), 0);
                assert_memory_equal(got[k], want, HASH_LEN);
            }
        }
        assert_false(recall_digests(r, LOG2, first, count - first + 1, got));
        assert_false(recall_digests(r, LOG2, first, UINT64_MAX, got));
    }
    assert_false(recall_digests(r, LOG2 + 1, 0, 1, got));
    assert_false(recall_digests(r, LOG2, count + 1, 0, got));
    hasher_free(hasher);
    free(got);
}

static void
test_sizes(void **state)
{
    static const uint64_t sizes[] = {1, CHUNK - 1, CHUNK, CHUNK + 1,
                                     8 * CHUNK, 11 * CHUNK + 5};
    uint8_t cid[HASH_LEN], want[HASH_LEN];
    struct recall r = {0};

    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        int fd = make_file(sizes[k]);

        assert_int_equal(file_cid(fd, sizes[k], LOG2, want), 0);
        assert_int_equal(recall_cid(&r, fd, sizes[k], LOG2, cid), 0);
        assert_memory_equal(cid, want, HASH_LEN);
        assert_true(recall_is_of(&r, fd));
        check_digests(&r, fd, sizes[k]);
        close(fd);
    }
    recall_clear(&r);
    recall_clear(&r);
}

/* An empty file has a cid and nothing to recall; a shorter one than was said
 * has neither. */
static void
test_nothing(void **state)
{
    uint8_t cid[HASH_LEN], want[HASH_LEN];
    struct recall r = {0};
    int fd = make_file(CHUNK);

    (void)state;
    assert_false(recall_is_of(&r, fd));
    assert_false(recall_digests(&r, LOG2, 0, 0, NULL));
    assert_int_equal(recall_cid(&r, fd, 3 * CHUNK, LOG2, cid), ERR_IO);
    assert_false(recall_is_of(&r, fd));
    assert_int_equal(file_cid(fd, 0, LOG2, want), 0);
    assert_int_equal(recall_cid(&r, fd, 0, LOG2, cid), 0);
    assert_memory_equal(cid, want, HASH_LEN);
    assert_false(recall_is_of(&r, fd));
    close(fd);
}

static void
test_another_file(void **state)
{
    uint8_t cid[HASH_LEN];
    struct recall r = {0};
    int fd = make_file(2 * CHUNK);
    int other = make_file(2 * CHUNK);
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

    (void)state;
    assert_int_equal(recall_cid(&r, fd, 2 * CHUNK, LOG2, cid), 0);
    assert_true(recall_is_of(&r, fd));
    assert_false(recall_is_of(&r, other));
    assert_false(recall_is_of(&r, -1));
    assert_int_equal(futimens(fd, times), 0);
    assert_false(recall_is_of(&r, fd));
    recall_clear(&r);
    close(fd);
    close(other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_another_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
