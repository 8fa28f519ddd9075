#include "server/digestcache_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/endian.h"
#include "proto/wire/crc.h"

#define FILE_NAME "digests.mdb"
#define LOCK_SUFFIX "-lock"
#define CLEAN_SUFFIX ".clean"
#define BAD_SUFFIX ".bad"

/* A check that takes longer than this many seconds is given up; the file is
 * then trusted as far as its checksums go. */
#define CHECK_SECONDS 30

/* Of LMDB's file: the first pages describe it and are never free; bytes of
 * the head of a page, and where the number of pages that a value has is. */
#define PAGES_OF_META 2u
#define PAGE_HEAD 16u
#define PAGE_COUNT_AT 12u

/* Bytes of a record that needs pages of its own. */
#define RECORD_TRIAL_LEN 32768u

/* How the checking child says what it found; it may die in other ways. */
#define CHECK_WHOLE 0
#define CHECK_DAMAGED 3

bool
digestcache_path(const char *dir, const char *suffix,
                 char path[DIGESTCACHE_PATH_MAX])
{
    int len = snprintf(path, DIGESTCACHE_PATH_MAX, "%s/" FILE_NAME "%s", dir,
                       suffix);
    return len > 0 && len < DIGESTCACHE_PATH_MAX;
}

/* ---- Records. */

uint32_t
record_crc(const uint8_t *key, size_t key_len, const uint8_t *value,
           size_t len)
{
    uint32_t crc = crc_update(CRC_START, key, key_len);
    return crc_update(crc, value + 4, len - 4);
}

bool
record_ok(const uint8_t *key, size_t key_len, const uint8_t *value, size_t len)
{
    return len >= RECORD_HEAD &&
           endian_load_u32(value) == record_crc(key, key_len, value, len);
}

bool
record_meta_ok(const MDB_val *value)
{
    static const uint8_t key[] = { RECORD_META };
    const uint8_t *bytes = value->mv_data;

    return value->mv_size == RECORD_META_LEN &&
           record_ok(key, sizeof(key), bytes, value->mv_size) &&
           memcmp(bytes + RECORD_HEAD, RECORD_FORMAT, RECORD_FORMAT_LEN) == 0;
}

static bool
val_ok(const MDB_val *key, const MDB_val *value)
{
    return record_ok(key->mv_data, key->mv_size, value->mv_data,
                     value->mv_size);
}

uint64_t
record_age(const MDB_val *key, const MDB_val *value)
{
    if (key->mv_size == 1) {
        return RECORD_AGELESS;
    }
    return val_ok(key, value)
               ? endian_load_u64((const uint8_t *)value->mv_data + 4)
               : 0;
}

/* ---- The check. */

static bool
is_damage(int rc)
{
    return rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH ||
           rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND ||
           rc == MDB_CURSOR_FULL || rc == MDB_PANIC;
}

/* A page begins with its own number, and a writer that replaces it goes by
 * that, not by where it found the page: with a wrong one, pages that are in use
 * would count as free. All pages have to tell the same beginning of the map. */
struct pages {
    size_t size;
    size_t last;
    uintptr_t base;
    bool known;
};

static bool
measure(MDB_env *env, struct pages *p)
{
    MDB_stat stat;
    MDB_envinfo info;

    if (mdb_env_stat(env, &stat) != 0 || mdb_env_info(env, &info) != 0) {
        return false;
    }
    p->size = stat.ms_psize;
    p->last = info.me_last_pgno;
    return p->size > 0;
}

static const uint8_t *
page_of(const struct pages *p, const MDB_val *inside)
{
    const uint8_t *at = inside->mv_data;
    return at - (uintptr_t)at % p->size;
}

static bool
is_in_place(struct pages *p, const uint8_t *page)
{
    size_t number = 0;

    memcpy(&number, page, sizeof(number));
    if (number > p->last) {
        return false;
    }
    uintptr_t base = (uintptr_t)page - (uintptr_t)number * p->size;
    if (!p->known) {
        p->base = base;
        p->known = true;
    }
    return base == p->base;
}

