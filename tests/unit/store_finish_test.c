/* The commit: attributes, rename, durability, and what a cut-off leaves. */
#include "tests/unit/store_fixture.h"

static struct store *ready(const uint8_t *bytes)
{
    struct store *store = must_begin(3 * CHUNK);

    put_chunks(store, bytes, 3 * CHUNK, 0, 3);
    return store;
}

static void restart(void **state)
{
    fixture_teardown(state);
    assert_int_equal(fixture_setup(state), 0);
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, CHUNK - 1, CHUNK, CHUNK + 1,
                                   2 * CHUNK};
    uint8_t *bytes = make_bytes(2 * CHUNK, 1);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct store *store;

        restart(state);
        store = must_begin(sizes[i]);
        put_chunks(store, bytes, sizes[i], 0, chunks_of(sizes[i]));
        must_finish(store);
        must_close(store);
        assert_file(NAME, bytes, sizes[i]);
        assert_int_equal(names(), 1);
    }
    free(bytes);
}

/* M11: the umask rules, and no set-id or sticky bit comes through. */
static void test_mode(void **state)
{
    static const struct {
        mode_t umask;
        uint32_t mode;
        mode_t result;
    } rows[] = {
        {022, 0, 0644},      {022, 0755, 0755},  {022, 0777, 0755},
        {077, 0, 0600},      {077, 0755, 0700},  {0, 0, 0666},
        {0, 0777, 0777},     {022, 04755, 0755}, {0, 07777, 0777},
        {022, 07000, 0644},  {022, 0444, 0444},  {022, 0100644, 0644},
        {022, UINT32_MAX, 0755},
    };
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct store_attrs attrs = {.mode = rows[i].mode};
        unsigned int warnings;
        struct store *store;

        restart(state);
        umask(rows[i].umask);
        store = ready(bytes);
        assert_int_equal(store_finish(store, &attrs, &warnings, NULL), 0);
        assert_int_equal(warnings, 0);
        must_close(store);
        assert_int_equal(stat_of(NAME).st_mode, S_IFREG | rows[i].result);
    }
    umask(022);
    free(bytes);
}

static void test_mtime(void **state)
{
    static const struct {
        int64_t s;
        uint32_t ns;
    } rows[] = {{1, 2}, {-1, 999999999}, {0, 0}, {1700000000, 5}};
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct store_attrs attrs = {0, true, rows[i].s, rows[i].ns};
        unsigned int warnings;
        struct store *store;

        restart(state);
        store = ready(bytes);
        assert_int_equal(store_finish(store, &attrs, &warnings, NULL), 0);
        must_close(store);
        assert_int_equal(stat_of(NAME).st_mtim.tv_sec, rows[i].s);
        assert_int_equal(stat_of(NAME).st_mtim.tv_nsec, rows[i].ns);
    }
    free(bytes);
}

static int fchmod_eperm(int fd, mode_t mode)
{
    (void)fd;
    (void)mode;
    errno = EPERM;
    return -1;
}

static int futimens_eperm(int fd, const struct timespec times[2])
{
    (void)fd;
    (void)times;
    errno = EPERM;
    return -1;
}

static void test_attrs_refused(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store_attrs attrs = {0644, true, 1, 1};
    struct store *store = ready(bytes);
    unsigned int warnings;

    (void)state;
    fixture_sys.fchmod = fchmod_eperm;
    fixture_sys.futimens = futimens_eperm;
    assert_int_equal(store_finish(store, &attrs, &warnings, NULL), 0);
    assert_int_equal(warnings, STORE_WARN_MODE | STORE_WARN_MTIME);
    must_close(store);
    assert_file(NAME, bytes, 3 * CHUNK);
    free(bytes);
}

/* ---- Failures on the way; each leaves a partial that a rerun finishes. */

static int fail_errno;
static unsigned int fail_at; /* which call of the entry fails, from 1 */

static bool fails_now(void)
{
    if (fail_at == 0 || --fail_at != 0) {
        return false;
    }
    errno = fail_errno;
    return true;
}

static int fsync_fails(int fd)
{
    return fails_now() ? -1 : store_sys_real.fsync(fd);
}

