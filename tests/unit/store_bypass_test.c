/* The store around the page cache: which writes go there, what happens where
 * that does not work; sharing the blocks of another file. */
#include "tests/unit/store_fixture.h"

#include <sys/uio.h>

#define ALIGN ((size_t)4096)
#define LEAST ((size_t)512 << 10)
#define SIZE (4 * LEAST)

/* What was opened with O_DIRECT; the flag itself is left out, so that it works
 * on any file system. */
static int direct_fd;
static unsigned direct_opens, direct_writes, cached_writes;
static int direct_errno; /* of the writes there; 0: they work */

static int openat_spied(int dir, const char *name, int flags, mode_t mode)
{
    int fd = store_sys_real.openat(dir, name, flags & ~O_DIRECT, mode);

    if ((flags & O_DIRECT) != 0) {
        direct_fd = fd;
        direct_opens++;
    }
    return fd;
}

static int openat_no_direct(int dir, const char *name, int flags, mode_t mode)
{
    if ((flags & O_DIRECT) != 0) {
        direct_opens++;
        errno = EINVAL;
        return -1;
    }
    return store_sys_real.openat(dir, name, flags, mode);
}

static ssize_t pwritev_spied(int fd, const struct iovec *iov, int count,
                             off_t offset)
{
    if (fd == direct_fd) {
        direct_writes++;
        if (direct_errno != 0) {
            errno = direct_errno;
            return -1;
        }
    } else {
        cached_writes++;
    }
    return store_sys_real.pwritev(fd, iov, count, offset);
}

static int on_disk(int fd, uint64_t *type)
{
    (void)fd;
    *type = EXT4_SUPER_MAGIC;
    return 0;
}

static int on_tmpfs(int fd, uint64_t *type)
{
    (void)fd;
    *type = TMPFS_MAGIC;
    return 0;
}

static int on_ramfs(int fd, uint64_t *type)
{
    (void)fd;
    *type = RAMFS_MAGIC;
    return 0;
}

static struct store *begin(void)
{
    struct store *store = must_begin(SIZE);

    direct_fd = -1;
    direct_opens = 0;
    direct_writes = 0;
    cached_writes = 0;
    direct_errno = 0;
    fixture_sys.openat = openat_spied;
    fixture_sys.pwritev = pwritev_spied;
    fixture_sys.fs_type = on_disk;
    return store;
}

/* Bytes at an address that is `odd` behind an aligned one. */
static uint8_t *aligned(size_t odd)
{
    uint8_t *bytes = aligned_alloc(ALIGN, SIZE + ALIGN);

    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE + ALIGN; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 5000);
    }
    return bytes + odd;
}

static void assert_bytes_at(uint64_t offset, const uint8_t *bytes, size_t len)
{
    int fd = openat(fixture_fd, PART, O_RDONLY);
    uint8_t *got = malloc(len);

    assert_true(fd >= 0);
    assert_non_null(got);
    assert_int_equal(pread(fd, got, len, (off_t)offset), len);
    assert_memory_equal(got, bytes, len);
    free(got);
    close(fd);
}

/* ---- which writes. */

static void test_what_goes_around(void **state)
{
    static const struct {
        uint64_t offset;
        size_t len[2]; /* of two pieces; 0: there is one */
        size_t odd;    /* of the address */
        bool around;
    } rows[] = {
        {0, {LEAST}, 0, true},
        {ALIGN, {LEAST}, 0, true},
        {0, {LEAST / 2, LEAST / 2}, 0, true},
        {SIZE - LEAST, {ALIGN, LEAST - ALIGN}, 0, true},
        {0, {LEAST - ALIGN}, 0, false},
        {0, {LEAST + 1}, 0, false},
        {512, {LEAST}, 0, false},
        {0, {LEAST}, 512, false},
        {0, {LEAST / 2 + 1, LEAST / 2 - 1}, 0, false},
        {0, {100}, 0, false},
    };

    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        uint8_t *bytes = aligned(rows[k].odd);
        size_t len = rows[k].len[0] + rows[k].len[1];
        struct iovec iov[2] = {
            {bytes, rows[k].len[0]},
            {bytes + rows[k].len[0], rows[k].len[1]}};
        struct store *store = begin();

        store_bypass_cache(store);
        assert_int_equal(direct_opens, 1);
        assert_int_equal(store_pwrite(store, rows[k].offset, iov,
                                      rows[k].len[1] > 0 ? 2 : 1, NULL), 0);
        assert_int_equal(direct_writes, rows[k].around);
        assert_int_equal(cached_writes, !rows[k].around);
        assert_bytes_at(rows[k].offset, bytes, len);
        assert_int_equal(store_discard(store, NULL), 0);
        fixture_sys = store_sys_real;
        free(bytes - rows[k].odd);
    }
}

