#include "tests/crash/memfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

#define WAITING_MAX 48
#define DIR_WAITING_MAX 16
#define FDS 16
#define FD_BASE 1000
#define NO_FILE (-1)
#define DIR_FILE (-2)

/* Bytes of a waiting write, shared between copies of the file system. */
struct blob {
    unsigned int users;
    size_t len;
    uint8_t bytes[];
};

struct change {
    bool sets_size; /* else it writes blob at offset */
    uint64_t offset; /* or the size */
    struct blob *blob;
};

struct image {
    uint64_t len;
    uint8_t bytes[MEMFS_BYTES];
};

struct file {
    bool used;
    mode_t mode;
    struct timespec mtime;
    int locked_by; /* slot of the descriptor, or -1 */
    bool failed; /* a writeback failed and nobody was told */
    bool stale; /* the cache shows what the disk has not */
    unsigned int waiting;
    struct change changes[WAITING_MAX];
    struct image cache;
    struct image disk;
};

struct name {
    char text[MEMFS_NAME]; /* "": free */
    int file;
};

/* Atomic: both names change or neither. */
struct dir_change {
    struct name sets[2];
    unsigned int count;
};

struct memfs {
    unsigned int calls;
    unsigned int clock;
    struct name names[MEMFS_FILES];
    struct name disk_names[MEMFS_FILES];
    unsigned int dir_waiting;
    struct dir_change dir_changes[DIR_WAITING_MAX];
    int fds[FDS]; /* index of a file, NO_FILE or DIR_FILE */
    bool direct[FDS]; /* reads ask the disk */
    struct file files[MEMFS_FILES];
};

static struct memfs *current;

void (*memfs_hook)(struct memfs *fs, unsigned int call);

/* ---- Blobs and images. */

static void drop_blob(struct blob *blob)
{
    if (blob != NULL && --blob->users == 0) {
        free(blob);
    }
}

static void clear_changes(struct file *file)
{
    for (unsigned int i = 0; i < file->waiting; i++) {
        drop_blob(file->changes[i].blob);
    }
    file->waiting = 0;
}

static void set_size(struct image *image, uint64_t size)
{
    BELAY_ASSERT(size <= MEMFS_BYTES);
    if (size > image->len) {
        memset(image->bytes + image->len, 0, (size_t)(size - image->len));
    }
    image->len = size;
}

static void put_bytes(struct image *image, uint64_t offset,
                      const uint8_t *bytes, size_t len)
{
    if (offset + len > image->len) {
        set_size(image, offset + len);
    }
    memcpy(image->bytes + offset, bytes, len);
}

static void apply(struct image *image, const struct change *change,
                  enum memfs_fate fate)
{
    size_t len;

    if (fate == MEMFS_ABSENT) {
        return;
    }
    if (change->sets_size) {
        set_size(image, change->offset);
        return;
    }
    /* Torn: the first half arrives. */
    len = fate == MEMFS_TORN ? change->blob->len / 2 : change->blob->len;
    put_bytes(image, change->offset, change->blob->bytes, len);
}

static void add_change(struct file *file, struct change change)
{
    BELAY_ASSERT(file->waiting < WAITING_MAX);
    file->changes[file->waiting++] = change;
    apply(&file->cache, &change, MEMFS_WHOLE);
    file->mtime.tv_nsec = ++current->clock;
}

static void carry_out(struct file *file)
{
    for (unsigned int i = 0; i < file->waiting; i++) {
        apply(&file->disk, &file->changes[i], MEMFS_WHOLE);
    }
    clear_changes(file);
}

/* ---- Names. */

static struct name *find_name(struct name *names, const char *text)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        if (strcmp(names[i].text, text) == 0) {
            return &names[i];
        }
    }
    return NULL;
}

