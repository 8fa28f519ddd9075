#include "tests/sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

#define FD_BASE 1000
#define FD_FREE (-1)
#define FD_DIR (-2)
#define NO_FILE (-1)
#define SECTOR 512u

static struct disk *current;

void disk_use(struct disk *d)
{
    current = d;
}

static uint64_t page_count(uint64_t len)
{
    return (len + PAGE_LEN - 1) / PAGE_LEN;
}

/* ---- Pages that are dirty. */

static uint64_t longest(const struct dfile *f)
{
    uint64_t a = page_count(f->cache.len);
    uint64_t b = page_count(f->disk.len);

    return a > b ? a : b;
}

static void make_room(struct dfile *f, uint64_t count)
{
    if (count > f->dirty_cap) {
        uint64_t cap = count > 2 * f->dirty_cap ? count : 2 * f->dirty_cap;

        f->dirty = realloc(f->dirty, cap);
        BELAY_ASSERT(f->dirty != NULL);
        memset(f->dirty + f->dirty_cap, 0, cap - f->dirty_cap);
        f->dirty_cap = cap;
    }
}

static void set_dirty(struct dfile *f, uint64_t from, uint64_t end)
{
    make_room(f, end);
    for (uint64_t i = from; i < end; i++) {
        f->dirty[i] = 1;
    }
    f->mtime.tv_nsec = (long)++current->clock;
}

static void set_size(struct dfile *f, uint64_t len)
{
    uint64_t first = len / PAGE_LEN;
    uint64_t before = page_count(f->cache.len);

    if (len < f->cache.len) {
        set_dirty(f, first, before);
    }
    make_room(f, page_count(len));
    pages_resize(&f->cache, len);
    f->mtime.tv_nsec = (long)++current->clock;
}

static void all_clean(struct dfile *f)
{
    if (f->dirty_cap > 0) {
        memset(f->dirty, 0, f->dirty_cap);
    }
}

/* What is dirty reaches the device, all of it or, `partly`, some: the rest is
 * clean from now on, and nowhere but in the cache. */
static void write_back(struct disk *d, struct dfile *f, bool partly)
{
    uint64_t count = page_count(f->cache.len);

    make_room(f, longest(f));
    pages_resize(&f->disk, f->cache.len);
    for (uint64_t i = 0; i < count; i++) {
        if (f->dirty[i] && !(partly && rng_percent(&d->rng, 50))) {
            pages_take(&f->disk, &f->cache, i);
        }
    }
    all_clean(f);
}

/* ---- Names. */

static struct dname *find_name(struct dname *names, const char *text)
{
    for (int i = 0; i < DISK_NAMES; i++) {
        if (strcmp(names[i].text, text) == 0) {
            return &names[i];
        }
    }
    return NULL;
}

static void set_name(struct dname *names, const struct dname *set)
{
    struct dname *at = find_name(names, set->text);

    if (set->file == NO_FILE) {
        if (at != NULL) {
            at->text[0] = '\0';
        }
        return;
    }
    if (at == NULL) {
        at = find_name(names, "");
        BELAY_ASSERT(at != NULL);
    }
    *at = *set;
}

static struct dname make_set(const char *text, int file)
{
    struct dname set = {.file = file};

    BELAY_ASSERT(text[0] != '\0' && strlen(text) < sizeof set.text);
    strcpy(set.text, text);
    return set;
}

static unsigned links_of(const struct dname *names, int file)
{
    unsigned links = 0;

    for (int i = 0; i < DISK_NAMES; i++) {
        links += names[i].text[0] != '\0' && names[i].file == file;
    }
    return links;
}

static void free_file(struct dfile *f)
{
    pages_clear(&f->cache);
    pages_clear(&f->disk);
    free(f->dirty);
    memset(f, 0, sizeof *f);
}

static bool is_waited_for(const struct disk *d, int file)
{
    for (unsigned i = 0; i < d->waiting_count; i++) {
        for (unsigned k = 0; k < d->waiting[i].count; k++) {
            if (d->waiting[i].set[k].file == file) {
                return true;
            }
        }
    }
    return false;
}

