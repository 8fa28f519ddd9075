#include "server/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/data/cid.h"
#include "proto/wire/msg.h"
#include "server/digestcache.h"
#include "server/fileid.h"
#include "server/limits.h"

/* A cursor is a mark and the last name, or, for a name that does not fit, the
 * mark and the digest of the name. */
#define CURSOR_NAME 'n'
#define CURSOR_HASH 'h'

/* The smallest names behind a place in the directory. While they are being
 * collected they form a heap with the largest at its top; then an array in
 * order. */
struct run {
    struct fileid dir;  /* state of the directory */
    char *after;        /* names greater than this; "" is the start */
    char **name;
    size_t count;
    bool complete;      /* no name follows the last one */
    bool valid;
};

struct listing {
    const struct rootfs *root;
    struct digestcache *cache;
    struct run run;
};

struct listing *
listing_new(const struct rootfs *root, struct digestcache *cache)
{
    struct listing *l = calloc(1, sizeof(*l));
    if (l != NULL) {
        l->root = root;
        l->cache = cache;
    }
    return l;
}

static void
run_clear(struct run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        free(run->name[i]);
    }
    free(run->name);
    free(run->after);
    memset(run, 0, sizeof(*run));
}

void
listing_free(struct listing *listing)
{
    if (listing != NULL) {
        run_clear(&listing->run);
        free(listing);
    }
}

/* ---- Collecting. */

static void
sift_down(struct run *run, size_t i)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= run->count) {
            return;
        }
        if (child + 1 < run->count &&
            strcmp(run->name[child], run->name[child + 1]) < 0) {
            child++;
        }
        if (strcmp(run->name[i], run->name[child]) >= 0) {
            return;
        }
        char *swap = run->name[i];
        run->name[i] = run->name[child];
        run->name[child] = swap;
        i = child;
    }
}

static void
sift_up(struct run *run, size_t i)
{
    while (i > 0 && strcmp(run->name[(i - 1) / 2], run->name[i]) < 0) {
        char *swap = run->name[i];
        run->name[i] = run->name[(i - 1) / 2];
        run->name[(i - 1) / 2] = swap;
        i = (i - 1) / 2;
    }
}