static void set_name(struct name *names, const struct name *set)
{
    struct name *at = find_name(names, set->text);

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

static struct name make_set(const char *text, int file)
{
    struct name set = {.file = file};

    BELAY_ASSERT(text[0] != '\0' && strlen(text) < MEMFS_NAME);
    strcpy(set.text, text);
    return set;
}

static void change_dir(const struct dir_change *change)
{
    BELAY_ASSERT(current->dir_waiting < DIR_WAITING_MAX);
    current->dir_changes[current->dir_waiting++] = *change;
    for (unsigned int i = 0; i < change->count; i++) {
        set_name(current->names, &change->sets[i]);
    }
}

static unsigned int links_of(const struct memfs *fs, int file)
{
    unsigned int links = 0;

    for (int i = 0; i < MEMFS_FILES; i++) {
        links += fs->names[i].text[0] != '\0' && fs->names[i].file == file;
    }
    return links;
}

static bool on_disk(const struct memfs *fs, int file)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        if (fs->disk_names[i].text[0] != '\0' &&
            fs->disk_names[i].file == file) {
            return true;
        }
    }
    for (unsigned int i = 0; i < fs->dir_waiting; i++) {
        for (unsigned int j = 0; j < fs->dir_changes[i].count; j++) {
            if (fs->dir_changes[i].sets[j].file == file) {
                return true;
            }
        }
    }
    return false;
}

/* Give back files that nothing leads to any more. */
static void collect(struct memfs *fs)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        bool open = false;

        for (int j = 0; j < FDS; j++) {
            open = open || fs->fds[j] == i;
        }
        if (fs->files[i].used && !open && links_of(fs, i) == 0 &&
            !on_disk(fs, i)) {
            clear_changes(&fs->files[i]);
            fs->files[i].used = false;
        }
    }
}

static int new_file(struct memfs *fs)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        struct file *file = &fs->files[i];

        if (!file->used) {
            file->used = true;
            file->mode = 0600;
            file->locked_by = -1;
            file->failed = false;
            file->stale = false;
            file->waiting = 0;
            file->cache.len = 0;
            file->disk.len = 0;
            file->mtime = (struct timespec){0, (long)++fs->clock};
            return i;
        }
    }
    BELAY_UNREACHABLE();
}

/* ---- The whole. */

struct memfs *memfs_new(void)
{
    struct memfs *fs = calloc(1, sizeof *fs);

    BELAY_ASSERT(fs != NULL);
    for (int i = 0; i < FDS; i++) {
        fs->fds[i] = NO_FILE;
    }
    return fs;
}

struct memfs *memfs_copy(const struct memfs *fs)
{
    struct memfs *copy = malloc(sizeof *copy);

    BELAY_ASSERT(copy != NULL);
    /* Bytes beyond the end of a file are never read. */
    memcpy(copy, fs, offsetof(struct memfs, files));
    for (int i = 0; i < MEMFS_FILES; i++) {
        const struct file *from = &fs->files[i];
        struct file *to = &copy->files[i];

        memcpy(to, from, offsetof(struct file, cache));
        to->cache.len = from->cache.len;
        memcpy(to->cache.bytes, from->cache.bytes, (size_t)from->cache.len);
        to->disk.len = from->disk.len;
        memcpy(to->disk.bytes, from->disk.bytes, (size_t)from->disk.len);
        for (unsigned int j = 0; to->used && j < to->waiting; j++) {
            if (to->changes[j].blob != NULL) {
                to->changes[j].blob->users++;
            }
        }
    }
    return copy;
}

void memfs_free(struct memfs *fs)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        if (fs->files[i].used) {
            clear_changes(&fs->files[i]);
        }
    }
    free(fs);
}

struct memfs *memfs_use(struct memfs *fs)
{
    struct memfs *before = current;

    current = fs;
    return before;
}

void memfs_kill(struct memfs *fs)
{
    for (int i = 0; i < FDS; i++) {
        fs->fds[i] = NO_FILE;
    }
    for (int i = 0; i < MEMFS_FILES; i++) {
        fs->files[i].locked_by = -1;
    }
    collect(fs);
}

/* Changes are numbered file by file, then those of the directory. */
static const struct change *find_change(const struct memfs *fs,
                                        unsigned int change)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        const struct file *file = &fs->files[i];

        if (!file->used) {
            continue;
        }
        if (change < file->waiting) {
            return &file->changes[change];
        }
        change -= file->waiting;
    }
    return NULL;
}

unsigned int memfs_waiting(const struct memfs *fs)
{
    unsigned int count = fs->dir_waiting;

    for (int i = 0; i < MEMFS_FILES; i++) {
        count += fs->files[i].used ? fs->files[i].waiting : 0;
    }
    return count;
}

bool memfs_can_tear(const struct memfs *fs, unsigned int change)
{
    const struct change *found = find_change(fs, change);

    return found != NULL && !found->sets_size;
}

