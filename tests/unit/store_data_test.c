/* Bytes, hints, syncs and faults of a store that is open. */
#include "tests/unit/store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* ---- Room (D1, D15). */

static struct statvfs small_fs;

static int fstatvfs_small(int fd, struct statvfs *st)
{
    (void)fd;
    *st = small_fs;
    return 0;
}

static void test_space(void **state)
{
    uint8_t *bytes = make_bytes(16 * CHUNK, 1);
    struct store_error why;
    struct store *store;
    uint64_t overhead = JOURNAL_HEAD_LEN + 16 * CHUNK / 4096;
    char text[STORE_ERROR_TEXT];

    (void)state;
    small_fs.f_namemax = 255;
    small_fs.f_blocks = 1000;
    small_fs.f_frsize = 1;
    small_fs.f_bavail = (fsblkcnt_t)(16 * CHUNK + overhead);
    fixture_sys.fstatvfs = fstatvfs_small;
    store = must_begin(16 * CHUNK);
    assert_int_equal(store_space(store, 16 * CHUNK, &why), 0);
    small_fs.f_bavail--;
    assert_int_equal(store_space(store, 16 * CHUNK, &why), ERR_NO_SPACE);
    assert_int_equal(why.need_bytes, 16 * CHUNK + overhead);
    assert_int_equal(why.have_bytes, 16 * CHUNK + overhead - 1);
    /* To the byte where it would look the same. */
    why.need_bytes = 100001;
    why.have_bytes = 100000;
    store_error_text(&why, text, sizeof text);
    assert_non_null(strstr(text, ": 100001 bytes are needed and 100000 are "
                                 "available"));
    why.need_bytes = 200057020;
    store_error_text(&why, text, sizeof text);
    assert_non_null(strstr(text, ": 190.79 MiB are needed and 97.66 KiB are "
                                 "available"));
    /* What the partial owns already is room. */
    put_chunks(store, bytes, 16 * CHUNK, 0, 8);
    assert_int_equal(store_sync(store, NULL), 0); /* delayed allocation */
    small_fs.f_bavail -= 8 * CHUNK - 1;
    assert_int_equal(store_space(store, 16 * CHUNK, &why), 0);
    assert_int_equal(store_space(store, UINT64_MAX, &why), ERR_NO_SPACE);
    assert_int_equal(store_space(store, INT64_MAX, &why), ERR_NO_SPACE);
    small_fs.f_blocks = 0; /* a file system that does not say */
    assert_int_equal(store_space(store, UINT64_C(1) << 40, &why), 0);
    must_close(store);
    free(bytes);
}

static int limit_100(uint64_t *bytes)
{
    *bytes = 100;
    return 0;
}

static void test_file_size_limit(void **state)
{
    struct store *store = must_open(STORE_KEEP, STORE_FOUND_NOTHING, NULL);
    struct store_error why;

    (void)state;
    fixture_sys.file_size_limit = limit_100;
    assert_int_equal(store_space(store, 101, &why), ERR_NO_SPACE);
    assert_int_equal(why.have_bytes, 100);
    assert_int_equal(store_space(store, 100, &why), 0);
    must_close(store);
}

/* The real limit gives EFBIG at begin, not a dead process. */
static void test_real_file_size_limit(void **state)
{
    struct rlimit old;
    struct rlimit low;
    struct store_error why;
    struct store *store = must_open(STORE_KEEP, STORE_FOUND_NOTHING, NULL);
    struct journal_identity id = make_identity(1 << 20);

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 1 << 16;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    assert_int_equal(store_space(store, 1 << 20, &why), ERR_NO_SPACE);
    assert_int_equal(store_begin(store, &id, &why), ERR_NO_SPACE);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(why.sys_errno, EFBIG);
    must_close(store);
}

/* ---- Bytes. */

