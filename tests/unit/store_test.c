/* Opening a store: what is found, what is refused, names and locks. */
#include "tests/unit/store_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

static void test_open_close_leaves_nothing(void **state)
{
    struct store_report report;
    struct store *store;

    (void)state;
    store = must_open(STORE_KEEP, STORE_FOUND_NOTHING, &report);
    assert_int_equal(report.journal, JOURNAL_EMPTY);
    assert_false(report.final_exists);
    assert_false(report.unlocked);
    assert_null(store_identity(store));
    assert_int_equal(names(), 1); /* the journal carries the lock */
    must_close(store);
    assert_int_equal(names(), 0);
    assert_int_equal(store_close(NULL, NULL), 0);
    assert_int_equal(store_discard(NULL, NULL), 0);
}

static void test_begin(void **state)
{
    struct store *store = must_begin(5 * CHUNK + 1);
    char path[512];

    (void)state;
    assert_int_equal(stat_of(PART).st_size, 5 * CHUNK + 1);
    assert_int_equal(stat_of(PART).st_mode, S_IFREG | 0600);
    assert_int_equal(stat_of(JOURNAL).st_mode, S_IFREG | 0600);
    assert_int_equal(stat_of(JOURNAL).st_size, JOURNAL_COPY_LEN);
    assert_int_equal(count_hints(store), 0);
    snprintf(path, sizeof path, "%s/%s", fixture_dir, PART);
    assert_string_equal(store_part_path(store), path);
    must_close(store);
    assert_int_equal(names(), 2);
}

static void test_discard(void **state)
{
    struct store *store = must_begin(CHUNK);

    (void)state;
    assert_int_equal(store_discard(store, NULL), 0);
    assert_int_equal(names(), 0);
}

static void test_found_partial(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct journal_identity id = make_identity(3 * CHUNK);
    struct store_report report;
    struct store *store;
    uint8_t got[2 * CHUNK];

    (void)state;
    leave_partial(bytes);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, &report);
    assert_int_equal(report.journal, JOURNAL_USABLE);
    assert_false(report.suspect);
    assert_int_equal(report.part_size, 3 * CHUNK);
    assert_true(report.part_owned >= 2 * CHUNK);
    assert_memory_equal(store_identity(store), &id, sizeof id);
    assert_int_equal(must_prepare(store), on_memory_fs()
                                              ? STORE_REREAD_MEMORY
                                              : STORE_REREAD_DEVICE);
    assert_int_equal(count_hints(store), 2);
    assert_int_equal(store_pread(store, 0, got, sizeof got, NULL), 0);
    assert_memory_equal(got, bytes, sizeof got);
    put_chunks(store, bytes, 3 * CHUNK, 2, 1);
    must_finish(store);
    must_close(store);
    assert_file(NAME, bytes, 3 * CHUNK);
    assert_int_equal(names(), 1);
    free(bytes);
}

/* The order of calls is part of the contract. */
static void test_out_of_order(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct journal_identity id = make_identity(3 * CHUNK);
    unsigned int warnings;
    enum store_reread reread;
    struct store *store;

    (void)state;
    store = must_open(STORE_KEEP, STORE_FOUND_NOTHING, NULL);
    assert_int_equal(store_rebase(store, &id, NULL), ERR_STATE);
    assert_int_equal(store_update_identity(store, &id, NULL), ERR_STATE);
    assert_int_equal(store_resume_prepare(store, &reread, NULL), ERR_STATE);
    assert_int_equal(store_settle(store, &warnings, NULL), ERR_STATE);
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, NULL),
                     ERR_STATE);
    id.chunk_log2 = 11;
    assert_int_equal(store_begin(store, &id, NULL), ERR_RANGE);
    must_close(store);
    leave_partial(bytes);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    id = make_identity(3 * CHUNK);
    assert_int_equal(store_rebase(store, &id, NULL), ERR_STATE);
    assert_int_equal(store_finish(store, &plain_attrs, &warnings, NULL),
                     ERR_STATE);
    must_prepare(store);
    id.size++;
    assert_int_equal(store_update_identity(store, &id, NULL), ERR_RANGE);
    id = make_identity(3 * CHUNK);
    id.chunk_log2 = 13;
    assert_int_equal(store_update_identity(store, &id, NULL), ERR_RANGE);
    must_close(store);
    free(bytes);
}