void memfs_power_loss(struct memfs *fs, const uint8_t *fates)
{
    unsigned int next = 0;

    for (int i = 0; i < MEMFS_FILES; i++) {
        struct file *file = &fs->files[i];

        if (!file->used) {
            continue;
        }
        for (unsigned int j = 0; j < file->waiting; j++) {
            apply(&file->disk, &file->changes[j],
                  (enum memfs_fate)fates[next++]);
        }
        clear_changes(file);
        file->cache = file->disk;
        file->failed = false;
        file->stale = false;
    }
    for (unsigned int i = 0; i < fs->dir_waiting; i++) {
        const struct dir_change *change = &fs->dir_changes[i];

        for (unsigned int j = 0;
             fates[next] != MEMFS_ABSENT && j < change->count; j++) {
            set_name(fs->disk_names, &change->sets[j]);
        }
        next++;
    }
    fs->dir_waiting = 0;
    memcpy(fs->names, fs->disk_names, sizeof fs->names);
    memfs_kill(fs);
}

void memfs_fail_writeback(struct memfs *fs)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        struct file *file = &fs->files[i];

        if (file->used && file->waiting > 0) {
            /* Sizes are metadata and go another way. */
            for (unsigned int j = 0; j < file->waiting; j++) {
                if (file->changes[j].sets_size) {
                    apply(&file->disk, &file->changes[j], MEMFS_WHOLE);
                } else if (file->changes[j].offset +
                               file->changes[j].blob->len >
                           file->disk.len) {
                    set_size(&file->disk, file->changes[j].offset +
                                              file->changes[j].blob->len);
                }
            }
            clear_changes(file);
            file->failed = true;
            file->stale = true;
        }
    }
}

const uint8_t *memfs_look(const struct memfs *fs, const char *name,
                          uint64_t *len)
{
    for (int i = 0; i < MEMFS_FILES; i++) {
        if (strcmp(fs->names[i].text, name) == 0) {
            const struct image *cache = &fs->files[fs->names[i].file].cache;

            *len = cache->len;
            return cache->bytes;
        }
    }
    return NULL;
}

void memfs_put(struct memfs *fs, const char *name, const void *data,
               size_t len)
{
    struct name set = make_set(name, new_file(fs));
    struct file *file = &fs->files[set.file];

    put_bytes(&file->cache, 0, data, len);
    put_bytes(&file->disk, 0, data, len);
    set_name(fs->names, &set);
    set_name(fs->disk_names, &set);
}

unsigned int memfs_names(const struct memfs *fs)
{
    unsigned int count = 0;

    for (int i = 0; i < MEMFS_FILES; i++) {
        count += fs->names[i].text[0] != '\0';
    }
    return count;
}

bool memfs_is_dir(int fd)
{
    return current->fds[fd - FD_BASE] == DIR_FILE;
}

unsigned int memfs_calls(const struct memfs *fs)
{
    return fs->calls;
}

/* ---- System calls. */

static int fail(int error)
{
    errno = error;
    return -1;
}

static void before_change(void)
{
    current->calls++;
    if (memfs_hook != NULL) {
        memfs_hook(current, current->calls);
    }
}

static struct file *file_of(int fd)
{
    int slot = fd - FD_BASE;

    BELAY_ASSERT(slot >= 0 && slot < FDS && current->fds[slot] >= 0);
    return &current->files[current->fds[slot]];
}

static int new_fd(int file, int flags)
{
    for (int i = 0; i < FDS; i++) {
        if (current->fds[i] == NO_FILE) {
            current->fds[i] = file;
            current->direct[i] = (flags & O_DIRECT) != 0;
            return FD_BASE + i;
        }
    }
    return fail(EMFILE);
}

static int mem_openat(int dir, const char *name, int flags, mode_t mode)
{
    struct name *found;

    (void)dir;
    (void)mode;
    if (flags & O_DIRECTORY) {
        return new_fd(DIR_FILE, flags);
    }
    found = find_name(current->names, name);
    if (!(flags & O_CREAT)) {
        return found != NULL ? new_fd(found->file, flags) : fail(ENOENT);
    }
    BELAY_ASSERT(flags & O_EXCL);
    if (found != NULL) {
        return fail(EEXIST);
    }
    before_change();
    struct dir_change change = {{make_set(name, new_file(current))}, 1};
    change_dir(&change);
    return new_fd(change.sets[0].file, flags);
}