static void test_vector_write(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = must_begin(3 * CHUNK);
    struct iovec iov[4] = {
        {bytes, 10},
        {bytes + 10, 0},
        {bytes + 10, CHUNK},
        {bytes + 10 + CHUNK, 2 * CHUNK - 10},
    };
    uint8_t *got = malloc(3 * CHUNK);

    (void)state;
    assert_non_null(got);
    assert_int_equal(store_pwrite(store, 0, iov, 4, NULL), 0);
    assert_int_equal(store_pread(store, 0, got, 3 * CHUNK, NULL), 0);
    assert_memory_equal(got, bytes, 3 * CHUNK);
    assert_int_equal(store_pread(store, 3 * CHUNK, got, 1, NULL), ERR_EOF);
    assert_int_equal(store_pread(store, 3 * CHUNK, got, 0, NULL), 0);
    store_writeback_hint(store, 0, 3 * CHUNK);
    store_writeback_hint(store, 0, 0);
    must_close(store);
    free(got);
    free(bytes);
}

static unsigned int call_number;

/* D4: 100 bytes, then 1 byte, then all of it. */
static ssize_t pwritev_short(int fd, const struct iovec *iov, int count,
                             off_t offset)
{
    static const size_t lengths[] = {100, 1};
    struct iovec first = iov[0];

    if (call_number % 3 == 2) {
        call_number++;
        return store_sys_real.pwritev(fd, iov, count, offset);
    }
    if (first.iov_len > lengths[call_number % 3]) {
        first.iov_len = lengths[call_number % 3];
    }
    call_number++;
    return store_sys_real.pwritev(fd, &first, 1, offset);
}

static ssize_t pread_short(int fd, void *buffer, size_t len, off_t offset)
{
    return store_sys_real.pread(fd, buffer, len > 13 ? 13 : len, offset);
}

static void test_short_calls(void **state)
{
    uint8_t *bytes = make_bytes(5 * CHUNK, 1);
    struct store *store;

    (void)state;
    fixture_sys.pwritev = pwritev_short;
    fixture_sys.pread = pread_short;
    store = must_begin(5 * CHUNK);
    put_chunks(store, bytes, 5 * CHUNK, 0, 3);
    must_close(store);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    must_prepare(store);
    assert_int_equal(count_hints(store), 3);
    put_chunks(store, bytes, 5 * CHUNK, 3, 2);
    must_finish(store);
    must_close(store);
    assert_file(NAME, bytes, 5 * CHUNK);
    free(bytes);
}

static ssize_t pwritev_nothing(int fd, const struct iovec *iov, int count,
                               off_t offset)
{
    (void)fd;
    (void)iov;
    (void)count;
    (void)offset;
    return 0;
}

/* A write that takes nothing ends, too. */
static void test_write_of_nothing(void **state)
{
    struct store *store = must_begin(CHUNK);
    uint8_t byte = 1;
    struct iovec iov = {&byte, 1};
    struct store_error why;

    (void)state;
    fixture_sys.pwritev = pwritev_nothing;
    assert_int_equal(store_pwrite(store, 0, &iov, 1, &why), ERR_IO);
    assert_int_equal(why.sys_errno, EIO);
    must_close(store);
}

static int punch_errno;

static int punch_fails(int fd, off_t offset, off_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    errno = punch_errno;
    return -1;
}

/* Zeros over a donor's bytes: by a hole, and without holes (D16). */
static void test_zero(void **state)
{
    static const int errors[] = {0, EOPNOTSUPP, ENOSYS};
    size_t size = 3 * 1024 * 1024;

    for (size_t i = 0; i < 3; i++) {
        uint8_t *bytes = make_bytes(size, 1);
        uint8_t *got = malloc(size);
        struct store *store;

        fixture_teardown(state);
        assert_int_equal(fixture_setup(state), 0);
        assert_non_null(got);
        punch_errno = errors[i];
        if (punch_errno != 0) {
            fixture_sys.punch_hole = punch_fails;
        }
        store = must_begin(size);
        write_at(store, bytes, 0, size);
        assert_int_equal(store_zero(store, 5, size - 10, NULL), 0);
        assert_int_equal(store_zero(store, 0, 0, NULL), 0);
        memset(bytes + 5, 0, size - 10);
        assert_int_equal(store_pread(store, 0, got, size, NULL), 0);
        assert_memory_equal(got, bytes, size);
        must_close(store);
        free(bytes);
        free(got);
    }
}