/* ---- Damaged and strange partials (C7, C9, C16). */

static void test_journal_damaged(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    uint8_t junk[JOURNAL_HEAD_LEN];
    struct store_report report;
    struct store *store;
    struct journal_identity id = make_identity(3 * CHUNK);

    (void)state;
    memset(junk, 'j', sizeof junk);
    leave_partial(bytes);
    patch_file(JOURNAL, junk, sizeof junk, 0);
    store = must_open(STORE_KEEP, STORE_FOUND_UNUSABLE, &report);
    assert_int_equal(report.journal, JOURNAL_DAMAGED);
    assert_null(store_identity(store));
    assert_int_equal(store_begin(store, &id, NULL), 0);
    assert_int_equal(count_hints(store), 0);
    put_chunks(store, bytes, 3 * CHUNK, 0, 3);
    must_finish(store);
    must_close(store);
    assert_file(NAME, bytes, 3 * CHUNK);
    free(bytes);
}

static void test_journal_future(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    static const uint8_t two[4] = {0, 0, 0, 2};
    struct store_report report;
    struct store *store;

    (void)state;
    leave_partial(bytes);
    patch_file(JOURNAL, two, sizeof two, 8);
    store = must_open(STORE_KEEP, STORE_FOUND_UNUSABLE, &report);
    assert_int_equal(report.journal, JOURNAL_FUTURE);
    must_close(store);
    assert_int_equal(names(), 2); /* kept for the program it belongs to */
    free(bytes);
}

/* The two head copies: whichever is lost, the other one counts. */
static void test_head_copies(void **state)
{
    for (int lost = 0; lost < 2; lost++) {
        struct journal_identity id = make_identity(CHUNK);
        struct store *store;
        uint8_t zeros[JOURNAL_COPY_LEN] = {0};

        fixture_teardown(state);
        assert_int_equal(fixture_setup(state), 0);
        store = must_begin(CHUNK); /* writes copy A, durably */
        id.cid_known = true;
        memset(id.cid, 7, sizeof id.cid);
        assert_int_equal(store_update_identity(store, &id, NULL), 0);
        must_close(store); /* copy B knows the CID */
        patch_file(JOURNAL, zeros, sizeof zeros, lost * JOURNAL_COPY_LEN);
        store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
        assert_int_equal(store_identity(store)->cid_known, lost == 0);
        must_close(store);
    }
}

