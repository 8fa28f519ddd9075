#include "server/hashjob.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/data/cid.h"
#include "proto/data/zpack.h"
#include "proto/io/clock.h"
#include "proto/io/loop.h"
#include "server/limits.h"

/* Chunks hashed together. */
#define LANES 2u

/* A file whose change time stays in the future is given up after so many
 * rests. */
#define RESTS_MAX 3u

/* The clock of files ticks every 1 to 10 ms: shorter rests would find it as
 * it was, and be used up. */
#define REST_MIN_MS 20u

struct hashjob {
    struct prepare_slice slice;
    struct prepare *prepare;
    struct loop_timer *rest; /* until the file has rested (rule D12) */
    bool resting;
    unsigned rests;
    struct source *source; /* a reference */
    struct metrics_slot *count;
    enum metrics_id state; /* ..._RUNNING_NOW, _WAITING_NOW; else neither */
    struct hashwait *waits;
    atomic_bool stop;      /* nobody waits */
    uint64_t at;           /* what the slice hashes: from here */
    uint64_t end;          /* ... to here at most */
    int err;
    uint8_t *buf[LANES];
};

/* ---- Threads. */

static int
read_chunks(struct hashjob *job, const uint64_t *index, size_t n,
            struct hash_item *items)
{
    const struct source *src = job->source;
    uint8_t c = src->chunk_log2;
    int err = fileid_check(&src->id, src->fd);

    for (size_t i = 0; i < n && err == 0; i++) {
        items[i].data = job->buf[i];
        items[i].len = cid_chunk_len(src->id.size, c, index[i]);
        err = prepare_read(src->fd, job->buf[i], items[i].len,
                           cid_chunk_offset(c, index[i]));
    }
    return err;
}

static int
hash_chunks(struct hashjob *job, struct hasher *hasher, const uint64_t *index,
            size_t n)
{
    struct source *src = job->source;
    struct digest_state state[LANES];
    struct hash_item items[LANES];
    bool settled = fileid_is_settled(&src->id, clock_file_ns());

    for (size_t i = 0; i < n; i++) {
        items[i].out = state[i].digest;
    }
    atomic_store(&src->served, true);
    int err = read_chunks(job, index, n, items);
    if (err == 0) {
        err = hash_sha256_many(hasher, items, n);
    }
    if (err == 0) {
        err = fileid_check(&src->id, src->fd);
    }
    for (size_t i = 0; i < n && err == 0; i++) {
        state[i].settled = settled;
        state[i].zero = zpack_is_zero(items[i].data, items[i].len);
        err = digests_put(src->digests, index[i], &state[i]);
    }
    return err;
}

static void
slice_work(struct prepare_slice *slice, struct hasher *hasher)
{
    struct hashjob *job = (struct hashjob *)slice;
    uint64_t budget = SERVER_SLICE_BYTES >> job->source->chunk_log2;

    while (job->err == 0 && job->at < job->end && budget > 0 &&
           !atomic_load(&job->stop)) {
        uint64_t index[LANES];
        size_t n = 0;
        while (n < LANES && budget > 0) {
            job->at =
                digests_unknown(job->source->digests, job->at, job->end);
            if (job->at == job->end) {
                break;
            }
            index[n++] = job->at++;
            budget--;
        }
        if (n > 0) {
            job->err = hash_chunks(job, hasher, index, n);
        }
    }
}

/* ---- The loop's thread. */

static void
change_state(struct hashjob *job, enum metrics_id state)
{
    if (job->state != METRICS_IDS) {
        metrics_sub(job->count, job->state, 1);
    }
    job->state = state;
    metrics_add(job->count, state, 1);
}

static void
job_free(struct hashjob *job)
{
    struct source *src = job->source;

    if (job->state != METRICS_IDS) {
        metrics_sub(job->count, job->state, 1);
        metrics_add(job->count, METRICS_HASH_DONE, 1);
    }
    for (size_t i = 0; i < LANES; i++) {
        free(job->buf[i]);
    }
    loop_timer_free(job->rest);
    free(job);
    src->hashjob = NULL;
    source_release(src);
}

static struct hashwait *
unlink_wait(struct hashjob *job, struct hashwait *wait)
{
    struct hashwait **link = &job->waits;
    while (*link != wait) {
        link = &(*link)->next;
    }
    *link = wait->next;
    return wait;
}