static int mem_close(int fd)
{
    int slot = fd - FD_BASE;

    if (current->fds[slot] >= 0 &&
        current->files[current->fds[slot]].locked_by == slot) {
        current->files[current->fds[slot]].locked_by = -1;
    }
    current->fds[slot] = NO_FILE;
    collect(current);
    return 0;
}

static void fill_stat(int index, struct stat *st)
{
    const struct file *file = &current->files[index];

    memset(st, 0, sizeof *st);
    st->st_mode = S_IFREG | file->mode;
    st->st_ino = (ino_t)index + 1;
    st->st_dev = 1;
    st->st_nlink = links_of(current, index);
    st->st_size = (off_t)file->cache.len;
    st->st_mtim = file->mtime;
}

static int mem_fstat(int fd, struct stat *st)
{
    fill_stat(current->fds[fd - FD_BASE], st);
    return 0;
}

static int mem_lstatat(int dir, const char *name, struct stat *st)
{
    struct name *found = find_name(current->names, name);

    (void)dir;
    if (found == NULL) {
        return fail(ENOENT);
    }
    fill_stat(found->file, st);
    return 0;
}

static int mem_fstatvfs(int fd, struct statvfs *st)
{
    (void)fd;
    memset(st, 0, sizeof *st);
    st->f_namemax = NAME_MAX;
    return 0;
}

static int mem_fs_type(int fd, uint64_t *type)
{
    (void)fd;
    *type = 0xef53; /* a disk */
    return 0;
}

static ssize_t mem_pread(int fd, void *buffer, size_t len, off_t offset)
{
    const struct image *cache = &file_of(fd)->cache;
    uint64_t at = (uint64_t)offset;

    if (current->direct[fd - FD_BASE]) {
        carry_out(file_of(fd)); /* what is dirty goes out first */
        cache = &file_of(fd)->disk;
    }
    if (at >= cache->len) {
        return 0;
    }
    if (len > cache->len - at) {
        len = (size_t)(cache->len - at);
    }
    memcpy(buffer, cache->bytes + at, len);
    return (ssize_t)len;
}

static ssize_t mem_pwritev(int fd, const struct iovec *iov, int count,
                           off_t offset)
{
    struct blob *blob;
    size_t len = 0;

    before_change();
    for (int i = 0; i < count; i++) {
        len += iov[i].iov_len;
    }
    blob = malloc(sizeof *blob + len);
    BELAY_ASSERT(blob != NULL);
    blob->users = 1;
    blob->len = 0;
    for (int i = 0; i < count; i++) {
        memcpy(blob->bytes + blob->len, iov[i].iov_base, iov[i].iov_len);
        blob->len += iov[i].iov_len;
    }
    add_change(file_of(fd), (struct change){false, (uint64_t)offset, blob});
    return (ssize_t)len;
}

static int mem_ftruncate(int fd, off_t size)
{
    before_change();
    add_change(file_of(fd), (struct change){true, (uint64_t)size, NULL});
    return 0;
}

static int mem_punch_hole(int fd, off_t offset, off_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    return fail(EOPNOTSUPP);
}

static off_t mem_lseek(int fd, off_t offset, int whence)
{
    (void)fd;
    (void)offset;
    (void)whence;
    return fail(EINVAL);
}

static int sync_file(struct file *file)
{
    if (file->failed) {
        file->failed = false;
        return fail(EIO);
    }
    carry_out(file);
    return 0;
}

static int mem_fsync(int fd)
{
    before_change();
    if (current->fds[fd - FD_BASE] != DIR_FILE) {
        return sync_file(file_of(fd));
    }
    for (unsigned int i = 0; i < current->dir_waiting; i++) {
        for (unsigned int j = 0; j < current->dir_changes[i].count; j++) {
            set_name(current->disk_names,
                     &current->dir_changes[i].sets[j]);
        }
    }
    current->dir_waiting = 0;
    collect(current);
    return 0;
}

static int mem_fdatasync(int fd)
{
    before_change();
    return sync_file(file_of(fd));
}

static int mem_start_writeback(int fd, off_t offset, off_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    return 0;
}