static void test_next_data(void **state)
{
    uint8_t *bytes = make_bytes(64 * CHUNK, 1);
    struct store *store = must_begin(64 * CHUNK);
    uint64_t start = 0;
    uint64_t end = 0;

    (void)state;
    assert_int_equal(store_next_data(store, &start, &end, NULL), 0);
    assert_int_equal(start, 64 * CHUNK);
    assert_int_equal(end, 64 * CHUNK);
    write_at(store, bytes, 16 * CHUNK, CHUNK);
    start = 0;
    assert_int_equal(store_next_data(store, &start, &end, NULL), 0);
    assert_true(start <= 16 * CHUNK && end >= 17 * CHUNK);
    start = end;
    assert_int_equal(store_next_data(store, &start, &end, NULL), 0);
    assert_int_equal(start, end);
    start = UINT64_MAX;
    assert_int_equal(store_next_data(store, &start, &end, NULL), 0);
    assert_int_equal(start, 64 * CHUNK);
    must_close(store);
    free(bytes);
}

static off_t lseek_unsupported(int fd, off_t offset, int whence)
{
    (void)fd;
    (void)offset;
    (void)whence;
    errno = EINVAL;
    return -1;
}

static void test_next_data_unsupported(void **state)
{
    struct store *store = must_begin(64 * CHUNK);
    uint64_t start = 5;
    uint64_t end = 0;

    (void)state;
    fixture_sys.lseek = lseek_unsupported;
    assert_int_equal(store_next_data(store, &start, &end, NULL), 0);
    assert_int_equal(start, 5);
    assert_int_equal(end, 64 * CHUNK);
    must_close(store);
}

/* ---- Hints. */

/* More slots than fit in one read, in runs and with gaps. */
static void test_many_hints(void **state)
{
    uint64_t chunks = 5000;
    struct store *store = must_begin(chunks * CHUNK);
    uint8_t(*digests)[HASH_LEN] = malloc(chunks * HASH_LEN);

    (void)state;
    assert_non_null(digests);
    for (uint64_t i = 0; i < chunks; i++) {
        fake_digest(digests[i], i);
    }
    assert_int_equal(store_mark(store, 0, 1000, digests, NULL), 0);
    assert_int_equal(store_mark(store, 1000, 0, digests, NULL), 0);
    for (uint64_t i = 1001; i < chunks; i += 2) {
        assert_int_equal(store_mark(store, i, 1, digests + i, NULL), 0);
    }
    assert_int_equal(count_hints(store), 3000);
    assert_int_equal(stat_of(JOURNAL).st_size,
                     JOURNAL_HEAD_LEN + 5000 * JOURNAL_SLOT_LEN);
    must_close(store);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    assert_int_equal(count_hints(store), 3000);
    must_close(store);
    free(digests);
}

/* Marks in place: the journal does not grow, however often a resume is cut
 * off (C13). */
static void test_journal_does_not_grow(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    off_t size;

    (void)state;
    leave_partial(bytes);
    size = stat_of(JOURNAL).st_size;
    for (int i = 0; i < 50; i++) {
        struct store *store;

        store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
        must_prepare(store);
        assert_int_equal(count_hints(store), 2);
        put_chunks(store, bytes, 3 * CHUNK, 0, 2);
        must_close(store);
    }
    assert_int_equal(stat_of(JOURNAL).st_size, size);
    free(bytes);
}

static ssize_t pread_slots_eio(int fd, void *buffer, size_t len, off_t offset)
{
    if (offset >= JOURNAL_HEAD_LEN) {
        errno = EIO;
        return -1;
    }
    return store_sys_real.pread(fd, buffer, len, offset);
}

/* A rotten slot table is no hints, not a failed download. */
static void test_unreadable_slots(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store;

    (void)state;
    leave_partial(bytes);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    must_prepare(store);
    fixture_sys.pread = pread_slots_eio;
    assert_int_equal(count_hints(store), 0);
    must_close(store);
    free(bytes);
}

/* ---- Identity changes. */

static void test_update_identity(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct journal_identity id = make_identity(3 * CHUNK);
    struct store *store;

    (void)state;
    leave_partial(bytes);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    must_prepare(store);
    id.cid_known = true;
    memset(id.cid, 9, sizeof id.cid);
    assert_int_equal(store_update_identity(store, &id, NULL), 0);
    assert_int_equal(count_hints(store), 2);
    must_close(store);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    assert_memory_equal(store_identity(store), &id, sizeof id);
    assert_int_equal(count_hints(store), 2);
    /* An identity of the store itself may be passed back. */
    assert_int_equal(
        store_update_identity(store, store_identity(store), NULL), 0);
    must_close(store);
    free(bytes);
}

