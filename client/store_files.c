#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

/* A process that ends removes its journal between our open and our lock;
 * more often than this in a row it does not happen by chance. */
#define OPEN_ATTEMPTS 16

#define OPEN_FLAGS (O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

static const char *own_name(const struct store *store, enum store_file file)
{
    return file == STORE_FILE_PART ? store->part_name : store->journal_name;
}

int store_refuse(const struct store *store, enum store_file file, int code,
                 const char *advice, struct store_error *why)
{
    store_fail(store, why, code, "use", file);
    store_advise(why, advice);
    return code;
}

/* Is it a file that this module can have made? Other links are judged by the
 * caller, who knows whether a commit was cut off. */
static int judge_own(struct store *store, enum store_file file,
                     const struct stat *st, struct store_error *why)
{
    if (!S_ISREG(st->st_mode)) {
        return store_refuse(store, file, ERR_NOT_A_FILE,
                            STORE_ADVICE_IN_THE_WAY, why);
    }
    if (st->st_uid != store->sys->euid()) {
        return store_refuse(store, file, ERR_DENIED,
                            "it belongs to another user; remove it, run as "
                            "that user, or choose another target",
                            why);
    }
    return 0;
}

int store_open_own(struct store *store, enum store_file file,
                   struct stat *st, int *fd, struct store_error *why)
{
    int rc;

    *fd = store_call_openat(store->sys, store->dir_fd, own_name(store, file),
                            OPEN_FLAGS, 0);
    if (*fd < 0) {
        switch (errno) {
        case ENOENT:
            return ERR_NOT_FOUND;
        case ELOOP:
            return store_refuse(store, file, ERR_DENIED,
                                "it is a symbolic link; remove it or "
                                "choose another target",
                                why);
        case EISDIR:
        case ENXIO:
        case ENODEV:
            return store_refuse(store, file, ERR_NOT_A_FILE,
                                STORE_ADVICE_IN_THE_WAY, why);
        default:
            return store_fail_errno(store, why, "open", file);
        }
    }
    if (store->sys->fstat(*fd, st) != 0) {
        rc = store_fail_errno(store, why, "examine", file);
    } else {
        rc = judge_own(store, file, st, why);
    }
    if (rc != 0) {
        (void)store_call_close(store->sys, fd);
    }
    return rc;
}

int store_create_own(struct store *store, enum store_file file, int *fd,
                     struct store_error *why)
{
    *fd = store_call_openat(store->sys, store->dir_fd, own_name(store, file),
                            OPEN_FLAGS | O_CREAT | O_EXCL, 0600);
    return *fd >= 0 ? 0 : store_fail_errno(store, why, "create", file);
}

/* ---- Journal and lock. */

/* Read the owner's name out of a journal that somebody else holds. */
static void name_owner(struct store *store, struct store_error *why)
{
    enum journal_verdict verdict;

    if (why == NULL || store_head_load(store, &verdict, NULL) != 0 ||
        verdict != JOURNAL_USABLE) {
        return;
    }
    why->owner_pid = store->head.owner_pid;
    memcpy(why->owner_host, store->head.owner_host,
           store->head.owner_host_len);
}

static int locked(struct store *store, struct store_error *why)
{
    store_fail(store, why, ERR_LOCKED, "work on", STORE_FILE_TARGET);
    name_owner(store, why);
    return ERR_LOCKED;
}

/* Does the name still lead to the file that we hold? */
static bool still_there(struct store *store, const struct stat *held)
{
    struct stat now;

    return store->sys->lstatat(store->dir_fd, store->journal_name, &now) ==
               0 &&
           now.st_ino == held->st_ino && now.st_dev == held->st_dev;
}

/* Open or make the journal once. */
static int open_journal_once(struct store *store, bool create,
                             struct stat *st, struct store_error *why)
{
    int rc = store_open_own(store, STORE_FILE_JOURNAL, st,
                            &store->journal_fd, why);

    if (rc != ERR_NOT_FOUND || !create) {
        return rc;
    }
    rc = store_create_own(store, STORE_FILE_JOURNAL, &store->journal_fd, why);
    if (rc == 0) {
        store->journal_created = true;
        if (store->sys->fstat(store->journal_fd, st) != 0) {
            rc = store_fail_errno(store, why, "examine", STORE_FILE_JOURNAL);
        }
    }
    return rc;
}

/* The holder before us may have removed the file that we opened; then the
 * lock is worth nothing and we start over. */
int store_journal_open(struct store *store, bool create, bool *unlocked,
                       struct store_error *why)
{
    for (int i = 0; i < OPEN_ATTEMPTS; i++) {
        struct stat st;
        int rc = open_journal_once(store, create, &st, why);

        if (rc == ERR_EXISTS) {
            continue;
        }
        if (rc != 0) {
            return rc;
        }
        if (store_call_lock(store->sys, store->journal_fd) == 0) {
            *unlocked = false;
        } else if (errno == EAGAIN || errno == EACCES) {
            return locked(store, why);
        } else if (errno == ENOLCK || errno == ENOSYS || errno == EINVAL ||
                   errno == EOPNOTSUPP) {
            *unlocked = true;
        } else {
            return store_fail_errno(store, why, "lock", STORE_FILE_JOURNAL);
        }
        if (still_there(store, &st)) {
            if (st.st_nlink == 1) {
                store->journal_held = true;
                return 0;
            }
            return store_refuse(store, STORE_FILE_JOURNAL, ERR_DENIED,
                                "it has another hard link; remove it or "
                                "choose another target",
                                why);
        }
        (void)store_call_close(store->sys, &store->journal_fd);
        store->journal_created = false;
    }
    return locked(store, why);
}

int store_journal_check_owner(struct store *store, struct store_error *why)
{
    char host[JOURNAL_HOST_MAX + 1] = "";
    const struct journal_head *head = &store->head;
    pid_t pid = (pid_t)head->owner_pid;

    if (store->sys->hostname(host, sizeof host) != 0 || pid <= 0 ||
        pid == store->sys->pid() || strlen(host) != head->owner_host_len ||
        memcmp(host, head->owner_host, head->owner_host_len) != 0 ||
        !store->sys->process_exists(pid)) {
        return 0;
    }
    locked(store, why);
    store_advise(why, "wait for it to end; where that process is another "
                      "program, remove the .part.belay file (this file "
                      "system has no locks)");
    return ERR_LOCKED;
}