/* Give back files that nothing leads to any more. */
static void collect(struct disk *d)
{
    for (int i = 0; i < DISK_FILES; i++) {
        bool open = false;

        for (int k = 0; k < DISK_FDS; k++) {
            open |= d->fd[k] == i;
        }
        if (d->file[i].used && !open && links_of(d->name, i) == 0 &&
            links_of(d->disk_name, i) == 0 && !is_waited_for(d, i)) {
            free_file(&d->file[i]);
        }
    }
}

static void sync_names(struct disk *d)
{
    for (unsigned i = 0; i < d->waiting_count; i++) {
        for (unsigned k = 0; k < d->waiting[i].count; k++) {
            set_name(d->disk_name, &d->waiting[i].set[k]);
        }
    }
    d->waiting_count = 0;
}

static void change_names(struct disk *d, const struct dchange *change)
{
    if (d->waiting_count == DISK_WAITING) {
        sync_names(d); /* it may always happen by itself */
    }
    d->waiting[d->waiting_count++] = *change;
    for (unsigned k = 0; k < change->count; k++) {
        set_name(d->name, &change->set[k]);
    }
    collect(d);
}

static int new_file(struct disk *d)
{
    for (int i = 0; i < DISK_FILES; i++) {
        if (!d->file[i].used) {
            d->file[i].used = true;
            d->file[i].mode = 0600;
            d->file[i].locked_by = -1;
            d->file[i].mtime.tv_nsec = (long)++d->clock;
            return i;
        }
    }
    /* Names whose removal waits hold files; it may be done at any time. */
    sync_names(d);
    collect(d);
    for (int i = 0; i < DISK_FILES; i++) {
        if (!d->file[i].used) {
            return new_file(d);
        }
    }
    BELAY_UNREACHABLE();
}

/* ---- The whole. */

void disk_init(struct disk *d, uint64_t seed)
{
    memset(d, 0, sizeof *d);
    d->rng.state = seed;
    for (int i = 0; i < DISK_FDS; i++) {
        d->fd[i] = FD_FREE;
    }
}

void disk_free(struct disk *d)
{
    for (int i = 0; i < DISK_FILES; i++) {
        if (d->file[i].used) {
            free_file(&d->file[i]);
        }
    }
}

void disk_kill(struct disk *d)
{
    for (int i = 0; i < DISK_FDS; i++) {
        d->fd[i] = FD_FREE;
    }
    for (int i = 0; i < DISK_FILES; i++) {
        d->file[i].locked_by = -1;
    }
    d->dead = false;
    collect(d);
}

/* Some of its sectors are the new ones. */
static void tear(struct disk *d, struct dfile *f, uint64_t index)
{
    uint64_t end = (index + 1) * PAGE_LEN < f->disk.len
                       ? (index + 1) * PAGE_LEN
                       : f->disk.len;
    uint8_t sector[SECTOR];

    for (uint64_t at = index * PAGE_LEN; at < end; at += SECTOR) {
        uint64_t n = end - at < SECTOR ? end - at : SECTOR;

        if (rng_percent(&d->rng, 50)) {
            pages_read(&f->cache, at, sector, n);
            pages_write(&f->disk, at, sector, n);
        }
    }
}

static void cut_file(struct disk *d, struct dfile *f, bool lose_all)
{
    if (f->cache.len != f->disk.len && !lose_all &&
        rng_percent(&d->rng, 50)) {
        pages_resize(&f->disk, f->cache.len);
    }
    make_room(f, page_count(f->disk.len));
    for (uint64_t i = 0; i < page_count(f->disk.len); i++) {
        uint64_t fate = f->dirty[i] && !lose_all ? rng_below(&d->rng, 3) : 0;

        if (fate == 1) {
            pages_take(&f->disk, &f->cache, i);
        } else if (fate == 2) {
            tear(d, f, i);
        }
    }
    all_clean(f);
    pages_resize(&f->cache, 0);
    pages_share(&f->cache, 0, &f->disk, 0, f->disk.len);
}