static int mem_drop_pages(int fd)
{
    struct file *file = file_of(fd);

    file->cache = file->disk;
    for (unsigned int i = 0; i < file->waiting; i++) {
        apply(&file->cache, &file->changes[i], MEMFS_WHOLE);
    }
    file->stale = false;
    return 0;
}

static int mem_count_pages(int fd, uint64_t size, uint64_t *pages)
{
    (void)size;
    *pages = file_of(fd)->stale ? 1 : 0;
    return 0;
}

static int mem_fchmod(int fd, mode_t mode)
{
    file_of(fd)->mode = mode;
    return 0;
}

static int mem_futimens(int fd, const struct timespec times[2])
{
    file_of(fd)->mtime = times[1];
    return 0;
}

static int rename_to(const char *from, const char *to)
{
    struct name *found = find_name(current->names, from);
    struct dir_change change;

    if (found == NULL) {
        return fail(ENOENT);
    }
    change.sets[1] = make_set(to, found->file);
    change.sets[0] = make_set(from, NO_FILE);
    change.count = 2;
    before_change();
    change_dir(&change);
    collect(current);
    return 0;
}

static int mem_rename_new(int dir, const char *from, const char *to)
{
    (void)dir;
    if (find_name(current->names, to) != NULL) {
        return fail(EEXIST);
    }
    return rename_to(from, to);
}

static int mem_rename_over(int dir, const char *from, const char *to)
{
    (void)dir;
    return rename_to(from, to);
}

static int mem_link(int dir, const char *from, const char *to)
{
    struct name *found = find_name(current->names, from);
    struct dir_change change;

    (void)dir;
    if (found == NULL) {
        return fail(ENOENT);
    }
    if (find_name(current->names, to) != NULL) {
        return fail(EEXIST);
    }
    change.sets[0] = make_set(to, found->file);
    change.count = 1;
    before_change();
    change_dir(&change);
    return 0;
}

static int mem_unlink(int dir, const char *name)
{
    struct dir_change change = {{make_set(name, NO_FILE)}, 1};

    (void)dir;
    if (find_name(current->names, name) == NULL) {
        return fail(ENOENT);
    }
    before_change();
    change_dir(&change);
    collect(current);
    return 0;
}

static int mem_lock(int fd)
{
    struct file *file = file_of(fd);

    if (file->locked_by >= 0 && file->locked_by != fd - FD_BASE) {
        return fail(EAGAIN);
    }
    file->locked_by = fd - FD_BASE;
    return 0;
}

static int mem_file_size_limit(uint64_t *bytes)
{
    *bytes = UINT64_MAX;
    return 0;
}

static int mem_random(void *buffer, size_t len)
{
    uint8_t *bytes = buffer;

    /* Different for each call in the life of a file system: enough. */
    current->clock++;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(current->clock >> (8 * (i % 4)));
    }
    return 0;
}

static mode_t mem_umask(void)
{
    return 022;
}

static uid_t mem_euid(void)
{
    return 0;
}

static pid_t mem_pid(void)
{
    return 42;
}

static int mem_hostname(char *name, size_t cap)
{
    (void)cap;
    strcpy(name, "memory");
    return 0;
}

static bool mem_process_exists(pid_t pid)
{
    (void)pid;
    return false;
}

const struct store_sys memfs_sys = {
    .openat = mem_openat,
    .close = mem_close,
    .fstat = mem_fstat,
    .lstatat = mem_lstatat,
    .fstatvfs = mem_fstatvfs,
    .fs_type = mem_fs_type,
    .pread = mem_pread,
    .pwritev = mem_pwritev,
    .ftruncate = mem_ftruncate,
    .punch_hole = mem_punch_hole,
    .lseek = mem_lseek,
    .fsync = mem_fsync,
    .fdatasync = mem_fdatasync,
    .start_writeback = mem_start_writeback,
    .drop_pages = mem_drop_pages,
    .count_pages = mem_count_pages,
    .fchmod = mem_fchmod,
    .futimens = mem_futimens,
    .rename_new = mem_rename_new,
    .rename_over = mem_rename_over,
    .link = mem_link,
    .unlink = mem_unlink,
    .lock = mem_lock,
    .file_size_limit = mem_file_size_limit,
    .random = mem_random,
    .umask = mem_umask,
    .euid = mem_euid,
    .pid = mem_pid,
    .hostname = mem_hostname,
    .process_exists = mem_process_exists,
};
