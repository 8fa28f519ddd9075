/* Local chunks: hashing what is on disk, and moving old chunks to their new
 * place, on worker threads, a bounded number at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/fetch_internal.h"
#include "proto/base/err.h"
#include "proto/data/cid.h"

/* Chunks hashed in one call, so that two lanes have work. */
#define HASH_GROUP 64u

static uint64_t chunk_at(const struct local_job *job, uint64_t index)
{
    return index << job->action.chunk_log2;
}

/* Bytes of the file itself, or of the donor that is meant.  A file that is
 * repaired is read by its store, which sees to it that the device answers. */
static int local_read(struct local_job *job, uint64_t offset, size_t len)
{
    const struct donor *donor =
        job->action.donor == TRANSFER_NO_DONOR
            ? NULL
            : &job->fetch->donors.donor[job->action.donor];

    if (donor != NULL && !(donor->self && job->fetch->store != NULL)) {
        return donor_read(donor, offset, job->buffer, len);
    }
    return store_pread(job->fetch->store, offset, job->buffer, len,
                       &job->error);
}

/* Read and hash a group of neighbouring chunks that fit the buffer. */
static uint64_t hash_group(struct local_job *job, uint64_t at)
{
    const struct transfer_action *a = &job->action;
    struct hash_item items[HASH_GROUP];
    uint64_t offset = chunk_at(job, at);
    size_t bytes = 0;
    uint64_t n = 0;

    while (at + n < a->first + a->count && n < HASH_GROUP) {
        uint32_t len = cid_chunk_len(job->size, a->chunk_log2, at + n);

        if (bytes + len > job->buffer_len) {
            break;
        }
        items[n].data = job->buffer + bytes;
        items[n].len = len;
        items[n].out = job->digest[at + n - a->first];
        bytes += len;
        n++;
    }
    errno = 0;
    if (local_read(job, offset, bytes) != 0) {
        job->fault = job->fault != 0 ? job->fault : errno;
    } else if (hash_sha256_many(job->hasher, items, n) == 0) {
        for (uint64_t k = 0; k < n; k++) {
            job->ok[at + k - a->first] = true;
        }
    }
    return n;
}

/* A donor that was read already. */
static bool hash_recalled(struct local_job *job)
{
    const struct transfer_action *a = &job->action;
    const struct fetch *f = job->fetch;

    if (a->donor == TRANSFER_NO_DONOR || a->donor != f->recall_donor ||
        !recall_digests(&f->recall, a->chunk_log2, a->first, a->count,
                        job->digest)) {
        return false;
    }
    memset(job->ok, true, a->count * sizeof job->ok[0]);
    return true;
}

static void hash_work(struct local_job *job)
{
    const struct transfer_action *a = &job->action;

    job->fault = 0;
    if (hash_recalled(job)) {
        return;
    }
    memset(job->ok, 0, a->count * sizeof job->ok[0]);
    for (uint64_t at = a->first; at < a->first + a->count;) {
        at += hash_group(job, at);
    }
}

/* Are the bytes in the buffer those that are wanted? */
static bool is_wanted(struct local_job *job, size_t len)
{
    return hash_sha256(job->hasher, job->buffer, len, job->digest[0]) == 0 &&
           memcmp(job->digest[0], job->action.digest, HASH_LEN) == 0;
}

/* Share the blocks, then look at what stands there now.  Where that goes
 * wrong the chunk counts as missing and is written over. */
static bool clone_chunk(struct local_job *job, uint32_t len)
{
    const struct transfer_action *a = &job->action;
    struct store *store = job->fetch->store;

    if (a->donor == TRANSFER_NO_DONOR || !job->try_clone) {
        return false;
    }
    if (store_clone(store, job->fetch->donors.donor[a->donor].fd,
                    a->from_offset, chunk_at(job, a->first), len) != 0) {
        job->try_clone = false;
        return false;
    }
    return store_pread(store, chunk_at(job, a->first), job->buffer, len,
                       &job->error) == 0 &&
           is_wanted(job, len);
}

/* The old bytes are trusted no further than their digest reaches. */
static void copy_work(struct local_job *job)
{
    const struct transfer_action *a = &job->action;
    uint32_t len = cid_chunk_len(job->size, a->chunk_log2, a->first);
    struct iovec iov = {job->buffer, len};
    struct store *store = job->fetch->store;

    job->error.code = 0;
    job->copied =
        (clone_chunk(job, len) ||
         (local_read(job, a->from_offset, len) == 0 && is_wanted(job, len) &&
          store_pwrite(store, chunk_at(job, a->first), &iov, 1,
                       &job->error) == 0)) &&
        store_mark(store, a->first, 1,
                   (const uint8_t (*)[HASH_LEN])job->digest, &job->error) ==
            0;
}

