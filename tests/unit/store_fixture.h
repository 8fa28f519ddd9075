/* What the store's unit tests share: a directory of their own, a table of
 * system calls in which single entries can be made to fail, and a download of
 * known bytes. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/store.h"
#include "client/store_sys.h"
#include "proto/base/err.h"

#define CHUNK 4096u
#define NAME "file.bin"
#define PART NAME ".part"
#define JOURNAL NAME ".part.belay"

static char fixture_dir[256];
static int fixture_fd = -1;
static unsigned int fixture_open_fds;
static struct store_sys fixture_sys; /* the real table, reset for each test */

static inline unsigned int count_names(const char *path)
{
    DIR *dir = opendir(path);
    unsigned int count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static inline int fixture_setup(void **state)
{
    const char *base = getenv("TMPDIR");

    (void)state;
    snprintf(fixture_dir, sizeof fixture_dir, "%s/belay-store-XXXXXX",
             base != NULL ? base : "/tmp");
    if (mkdtemp(fixture_dir) == NULL) {
        return -1;
    }
    fixture_fd = open(fixture_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fixture_sys = store_sys_real;
    umask(022);
    fixture_open_fds = count_names("/proc/self/fd");
    return fixture_fd >= 0 ? 0 : -1;
}

static inline int fixture_remove(const char *path, const struct stat *st,
                                 int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* Every test gives back every descriptor. */
static inline int fixture_teardown(void **state)
{
    unsigned int left = count_names("/proc/self/fd");

    (void)state;
    close(fixture_fd);
    nftw(fixture_dir, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
    return left == fixture_open_fds ? 0 : -1;
}

#define STORE_TEST(test) \
    cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

/* tmpfs: there is no device below the page cache. */
static inline bool on_memory_fs(void)
{
    uint64_t type;

    assert_int_equal(store_sys_real.fs_type(fixture_fd, &type), 0);
    return type == TMPFS_MAGIC;
}

/* ---- Files of the directory. */

static inline bool present(const char *name)
{
    struct stat st;

    return fstatat(fixture_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline struct stat stat_of(const char *name)
{
    struct stat st;

    assert_int_equal(fstatat(fixture_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st;
}

/* The names in the directory, "." and ".." not counted. */
static inline unsigned int names(void)
{
    return count_names(fixture_dir) - 2;
}

static inline void put_file(const char *name, const void *data, size_t len)
{
    int fd = openat(fixture_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static inline void patch_file(const char *name, const void *data, size_t len,
                              off_t offset)
{
    int fd = openat(fixture_fd, name, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, offset), len);
    close(fd);
}

static inline void assert_file(const char *name, const void *data, size_t len)
{
    int fd = openat(fixture_fd, name, O_RDONLY | O_NOFOLLOW);
    uint8_t *got = malloc(len + 1);

    assert_true(fd >= 0);
    assert_non_null(got);
    assert_int_equal(read(fd, got, len + 1), len);
    assert_memory_equal(got, data, len);
    free(got);
    close(fd);
}

/* ---- A download. */

static inline uint8_t *make_bytes(size_t size, uint32_t seed)
{
    uint8_t *bytes = malloc(size + 1);

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return bytes;
}

static inline struct journal_identity make_identity(uint64_t size)
{
    struct journal_identity id;

    memset(&id, 0, sizeof id);
    id.size = size;
    id.chunk_log2 = 12;
    id.version_len = 4;
    memcpy(id.version, "v1v1", 4);
    id.version_strong = true;
    id.url_len = 9;
    memcpy(id.url, "belay://h", 9);
    return id;
}

static inline int try_open(enum store_policy policy, struct store **store,
                           struct store_report *report,
                           struct store_error *why)
{
    struct store_opts opts = {
        .dir_fd = AT_FDCWD,
        .dir_path = fixture_dir,
        .name = NAME,
        .policy = policy,
        .sys = &fixture_sys,
    };

    return store_open(&opts, store, report, why);
}

static inline struct store *must_open(enum store_policy policy,
                                      enum store_found found,
                                      struct store_report *report)
{
    struct store_report own;
    struct store_error why;
    struct store *store;
    int rc = try_open(policy, &store, report != NULL ? report : &own, &why);

    if (rc != 0) {
        char text[STORE_ERROR_TEXT];

        store_error_text(&why, text, sizeof text);
        fail_msg("store_open: %s", text);
    }
    assert_int_equal(report != NULL ? report->found : own.found, found);
    return store;
}

static inline void refuse_open(enum store_policy policy, int code,
                               struct store_error *why)
{
    struct store_report report;
    struct store *store;

    assert_int_equal(try_open(policy, &store, &report, why), code);
    assert_null(store);
    assert_int_equal(why->code, code);
}

static inline struct store *must_begin(uint64_t size)
{
    struct store *store = must_open(STORE_KEEP, STORE_FOUND_NOTHING, NULL);
    struct journal_identity id = make_identity(size);

    assert_int_equal(store_begin(store, &id, NULL), 0);
    return store;
}

static inline void fake_digest(uint8_t *digest, uint64_t index)
{
    memset(digest, (int)(index % 251) + 1, HASH_LEN);
}

static inline void write_at(struct store *store, const uint8_t *bytes,
                            uint64_t offset, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)(bytes + offset), len};

    assert_int_equal(store_pwrite(store, offset, &iov, 1, NULL), 0);
}

/* Write and mark chunks [first, first + count) of a file of size bytes. */
static inline void put_chunks(struct store *store, const uint8_t *bytes,
                              size_t size, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        size_t at = (size_t)i * CHUNK;
        uint8_t digest[1][HASH_LEN];

        fake_digest(digest[0], i);
        write_at(store, bytes, at, size - at < CHUNK ? size - at : CHUNK);
        assert_int_equal(store_mark(store, i, 1, digest, NULL), 0);
    }
}

static inline uint64_t chunks_of(uint64_t size)
{
    return (size + CHUNK - 1) / CHUNK;
}

static const struct store_attrs plain_attrs = {.mode = 0};

static inline void must_finish(struct store *store)
{
    unsigned int warnings = 99;
    struct store_error why;
    int rc = store_finish(store, &plain_attrs, &warnings, &why);

    if (rc != 0) {
        char text[STORE_ERROR_TEXT];

        store_error_text(&why, text, sizeof text);
        fail_msg("store_finish: %s", text);
    }
    assert_int_equal(warnings, 0);
}

static inline void must_close(struct store *store)
{
    assert_int_equal(store_close(store, NULL), 0);
}

/* A partial of three chunks, of which the first two are there. */
static inline void leave_partial(const uint8_t *bytes)
{
    struct store *store = must_begin(3 * CHUNK);

    put_chunks(store, bytes, 3 * CHUNK, 0, 2);
    must_close(store);
}

static inline enum store_reread must_prepare(struct store *store)
{
    enum store_reread reread;
    struct store_error why;
    int rc = store_resume_prepare(store, &reread, &why);

    if (rc != 0) {
        char text[STORE_ERROR_TEXT];

        store_error_text(&why, text, sizeof text);
        fail_msg("store_resume_prepare: %s", text);
    }
    return reread;
}

/* How many hints there are; each is checked against fake_digest. */
static inline uint64_t count_hints(struct store *store)
{
    uint64_t next = 0;
    uint64_t seen = 0;
    uint64_t last = UINT64_MAX;
    struct store_hint hints[7];

    for (;;) {
        size_t count = 7;

        assert_int_equal(store_hints(store, &next, hints, &count, NULL), 0);
        for (size_t i = 0; i < count; i++) {
            uint8_t digest[HASH_LEN];

            assert_true(last == UINT64_MAX || hints[i].index > last);
            last = hints[i].index;
            fake_digest(digest, last);
            assert_memory_equal(hints[i].digest, digest, HASH_LEN);
        }
        seen += count;
        if (next == journal_chunks(store_identity(store))) {
            return seen;
        }
    }
}

#endif
