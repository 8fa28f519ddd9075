#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "proto/data/merkle.h"
#include "proto/io/clock.h"
#include "server/conn_internal.h"
#include "server/hashjob.h"
#include "server/limits.h"

/* When to ask again for digests that are not known; nothing hashes them
 * meanwhile, but another client's download may. */
#define DIGEST_RETRY_MS 2000u

/* A DIGEST that has to wait. There is one at a time for each connection,
 * because the sender gives out the next page only after this one. */
struct digest_task {
    struct hashwait wait;
    struct source_wait sync; /* for the CID that the digests complete */
    struct prepare_slice slice; /* building a tree */
    struct loop_timer *turn; /* not NULL: its origin hashes enough already, */
    struct digest_task *next; /* and it is in the worker's list of those */
    bool counted;             /* among the hash jobs of its origin */
    struct conn *conn;
    struct sender_job job;
    uint8_t *tree;
    int err;
};

static uint64_t
now_of(const struct conn *c)
{
    return loop_now_ms(c->worker->loop);
}

static struct source *
source_of(const struct sender_job *job)
{
    return ((const struct opened *)job->file)->source;
}

static uint16_t
digest_code(int err)
{
    switch (err) {
    case ERR_CHANGED:
        return WIRE_CHANGED_DURING;
    case ERR_NOMEM:
    case ERR_LIMIT:
        return WIRE_BUSY;
    case ERR_IO:
        return WIRE_IO_ERROR;
    case ERR_AGAIN:
        return WIRE_DIGEST_PENDING;
    default:
        return WIRE_INTERNAL;
    }
}

/* All digests of the page are known: copies them, and the path of the block
 * that the page completes. */
static void
answer_page(struct conn *c, const struct sender_job *job)
{
    const struct sender_job_digest *d = &job->digest;
    struct source *src = source_of(job);
    struct sender_result result = { .code = 0 };
    bool unlinked = false;

    if (source_check(src, &unlinked) != 0) {
        result.code = WIRE_CHANGED_DURING;
    } else if (!digests_copy(src->digests, d->first, d->count, d->out)) {
        result.code = WIRE_BUSY; /* memory is out: they were forgotten */
    } else if (d->with_proof) {
        result.proof_len = (uint8_t)merkle_tree_path(
            src->tree, digests_count(src->digests), d->block_log2, d->block,
            d->out + (size_t)d->count * HASH_LEN);
    }
    sender_job_done(c->sender, now_of(c), job->id, &result);
}

/* Out of the list of those that wait for their turn. */
static void
turn_end(struct digest_task *task)
{
    struct digest_task **link = &task->conn->worker->turns;

    if (task->turn == NULL) {
        return;
    }
    while (*link != task) {
        link = &(*link)->next;
    }
    *link = task->next;
    loop_timer_free(task->turn);
    task->turn = NULL;
}

/* Those of this worker look at once whether it is their turn. */
static void
count_end(struct digest_task *task)
{
    struct worker *w = task->conn->worker;

    if (!task->counted) {
        return;
    }
    census_hash_end(w->server->census, w->index, &task->conn->io.guest);
    for (struct digest_task *t = w->turns; t != NULL; t = t->next) {
        loop_timer_start(t->turn, 0);
    }
}

static void
task_end(struct digest_task *task)
{
    struct conn *c = task->conn;

    turn_end(task);
    count_end(task);
    source_release(task->wait.source);
    free(task);
    if (conn_task_end(c)) {
        conn_pump(c);
    }
}

static void
task_fail(struct digest_task *task, int err)
{
    if (!task->conn->dead) {
        serve_code(task->conn, task->job.id, digest_code(err));
    }
    task_end(task);
}

/* ---- The tree, for proofs: kept with the source, so that each file's is
 * built once. */

static void
tree_work(struct prepare_slice *slice, struct hasher *hasher)
{
    struct digest_task *task =
        (struct digest_task *)(void *)((char *)slice -
                                       offsetof(struct digest_task, slice));
    task->err =
        digests_tree(task->wait.source->digests, hasher, &task->tree);
}

static void
tree_done(struct prepare_slice *slice)
{
    struct digest_task *task =
        (struct digest_task *)(void *)((char *)slice -
                                       offsetof(struct digest_task, slice));
    struct source *src = task->wait.source;

    if (task->err != 0) {
        task_fail(task, task->err);
        return;
    }
    if (src->tree == NULL) {
        source_set_tree(src, task->tree);
    } else {
        free(task->tree);
    }
    if (!task->conn->dead) {
        answer_page(task->conn, &task->job);
    }
    task_end(task);
}

static bool
tree_is_missing(const struct sender_job *job)
{
    return job->digest.with_proof && source_of(job)->tree == NULL;
}

static void
start_tree(struct digest_task *task)
{
    struct source *src = task->wait.source;

    if (!source_tree_fits(src)) {
        task_fail(task, ERR_LIMIT);
        return;
    }
    task->slice.work = tree_work;
    task->slice.done = tree_done;
    prepare_slice(task->conn->worker->prepare, &task->slice);
}

/* ---- Hashing. */

/* Everything is known that the answer needs. */
static void
go_on(struct digest_task *task)
{
    if (!task->conn->dead && tree_is_missing(&task->job)) {
        start_tree(task);
        return;
    }
    if (!task->conn->dead) {
        answer_page(task->conn, &task->job);
    }
    task_end(task);
}

static void
sync_done(struct source_wait *sync)
{
    go_on((struct digest_task *)(void *)((char *)sync -
                                         offsetof(struct digest_task, sync)));
}