/* Updates never touch the copy that is known to be durable. */
static void test_head_durable_copy_survives(void **state)
{
    struct store *store = must_begin(CHUNK);
    struct journal_identity id = make_identity(CHUNK);
    uint8_t before[JOURNAL_COPY_LEN];
    uint8_t after[JOURNAL_COPY_LEN];
    int fd = openat(fixture_fd, JOURNAL, O_RDONLY);

    (void)state;
    assert_int_equal(pread(fd, before, sizeof before, 0), sizeof before);
    for (uint32_t i = 0; i < 5; i++) {
        id.mode = i;
        assert_int_equal(store_update_identity(store, &id, NULL), 0);
    }
    assert_int_equal(pread(fd, after, sizeof after, 0), sizeof after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(store_sync(store, NULL), 0); /* now copy B is */
    assert_int_equal(
        pread(fd, before, sizeof before, JOURNAL_COPY_LEN), sizeof before);
    for (uint32_t i = 0; i < 5; i++) {
        id.mode = 10 + i;
        assert_int_equal(store_update_identity(store, &id, NULL), 0);
    }
    assert_int_equal(pread(fd, after, sizeof after, JOURNAL_COPY_LEN),
                     sizeof after);
    assert_memory_equal(before, after, sizeof before);
    close(fd);
    must_close(store);
    store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
    assert_int_equal(store_identity(store)->mode, 14);
    must_close(store);
}

static struct store *updated_store;

/* In the sync of the journal an update comes: it may be on the disk in part. */
static int fdatasync_and_update(int fd)
{
    struct journal_identity id = make_identity(CHUNK);
    int rc = store_sys_real.fdatasync(fd);
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    if (updated_store != NULL && st.st_ino == stat_of(JOURNAL).st_ino) {
        id.mode = 77;
        assert_int_equal(store_update_identity(updated_store, &id, NULL), 0);
    }
    return rc;
}

static void test_head_written_during_sync(void **state)
{
    struct store *store = must_begin(CHUNK); /* copy A is durable */
    struct journal_identity id = make_identity(CHUNK);
    uint8_t before[JOURNAL_COPY_LEN];
    uint8_t after[JOURNAL_COPY_LEN];
    int fd = openat(fixture_fd, JOURNAL, O_RDONLY);

    (void)state;
    assert_int_equal(pread(fd, before, sizeof before, 0), sizeof before);
    assert_int_equal(store_update_identity(store, &id, NULL), 0);
    fixture_sys.fdatasync = fdatasync_and_update;
    updated_store = store;
    assert_int_equal(store_sync(store, NULL), 0); /* copy B may be torn */
    assert_int_equal(store_update_identity(store, &id, NULL), 0);
    assert_int_equal(pread(fd, after, sizeof after, 0), sizeof after);
    assert_memory_equal(before, after, sizeof before);
    close(fd);
    must_close(store);
}

/* Every start has a salt of its own. */
static void test_salts(void **state)
{
    struct store *store = must_begin(CHUNK);
    struct journal_identity id = make_identity(CHUNK);
    uint8_t salts[3][JOURNAL_SALT_LEN];
    int fd = openat(fixture_fd, JOURNAL, O_RDONLY);

    (void)state;
    assert_int_equal(pread(fd, salts[0], JOURNAL_SALT_LEN, 16),
                     JOURNAL_SALT_LEN);
    assert_int_equal(store_begin(store, &id, NULL), 0);
    assert_int_equal(pread(fd, salts[1], JOURNAL_SALT_LEN, 16),
                     JOURNAL_SALT_LEN);
    assert_int_equal(store_rebase(store, &id, NULL), 0);
    assert_int_equal(
        pread(fd, salts[2], JOURNAL_SALT_LEN, JOURNAL_COPY_LEN + 16),
        JOURNAL_SALT_LEN);
    assert_memory_not_equal(salts[0], salts[1], JOURNAL_SALT_LEN);
    assert_memory_not_equal(salts[0], salts[2], JOURNAL_SALT_LEN);
    assert_memory_not_equal(salts[1], salts[2], JOURNAL_SALT_LEN);
    close(fd);
    must_close(store);
}

static void test_part_wrong_length(void **state)
{
    static const off_t lengths[] = {0, 1, CHUNK + 1, 7 * CHUNK};
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct store *store;
        char path[512];

        fixture_teardown(state);
        assert_int_equal(fixture_setup(state), 0);
        leave_partial(bytes);
        snprintf(path, sizeof path, "%s/" PART, fixture_dir);
        assert_int_equal(truncate(path, lengths[i]), 0);
        store = must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL);
        must_prepare(store);
        assert_true(stat_of(PART).st_size >= 3 * CHUNK);
        put_chunks(store, bytes, 3 * CHUNK, 0, 3);
        must_finish(store);
        must_close(store);
        assert_file(NAME, bytes, 3 * CHUNK);
    }
    free(bytes);
}

static void test_part_gone(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct journal_identity id = make_identity(3 * CHUNK);
    struct store_report report;
    struct store *store;

    (void)state;
    leave_partial(bytes);
    assert_int_equal(unlinkat(fixture_fd, PART, 0), 0);
    store = must_open(STORE_KEEP, STORE_FOUND_NOTHING, &report);
    assert_int_equal(report.journal, JOURNAL_USABLE);
    assert_null(store_identity(store));
    assert_int_equal(store_begin(store, &id, NULL), 0);
    assert_int_equal(count_hints(store), 0);
    must_close(store);
    free(bytes);
}

/* A NAME.part without a journal is another program's. */
static void test_part_foreign(void **state)
{
    struct store_error why;
    struct store *store;

    (void)state;
    put_file(PART, "theirs", 6);
    refuse_open(STORE_KEEP, ERR_EXISTS, &why);
    assert_file(PART, "theirs", 6);
    assert_int_equal(names(), 1);
    store = must_open(STORE_REPLACE, STORE_FOUND_UNUSABLE, NULL);
    must_close(store);
    assert_file(PART, "theirs", 6); /* not before begin */
    put_file(PART, "", 0);
    store = must_open(STORE_KEEP, STORE_FOUND_UNUSABLE, NULL);
    must_close(store);
    assert_int_equal(names(), 0);
}

