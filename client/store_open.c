#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

/* ---- Directory and target. */

static int open_dir(struct store *store, const struct store_opts *opts,
                    struct store_error *why)
{
    struct statvfs st;
    size_t name_max = NAME_MAX;
    size_t part_path_cap;
    int rc;

    store->dir_fd = store_call_openat(store->sys, opts->dir_fd,
                                      opts->dir_path, O_RDONLY | O_DIRECTORY,
                                      0);
    if (store->dir_fd < 0) {
        rc = store_fail_errno(store, why, "open the directory",
                              STORE_FILE_DIR);
        if (rc == ERR_NOT_FOUND) {
            store_advise(why, "-d DIR makes it");
        }
        return rc;
    }
    if (store->sys->fstatvfs(store->dir_fd, &st) == 0 && st.f_namemax > 0) {
        name_max = st.f_namemax;
    }
    rc = store_names(store, opts->name, opts->prefix, name_max);
    if (rc != 0) {
        return store_fail(store, why, rc, "make a file of this name in",
                          STORE_FILE_DIR);
    }
    part_path_cap = strlen(store->dir_path) + strlen(store->part_name) + 2;
    store->part_path = malloc(part_path_cap);
    if (store->part_path == NULL) {
        return store_fail(store, why, ERR_NOMEM, "open", STORE_FILE_PART);
    }
    if (strcmp(store->dir_path, ".") == 0) {
        snprintf(store->part_path, part_path_cap, "%s", store->part_name);
    } else {
        snprintf(store->part_path, part_path_cap, "%s/%s", store->dir_path,
                 store->part_name);
    }
    return 0;
}

/* What is at the final name? A symlink counts as a file (see store.h). */
static int look_at_target(struct store *store, struct stat *st,
                          struct store_error *why)
{
    memset(st, 0, sizeof *st);
    if (store->sys->lstatat(store->dir_fd, store->name, st) != 0) {
        if (errno != ENOENT) {
            return store_fail_errno(store, why, "examine", STORE_FILE_TARGET);
        }
        return 0;
    }
    if (!S_ISREG(st->st_mode) && !S_ISLNK(st->st_mode)) {
        int rc = store_fail(store, why, ERR_NOT_A_FILE, "write to",
                            STORE_FILE_TARGET);

        if (S_ISDIR(st->st_mode)) {
            store_advise(why, "it is a directory, and -d saves into one");
        }
        return rc;
    }
    store->final_exists = true;
    return 0;
}

/* ---- What was found. */

static bool is_finished_target(const struct store *store,
                               const struct stat *target)
{
    const struct journal_head *head = &store->head;

    /* Not the device: its number may change with a reboot, and both names
     * are in one directory anyway. */
    return store->final_exists && head->finished &&
           S_ISREG(target->st_mode) && target->st_size >= 0 &&
           target->st_ino == head->part_ino &&
           (uint64_t)target->st_size == head->identity.size &&
           target->st_mtim.tv_sec == head->part_mtime_s &&
           target->st_mtim.tv_nsec == (long)head->part_mtime_ns;
}

static int exists(struct store *store, enum store_file file,
                  struct store_error *why)
{
    return store_fail(store, why, ERR_EXISTS, "write to", file);
}

/* May there be anything but zeros in the partial? */
static bool part_has_data(const struct store *store, const struct stat *st)
{
    if (st->st_size == 0) {
        return false;
    }
    return store->sys->lseek(store->part_fd, 0, SEEK_DATA) >= 0 ||
           errno != ENXIO;
}

/* The partial is open: whose is it? */
static int judge_part(struct store *store, const struct stat *st,
                      struct store_report *report, struct store_error *why)
{
    if (st->st_nlink != 1) {
        return store_refuse(store, STORE_FILE_PART, ERR_DENIED,
                            "it has another hard link; remove it or "
                            "choose another target",
                            why);
    }
    report->part_size = (uint64_t)st->st_size;
    report->part_owned = (uint64_t)st->st_blocks * 512;
    if (report->journal == JOURNAL_USABLE) {
        report->found = STORE_FOUND_PARTIAL;
        report->suspect = store->head.suspect;
        store->have_head = true;
        return 0;
    }
    /* A journal is durable before its partial gets data, so a partial with
     * data and no journal at all is another program's. */
    if (store->journal_created && store->policy == STORE_KEEP &&
        part_has_data(store, st)) {
        int rc = exists(store, STORE_FILE_PART, why);

        store_advise(why, "it is not a partial download of this program; "
                          "remove it, or say --overwrite");
        return rc;
    }
    report->found = STORE_FOUND_UNUSABLE;
    return 0;
}

/* Decide what the target is to us, knowing the journal. */
static int judge_target(struct store *store, const struct stat *target,
                        struct store_report *report, struct store_error *why)
{
    struct stat part;