/* Advice that cannot be followed, or was followed already. */
static void test_advice(void **state)
{
    static const struct {
        int (*fs_type)(int fd, uint64_t *type);
        bool no_direct;
        unsigned opens, around;
    } rows[] = {{on_disk, false, 1, 1},
                {on_tmpfs, false, 0, 0},
                {on_ramfs, false, 0, 0},
                {on_disk, true, 2, 0}};

    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        uint8_t *bytes = aligned(0);
        struct iovec iov = {bytes, LEAST};
        struct store *store = begin();

        fixture_sys.fs_type = rows[k].fs_type;
        if (rows[k].no_direct) {
            fixture_sys.openat = openat_no_direct;
        }
        store_bypass_cache(store);
        store_bypass_cache(store);
        assert_int_equal(direct_opens, rows[k].opens);
        assert_int_equal(store_pwrite(store, 0, &iov, 1, NULL), 0);
        assert_int_equal(direct_writes, rows[k].around);
        assert_int_equal(cached_writes, 1 - rows[k].around);
        assert_bytes_at(0, bytes, LEAST);
        assert_int_equal(store_discard(store, NULL), 0);
        fixture_sys = store_sys_real;
        free(bytes);
    }
}

/* ---- where it does not work. */

static void test_errors(void **state)
{
    static const struct {
        int error;
        int code;   /* of the write */
        int behind; /* of one more, once the device is well again */
        unsigned direct, cached; /* writes, of both; the journal is cached */
    } rows[] = {
        {EINVAL, 0, 0, 1, 2}, /* the cache from then on */
        {ENOSPC, ERR_NO_SPACE, 0, 2, 0},
        {EIO, ERR_IO, 0, 2, 1}, /* it is written down as suspect */
    };

    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        uint8_t *bytes = aligned(0);
        struct iovec iov = {bytes, LEAST};
        uint8_t digest[1][HASH_LEN] = {{1}};
        struct store *store = begin();
        struct store_error why = {0};

        store_bypass_cache(store);
        direct_errno = rows[k].error;
        assert_int_equal(store_pwrite(store, 0, &iov, 1, &why),
                         rows[k].code);
        direct_errno = 0;
        if (rows[k].code != 0) {
            assert_int_equal(why.sys_errno, rows[k].error);
        }
        assert_int_equal(store_pwrite(store, 0, &iov, 1, &why),
                         rows[k].behind);
        assert_int_equal(direct_writes, rows[k].direct);
        assert_int_equal(cached_writes, rows[k].cached);
        assert_bytes_at(0, bytes, LEAST);
        /* A lost write puts all of it in doubt: nothing is recorded. */
        assert_int_equal(store_mark(store, 0, 1, digest, &why), 0);
        assert_int_equal(store_sync(store, &why),
                         rows[k].error == EIO ? ERR_IO : 0);
        assert_int_equal(store_discard(store, NULL), 0);
        fixture_sys = store_sys_real;
        free(bytes);
        assert_int_equal(names(), 0);
    }
}

/* ---- shared blocks. */

static unsigned clones;
static bool clone_works;

static int clone_spied(int fd, off_t offset, int from, off_t from_offset,
                       uint64_t len)
{
    clones++;
    assert_true(fd >= 0);
    assert_int_equal(offset, 2 * CHUNK);
    assert_int_equal(from, 77);
    assert_int_equal(from_offset, CHUNK);
    assert_int_equal(len, CHUNK);
    errno = EOPNOTSUPP;
    return clone_works ? 0 : -1;
}

static void test_clone(void **state)
{
    struct store *store = must_begin(4 * CHUNK);

    (void)state;
    fixture_sys.clone_range = NULL;
    assert_int_equal(store_clone(store, 77, CHUNK, 2 * CHUNK, CHUNK),
                     ERR_UNSUPPORTED);
    fixture_sys.clone_range = clone_spied;
    clones = 0;
    for (unsigned works = 0; works < 2; works++) {
        clone_works = works != 0;
        assert_int_equal(store_clone(store, 77, CHUNK, 2 * CHUNK, CHUNK),
                         clone_works ? 0 : ERR_UNSUPPORTED);
    }
    assert_int_equal(clones, 2);
    must_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_what_goes_around),
        STORE_TEST(test_advice),
        STORE_TEST(test_errors),
        STORE_TEST(test_clone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