/* The new file is larger, smaller, or cut otherwise: hints go, bytes stay. */
static void test_rebase(void **state)
{
    static const struct {
        uint64_t size;
        uint8_t log2;
    } rows[] = {{5 * CHUNK, 12}, {CHUNK, 12}, {3 * CHUNK, 13}, {0, 12}};
    uint8_t *bytes = make_bytes(5 * CHUNK, 1);
    uint8_t *got = malloc(5 * CHUNK);

    assert_non_null(got);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct journal_identity id = make_identity(rows[i].size);
        struct store *store;

        fixture_teardown(state);
        assert_int_equal(fixture_setup(state), 0);
        leave_partial(bytes);
        id.chunk_log2 = rows[i].log2;
        id.version[0] = 'x';
        store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
        must_prepare(store);
        assert_int_equal(store_rebase(store, &id, NULL), 0);
        assert_int_equal(count_hints(store), 0);
        assert_int_equal(store_pread(store, 0, got, 2 * CHUNK, NULL), 0);
        assert_memory_equal(got, bytes, 2 * CHUNK);
        must_close(store);
        store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
        assert_memory_equal(store_identity(store), &id, sizeof id);
        assert_int_equal(count_hints(store), 0);
        must_prepare(store);
        if (rows[i].size > 0) {
            write_at(store, bytes, 0, rows[i].size);
        }
        must_finish(store);
        must_close(store);
        assert_file(NAME, bytes, rows[i].size);
    }
    free(got);
    free(bytes);
}

static int ftruncate_fails(int fd, off_t size)
{
    (void)fd;
    (void)size;
    errno = EIO;
    return -1;
}

/* The salt alone forgets the old hints. */
static void test_rebase_forgets(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct journal_identity id = make_identity(3 * CHUNK);
    struct store *store;

    (void)state;
    leave_partial(bytes);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    must_prepare(store);
    fixture_sys.ftruncate = ftruncate_fails;
    assert_int_equal(store_rebase(store, &id, NULL), 0);
    assert_int_equal(stat_of(JOURNAL).st_size,
                     JOURNAL_HEAD_LEN + 2 * JOURNAL_SLOT_LEN);
    assert_int_equal(count_hints(store), 0);
    must_close(store);
    free(bytes);
}

/* ---- Faults (D2, D6). */

static int fail_errno;
static unsigned int fail_left;

static ssize_t pwritev_fails(int fd, const struct iovec *iov, int count,
                             off_t offset)
{
    if (fail_left > 0) {
        fail_left--;
        errno = fail_errno;
        return -1;
    }
    return store_sys_real.pwritev(fd, iov, count, offset);
}

static int fdatasync_fails(int fd)
{
    if (fail_left > 0) {
        fail_left--;
        errno = fail_errno;
        return -1;
    }
    return store_sys_real.fdatasync(fd);
}

static void test_disk_full_is_no_fault(void **state)
{
    static const int errors[] = {ENOSPC, EDQUOT, EFBIG};
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct iovec iov = {bytes, CHUNK};

    for (size_t i = 0; i < 3; i++) {
        struct store_error why;
        struct store *store;

        fixture_teardown(state);
        assert_int_equal(fixture_setup(state), 0);
        store = must_begin(3 * CHUNK);
        fixture_sys.pwritev = pwritev_fails;
        fail_errno = errors[i];
        fail_left = 1;
        assert_int_equal(store_pwrite(store, 0, &iov, 1, &why), ERR_NO_SPACE);
        assert_int_equal(why.kept, STORE_KEPT_PART);
        assert_int_equal(store_sync(store, NULL), 0);
        put_chunks(store, bytes, 3 * CHUNK, 0, 3);
        must_finish(store);
        must_close(store);
        assert_file(NAME, bytes, 3 * CHUNK);
    }
    free(bytes);
}