static int fdatasync_fails(int fd)
{
    return fails_now() ? -1 : store_sys_real.fdatasync(fd);
}

static int rename_new_fails(int dir, const char *from, const char *to)
{
    return fails_now() ? -1 : store_sys_real.rename_new(dir, from, to);
}

static int rename_over_fails(int dir, const char *from, const char *to)
{
    return fails_now() ? -1 : store_sys_real.rename_over(dir, from, to);
}

/* The real close happens, as Linux does it, and then it fails. */
static int close_fails(int fd)
{
    int rc = store_sys_real.close(fd);

    return fails_now() ? -1 : rc;
}

static void assert_rerun(const uint8_t *bytes, bool suspect)
{
    struct store_report report;
    struct store *store;

    fixture_sys = store_sys_real;
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, &report);
    assert_int_equal(report.suspect, suspect);
    must_prepare(store);
    assert_int_equal(count_hints(store), 3);
    put_chunks(store, bytes, 3 * CHUNK, 0, 3);
    must_finish(store);
    must_close(store);
    assert_file(NAME, bytes, 3 * CHUNK);
    assert_int_equal(names(), 1);
}

static void fail_finish(struct store *store, int code,
                        struct store_error *why)
{
    unsigned int warnings;

    assert_int_equal(store_finish(store, &plain_attrs, &warnings, why), code);
    assert_int_equal(why->code, code);
    assert_int_equal(why->kept, STORE_KEPT_PART);
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, NULL),
                     ERR_STATE);
    must_close(store);
    assert_false(present(NAME));
}

static void test_sync_fails(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);

    for (size_t i = 0; i < 3; i++) {
        struct store_error why;
        struct store *store;

        restart(state);
        store = ready(bytes);
        fixture_sys.fsync = fsync_fails;
        fail_errno = errors[i];
        fail_at = 1;
        fail_finish(store, errors[i] == EIO ? ERR_IO : ERR_NO_SPACE, &why);
        assert_int_equal(why.sys_errno, errors[i]);
        assert_rerun(bytes, true);
    }
    free(bytes);
}

static void test_journal_sync_fails(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = ready(bytes);
    struct store_error why;

    (void)state;
    fixture_sys.fdatasync = fdatasync_fails;
    fail_errno = EIO;
    fail_at = 1;
    fail_finish(store, ERR_IO, &why);
    assert_rerun(bytes, false);
    free(bytes);
}

/* D9: what close says counts before the rename, and is told after it. */
static void test_close_fails(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store;

    for (size_t i = 0; i < 2; i++) {
        struct store_error why;

        restart(state);
        store = ready(bytes);
        fixture_sys.close = close_fails;
        fail_errno = errors[i];
        fail_at = 1;
        fail_finish(store, errors[i] == EIO ? ERR_IO : ERR_NO_SPACE, &why);
        assert_string_equal(why.operation, "close");
        assert_rerun(bytes, false);
        restart(state);
        leave_partial(bytes);
        store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
        fixture_sys.close = close_fails;
        fail_at = 1;
        assert_int_equal(store_close(store, &why),
                         errors[i] == EIO ? ERR_IO : ERR_NO_SPACE);
        assert_int_equal(why.sys_errno, errors[i]);
    }
    /* EINTR: the descriptor is gone and nothing was lost. */
    restart(state);
    fixture_sys.close = close_fails;
    fail_errno = EINTR;
    store = ready(bytes);
    fail_at = 1;
    must_finish(store);
    must_close(store);
    free(bytes);
}

/* D10: the partial stays and the message names both paths. */
static void test_rename_fails(void **state)
{
    static const int errors[] = {EACCES, EXDEV, ENOENT, EROFS, EIO, ENOSPC};
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct store_error why;
        char text[STORE_ERROR_TEXT];
        struct store *store;

        restart(state);
        store = ready(bytes);
        fixture_sys.rename_new = rename_new_fails;
        fail_errno = errors[i];
        fail_at = 1;
        fail_finish(store,
                    errors[i] == ENOENT   ? ERR_NOT_FOUND
                    : errors[i] == ENOSPC ? ERR_NO_SPACE
                                          : ERR_IO,
                    &why);
        store_error_text(&why, text, sizeof text);
        assert_non_null(strstr(text, PART " to "));
        assert_non_null(strstr(text, "/" NAME ": "));
        assert_non_null(strstr(text, "the partial file is kept"));
        assert_rerun(bytes, false);
    }
    free(bytes);
}