enum plant { LINK_OUT, LINK_LOOP, FIFO, DIRECTORY, SOCKET, HARD_LINK, OTHERS };

static uid_t somebody_else(void)
{
    return geteuid() + 1;
}

static void plant(enum plant kind, const char *name)
{
    char path[512];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    snprintf(path, sizeof path, "%s/%s", fixture_dir, name);
    switch (kind) {
    case LINK_OUT:
        put_file("victim", "precious", 8);
        assert_int_equal(symlinkat("victim", fixture_fd, name), 0);
        return;
    case LINK_LOOP:
        assert_int_equal(symlinkat(name, fixture_fd, name), 0);
        return;
    case FIFO:
        assert_int_equal(mkfifo(path, 0600), 0);
        return;
    case DIRECTORY:
        assert_int_equal(mkdir(path, 0700), 0);
        return;
    case SOCKET:
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_true(fd >= 0);
        snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path);
        assert_int_equal(bind(fd, (struct sockaddr *)&address,
                              sizeof address),
                         0);
        close(fd);
        return;
    case HARD_LINK:
        put_file("victim", "precious", 8);
        assert_int_equal(linkat(fixture_fd, "victim", fixture_fd, name, 0),
                         0);
        return;
    case OTHERS:
        put_file(name, "", 0);
        fixture_sys.euid = somebody_else;
        return;
    }
}

/* C9: never followed, never blocked on, never written, and says so. */
static void test_planted(void **state)
{
    static const struct {
        enum plant kind;
        int code;
    } rows[] = {
        {LINK_OUT, ERR_DENIED},      {LINK_LOOP, ERR_DENIED},
        {FIFO, ERR_NOT_A_FILE},      {DIRECTORY, ERR_NOT_A_FILE},
        {SOCKET, ERR_NOT_A_FILE},    {HARD_LINK, ERR_DENIED},
        {OTHERS, ERR_DENIED},
    };
    static const char *const where[] = {PART, JOURNAL};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t j = 0; j < 2; j++) {
            struct store_error why;
            struct stat before;

            fixture_teardown(state);
            assert_int_equal(fixture_setup(state), 0);
            if (rows[i].kind == OTHERS && j == 0) {
                continue; /* the journal, made first, is the other's too */
            }
            plant(rows[i].kind, where[j]);
            before = stat_of(where[j]);
            refuse_open(STORE_REPLACE, rows[i].code, &why);
            assert_non_null(strstr(why.path, where[j]));
            assert_int_equal(stat_of(where[j]).st_ino, before.st_ino);
            if (present("victim")) {
                assert_file("victim", "precious", 8);
            }
        }
    }
}

/* ---- The target (D13 and directories, FIFOs, links). */

static void test_target_exists(void **state)
{
    uint8_t *bytes = make_bytes(CHUNK, 1);
    struct journal_identity id = make_identity(CHUNK);
    struct store_report report;
    struct store_error why;
    struct store *store;

    (void)state;
    put_file(NAME, "old", 3);
    refuse_open(STORE_KEEP, ERR_EXISTS, &why);
    assert_int_equal(names(), 1);
    store = must_open(STORE_REPLACE, STORE_FOUND_NOTHING, &report);
    assert_true(report.final_exists);
    assert_int_equal(store_begin(store, &id, NULL), 0);
    put_chunks(store, bytes, CHUNK, 0, 1);
    assert_file(NAME, "old", 3);
    must_finish(store);
    must_close(store);
    assert_file(NAME, bytes, CHUNK);
    assert_int_equal(names(), 1);
    free(bytes);
}

static void test_target_with_partial(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store_error why;

    (void)state;
    leave_partial(bytes);
    put_file(NAME, "old", 3);
    refuse_open(STORE_KEEP, ERR_EXISTS, &why);
    assert_int_equal(names(), 3);
    must_close(must_open(STORE_REPLACE, STORE_FOUND_PARTIAL, NULL));
    free(bytes);
}