/* After a fault: no sync, no commit, a flag for the next run, which heals. */
static void assert_faulty(struct store *store, const uint8_t *bytes)
{
    struct journal_identity id = make_identity(3 * CHUNK);
    struct store_report report;
    struct store_error why;
    unsigned int warnings;
    char text[STORE_ERROR_TEXT];

    assert_int_equal(store_sync(store, &why), ERR_IO);
    assert_int_equal(why.sys_errno, 0);
    assert_int_equal(why.kept, STORE_KEPT_PART);
    store_error_text(&why, text, sizeof text);
    assert_non_null(strstr(text, "run the same command again"));
    assert_int_equal(store_begin(store, &id, NULL), ERR_IO);
    assert_int_equal(store_rebase(store, &id, NULL), ERR_IO);
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, &why),
                     ERR_IO);
    must_close(store);
    assert_false(present(NAME));
    fixture_sys = store_sys_real;
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, &report);
    assert_true(report.suspect);
    must_close(store); /* without a look at the data the flag stays */
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, &report);
    assert_true(report.suspect);
    must_prepare(store);
    must_close(store);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, &report);
    assert_false(report.suspect);
    must_prepare(store);
    put_chunks(store, bytes, 3 * CHUNK, 0, 3);
    must_finish(store);
    must_close(store);
    assert_file(NAME, bytes, 3 * CHUNK);
}

static void test_write_error_latches(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = must_begin(3 * CHUNK);
    struct iovec iov = {bytes, CHUNK};
    struct store_error why;

    (void)state;
    fixture_sys.pwritev = pwritev_fails;
    fail_errno = EIO;
    fail_left = 1;
    assert_int_equal(store_pwrite(store, 0, &iov, 1, &why), ERR_IO);
    assert_int_equal(why.sys_errno, EIO);
    assert_faulty(store, bytes);
    free(bytes);
}

static void test_sync_error_latches(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);

    for (size_t i = 0; i < 2; i++) {
        struct store *store;
        struct store_error why;

        fixture_teardown(state);
        assert_int_equal(fixture_setup(state), 0);
        store = must_begin(3 * CHUNK);
        put_chunks(store, bytes, 3 * CHUNK, 0, 2);
        fixture_sys.fdatasync = fdatasync_fails;
        fail_errno = errors[i];
        fail_left = 1;
        assert_int_equal(store_sync(store, &why),
                         errors[i] == EIO ? ERR_IO : ERR_NO_SPACE);
        assert_int_equal(why.sys_errno, errors[i]);
        assert_faulty(store, bytes);
    }
    free(bytes);
}

/* The first sync of a resume reports what an earlier process lost. */
static void test_resume_sync_error(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store_error why;
    enum store_reread reread;
    struct store *store;

    (void)state;
    leave_partial(bytes);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    fixture_sys.fdatasync = fdatasync_fails;
    fail_errno = EIO;
    fail_left = 1;
    assert_int_equal(store_resume_prepare(store, &reread, &why), ERR_IO);
    assert_int_equal(store_resume_prepare(store, &reread, &why), ERR_STATE);
    must_close(store);
    fixture_sys = store_sys_real;
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    must_prepare(store);
    must_close(store);
    free(bytes);
}

/* ---- Around the page cache. */

static int pages_stay(int fd, uint64_t size, uint64_t *pages)
{
    (void)fd;
    (void)size;
    *pages = 1;
    return 0;
}

/* Counts that end within a block. */
static ssize_t pread_ragged(int fd, void *buffer, size_t len, off_t offset)
{
    ssize_t n = store_sys_real.pread(fd, buffer, len, offset);

    return n > 10000 ? n - 1000 : n;
}

static int openat_no_direct(int dir, const char *name, int flags, mode_t mode)
{
    if (flags & O_DIRECT) {
        errno = EINVAL;
        return -1;
    }
    return store_sys_real.openat(dir, name, flags, mode);
}