static void test_replacing_rename_fails(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct journal_identity id = make_identity(3 * CHUNK);
    struct store_error why;
    unsigned int warnings;
    struct store *store;

    (void)state;
    put_file(NAME, "old", 3);
    store = must_open(STORE_REPLACE, STORE_FOUND_NOTHING, NULL);
    assert_int_equal(store_begin(store, &id, NULL), 0);
    put_chunks(store, bytes, 3 * CHUNK, 0, 3);
    fixture_sys.rename_over = rename_over_fails;
    fail_errno = EACCES;
    fail_at = 1;
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, &why),
                     ERR_IO);
    must_close(store);
    assert_file(NAME, "old", 3); /* C15: the old content whole */
    assert_true(present(PART));
    free(bytes);
}

/* The target came into being during the download. */
static void test_target_appears(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = ready(bytes);
    struct store_error why;
    unsigned int warnings;

    (void)state;
    put_file(NAME, "theirs", 6);
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, &why),
                     ERR_EXISTS);
    assert_int_equal(why.kept, STORE_KEPT_PART);
    must_close(store);
    assert_file(NAME, "theirs", 6);
    assert_true(present(PART));
    assert_true(present(JOURNAL));
    free(bytes);
}

static int rename_new_unsupported(int dir, const char *from, const char *to)
{
    (void)dir;
    (void)from;
    (void)to;
    errno = fail_errno;
    return -1;
}

static int link_unsupported(int dir, const char *from, const char *to)
{
    (void)dir;
    (void)from;
    (void)to;
    errno = EPERM;
    return -1;
}

/* D16: without renameat2 flags, by a link; without links, by a look. In both
 * ways an existing target is safe. */
static void test_rename_fallbacks(void **state)
{
    static const int errors[] = {ENOSYS, EINVAL, EOPNOTSUPP};
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);

    for (size_t i = 0; i < 12; i++) {
        struct store *store;
        unsigned int warnings;
        bool links = i % 2 == 0;
        bool taken = i / 2 % 2 == 1;

        restart(state);
        fail_errno = errors[i / 4];
        fixture_sys.rename_new = rename_new_unsupported;
        if (!links) {
            fixture_sys.link = link_unsupported;
        }
        store = ready(bytes);
        if (taken) {
            put_file(NAME, "theirs", 6);
        }
        assert_int_equal(store_finish(store, &plain_attrs, &warnings, NULL),
                         taken ? ERR_EXISTS : 0);
        must_close(store);
        if (taken) {
            assert_file(NAME, "theirs", 6);
            assert_true(present(PART));
        } else {
            assert_int_equal(warnings, links ? 0 : STORE_WARN_RACE);
            assert_file(NAME, bytes, 3 * CHUNK);
            assert_int_equal(names(), 1);
        }
    }
    free(bytes);
}

/* Another file at the partial's name must not get the final name. */
static void test_part_replaced(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = ready(bytes);
    struct store_error why;

    (void)state;
    put_file("other", "wrong", 5);
    assert_int_equal(renameat(fixture_fd, "other", fixture_fd, PART), 0);
    fail_finish(store, ERR_DENIED, &why);
    assert_file(PART, "wrong", 5);
    free(bytes);
}

static void test_part_removed(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = ready(bytes);
    struct store_error why;

    (void)state;
    assert_int_equal(unlinkat(fixture_fd, PART, 0), 0);
    fail_finish(store, ERR_NOT_FOUND, &why);
    free(bytes);
}

static void test_part_truncated(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = ready(bytes);
    struct store_error why;
    char path[512];

    (void)state;
    snprintf(path, sizeof path, "%s/" PART, fixture_dir);
    assert_int_equal(truncate(path, CHUNK), 0);
    fail_finish(store, ERR_EOF, &why);
    free(bytes);
}