static int
collect(void *arg, const char *name)
{
    struct run *run = arg;

    if (strcmp(name, run->after) <= 0) {
        return 0;
    }
    bool full = run->count == SERVER_LIST_RUN;
    if (full) {
        run->complete = false;
        if (strcmp(name, run->name[0]) >= 0) {
            return 0;
        }
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    if (full) {
        free(run->name[0]);
        run->name[0] = copy;
        sift_down(run, 0);
    } else {
        run->name[run->count++] = copy;
        sift_up(run, run->count - 1);
    }
    return 0;
}

static int
by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
scan(struct listing *l, int dir_fd, const struct fileid *dir,
     const char *after)
{
    struct run *run = &l->run;

    run_clear(run);
    run->dir = *dir;
    run->complete = true;
    run->after = strdup(after);
    run->name = calloc(SERVER_LIST_RUN, sizeof(*run->name));
    if (run->after == NULL || run->name == NULL) {
        run_clear(run);
        return ERR_NOMEM;
    }
    int err = rootfs_each(l->root, dir_fd, collect, run);
    if (err != 0) {
        run_clear(run);
        return err;
    }
    qsort(run->name, run->count, sizeof(*run->name), by_bytes);
    run->valid = true;
    return 0;
}

/* ---- Cursors. */

struct anchor {
    struct hasher *hasher;
    uint8_t wanted[HASH_LEN];
    char name[LIMIT_COMPONENT + 1];
};

/* Finds the name that a digest stands for. */
static int
match(void *arg, const char *name)
{
    struct anchor *anchor = arg;
    uint8_t digest[HASH_LEN];
    size_t len = strlen(name);

    if (len < LIMIT_CURSOR || len > LIMIT_COMPONENT) {
        return 0;
    }
    int err = hash_sha256(anchor->hasher, name, len, digest);
    if (err != 0) {
        return err;
    }
    if (memcmp(digest, anchor->wanted, HASH_LEN) == 0) {
        memcpy(anchor->name, name, len + 1);
    }
    return 0;
}

/* The name behind which the page begins. */
static int
place_cursor(struct listing *l, struct hasher *hasher, int dir_fd,
             const struct listing_ask *ask, char after[LIMIT_COMPONENT + 1])
{
    after[0] = '\0';
    if (ask->cursor_len == 0) {
        return 0;
    }
    const uint8_t *text = ask->cursor + 1;
    size_t len = ask->cursor_len - 1;
    if (ask->cursor[0] == CURSOR_NAME && len > 0 &&
        memchr(text, 0, len) == NULL) {
        memcpy(after, text, len);
        after[len] = '\0';
        return 0;
    }
    if (ask->cursor[0] != CURSOR_HASH || len != HASH_LEN) {
        return ERR_CHANGED;
    }
    struct anchor anchor = { .hasher = hasher };
    memcpy(anchor.wanted, text, HASH_LEN);
    int err = rootfs_each(l->root, dir_fd, match, &anchor);
    if (err == 0 && anchor.name[0] == '\0') {
        err = ERR_CHANGED; /* the file is gone, and its place with it */
    }
    memcpy(after, anchor.name, sizeof(anchor.name));
    return err;
}

static int
make_cursor(struct hasher *hasher, const char *last,
            uint8_t cursor[LIMIT_CURSOR], size_t *len)
{
    size_t name_len = strlen(last);
    if (name_len < LIMIT_CURSOR) {
        cursor[0] = CURSOR_NAME;
        memcpy(cursor + 1, last, name_len);
        *len = 1 + name_len;
        return 0;
    }
    cursor[0] = CURSOR_HASH;
    *len = 1 + HASH_LEN;
    return hash_sha256(hasher, last, name_len, cursor + 1);
}

/* ---- Pages. */

static uint8_t
file_type(mode_t mode)
{
    if (S_ISREG(mode)) {
        return FILE_REGULAR;
    }
    if (S_ISDIR(mode)) {
        return FILE_DIRECTORY;
    }
    return S_ISLNK(mode) ? FILE_SYMLINK : FILE_OTHER;
}

/* What an entry points to while it is being written. */
struct entry_buf {
    struct stat st;
    uint8_t cid[HASH_LEN];
    uint8_t target[LIMIT_LINK_TARGET];
};

/* False: the name has gone meanwhile. */
static bool
describe(struct listing *l, int dir_fd, const char *name, bool with_cid,
         struct entry_buf *buf, struct msg_entry *entry)
{
    if (rootfs_stat_at(dir_fd, name, &buf->st) != 0) {
        return false;
    }
    const struct stat *st = &buf->st;
    *entry = (struct msg_entry){
        .file_type = file_type(st->st_mode),
        .mtime_s = st->st_mtim.tv_sec,
        .mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
        .mode = st->st_mode & 0777,
        .name = { .ptr = (const uint8_t *)name, .len = strlen(name) },
    };
    if (S_ISREG(st->st_mode)) {
        entry->size = (uint64_t)st->st_size;
        struct fileid id = fileid_of(st);
        if (with_cid && l->cache != NULL &&
            digestcache_read_cid(l->cache, &id,
                                 cid_recommended_chunk_log2(id.size),
                                 buf->cid)) {
            entry->cid = (struct bytes_view){ buf->cid, HASH_LEN };
        }
    }
    size_t len = 0;
    if (S_ISLNK(st->st_mode) &&
        rootfs_readlink_at(dir_fd, name, (char *)buf->target,
                           sizeof(buf->target), &len) == 0) {
        entry->link_target = (struct bytes_view){ buf->target, len };
    }
    return true;
}

static bool
is_told(const struct listing_ask *ask, const char *name,
        const struct msg_entry *entry)
{
    return ask->see == NULL ||
           ask->see(ask->see_arg, name, entry->file_type == FILE_DIRECTORY);
}

/* The first name of the run behind `after`. */
static size_t
first_behind(const struct run *run, const char *after)
{
    size_t low = 0;
    size_t high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(run->name[middle], after) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int
write_page(struct listing *l, struct hasher *hasher, int dir_fd,
           const struct listing_ask *ask, const char *after, size_t *len_out)
{
    const struct run *run = &l->run;
    const struct tlv no_grease = { .type = 0 };
    struct msg_entries_builder b;
    struct entry_buf buf;
    struct writer w;
    uint8_t cursor[LIMIT_CURSOR];
    size_t cursor_len = 0;
    uint32_t count = 0;
    int err = 0;

    writer_init(&w, ask->out, ask->cap);
    msg_entries_begin(&b, &w);
    size_t i = first_behind(run, after);
    for (; i < run->count && count < ask->max_entries; i++) {
        struct msg_entry entry;
        if (!describe(l, dir_fd, run->name[i], ask->with_cid, &buf, &entry) ||
            !is_told(ask, run->name[i], &entry)) {
            continue;
        }
        if (msg_entries_add(&b, &entry) != 0) {
            break;
        }
        count++;
    }
    bool more = i < run->count || !run->complete;
    if (more && count == 0) {
        /* All of them have gone meanwhile, or none of them is told. */
        return ask->see != NULL && run->count > 0 ? ERR_AGAIN : ERR_CHANGED;
    }
    if (more) {
        err = make_cursor(hasher, run->name[i - 1], cursor, &cursor_len);
    }
    if (err == 0) {
        err = msg_entries_finish(
            &b, (struct bytes_view){ cursor, cursor_len }, true, ask->request,
            &no_grease);
    }
    *len_out = writer_len(&w);
    return err;
}

/* Does the run at hand hold what comes behind `after`? */
static bool
run_serves(const struct run *run, const struct fileid *dir, const char *after)
{
    return run->valid && fileid_equal(&run->dir, dir) &&
           strcmp(run->after, after) <= 0 &&
           (run->complete ||
            (run->count > 0 &&
             strcmp(after, run->name[run->count - 1]) < 0));
}

int
listing_page(struct listing *listing, struct hasher *hasher,
             const struct listing_ask *ask, size_t *len_out)
{
    char after[LIMIT_COMPONENT + 1];
    struct stat st;
    int dir_fd = -1;
    int err = rootfs_open_dir(listing->root, ask->path, &dir_fd);

    if (err != 0) {
        return err;
    }
    if (fstat(dir_fd, &st) != 0) {
        err = ERR_IO;
        goto out_close;
    }
    struct fileid dir = fileid_of(&st);
    err = place_cursor(listing, hasher, dir_fd, ask, after);
    /* A new listing looks anew: within one step of the clock a directory can
     * change without a trace. */
    if (err == 0 && (ask->cursor_len == 0 ||
                     !run_serves(&listing->run, &dir, after))) {
        err = scan(listing, dir_fd, &dir, after);
    }
    if (err == 0) {
        err = write_page(listing, hasher, dir_fd, ask, after, len_out);
    }
    while (err == ERR_AGAIN) {
        const struct run *run = &listing->run;
        (void)snprintf(after, sizeof(after), "%s", run->name[run->count - 1]);
        err = scan(listing, dir_fd, &dir, after);
        if (err == 0) {
            err = write_page(listing, hasher, dir_fd, ask, after, len_out);
        }
    }
out_close:
    close(dir_fd);
    return err;
}