static void test_target_link_is_replaced(void **state)
{
    uint8_t *bytes = make_bytes(CHUNK, 1);
    struct journal_identity id = make_identity(CHUNK);
    struct store_error why;
    struct store *store;

    (void)state;
    plant(LINK_OUT, NAME);
    refuse_open(STORE_KEEP, ERR_EXISTS, &why);
    store = must_open(STORE_REPLACE, STORE_FOUND_NOTHING, NULL);
    assert_int_equal(store_begin(store, &id, NULL), 0);
    put_chunks(store, bytes, CHUNK, 0, 1);
    must_finish(store);
    must_close(store);
    assert_file("victim", "precious", 8);
    assert_true(S_ISREG(stat_of(NAME).st_mode));
    assert_file(NAME, bytes, CHUNK);
    free(bytes);
}

static void test_target_not_a_file(void **state)
{
    static const enum plant kinds[] = {DIRECTORY, FIFO, SOCKET};

    for (size_t i = 0; i < 3; i++) {
        struct store_error why;

        fixture_teardown(state);
        assert_int_equal(fixture_setup(state), 0);
        plant(kinds[i], NAME);
        refuse_open(STORE_KEEP, ERR_NOT_A_FILE, &why);
        refuse_open(STORE_REPLACE, ERR_NOT_A_FILE, &why);
        assert_int_equal(names(), 1);
    }
}

/* ---- Names. */

static int open_named(const char *name, struct store **store)
{
    struct store_opts opts = {fixture_fd, ".", name, STORE_KEEP, NULL,
                              NULL, NULL};
    struct store_report report;

    return store_open(&opts, store, &report, NULL);
}

static void test_bad_names(void **state)
{
    char longest[257];
    static const char *const bad[] = {"", ".", "..", "a/b", "/", "a/"};
    struct store *store;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(open_named(bad[i], &store), ERR_PATH);
    }
    memset(longest, 'n', 256);
    longest[256] = '\0';
    assert_int_equal(open_named(longest, &store), ERR_PATH);
    assert_int_equal(names(), 0);
}

/* Names at and over the border where the suffixes stop fitting. Two that
 * differ only at the end keep apart. */
static void test_long_names(void **state)
{
    (void)state;
    for (size_t len = 240; len <= 255; len++) {
        char name[256];
        struct store *one;
        struct store *two;
        struct journal_identity id = make_identity(0);
        unsigned int warnings;

        memset(name, 'n', len);
        name[len] = '\0';
        assert_int_equal(open_named(name, &one), 0);
        name[len - 1] = 'm';
        assert_int_equal(open_named(name, &two), 0);
        assert_int_equal(store_begin(one, &id, NULL), 0);
        assert_int_equal(store_begin(two, &id, NULL), 0);
        assert_int_equal(names(), 4);
        assert_int_equal(store_finish(two, &plain_attrs, &warnings, NULL), 0);
        assert_true(present(name));
        must_close(two);
        assert_int_equal(store_discard(one, NULL), 0);
        assert_int_equal(unlinkat(fixture_fd, name, 0), 0);
        assert_int_equal(names(), 0);
    }
}

/* A name is never cut inside a character. */
/* A prefix keeps the names of partial and journal away from other files, also
 * where the name is too long for it. */
static void test_prefix(void **state)
{
    char name[256];
    struct store_opts opts = {fixture_fd, ".",  name,
                              STORE_KEEP, "P-", NULL, NULL};

    (void)state;
    for (size_t len = 1; len <= 255; len += len == 1 ? 239 : 1) {
        struct store_report report;
        struct store *store;
        char expect[300];
        const char *part;

        memset(name, 'n', len);
        name[len] = '\0';
        assert_int_equal(store_open(&opts, &store, &report, NULL), 0);
        part = store_part_path(store);
        snprintf(expect, sizeof expect, "P-%s.part", name);
        assert_int_equal(strcmp(part, expect) == 0,
                         len + strlen("P-.part.belay") <= 255);
        assert_int_equal(strncmp(part, "P-n", 3), 0);
        assert_true(strlen(part) + strlen(".belay") <= 255);
        assert_string_equal(part + strlen(part) - 5, ".part");
        must_close(store);
    }
}