/* Every alignment of offset and length, with the end of the file inside. */
static void test_direct_read(void **state)
{
    size_t size = (3 << 20) + 777;
    uint8_t *bytes = make_bytes(size, 1);
    uint8_t *got = malloc(size);
    static const struct {
        size_t offset, len;
    } rows[] = {
        {0, 1},           {0, 4096},           {1, 4095},
        {1, 4096},        {4095, 2},           {4096, 4096},
        {100, 1 << 20},   {0, 1 << 20},        {5, (1 << 20) + 4096},
        {0, 3 << 20},     {1 << 20, 2 << 20},  {(3 << 20) - 1, 778},
        {3 << 20, 777},   {(3 << 20) + 776, 1}, {0, (3 << 20) + 777},
    };
    struct store *store = must_begin(size);

    (void)state;
    assert_non_null(got);
    write_at(store, bytes, 0, size);
    must_close(store);
    fixture_sys.count_pages = pages_stay;
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    assert_int_equal(must_prepare(store), on_memory_fs()
                                              ? STORE_REREAD_MEMORY
                                              : STORE_REREAD_DIRECT);
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        size_t offset = rows[i / 2].offset;
        size_t len = rows[i / 2].len;

        fixture_sys.pread = i % 2 == 0 ? store_sys_real.pread : pread_ragged;
        memset(got, 0, size);
        assert_int_equal(store_pread(store, offset, got, len, NULL), 0);
        assert_memory_equal(got, bytes + offset, len);
    }
    fixture_sys.pread = store_sys_real.pread;
    assert_int_equal(store_pread(store, size, got, 1, NULL), ERR_EOF);
    assert_int_equal(store_pread(store, size - 1, got, 2, NULL), ERR_EOF);
    assert_int_equal(store_pread(store, size + 9999, got, 2, NULL), ERR_EOF);
    must_close(store);
    free(got);
    free(bytes);
}

static unsigned int writes;

static ssize_t pwritev_counted(int fd, const struct iovec *iov, int count,
                               off_t offset)
{
    writes++;
    return store_sys_real.pwritev(fd, iov, count, offset);
}

/* Where the device cannot be asked, what was read is written again. */
static void test_no_way_around_the_cache(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    uint8_t got[2 * CHUNK];
    struct store *store;

    (void)state;
    if (on_memory_fs()) {
        free(bytes);
        skip();
    }
    leave_partial(bytes);
    fixture_sys.count_pages = pages_stay;
    fixture_sys.openat = openat_no_direct;
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    assert_int_equal(must_prepare(store), STORE_REREAD_CACHED);
    fixture_sys.pwritev = pwritev_counted;
    writes = 0;
    assert_int_equal(store_pread(store, 0, got, sizeof got, NULL), 0);
    assert_memory_equal(got, bytes, sizeof got);
    assert_int_equal(writes, 1);
    put_chunks(store, bytes, 3 * CHUNK, 2, 1);
    must_finish(store);
    must_close(store);
    assert_file(NAME, bytes, 3 * CHUNK);
    free(bytes);
}