    if (report->journal == JOURNAL_USABLE &&
        is_finished_target(store, target)) {
        bool gone = store->sys->lstatat(store->dir_fd, store->part_name,
                                        &part) != 0;

        if (gone && errno != ENOENT) {
            return store_fail_errno(store, why, "examine", STORE_FILE_PART);
        }
        store->part_linked = !gone && part.st_ino == target->st_ino &&
                             part.st_dev == target->st_dev;
        if (gone || store->part_linked) {
            report->found = STORE_FOUND_DONE;
            store->have_head = true;
            return 0;
        }
    }
    if (store->final_exists && store->policy == STORE_KEEP) {
        return exists(store, STORE_FILE_TARGET, why);
    }
    return 0;
}

static void own(struct journal_head *head, const void *with)
{
    store_head_own(with, head);
    head->finished = false;
    head->part_mtime_s = 0;
    head->part_mtime_ns = 0;
}

/* Say whose the journal is from now on. The head that we believed may exist
 * only in memory, so it is made durable before the other copy is touched. */
static int take_over(struct store *store, struct store_error *why)
{
    if (store_head_sync(store) != 0) {
        return store_fail_errno(store, why, "sync", STORE_FILE_JOURNAL);
    }
    if (store_head_write(store, own, store) != 0) {
        return store_fail_errno(store, why, "write", STORE_FILE_JOURNAL);
    }
    return 0;
}

static int look_at_part(struct store *store, struct store_report *report,
                        struct store_error *why)
{
    struct stat st;
    int rc = store_open_own(store, STORE_FILE_PART, &st, &store->part_fd,
                            why);

    if (rc == ERR_NOT_FOUND) {
        return 0;
    }
    if (rc == 0) {
        rc = judge_part(store, &st, report, why);
    }
    if (rc == 0 && report->found == STORE_FOUND_PARTIAL) {
        store_head_adopt(store);
        store->phase = STORE_PHASE_FOUND;
        rc = take_over(store, why);
    }
    return rc;
}

static int look(struct store *store, struct store_report *report,
                struct store_error *why)
{
    struct stat target;
    int rc = look_at_target(store, &target, why);
    bool create = !(store->final_exists && store->policy == STORE_KEEP);

    if (rc == 0) {
        rc = store_journal_open(store, create, &report->unlocked, why);
    }
    if (rc == ERR_NOT_FOUND && !create) {
        return exists(store, STORE_FILE_TARGET, why);
    }
    if (rc == 0) {
        rc = store_head_load(store, &report->journal, why);
    }
    if (rc == 0 && report->unlocked && report->journal == JOURNAL_USABLE) {
        rc = store_journal_check_owner(store, why);
    }
    if (rc == 0) {
        rc = judge_target(store, &target, report, why);
    }
    if (rc == 0 && report->found == STORE_FOUND_NOTHING) {
        rc = look_at_part(store, report, why);
    }
    report->final_exists = store->final_exists;
    return rc;
}

static struct store *new_store(const struct store_opts *opts)
{
    struct store *store = calloc(1, sizeof *store);

    if (store == NULL) {
        return NULL;
    }
    store->dir_path =
        strdup(opts->shown_dir != NULL ? opts->shown_dir : opts->dir_path);
    if (store->dir_path == NULL) {
        free(store);
        return NULL;
    }
    store->sys = opts->sys != NULL ? opts->sys : &store_sys_real;
    store->policy = opts->policy;
    store->dir_fd = -1;
    store->part_fd = -1;
    store->journal_fd = -1;
    store->direct_fd = -1;
    store->bypass_fd = -1;
    atomic_init(&store->bypass, false);
    store->durable_copy = STORE_COPY_NONE;
    atomic_init(&store->changed, false);
    atomic_init(&store->touched, false);
    atomic_init(&store->fault, false);
    pthread_mutex_init(&store->head_lock, NULL);
    pthread_mutex_init(&store->sync_lock, NULL);
    return store;
}

static int open_any(const struct store_opts *opts, bool in_place,
                    struct store **store, struct store_report *report,
                    struct store_error *why)
{
    struct store *opened = new_store(opts);
    int rc;

    *store = NULL;
    memset(report, 0, sizeof *report);
    report->journal = JOURNAL_EMPTY;
    report->found = STORE_FOUND_NOTHING;
    if (opened == NULL) {
        if (why != NULL) {
            memset(why, 0, sizeof *why);
            why->code = ERR_NOMEM;
            why->operation = "open";
        }
        return ERR_NOMEM;
    }
    rc = open_dir(opened, opts, why);
    if (rc == 0) {
        rc = in_place ? store_place_look(opened, &report->part_size, report,
                                         why)
                      : look(opened, report, why);
    }
    if (rc != 0) {
        (void)store_close(opened, NULL);
        return rc;
    }
    *store = opened;
    return 0;
}

int store_open(const struct store_opts *opts, struct store **store,
               struct store_report *report, struct store_error *why)
{
    return open_any(opts, false, store, report, why);
}

int store_open_in_place(const struct store_opts *opts, struct store **store,
                        struct store_report *report, struct store_error *why)
{
    return open_any(opts, true, store, report, why);
}