/* A large value has pages of its own, and their count in the first one's
 * head. */
static bool
fits(struct pages *p, const MDB_val *key, const MDB_val *value)
{
    const uint8_t *page = page_of(p, value);
    uint32_t count = 0;

    if (!is_in_place(p, page_of(p, key)) || !is_in_place(p, page)) {
        return false;
    }
    if (page == page_of(p, key)) {
        return true;
    }
    memcpy(&count, page + PAGE_COUNT_AT, sizeof(count));
    return count == (PAGE_HEAD + value->mv_size + p->size - 1) / p->size;
}

static int
walk(MDB_txn *txn, struct pages *pages)
{
    MDB_dbi dbi;
    MDB_cursor *cursor = NULL;
    MDB_val k = { .mv_size = 0 };
    MDB_val v = { .mv_size = 0 };
    bool meta = false;
    bool empty = true;

    if (mdb_dbi_open(txn, NULL, 0, &dbi) != 0 ||
        mdb_cursor_open(txn, dbi, &cursor) != 0) {
        return CHECK_DAMAGED;
    }
    int rc;
    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        empty = false;
        if (!val_ok(&k, &v) || !fits(pages, &k, &v)) {
            break;
        }
        meta |= k.mv_size == 1 && record_meta_ok(&v);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND && (meta || empty) ? CHECK_WHOLE
                                                 : CHECK_DAMAGED;
}

/* One list of free pages: their count, then their numbers. */
static bool
is_free_list(const MDB_val *value, size_t last)
{
    size_t count = 0;
    size_t number = 0;

    if (value->mv_size < sizeof(count)) {
        return false;
    }
    memcpy(&count, value->mv_data, sizeof(count));
    if (count > value->mv_size / sizeof(count) - 1) {
        return false;
    }
    for (size_t i = 1; i <= count; i++) {
        size_t before = number;
        memcpy(&number, (const uint8_t *)value->mv_data + i * sizeof(number),
               sizeof(number));
        if (number < PAGES_OF_META || number > last ||
            (i > 1 && number >= before)) {
            return false;
        }
    }
    return true;
}

/* The free pages, which only writers look at: in a transaction that reads,
 * they are the records of database 0. */
static int
walk_free(MDB_txn *txn, struct pages *pages)
{
    MDB_cursor *cursor = NULL;
    MDB_val k = { .mv_size = 0 };
    MDB_val v = { .mv_size = 0 };

    if (mdb_cursor_open(txn, 0, &cursor) != 0) {
        return CHECK_DAMAGED;
    }
    int rc;
    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0 &&
           is_free_list(&v, pages->last) && fits(pages, &k, &v)) {
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? CHECK_WHOLE : CHECK_DAMAGED;
}

/* A change that is given up: a writer comes to no grief with the pages. What
 * keeps it from being made otherwise is no damage. */
static int
try_writing(MDB_env *env)
{
    static uint8_t value[RECORD_TRIAL_LEN];
    uint8_t key[] = { RECORD_META, 0 };
    MDB_val k = { .mv_size = sizeof(key), .mv_data = key };
    MDB_val v = { .mv_size = sizeof(value), .mv_data = value };
    MDB_txn *txn = NULL;
    MDB_dbi dbi;

    if (mdb_txn_begin(env, NULL, 0, &txn) != 0) {
        return CHECK_WHOLE;
    }
    int rc = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (rc == 0) {
        rc = mdb_put(txn, dbi, &k, &v, 0);
    }
    mdb_txn_abort(txn);
    return is_damage(rc) ? CHECK_DAMAGED : CHECK_WHOLE;
}