/* ---- Durability of the name (D18) and what comes after the rename (C11). */

static void test_dir_sync_fails(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = ready(bytes);
    struct store_error why;
    unsigned int warnings;
    char text[STORE_ERROR_TEXT];

    (void)state;
    fixture_sys.fsync = fsync_fails;
    fail_errno = EIO;
    fail_at = 2; /* the partial, then the directory */
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, &why),
                     ERR_IO);
    assert_int_equal(why.kept, STORE_KEPT_FINAL);
    store_error_text(&why, text, sizeof text);
    assert_non_null(strstr(text, "not durable"));
    must_close(store);
    assert_file(NAME, bytes, 3 * CHUNK);
    fixture_sys = store_sys_real;
    store = must_open(STORE_KEEP, STORE_FOUND_DONE, NULL);
    assert_int_equal(store_settle(store, &warnings, &why), 0);
    must_close(store);
    assert_int_equal(names(), 1);
    free(bytes);
}

static void test_dir_sync_unsupported(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = ready(bytes);
    unsigned int warnings;

    (void)state;
    fixture_sys.fsync = fsync_fails;
    fail_errno = EINVAL;
    fail_at = 2;
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, NULL), 0);
    assert_int_equal(warnings, STORE_WARN_UNSYNCED);
    must_close(store);
    free(bytes);
}

static int unlink_fails(int dir, const char *name)
{
    return fails_now() ? -1 : store_sys_real.unlink(dir, name);
}

/* A commit whose journal stayed, as after a kill behind the rename. */
static void leave_done(const uint8_t *bytes)
{
    struct store *store = ready(bytes);
    unsigned int warnings;

    fixture_sys.unlink = unlink_fails;
    fail_errno = EIO;
    fail_at = 1;
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, NULL), 0);
    assert_int_equal(warnings, STORE_WARN_LEFTOVER);
    must_close(store);
    fixture_sys.unlink = store_sys_real.unlink;
    assert_int_equal(names(), 2);
}

/* The same with the commit by link cut off between link and unlink. */
static void leave_linked(const uint8_t *bytes)
{
    struct store *store = ready(bytes);
    unsigned int warnings;

    fixture_sys.rename_new = rename_new_unsupported;
    fixture_sys.unlink = unlink_fails;
    fail_errno = ENOSYS;
    fail_at = 1;
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, NULL), 0);
    assert_int_equal(warnings, STORE_WARN_LEFTOVER);
    must_close(store);
    fixture_sys = store_sys_real;
    assert_int_equal(names(), 3);
    assert_int_equal(stat_of(NAME).st_nlink, 2);
}

static void test_done(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct journal_identity id = make_identity(3 * CHUNK);

    for (int i = 0; i < 4; i++) {
        struct store *store;
        unsigned int warnings;

        restart(state);
        if (i < 2) {
            leave_done(bytes);
        } else {
            leave_linked(bytes);
        }
        store = must_open(i % 2 == 0 ? STORE_KEEP : STORE_REPLACE,
                          STORE_FOUND_DONE, NULL);
        assert_memory_equal(store_identity(store), &id, sizeof id);
        assert_int_equal(store_settle(store, &warnings, NULL), 0);
        assert_int_equal(warnings, 0);
        assert_int_equal(store_settle(store, &warnings, NULL), ERR_STATE);
        must_close(store);
        assert_file(NAME, bytes, 3 * CHUNK);
        assert_int_equal(names(), 1);
    }
    free(bytes);
}

/* A finished file of an older version: a new start keeps it till the end. */
static void test_done_then_begin(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    uint8_t *newer = make_bytes(3 * CHUNK, 2);
    struct journal_identity id = make_identity(3 * CHUNK);

    for (int i = 0; i < 2; i++) {
        struct store *store;

        restart(state);
        if (i == 0) {
            leave_done(bytes);
        } else {
            leave_linked(bytes);
        }
        store = must_open(STORE_KEEP, STORE_FOUND_DONE, NULL);
        assert_int_equal(store_begin(store, &id, NULL), ERR_EXISTS);
        must_close(store);
        store = must_open(STORE_REPLACE, STORE_FOUND_DONE, NULL);
        assert_int_equal(store_begin(store, &id, NULL), 0);
        put_chunks(store, newer, 3 * CHUNK, 0, 3);
        assert_file(NAME, bytes, 3 * CHUNK);
        must_finish(store);
        must_close(store);
        assert_file(NAME, newer, 3 * CHUNK);
        assert_int_equal(names(), 1);
    }
    free(bytes);
    free(newer);
}

