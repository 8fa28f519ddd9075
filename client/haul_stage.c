/* Haul: the stages, on worker threads.  A job owns its loads meanwhile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/haul_internal.h"
#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/data/merkle.h"
#include "proto/data/zpack.h"

/* Chunks hashed in one call, so that two lanes have work. */
#define HASH_GROUP 64u

static void failed(struct load *load, int err)
{
    load->err = err;
    load->sys_errno = errno;
}

/* ---- look. */

static void look_one(struct haul_job *job, struct dest_look *look,
                     struct load *load)
{
    const struct haul_file *file = &load->file;
    struct stat st;
    int err = dest_stat(&job->haul->dest, look, load->name, &st);

    if (err == ERR_NOT_FOUND) {
        return;
    }
    if (err != 0) {
        failed(load, err);
        return;
    }
    if (load->kind == LOAD_LINK) { /* of a dry run */
        load->taken = true;
        load->same = dest_link_says(&job->haul->dest, look, load->name,
                                    load->target);
        if (!load->same && !S_ISLNK(st.st_mode) &&
            file->exists != HAUL_KEEP) {
            failed(load, ERR_EXISTS);
        }
        return;
    }
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
        failed(load, ERR_EXISTS);
        return;
    }
    load->taken = true;
    load->there = S_ISREG(st.st_mode);
    load->there_size = (uint64_t)st.st_size;
    load->there_mtime = st.st_mtim;
    load->same = load->there && file->known && !file->check &&
                 load->there_size == file->size &&
                 st.st_mtim.tv_sec == file->mtime_s &&
                 (uint32_t)st.st_mtim.tv_nsec == file->mtime_ns;
}

static void look(struct haul_job *job)
{
    struct dest_look at = {NULL, -1};

    for (struct load *l = job->list.first; l != NULL; l = l->next) {
        look_one(job, &at, l);
    }
    dest_look_clear(&at);
}

/* Refused attributes are no reason to refuse the data: some file systems
 * have none. */
static void set_time(const struct transfer_identity *id, int fd)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {id->mtime_s, (long)id->mtime_ns}};

    (void)!futimens(fd, times);
}

/* ---- compare: the CID and the SHA-256 of a file that is there. */

/* All of the file, which is a small one; NULL: it has fewer bytes by now, or
 * cannot be read.  Freed by the caller. */
static uint8_t *read_whole(int fd, uint64_t size)
{
    uint8_t *data = malloc((size_t)size + 1);
    uint64_t got = 0;

    while (data != NULL && got < size) {
        ssize_t n = pread(fd, data + got, (size_t)(size - got), (off_t)got);

        if (n == 0 || (n < 0 && errno != EINTR)) {
            free(data);
            return NULL;
        }
        got += n > 0 ? (uint64_t)n : 0;
    }
    return data;
}

static bool cid_fits(struct haul_job *job, const struct load *load,
                     const uint8_t *data)
{
    const struct transfer_identity *id = &load->identity;
    uint64_t count = cid_chunk_count(id->size, id->chunk_log2);
    uint8_t (*digest)[HASH_LEN] = malloc(HASH_LEN * (count + 1));
    int err = digest == NULL ? ERR_NOMEM : 0;

    for (uint64_t k = 0; k < count && err == 0; k++) {
        err = hash_sha256(job->hasher, data + (k << id->chunk_log2),
                          cid_chunk_len(id->size, id->chunk_log2, k),
                          digest[k]);
    }
    if (err == 0) {
        err = bulk_check(job->hasher, id, digest[0]);
    }
    free(digest);
    return err == 0;
}

static bool sha256_fits(struct haul_job *job, const struct load *load,
                        const uint8_t *data)
{
    uint8_t whole[HASH_LEN];

    return hash_sha256(job->hasher, data, load->identity.size, whole) == 0 &&
           memcmp(whole, load->file.sha256, HASH_LEN) == 0;
}

/* Whatever goes wrong here means: not the same. */
static void compare_one(struct haul_job *job, struct load *load)
{
    const struct transfer_identity *id = &load->identity;
    uint8_t *data;
    int fd;

    if (dest_read(&job->haul->dest, load->name, &fd) != 0) {
        return;
    }
    data = read_whole(fd, id->size);
    load->same = data != NULL &&
                 (!id->cid_known || cid_fits(job, load, data)) &&
                 (!load->file.have_sha256 || sha256_fits(job, load, data));
    if (load->same && job->haul->options.remote_time &&
        !job->haul->options.dry_run) {
        set_time(id, fd); /* the next run need not look inside */
    }
    free(data);
    close(fd);
}

/* ---- write. */

static bool unpack(struct haul_job *job, struct load *load)
{
    for (uint32_t k = 0; k < load->came; k++) {
        struct parcel *p = &load->parcel[k];
        uint8_t *to = load->data + p->offset;

        if (p->codec == CODEC_ZERO) {
            memset(to, 0, p->raw_len);
        } else if (p->codec == CODEC_ZLIB &&
                   zpack_inflate(job->zpack, p->packed, p->stored_len, to,
                                 p->raw_len) != 0) {
            return false;
        }
    }
    return true;
}