static int
check_file(const char *path)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;

    if (mdb_env_create(&env) != 0) {
        return CHECK_WHOLE;
    }
    int rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS, 0600);
    if (rc != 0) {
        /* What cannot be opened for other reasons is not damaged. */
        return is_damage(rc) ? CHECK_DAMAGED : CHECK_WHOLE;
    }
    if (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0) {
        return CHECK_WHOLE;
    }
    int found = CHECK_DAMAGED;
    struct pages pages = { .known = false };
    if (measure(env, &pages)) {
        found = walk(txn, &pages);
    }
    if (found == CHECK_WHOLE) {
        found = walk_free(txn, &pages);
    }
    mdb_txn_abort(txn);
    return found == CHECK_WHOLE ? try_writing(env) : found;
}

/* In the child: whatever the file makes of it, it ends at once and without a
 * word (LMDB prints what it asserts). */
static void
prepare_to_die(void)
{
    static const int signums[] = { SIGALRM, SIGSEGV, SIGBUS, SIGABRT, SIGFPE,
                                   SIGILL };
    const struct sigaction ends = { .sa_handler = SIG_DFL };
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (size_t i = 0; i < sizeof(signums) / sizeof(signums[0]); i++) {
        sigaction(signums[i], &ends, NULL);
    }
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    alarm(CHECK_SECONDS);
}

/* A damaged file can crash who reads it: a child does. */
static bool
is_damaged(const char *path)
{
    pid_t pid = fork();
    if (pid < 0) {
        return false;
    }
    if (pid == 0) {
        prepare_to_die();
        _exit(check_file(path));
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        return WTERMSIG(status) != SIGALRM && WTERMSIG(status) != SIGKILL;
    }
    return WEXITSTATUS(status) != CHECK_WHOLE;
}

/* What identifies the file as it was left. */
static bool
describe(const char *path, char text[96])
{
    struct stat st;

    if (stat(path, &st) != 0) {
        return false;
    }
    snprintf(text, 96, "%" PRIu64 " %" PRIu64 " %" PRId64 ".%09ld\n",
             (uint64_t)st.st_ino, (uint64_t)st.st_size,
             (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    return true;
}

/* Takes the mark away: from now on the file may be left in disorder. */
static bool
take_clean_mark(const char *dir, const char *path)
{
    char mark[DIGESTCACHE_PATH_MAX];
    char now[96];
    char then[96] = "";

    if (!digestcache_path(dir, CLEAN_SUFFIX, mark) || !describe(path, now)) {
        return false;
    }
    int fd = open(mark, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    ssize_t len = read(fd, then, sizeof(then) - 1);
    close(fd);
    unlink(mark);
    return len > 0 && strcmp(now, then) == 0;
}

static int
move_aside(const char *dir, const char *path)
{
    char bad[DIGESTCACHE_PATH_MAX];
    char lock[DIGESTCACHE_PATH_MAX];

    if (!digestcache_path(dir, BAD_SUFFIX, bad) ||
        !digestcache_path(dir, LOCK_SUFFIX, lock)) {
        return ERR_IO;
    }
    if (rename(path, bad) != 0) {
        return ERR_IO;
    }
    unlink(lock);
    return 0;
}

int
digestcache_repair(const char *dir, bool *moved)
{
    char path[DIGESTCACHE_PATH_MAX];

    *moved = false;
    if (!digestcache_path(dir, "", path)) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    if (access(path, F_OK) != 0 || take_clean_mark(dir, path) ||
        !is_damaged(path)) {
        return 0;
    }
    int err = move_aside(dir, path);
    *moved = err == 0;
    return err;
}

void
digestcache_mark_clean(const char *dir)
{
    char path[DIGESTCACHE_PATH_MAX];
    char mark[DIGESTCACHE_PATH_MAX];
    char text[96];

    if (!digestcache_path(dir, "", path) ||
        !digestcache_path(dir, CLEAN_SUFFIX, mark) || !describe(path, text)) {
        return;
    }
    int fd = open(mark, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                  0600);
    if (fd >= 0) {
        ssize_t n = write(fd, text, strlen(text));
        if (close(fd) != 0 || n != (ssize_t)strlen(text)) {
            unlink(mark);
        }
    }
}