static void set_mtime(const char *name, struct timespec mtime)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime};

    assert_int_equal(utimensat(fixture_fd, name, times, 0), 0);
}

/* What only looks like the finished file is not taken for it; each row
 * differs from it in one thing. */
static void test_not_done(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);

    for (int i = 0; i < 5; i++) {
        struct store_error why;
        struct timespec mtime;

        restart(state);
        leave_done(bytes);
        mtime = stat_of(NAME).st_mtim;
        switch (i) {
        case 0: /* nothing: the control */
            must_close(must_open(STORE_KEEP, STORE_FOUND_DONE, NULL));
            continue;
        case 1: /* edited afterwards */
            mtime.tv_sec++;
            break;
        case 2:
            mtime.tv_nsec = (mtime.tv_nsec + 1) % 1000000000;
            break;
        case 3: /* another file */
            put_file("copy", bytes, 3 * CHUNK);
            assert_int_equal(renameat(fixture_fd, "copy", fixture_fd, NAME),
                             0);
            break;
        default: /* longer */
            patch_file(NAME, "more", 4, 3 * CHUNK);
            break;
        }
        set_mtime(NAME, mtime);
        refuse_open(STORE_KEEP, ERR_EXISTS, &why);
    }
    free(bytes);
}

/* A partial that somebody renamed by hand is no finished file. */
static void test_renamed_by_hand(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store_error why;

    (void)state;
    leave_partial(bytes);
    assert_int_equal(renameat(fixture_fd, PART, fixture_fd, NAME), 0);
    set_mtime(NAME, (struct timespec){0, 0});
    refuse_open(STORE_KEEP, ERR_EXISTS, &why);
    free(bytes);
}

/* Discard after any end takes only what is ours. */
static void test_discard(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store *store = ready(bytes);
    struct store_error why;
    unsigned int warnings;

    (void)state;
    must_finish(store);
    put_file(PART, "another process", 15);
    put_file(JOURNAL, "another process", 15);
    assert_int_equal(store_discard(store, NULL), 0);
    assert_int_equal(names(), 3);
    restart(state);
    store = ready(bytes);
    fixture_sys.rename_new = rename_new_fails;
    fail_errno = EACCES;
    fail_at = 1;
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, NULL),
                     ERR_IO);
    assert_int_equal(store_discard(store, NULL), 0);
    assert_int_equal(names(), 0);
    restart(state);
    store = ready(bytes);
    fixture_sys.unlink = unlink_fails;
    fail_errno = EROFS;
    fail_at = 1;
    assert_int_equal(store_discard(store, &why), ERR_IO);
    assert_int_equal(why.sys_errno, EROFS);
    assert_int_equal(names(), 2);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_sizes),
        STORE_TEST(test_mode),
        STORE_TEST(test_mtime),
        STORE_TEST(test_attrs_refused),
        STORE_TEST(test_sync_fails),
        STORE_TEST(test_journal_sync_fails),
        STORE_TEST(test_close_fails),
        STORE_TEST(test_rename_fails),
        STORE_TEST(test_replacing_rename_fails),
        STORE_TEST(test_target_appears),
        STORE_TEST(test_rename_fallbacks),
        STORE_TEST(test_part_replaced),
        STORE_TEST(test_part_removed),
        STORE_TEST(test_part_truncated),
        STORE_TEST(test_dir_sync_fails),
        STORE_TEST(test_dir_sync_unsupported),
        STORE_TEST(test_done),
        STORE_TEST(test_done_then_begin),
        STORE_TEST(test_not_done),
        STORE_TEST(test_renamed_by_hand),
        STORE_TEST(test_discard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