static void work(void *arg)
{
    struct local_job *job = arg;

    if (job->action.type == TRANSFER_COPY) {
        copy_work(job);
    } else {
        hash_work(job);
    }
}

static void done(void *arg)
{
    struct local_job *job = arg;
    struct fetch *f = job->fetch;
    const struct transfer_action *a = &job->action;
    uint64_t now = loop_now_ms(f->loop);

    job->busy = false;
    f->local_busy--;
    if (a->type == TRANSFER_COPY) {
        if (job->error.code == ERR_NO_SPACE) {
            fetch_store_error(f, &job->error);
        }
        f->donors.no_clone = f->donors.no_clone || !job->try_clone;
        transfer_copied(f->transfer, job->copied, now);
    } else {
        f->local_fault = f->local_fault != 0 ? f->local_fault : job->fault;
        for (uint64_t k = 0; k < a->count; k++) {
            transfer_hashed(f->transfer, a->first + k,
                            job->ok[k] ? job->digest[k] : NULL, now);
        }
        if (f->rebased && !f->over && a->donor == TRANSFER_NO_DONOR &&
            a->chunk_log2 == transfer_identity(f->transfer)->chunk_log2) {
            fetch_store_remark(f, a->first, a->count);
        }
    }
    if (f->over) {
        fetch_settle(f);
        return;
    }
    local_pump(f);
    fetch_pump(f);
}

/* The most chunks that one action names. */
#define CHUNKS_MAX ((size_t)4096)

int local_init(struct fetch *f)
{
    for (unsigned k = 0; k < LOCAL_JOBS; k++) {
        struct local_job *job = &f->local[k];

        job->fetch = f;
        job->hasher = hasher_new();
        job->digest = calloc(CHUNKS_MAX, HASH_LEN);
        job->ok = calloc(CHUNKS_MAX, sizeof job->ok[0]);
        if (job->hasher == NULL || job->digest == NULL || job->ok == NULL ||
            loop_work_new(f->loop, work, done, job, &job->work) != 0) {
            return ERR_NOMEM;
        }
    }
    return 0;
}

void local_free(struct fetch *f)
{
    for (unsigned k = 0; k < LOCAL_JOBS; k++) {
        struct local_job *job = &f->local[k];

        loop_work_free(job->work);
        hasher_free(job->hasher);
        free(job->buffer);
        free(job->digest);
        free(job->ok);
    }
}

static bool start(struct fetch *f, struct local_job *job,
                  const struct transfer_action *action)
{
    size_t chunk = (size_t)1 << action->chunk_log2;
    size_t len = chunk > LOCAL_BUFFER ? chunk : LOCAL_BUFFER;
    void *buffer;

    if (job->buffer_len < len) {
        free(job->buffer);
        job->buffer = NULL;
        job->buffer_len = 0;
        if (posix_memalign(&buffer, 4096, len) != 0) {
            fetch_over(f, BELAY_INTERNAL, "out of memory");
            return false;
        }
        job->buffer = buffer;
        job->buffer_len = len;
    }
    BELAY_ASSERT(action->count <= CHUNKS_MAX);
    job->action = *action;
    job->size = transfer_identity(f->transfer)->size;
    if (action->type == TRANSFER_HASH && action->donor != TRANSFER_NO_DONOR) {
        job->size = f->donors.donor[action->donor].size;
    }
    job->try_clone = !f->donors.no_clone;
    job->busy = true;
    f->local_busy++;
    loop_work_submit(job->work);
    return true;
}

void local_pump(struct fetch *f)
{
    for (unsigned k = 0; k < LOCAL_JOBS && f->queue_count > 0; k++) {
        if (!f->local[k].busy) {
            const struct transfer_action *a = &f->queue[f->queue_head];

            if (!start(f, &f->local[k], a)) {
                return;
            }
            f->queue_head = (f->queue_head + 1) % LOCAL_QUEUE;
            f->queue_count--;
        }
    }
}

void local_add(struct fetch *f, const struct transfer_action *action)
{
    /* The transfer bounds what it gives out: HASH_PENDING_BYTES. */
    BELAY_ASSERT(f->queue_count < LOCAL_QUEUE);
    f->queue[(f->queue_head + f->queue_count) % LOCAL_QUEUE] = *action;
    f->queue_count++;
    local_pump(f);
}