/* The real calls: written pages are seen, and after dropping they are not. */
static void test_real_page_count(void **state)
{
    uint8_t *bytes = make_bytes(64 * CHUNK, 1);
    int fd;
    uint64_t pages = 0;

    (void)state;
    if (on_memory_fs()) {
        free(bytes);
        skip();
    }
    put_file("pages", bytes, 64 * CHUNK);
    fd = openat(fixture_fd, "pages", O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(store_sys_real.count_pages(fd, 64 * CHUNK, &pages), 0);
    assert_int_equal(pages, 64);
    assert_int_equal(fdatasync(fd), 0);
    assert_int_equal(store_sys_real.drop_pages(fd), 0);
    assert_int_equal(store_sys_real.count_pages(fd, 64 * CHUNK, &pages), 0);
    assert_int_equal(pages, 0);
    close(fd);
    free(bytes);
}

/* ---- Large offsets and threads. */

static void test_over_4_gib(void **state)
{
    uint64_t size = (UINT64_C(4) << 30) + CHUNK + 1;
    uint64_t last = size / CHUNK;
    uint8_t *bytes = make_bytes(2 * CHUNK, 1);
    struct iovec iov = {bytes, CHUNK + 1};
    uint8_t digests[2][HASH_LEN];
    uint8_t got[CHUNK + 1];
    struct store *store = must_begin(size);

    (void)state;
    fake_digest(digests[0], last - 1);
    fake_digest(digests[1], last);
    assert_int_equal(store_pwrite(store, UINT64_C(4) << 30, &iov, 1, NULL),
                     0);
    assert_int_equal(store_mark(store, last - 1, 2, digests, NULL), 0);
    must_close(store);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    must_prepare(store);
    assert_int_equal(count_hints(store), 2);
    assert_int_equal(
        store_pread(store, UINT64_C(4) << 30, got, sizeof got, NULL), 0);
    assert_memory_equal(got, bytes, sizeof got);
    must_finish(store);
    must_close(store);
    assert_int_equal(stat_of(NAME).st_size, (off_t)size);
    free(bytes);
}

#define WORKERS 4
#define WORKER_CHUNKS 64

struct worker {
    struct store *store;
    const uint8_t *bytes;
    uint64_t first;
    atomic_bool *stop;
};

static void *work(void *with)
{
    struct worker *worker = with;

    for (uint64_t i = worker->first; i < worker->first + WORKER_CHUNKS; i++) {
        uint8_t digest[1][HASH_LEN];
        struct iovec iov = {
            (void *)(uintptr_t)(worker->bytes + i * CHUNK),
            CHUNK,
        };
        uint8_t got[CHUNK];

        fake_digest(digest[0], i);
        if (store_pwrite(worker->store, i * CHUNK, &iov, 1, NULL) != 0 ||
            store_mark(worker->store, i, 1, digest, NULL) != 0 ||
            store_pread(worker->store, i * CHUNK, got, CHUNK, NULL) != 0) {
            return worker;
        }
    }
    return NULL;
}

static void *keep_syncing(void *with)
{
    struct worker *worker = with;

    do {
        if (store_sync(worker->store, NULL) != 0) {
            return worker;
        }
    } while (!atomic_load(worker->stop));
    return NULL;
}

/* Group A together with sync and an update of the identity. */
static void test_threads(void **state)
{
    size_t size = (size_t)WORKERS * WORKER_CHUNKS * CHUNK;
    uint8_t *bytes = make_bytes(size, 1);
    struct store *store = must_begin(size);
    struct journal_identity id = make_identity(size);
    pthread_t threads[WORKERS + 1];
    struct worker workers[WORKERS + 1];
    atomic_bool stop = false;
    void *bad = NULL;

    (void)state;
    for (size_t i = 0; i <= WORKERS; i++) {
        workers[i] = (struct worker){store, bytes, i * WORKER_CHUNKS, &stop};
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < WORKERS ? work : keep_syncing,
                                        &workers[i]),
                         0);
    }
    for (uint32_t i = 0; i < 100; i++) {
        uint64_t next = 0;
        struct store_hint hints[8];
        size_t count = 8;

        id.mode = i;
        assert_int_equal(store_update_identity(store, &id, NULL), 0);
        assert_int_equal(store_hints(store, &next, hints, &count, NULL), 0);
    }
    for (size_t i = 0; i <= WORKERS; i++) {
        atomic_store(&stop, i >= WORKERS - 1);
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    must_close(store);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    must_prepare(store);
    assert_int_equal(store_identity(store)->mode, 99);
    assert_int_equal(count_hints(store), WORKERS * WORKER_CHUNKS);
    must_finish(store);
    must_close(store);
    assert_file(NAME, bytes, size);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_space),
        STORE_TEST(test_file_size_limit),
        STORE_TEST(test_real_file_size_limit),
        STORE_TEST(test_vector_write),
        STORE_TEST(test_short_calls),
        STORE_TEST(test_write_of_nothing),
        STORE_TEST(test_zero),
        STORE_TEST(test_next_data),
        STORE_TEST(test_next_data_unsupported),
        STORE_TEST(test_many_hints),
        STORE_TEST(test_journal_does_not_grow),
        STORE_TEST(test_unreadable_slots),
        STORE_TEST(test_update_identity),
        STORE_TEST(test_rebase),
        STORE_TEST(test_rebase_forgets),
        STORE_TEST(test_disk_full_is_no_fault),
        STORE_TEST(test_write_error_latches),
        STORE_TEST(test_sync_error_latches),
        STORE_TEST(test_resume_sync_error),
        STORE_TEST(test_direct_read),
        STORE_TEST(test_no_way_around_the_cache),
        STORE_TEST(test_real_page_count),
        STORE_TEST(test_over_4_gib),
        STORE_TEST(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