void disk_power_cut(struct disk *d, bool lose_all)
{
    for (unsigned i = 0; i < d->waiting_count; i++) {
        bool there = !lose_all && rng_percent(&d->rng, 50);

        for (unsigned k = 0; there && k < d->waiting[i].count; k++) {
            set_name(d->disk_name, &d->waiting[i].set[k]);
        }
    }
    d->waiting_count = 0;
    memcpy(d->name, d->disk_name, sizeof d->name);
    for (int i = 0; i < DISK_FILES; i++) {
        if (d->file[i].used) {
            cut_file(d, &d->file[i], lose_all);
        }
    }
    disk_kill(d);
}

unsigned disk_spoil(struct disk *d, const char *name, unsigned percent)
{
    const struct dname *found = find_name(d->name, name);
    struct dfile *f = found == NULL ? NULL : &d->file[found->file];
    unsigned spoiled = 0;

    for (uint64_t i = 0; f != NULL && i < f->cache.len / PAGE_LEN; i++) {
        uint8_t byte;

        if (rng_percent(&d->rng, percent)) {
            uint64_t at = i * PAGE_LEN + rng_below(&d->rng, PAGE_LEN);

            pages_read(&f->cache, at, &byte, 1);
            byte ^= 0x80;
            pages_write(&f->cache, at, &byte, 1);
            if (at < f->disk.len) {
                pages_write(&f->disk, at, &byte, 1);
            }
            spoiled++;
        }
    }
    return spoiled;
}

void disk_put(struct disk *d, const char *name, const void *data,
              uint64_t len)
{
    struct dname set = make_set(name, new_file(d));
    struct dfile *f = &d->file[set.file];

    pages_write(&f->cache, 0, data, len);
    pages_share(&f->disk, 0, &f->cache, 0, len);
    set_name(d->name, &set);
    set_name(d->disk_name, &set);
}

const struct pages *disk_look(const struct disk *d, const char *name)
{
    for (int i = 0; i < DISK_NAMES; i++) {
        if (strcmp(d->name[i].text, name) == 0) {
            return &d->file[d->name[i].file].cache;
        }
    }
    return NULL;
}

/* ---- System calls. */

static int fail(int error)
{
    errno = error;
    return -1;
}

/* Does this call fail, in so many cases of a thousand? */
static bool unlucky(unsigned per_mille)
{
    if (current->dead) {
        return true;
    }
    if (per_mille == 0 || rng_below(&current->rng, 1000) >= per_mille) {
        return false;
    }
    current->failures++;
    return true;
}

static struct dfile *file_of(int fd)
{
    int slot = fd - FD_BASE;

    BELAY_ASSERT(slot >= 0 && slot < DISK_FDS && current->fd[slot] >= 0);
    return &current->file[current->fd[slot]];
}

static int new_fd(int file)
{
    for (int i = 0; i < DISK_FDS; i++) {
        if (current->fd[i] == FD_FREE) {
            current->fd[i] = file;
            return FD_BASE + i;
        }
    }
    return fail(EMFILE);
}

static int sim_openat(int dir, const char *name, int flags, mode_t mode)
{
    const struct dname *found;
    struct dchange change = {.count = 1};

    (void)dir;
    (void)mode;
    if (unlucky(current->faults.names)) {
        return fail(EIO);
    }
    if (flags & O_DIRECTORY) {
        return new_fd(FD_DIR);
    }
    if (flags & O_DIRECT) {
        return fail(EINVAL);
    }
    found = find_name(current->name, name);
    if (!(flags & O_CREAT)) {
        return found != NULL ? new_fd(found->file) : fail(ENOENT);
    }
    BELAY_ASSERT(flags & O_EXCL);
    if (found != NULL) {
        return fail(EEXIST);
    }
    change.set[0] = make_set(name, new_file(current));
    change_names(current, &change);
    return new_fd(change.set[0].file);
}

static int sim_close(int fd)
{
    int slot = fd - FD_BASE;

    if (current->fd[slot] >= 0 &&
        current->file[current->fd[slot]].locked_by == slot) {
        current->file[current->fd[slot]].locked_by = -1;
    }
    current->fd[slot] = FD_FREE;
    collect(current);
    return 0;
}