/* Rule I5: once the answer is out, the next INFO has to name the CID. */
static void
hash_done(struct hashwait *wait, int err)
{
    struct digest_task *task = (struct digest_task *)wait;

    turn_end(task);
    if (task->conn->digest_task == task) {
        task->conn->digest_task = NULL; /* too late to give up */
    }
    if (err != 0) {
        task_fail(task, err);
    } else if (digests_sync_helps(wait->source->digests)) {
        task->sync.done = sync_done;
        source_sync(wait->source, &task->sync);
    } else {
        go_on(task);
    }
}

static void
hash_progress(struct hashwait *wait)
{
    struct digest_task *task = (struct digest_task *)wait;

    if (!task->conn->dead) {
        sender_job_progress(task->conn->sender, task->job.id,
                            wait->done_bytes, wait->total_bytes);
    }
}

static struct digest_task *
task_new(struct conn *c, const struct sender_job *job)
{
    const struct sender_job_digest *d = &job->digest;
    struct digest_task *task = calloc(1, sizeof(*task));
    if (task == NULL) {
        return NULL;
    }
    struct source *src = source_of(job);
    task->conn = c;
    task->job = *job;
    task->wait = (struct hashwait){
        .source = src,
        .first = d->whole_tree ? 0 : d->first,
        .end = d->whole_tree ? digests_count(src->digests)
                             : d->first + d->count,
        .span_first = d->whole_tree ? 0 : d->span_first,
        .span_end = d->whole_tree ? digests_count(src->digests)
                                  : d->span_first + d->span_count,
        .count = c->worker->count,
        .done = hash_done,
        .progress = hash_progress,
    };
    source_hold(src);
    conn_task_begin(c);
    return task;
}

static void
start_hashing(struct digest_task *task)
{
    struct conn *c = task->conn;

    if (hashjob_join(c->worker->loop, c->worker->prepare, &task->wait) != 0) {
        task_fail(task, ERR_NOMEM);
    } else {
        c->digest_task = task;
    }
}

/* One small question may cost the reading of a large file, so an origin has
 * only a few of them answered at a time. */
static bool
has_turn(struct digest_task *task)
{
    struct conn *c = task->conn;

    task->counted = c->io.counted &&
                    census_hash_begin(c->worker->server->census,
                                      c->worker->index, &c->io.guest);
    return task->counted || !c->io.counted;
}

/* Others may have made the digests known meanwhile. */
static void
on_turn(void *arg)
{
    struct digest_task *task = arg;
    const struct hashwait *wait = &task->wait;

    if (digests_unknown(wait->source->digests, wait->first, wait->end) ==
        wait->end) {
        hash_done(&task->wait, 0);
    } else if (has_turn(task)) {
        turn_end(task);
        start_hashing(task);
    } else {
        loop_timer_start(task->turn, SERVER_HASH_RETRY_MS);
    }
}

static void
wait_or_hash(struct digest_task *task)
{
    struct conn *c = task->conn;

    if (has_turn(task)) {
        start_hashing(task);
    } else if (loop_timer_new(c->worker->loop, on_turn, task,
                              &task->turn) != 0) {
        task_fail(task, ERR_NOMEM);
    } else {
        metrics_add(c->worker->count, METRICS_LIMIT_HASHING, 1);
        c->digest_task = task;
        task->next = c->worker->turns;
        c->worker->turns = task;
        loop_timer_start(task->turn, SERVER_HASH_RETRY_MS);
    }
}

void
serve_digest(struct conn *conn, const struct sender_job *job)
{
    const struct sender_job_digest *d = &job->digest;
    struct source *src = source_of(job);
    uint64_t first = d->whole_tree ? 0 : d->first;
    uint64_t end = d->whole_tree ? digests_count(src->digests)
                                 : d->first + d->count;
    bool known = digests_unknown(src->digests, first, end) == end;

    if (known) {
        metrics_add(conn->worker->count, METRICS_DIGEST_HITS, d->count);
    }
    if (known && !tree_is_missing(job)) {
        answer_page(conn, job);
        return;
    }
    if (!known && d->no_wait) {
        uint64_t rest = fileid_rest_ms(&src->id, clock_file_ns());
        struct sender_result result = {
            .code = WIRE_DIGEST_PENDING,
            .retry_after_ms = (uint32_t)rest + DIGEST_RETRY_MS,
        };
        sender_job_done(conn->sender, now_of(conn), job->id, &result);
        return;
    }
    struct digest_task *task = task_new(conn, job);
    if (task == NULL) {
        serve_code(conn, job->id, WIRE_BUSY);
        return;
    }
    if (!known) {
        metrics_add(conn->worker->count, METRICS_DIGEST_MISSES, d->count);
    }
    if (known) {
        start_tree(task);
    } else {
        wait_or_hash(task);
    }
}

/* Only hashing takes long enough to be worth giving up. */
static void
give_up(struct conn *conn)
{
    struct digest_task *task = conn->digest_task;

    conn->digest_task = NULL;
    if (task->turn == NULL) {
        hashjob_leave(&task->wait);
    }
    task_fail(task, ERR_CANCELLED);
}

void
serve_abandon(struct conn *conn, uint32_t id)
{
    if (conn->digest_task != NULL && conn->digest_task->job.id == id) {
        give_up(conn);
    }
}

void
serve_abandon_all(struct conn *conn)
{
    if (conn->digest_task != NULL) {
        give_up(conn);
    }
}
