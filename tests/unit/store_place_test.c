/* A store whose partial is the target itself. */
#include "tests/unit/store_fixture.h"

#include <sys/uio.h>

#define SIZE (4 * CHUNK)

static uint8_t now_there[8 * CHUNK];

static void put_target(size_t size)
{
    int fd = openat(fixture_fd, NAME, O_CREAT | O_TRUNC | O_WRONLY, 0640);

    memset(now_there, 'o', sizeof now_there);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, now_there, size), size);
    close(fd);
}

static size_t get_target(void)
{
    int fd = openat(fixture_fd, NAME, O_RDONLY);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, now_there, sizeof now_there);
    close(fd);
    assert_true(n >= 0);
    return (size_t)n;
}

static int open_place(struct store **store, struct store_report *report,
                      struct store_error *why)
{
    struct store_opts opts = {.dir_fd = AT_FDCWD,
                              .dir_path = fixture_dir,
                              .name = NAME,
                              .policy = STORE_REPLACE,
                              .sys = &fixture_sys};

    return store_open_in_place(&opts, store, report, why);
}

static void begin(struct store *store, uint64_t size)
{
    struct journal_identity id = {.size = size, .chunk_log2 = 12,
                                  .version_len = 1};
    struct store_error why;

    assert_int_equal(store_begin(store, &id, &why), 0);
}

static bool is_there(const char *name)
{
    return faccessat(fixture_fd, name, F_OK, 0) == 0;
}

/* Length before, length wanted, chunk that is written (or none): what stands
 * there then. */
static void test_lengths(void **state)
{
    static const struct {
        size_t before, size;
        int chunk;
    } cases[] = {
        {SIZE, SIZE, -1}, {SIZE, SIZE, 1},     {2 * CHUNK, SIZE, 3},
        {0, SIZE, 0},     {SIZE + 99, SIZE, 2}, {SIZE + 99, SIZE, -1},
        {CHUNK, 0, -1},   {10, SIZE, -1},
    };

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct store_attrs attrs = {.mode = 0777, .mtime_known = true,
                                    .mtime_s = 1000000};
        uint8_t chunk[CHUNK];
        struct iovec iov = {chunk, CHUNK};
        struct store_report report;
        struct store_error why;
        struct store *store;
        struct stat st;
        unsigned warnings;

        put_target(cases[k].before);
        assert_int_equal(open_place(&store, &report, &why), 0);
        assert_int_equal(report.part_size, cases[k].before);
        begin(store, cases[k].size);
        assert_true(is_there(JOURNAL)); /* the lock */
        assert_int_equal(get_target(), cases[k].before);
        memset(chunk, 'n', sizeof chunk);
        if (cases[k].chunk >= 0) {
            assert_int_equal(
                store_pwrite(store, (uint64_t)cases[k].chunk * CHUNK, &iov,
                             1, &why), 0);
        }
        assert_int_equal(store_sync(store, &why), 0);
        assert_int_equal(store_finish(store, &attrs, &warnings, &why), 0);
        assert_int_equal(store_close(store, &why), 0);
        assert_false(is_there(JOURNAL));
        assert_int_equal(get_target(), cases[k].size);
        for (size_t at = 0; at < cases[k].size; at++) {
            bool new = (int)(at / CHUNK) == cases[k].chunk;
            uint8_t want = new ? 'n' : at < cases[k].before ? 'o' : 0;

            assert_int_equal(now_there[at], want);
        }
        assert_int_equal(fstatat(fixture_fd, NAME, &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0640); /* not the server's */
        /* Where nothing was written nothing is touched. */
        assert_int_equal(st.st_mtime == 1000000,
                         cases[k].chunk >= 0 ||
                             cases[k].before != cases[k].size);
    }
}

/* A file that must not be written to, and one that somebody works on. */
static void test_refused(void **state)
{
    struct store_report report;
    struct store_error why;
    struct store *store;
    struct store *second;

    (void)state;
    assert_int_equal(open_place(&store, &report, &why), ERR_NOT_FOUND);
    assert_int_equal(symlinkat("elsewhere", fixture_fd, NAME), 0);
    assert_true(open_place(&store, &report, &why) < 0);
    assert_int_equal(unlinkat(fixture_fd, NAME, 0), 0);
    assert_int_equal(mkfifoat(fixture_fd, NAME, 0600), 0);
    assert_int_equal(open_place(&store, &report, &why), ERR_NOT_A_FILE);
    assert_int_equal(unlinkat(fixture_fd, NAME, 0), 0);
    put_target(SIZE);
    assert_int_equal(open_place(&store, &report, &why), 0);
    assert_int_equal(open_place(&second, &report, &why), ERR_LOCKED);
    assert_int_equal(store_close(store, &why), 0);
    /* A partial download beside it is not ours to lose. */
    int fd = openat(fixture_fd, PART, O_CREAT | O_WRONLY, 0600);

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(open_place(&store, &report, &why), ERR_EXISTS);
    assert_true(is_there(PART));
    assert_false(is_there(JOURNAL));
}

/* After a failed write or sync the run does not call itself good, and the
 * next one can begin. */
static int bad_sync(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static void test_sync_fails(void **state)
{
    struct store_attrs attrs = {0};
    uint8_t chunk[CHUNK] = {1};
    struct iovec iov = {chunk, CHUNK};
    struct store_report report;
    struct store_error why;
    struct store *store;
    unsigned warnings;

    (void)state;
    put_target(SIZE);
    assert_int_equal(open_place(&store, &report, &why), 0);
    begin(store, SIZE);
    assert_int_equal(store_pwrite(store, 0, &iov, 1, &why), 0);
    fixture_sys.fdatasync = bad_sync;
    assert_int_equal(store_sync(store, &why), ERR_IO);
    fixture_sys.fdatasync = store_sys_real.fdatasync;
    assert_int_equal(store_finish(store, &attrs, &warnings, &why), ERR_IO);
    assert_int_equal(store_close(store, &why), 0);
    assert_int_equal(open_place(&store, &report, &why), 0);
    assert_int_equal(store_close(store, &why), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lengths, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refused, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_sync_fails, fixture_setup,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