static void test_long_utf8_name(void **state)
{
    (void)state;
    for (size_t lead = 0; lead < 4; lead++) {
        char name[256] = "xxx";
        struct store *store;
        const char *part;
        const char *at;

        for (at = name + lead; at < name + 248; at += 4) {
            memcpy(name + (at - name), "\xf0\x9f\x9a\x80", 5);
        }
        assert_int_equal(open_named(name, &store), 0);
        part = store_part_path(store);
        at = strchr(part, '.');
        assert_non_null(at);
        assert_int_equal((at - part - (long)lead) % 4, 0);
        must_close(store);
    }
}

static void test_directory_errors(void **state)
{
    struct store_opts opts = {AT_FDCWD, "/nonexistent/x", "f", STORE_KEEP,
                              NULL, NULL, NULL};
    struct store_report report;
    struct store_error why;
    struct store *store;
    char path[512];

    (void)state;
    assert_int_equal(store_open(&opts, &store, &report, &why),
                     ERR_NOT_FOUND);
    assert_string_equal(why.path, "/nonexistent/x");
    put_file("plain", "", 0);
    snprintf(path, sizeof path, "%s/plain", fixture_dir);
    opts.dir_path = path;
    assert_int_equal(store_open(&opts, &store, &report, &why),
                     ERR_NOT_A_DIRECTORY);
}

static int create_errno;

static int openat_no_create(int dir, const char *name, int flags, mode_t mode)
{
    if (flags & O_CREAT) {
        errno = create_errno;
        return -1;
    }
    return store_sys_real.openat(dir, name, flags, mode);
}

/* D11, D12: a directory that takes no file says so before any connection. */
static void test_cannot_create(void **state)
{
    static const int errors[] = {EACCES, EROFS, EMFILE, ENOSPC, EDQUOT};

    (void)state;
    fixture_sys.openat = openat_no_create;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct store_error why;

        create_errno = errors[i];
        refuse_open(STORE_KEEP,
                    errors[i] == ENOSPC || errors[i] == EDQUOT ? ERR_NO_SPACE
                                                               : ERR_IO,
                    &why);
        assert_int_equal(why.sys_errno, errors[i]);
        assert_int_equal(why.kept, STORE_KEPT_UNCHANGED);
        assert_true(why.advice[0] != '\0');
    }
}

/* ---- Locks (C10). */

static void test_locked(void **state)
{
    struct store *first = must_begin(CHUNK);
    struct store_error why;
    char text[STORE_ERROR_TEXT];
    char number[32];

    (void)state;
    refuse_open(STORE_KEEP, ERR_LOCKED, &why);
    assert_int_equal(why.owner_pid, getpid());
    store_error_text(&why, text, sizeof text);
    snprintf(number, sizeof number, "process %d", (int)getpid());
    assert_non_null(strstr(text, number));
    assert_int_equal(names(), 2); /* the loser took nothing away */
    must_close(first);
    must_close(must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL));
}

static void test_locked_before_begin(void **state)
{
    struct store *first = must_open(STORE_KEEP, STORE_FOUND_NOTHING, NULL);
    struct store_error why;

    (void)state;
    refuse_open(STORE_KEEP, ERR_LOCKED, &why);
    assert_int_equal(why.owner_pid, 0);
    assert_int_equal(names(), 1);
    must_close(first);
}

static int unlinks_left;

/* The holder before us removed the journal after we had opened it. */
static int lock_removed(int fd)
{
    if (unlinks_left-- > 0) {
        unlinkat(fixture_fd, JOURNAL, 0);
    }
    return store_sys_real.lock(fd);
}

static void test_lock_on_removed_journal(void **state)
{
    struct store *store;
    struct store_error why;

    (void)state;
    fixture_sys.lock = lock_removed;
    unlinks_left = 3;
    store = must_open(STORE_KEEP, STORE_FOUND_NOTHING, NULL);
    fixture_sys.lock = store_sys_real.lock;
    refuse_open(STORE_KEEP, ERR_LOCKED, &why); /* it holds the right file */
    must_close(store);
    fixture_sys.lock = lock_removed;
    unlinks_left = 1000;
    refuse_open(STORE_KEEP, ERR_LOCKED, &why);
}