static void fill_stat(int index, struct stat *st)
{
    const struct dfile *f = &current->file[index];

    memset(st, 0, sizeof *st);
    st->st_mode = S_IFREG | f->mode;
    st->st_ino = (ino_t)index + 1;
    st->st_dev = 1;
    st->st_nlink = links_of(current->name, index);
    st->st_size = (off_t)f->cache.len;
    st->st_mtim = f->mtime;
}

static int sim_fstat(int fd, struct stat *st)
{
    if (unlucky(0)) {
        return fail(EIO);
    }
    fill_stat(current->fd[fd - FD_BASE], st);
    return 0;
}

static int sim_lstatat(int dir, const char *name, struct stat *st)
{
    const struct dname *found = find_name(current->name, name);

    (void)dir;
    if (unlucky(0)) {
        return fail(EIO);
    }
    if (found == NULL) {
        return fail(ENOENT);
    }
    fill_stat(found->file, st);
    return 0;
}

static int sim_fstatvfs(int fd, struct statvfs *st)
{
    (void)fd;
    memset(st, 0, sizeof *st);
    st->f_namemax = NAME_MAX;
    return 0;
}

static int sim_fs_type(int fd, uint64_t *type)
{
    (void)fd;
    *type = 0xef53; /* a disk */
    return 0;
}

static ssize_t sim_pread(int fd, void *buffer, size_t len, off_t offset)
{
    const struct pages *cache = &file_of(fd)->cache;
    uint64_t at = (uint64_t)offset;

    if (unlucky(current->faults.broken)) {
        return fail(EIO);
    }
    if (at >= cache->len) {
        return 0;
    }
    if (len > cache->len - at) {
        len = (size_t)(cache->len - at);
    }
    if (len > 1 && unlucky(current->faults.shorter)) {
        len = (size_t)rng_between(&current->rng, 1, len - 1);
    }
    pages_read(cache, at, buffer, len);
    return (ssize_t)len;
}

static ssize_t sim_pwritev(int fd, const struct iovec *iov, int count,
                           off_t offset)
{
    struct dfile *f = file_of(fd);
    uint64_t start = (uint64_t)offset;
    uint64_t at = start;
    uint64_t left = 0;

    if (unlucky(current->faults.broken)) {
        return fail(EIO);
    }
    if (unlucky(current->faults.full)) {
        return fail(ENOSPC);
    }
    for (int i = 0; i < count; i++) {
        left += iov[i].iov_len;
    }
    if (left > 1 && unlucky(current->faults.shorter)) {
        left = rng_between(&current->rng, 1, left - 1);
    }
    for (int i = 0; i < count && left > 0; i++) {
        uint64_t n = iov[i].iov_len < left ? iov[i].iov_len : left;

        pages_write(&f->cache, at, iov[i].iov_base, n);
        at += n;
        left -= n;
    }
    set_dirty(f, start / PAGE_LEN, page_count(at));
    return (ssize_t)(at - start);
}

static int sim_ftruncate(int fd, off_t size)
{
    if (unlucky(current->faults.broken)) {
        return fail(EIO);
    }
    set_size(file_of(fd), (uint64_t)size);
    return 0;
}

static int sim_punch_hole(int fd, off_t offset, off_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    return fail(EOPNOTSUPP);
}

static off_t sim_lseek(int fd, off_t offset, int whence)
{
    (void)fd;
    (void)offset;
    (void)whence;
    return fail(EINVAL);
}

static int sim_fsync(int fd)
{
    bool bad = unlucky(current->faults.sync);

    if (current->dead) {
        return fail(EIO);
    }
    if (current->fd[fd - FD_BASE] == FD_DIR) {
        if (bad) {
            return fail(EIO);
        }
        sync_names(current);
        collect(current);
        return 0;
    }
    write_back(current, file_of(fd), bad);
    return bad ? fail(EIO) : 0;
}

static int sim_start_writeback(int fd, off_t offset, off_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    return 0;
}