static bool chunks_fit(struct haul_job *job, struct load *load)
{
    uint8_t real[HASH_GROUP][HASH_LEN];
    struct hash_item items[HASH_GROUP];
    uint32_t at = 0;

    while (at < load->count) {
        uint32_t n = 0;

        for (; n < HASH_GROUP && at + n < load->count; n++) {
            items[n].data = load->data + ((uint64_t)(at + n)
                                          << load->identity.chunk_log2);
            items[n].len = cid_chunk_len(load->identity.size,
                                         load->identity.chunk_log2, at + n);
            items[n].out = real[n];
        }
        if (hash_sha256_many(job->hasher, items, n) != 0 ||
            memcmp(real, load->digest[at], (size_t)n * HASH_LEN) != 0) {
            return false;
        }
        at += n;
    }
    return true;
}

/* BULK_STORED when the bytes are what they claim to be. */
static enum bulk_stored verify(struct haul_job *job, struct load *load)
{
    uint8_t whole[HASH_LEN];

    if (load->came != load->count || !unpack(job, load) ||
        !chunks_fit(job, load)) {
        return BULK_BAD_CHUNK;
    }
    if (bulk_check(job->hasher, &load->identity,
                   (const uint8_t *)load->digest) != 0) {
        return BULK_BAD_CID;
    }
    if (load->file.have_sha256 &&
        (hash_sha256(job->hasher, load->data, load->identity.size, whole) !=
             0 ||
         memcmp(whole, load->file.sha256, HASH_LEN) != 0)) {
        failed(load, ERR_DIGEST);
        return BULK_LOCAL;
    }
    return BULK_STORED;
}

static int write_all(int fd, const uint8_t *data, uint64_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno != EINTR) {
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG
                       ? ERR_NO_SPACE
                       : ERR_IO;
        }
        if (n > 0) {
            data += n;
            len -= (uint64_t)n;
        }
    }
    return 0;
}

static void set_attrs(const struct haul *h, const struct load *load, int fd)
{
    mode_t mode = load->identity.mode & 0777;

    (void)!fchmod(fd, (mode != 0 ? mode : 0666) & ~h->dest.mask);
    if (h->options.remote_time) {
        set_time(&load->identity, fd);
    }
}

static void write_one(struct haul_job *job, struct load *load)
{
    struct haul *h = job->haul;
    int fd = -1;
    int err;

    load->stored = verify(job, load);
    if (load->stored != BULK_STORED) {
        return;
    }
    err = dest_temp(&h->dest, load->temp, &fd);
    load->have_temp = err == 0;
    if (err == 0) {
        err = write_all(fd, load->data, load->identity.size);
    }
    if (err != 0) {
        failed(load, err);
    } else {
        set_attrs(h, load, fd);
    }
    if (fd >= 0 && close(fd) != 0 && err == 0) {
        err = ERR_IO;
        failed(load, err);
    }
    if (err != 0) {
        load->stored = BULK_LOCAL;
        if (load->have_temp) {
            dest_temp_remove(&h->dest, load->temp);
        }
    }
}

/* ---- settle. */

static void settle_one(struct haul *h, struct load *load)
{
    struct timespec mtime = {load->file.mtime_s, (long)load->file.mtime_ns};
    int err = 0;

    switch (load->kind) {
    case LOAD_FILE:
        err = dest_place(&h->dest, load->temp, load->name, load->taken);
        if (err != 0) {
            int saved = errno;

            dest_temp_remove(&h->dest, load->temp);
            errno = saved;
        }
        break;
    case LOAD_DIR:
        err = dest_mkdir(&h->dest, load->name);
        break;
    case LOAD_DIR_ATTRS:
        err = dest_dir_attrs(&h->dest, load->name, load->mode, mtime);
        break;
    case LOAD_LINK:
        err = dest_link(&h->dest, load->name, load->target,
                        load->file.exists == HAUL_REPLACE);
        break;
    }
    if (err != 0) {
        failed(load, err);
    }
}

/* A sync that failed is never repeated and believed: nothing of this turn is
 * given its name (RELIABILITY (d), step 8). */
static void settle(struct haul_job *job)
{
    struct haul *h = job->haul;
    uint64_t *number = malloc((job->list.count + 1) * sizeof number[0]);
    size_t count = 0;

    job->err = number == NULL ? ERR_NOMEM : 0;
    for (struct load *l = job->list.first; l != NULL && number != NULL;
         l = l->next) {
        if (l->kind == LOAD_FILE) {
            number[count++] = l->temp;
        }
    }
    if (job->err == 0) {
        job->err = dest_sync(&h->dest, number, count);
    }
    free(number);
    for (struct load *l = job->list.first; l != NULL && job->err == 0;
         l = l->next) {
        settle_one(h, l);
    }
    if (job->err == 0) {
        job->err = dest_sync_names(&h->dest);
    }
    job->sys_errno = errno;
}

void haul_stage_run(struct haul_job *job)
{
    job->err = 0;
    switch (job->stage) {
    case STAGE_LOOK:
        look(job);
        break;
    case STAGE_COMPARE:
        for (struct load *l = job->list.first; l != NULL; l = l->next) {
            compare_one(job, l);
        }
        break;
    case STAGE_WRITE:
        for (struct load *l = job->list.first; l != NULL; l = l->next) {
            write_one(job, l);
        }
        break;
    case STAGE_SETTLE:
        settle(job);
        break;
    }
}