static int no_locks(int fd)
{
    (void)fd;
    errno = ENOLCK;
    return -1;
}

static pid_t other_pid(void)
{
    return 1; /* always alive */
}

static bool nobody(pid_t pid)
{
    (void)pid;
    return false;
}

static void test_no_locks(void **state)
{
    uint8_t *bytes = make_bytes(3 * CHUNK, 1);
    struct store_report report;
    struct store_error why;

    (void)state;
    fixture_sys.lock = no_locks;
    fixture_sys.pid = other_pid;
    leave_partial(bytes); /* its owner is process 1 */
    fixture_sys.pid = getpid;
    refuse_open(STORE_KEEP, ERR_LOCKED, &why);
    assert_int_equal(why.owner_pid, 1);
    fixture_sys.process_exists = nobody;
    must_close(must_open(STORE_KEEP, STORE_FOUND_PARTIAL, &report));
    assert_true(report.unlocked);
    /* Now the record names this process, which is no obstacle to itself. */
    fixture_sys.process_exists = store_sys_real.process_exists;
    must_close(must_open(STORE_KEEP, STORE_FOUND_PARTIAL, NULL));
    free(bytes);
}

static int lock_eio(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static void test_lock_fails(void **state)
{
    struct store_error why;

    (void)state;
    fixture_sys.lock = lock_eio;
    refuse_open(STORE_KEEP, ERR_IO, &why);
    assert_int_equal(why.sys_errno, EIO);
}

/* ---- Texts. */

static void test_error_text(void **state)
{
    struct store_error why;
    char text[STORE_ERROR_TEXT];
    struct store *store;
    struct store_opts opts = {fixture_fd, "a\x1b[31m\n\xc2\x9b",
                              "f", STORE_KEEP, NULL, NULL, NULL};
    struct store_report report;
    size_t full;

    (void)state;
    assert_int_equal(store_open(&opts, &store, &report, &why),
                     ERR_NOT_FOUND);
    full = store_error_text(&why, text, sizeof text);
    assert_int_equal(full, strlen(text));
    for (size_t i = 0; i < full; i++) {
        assert_in_range((unsigned char)text[i], 0x20, 0x7e);
    }
    assert_non_null(strstr(text, "a\\x1B[31m\\x0A"));
    assert_non_null(strstr(text, "No such file"));
    for (size_t cap = 1; cap <= full + 1; cap++) {
        char *small = malloc(cap);
        size_t len;

        assert_non_null(small);
        len = store_error_text(&why, small, cap);
        assert_int_equal(len, strlen(small));
        assert_true(len < cap);
        assert_memory_equal(small, text, len);
        free(small);
    }
    memset(&why, 0, sizeof why);
    assert_true(store_error_text(&why, text, sizeof text) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_open_close_leaves_nothing),
        STORE_TEST(test_begin),
        STORE_TEST(test_discard),
        STORE_TEST(test_found_partial),
        STORE_TEST(test_out_of_order),
        STORE_TEST(test_journal_damaged),
        STORE_TEST(test_journal_future),
        STORE_TEST(test_head_copies),
        STORE_TEST(test_head_durable_copy_survives),
        STORE_TEST(test_head_written_during_sync),
        STORE_TEST(test_salts),
        STORE_TEST(test_part_wrong_length),
        STORE_TEST(test_part_gone),
        STORE_TEST(test_part_foreign),
        STORE_TEST(test_planted),
        STORE_TEST(test_target_exists),
        STORE_TEST(test_target_with_partial),
        STORE_TEST(test_target_link_is_replaced),
        STORE_TEST(test_target_not_a_file),
        STORE_TEST(test_bad_names),
        STORE_TEST(test_long_names),
        STORE_TEST(test_prefix),
        STORE_TEST(test_long_utf8_name),
        STORE_TEST(test_directory_errors),
        STORE_TEST(test_cannot_create),
        STORE_TEST(test_locked),
        STORE_TEST(test_locked_before_begin),
        STORE_TEST(test_lock_on_removed_journal),
        STORE_TEST(test_no_locks),
        STORE_TEST(test_lock_fails),
        STORE_TEST(test_error_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