static void
tell_progress(const struct hashjob *job, struct hashwait *wait)
{
    uint8_t c = job->source->chunk_log2;
    uint64_t known =
        digests_unknown(job->source->digests, wait->span_first, wait->span_end);
    wait->done_bytes = (known - wait->span_first) << c;
    wait->total_bytes = (wait->span_end - wait->span_first) << c;
    wait->progress(wait);
}

/* Ends the waits that have what they want; others hear how far it is. Their
 * callbacks may join again. */
static void
serve_waits(struct hashjob *job)
{
    struct hashwait *next;

    for (struct hashwait *w = job->waits; w != NULL; w = next) {
        next = w->next;
        bool ready = digests_unknown(job->source->digests, w->first, w->end) ==
                     w->end;
        if (job->err != 0 || ready) {
            unlink_wait(job, w)->done(w, ready ? 0 : job->err);
        } else {
            tell_progress(job, w);
        }
    }
}

static void next_slice(struct hashjob *job);

/* After a slice, or when none is possible: on with those who still wait, and
 * those who joined meanwhile. */
static void
end_round(struct hashjob *job)
{
    serve_waits(job);
    if (job->waits == NULL) {
        job_free(job);
        return;
    }
    job->err = 0;
    atomic_store(&job->stop, false);
    next_slice(job);
}

/* Whoever came first is served first; what others want as well is skipped
 * when their turn comes. Digests read right after a change would not count,
 * so the job waits until the file has rested. */
static void
next_slice(struct hashjob *job)
{
    uint64_t wait_ms = fileid_rest_ms(&job->source->id, clock_file_ns());

    if (wait_ms > 0 && job->rests++ == RESTS_MAX) {
        job->err = ERR_AGAIN;
        job->rests = 0;
        end_round(job);
        return;
    }
    if (wait_ms > 0) {
        job->resting = true;
        change_state(job, METRICS_HASH_WAITING_NOW);
        loop_timer_start(job->rest,
                         wait_ms > REST_MIN_MS ? wait_ms : REST_MIN_MS);
        return;
    }
    change_state(job, METRICS_HASH_RUNNING_NOW);
    job->at = job->waits->first;
    job->end = job->waits->span_end;
    prepare_slice(job->prepare, &job->slice);
}

static void
on_rested(void *arg)
{
    struct hashjob *job = arg;

    job->resting = false;
    next_slice(job);
}

static void
slice_done(struct prepare_slice *slice)
{
    end_round((struct hashjob *)slice);
}

static struct hashjob *
job_new(struct loop *loop, struct prepare *prepare, struct hashwait *first)
{
    struct source *src = first->source;
    struct hashjob *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return NULL;
    }
    job->count = first->count;
    job->state = METRICS_IDS;
    job->source = src;
    source_hold(src);
    src->hashjob = job;
    job->prepare = prepare;
    job->slice.metered = true;
    job->slice.work = slice_work;
    job->slice.done = slice_done;
    int err = loop_timer_new(loop, on_rested, job, &job->rest);
    for (size_t i = 0; i < LANES && err == 0; i++) {
        job->buf[i] = malloc((size_t)1 << src->chunk_log2);
        err = job->buf[i] == NULL ? ERR_NOMEM : 0;
    }
    if (err != 0) {
        job_free(job);
        return NULL;
    }
    return job;
}

int
hashjob_join(struct loop *loop, struct prepare *prepare, struct hashwait *wait)
{
    struct source *src = wait->source;
    bool first = src->hashjob == NULL;

    if (first && job_new(loop, prepare, wait) == NULL) {
        return ERR_NOMEM;
    }
    struct hashjob *job = src->hashjob;
    struct hashwait **link = &job->waits;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    wait->next = NULL;
    *link = wait;
    atomic_store(&job->stop, false);
    if (first) {
        next_slice(job);
    }
    return 0;
}

void
hashjob_leave(struct hashwait *wait)
{
    struct hashjob *job = wait->source->hashjob;

    unlink_wait(job, wait);
    if (job->waits != NULL) {
        return;
    }
    if (job->resting) {
        job_free(job);
    } else {
        atomic_store(&job->stop, true);
    }
}