static int sim_drop_pages(int fd)
{
    struct dfile *f = file_of(fd);

    make_room(f, page_count(f->cache.len));
    for (uint64_t i = 0; i < page_count(f->cache.len); i++) {
        if (!f->dirty[i]) {
            pages_take(&f->cache, &f->disk, i);
        }
    }
    return 0;
}

static int sim_count_pages(int fd, uint64_t size, uint64_t *pages)
{
    const struct dfile *f = file_of(fd);

    (void)size;
    *pages = 0;
    for (uint64_t i = 0; i < page_count(f->cache.len); i++) {
        *pages += f->dirty[i];
    }
    return 0;
}

static int sim_fchmod(int fd, mode_t mode)
{
    file_of(fd)->mode = mode;
    return 0;
}

static int sim_futimens(int fd, const struct timespec times[2])
{
    file_of(fd)->mtime = times[1];
    return 0;
}

static int sim_rename_over(int dir, const char *from, const char *to)
{
    const struct dname *found = find_name(current->name, from);
    struct dchange change = {.count = 2};

    (void)dir;
    if (unlucky(current->faults.names)) {
        return fail(EACCES);
    }
    if (found == NULL) {
        return fail(ENOENT);
    }
    change.set[0] = make_set(to, found->file);
    change.set[1] = make_set(from, NO_FILE);
    change_names(current, &change);
    return 0;
}

static int sim_rename_new(int dir, const char *from, const char *to)
{
    if (find_name(current->name, to) != NULL) {
        return fail(EEXIST);
    }
    return sim_rename_over(dir, from, to);
}

static int sim_link(int dir, const char *from, const char *to)
{
    (void)dir;
    (void)from;
    (void)to;
    return fail(EPERM);
}

static int sim_unlink(int dir, const char *name)
{
    struct dchange change = {.count = 1};

    (void)dir;
    if (unlucky(current->faults.names)) {
        return fail(EIO);
    }
    if (find_name(current->name, name) == NULL) {
        return fail(ENOENT);
    }
    change.set[0] = make_set(name, NO_FILE);
    change_names(current, &change);
    return 0;
}

static int sim_lock(int fd)
{
    struct dfile *f = file_of(fd);

    if (f->locked_by >= 0 && f->locked_by != fd - FD_BASE) {
        return fail(EAGAIN);
    }
    f->locked_by = fd - FD_BASE;
    return 0;
}

static int sim_file_size_limit(uint64_t *bytes)
{
    *bytes = UINT64_MAX;
    return 0;
}

static int sim_random(void *buffer, size_t len)
{
    uint8_t *bytes = buffer;

    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)rng_next(&current->rng);
    }
    return 0;
}

static mode_t sim_umask(void)
{
    return 022;
}

static uid_t sim_euid(void)
{
    return 0;
}

static pid_t sim_pid(void)
{
    return 42;
}

static int sim_hostname(char *name, size_t cap)
{
    (void)cap;
    strcpy(name, "sim");
    return 0;
}

static bool sim_process_exists(pid_t pid)
{
    (void)pid;
    return false;
}

const struct store_sys disk_sys = {
    .openat = sim_openat,
    .close = sim_close,
    .fstat = sim_fstat,
    .lstatat = sim_lstatat,
    .fstatvfs = sim_fstatvfs,
    .fs_type = sim_fs_type,
    .pread = sim_pread,
    .pwritev = sim_pwritev,
    .ftruncate = sim_ftruncate,
    .punch_hole = sim_punch_hole,
    .lseek = sim_lseek,
    .fsync = sim_fsync,
    .fdatasync = sim_fsync,
    .start_writeback = sim_start_writeback,
    .drop_pages = sim_drop_pages,
    .count_pages = sim_count_pages,
    .fchmod = sim_fchmod,
    .futimens = sim_futimens,
    .rename_new = sim_rename_new,
    .rename_over = sim_rename_over,
    .link = sim_link,
    .unlink = sim_unlink,
    .lock = sim_lock,
    .file_size_limit = sim_file_size_limit,
    .random = sim_random,
    .umask = sim_umask,
    .euid = sim_euid,
    .pid = sim_pid,
    .hostname = sim_hostname,
    .process_exists = sim_process_exists,
};
