#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/data/cid.h"
#include "proto/io/clock.h"
#include "server/conn_internal.h"

static uint64_t
now_of(const struct conn *c)
{
    return loop_now_ms(c->worker->loop);
}

void
serve_code(struct conn *conn, uint32_t id, uint16_t code)
{
    struct sender_result result = { .code = code };
    sender_job_done(conn->sender, now_of(conn), id, &result);
}

/* ---- OPEN. */

/* An OPEN whose path is not in the kernel's memory. */
struct open_task {
    struct conn *conn;
    struct sender_job job;
    struct loop_work *work;
    int err;
    int error; /* errno, for the log */
    int fd;
    struct stat st;
};

void
serve_log_refused(struct conn *conn, const char *path, int err, int error)
{
    struct worker *w = conn->worker;
    bool verbose = w->server->settings->verbose;
    struct log_line line;

    if (!verbose &&
        (err != ERR_NOT_FOUND || error != EACCES ||
         !burst_allows(&w->unreadable, w->log, w->index,
                       loop_now_ms(w->loop)))) {
        return;
    }
    log_begin(&line, w->log, verbose ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
              verbose ? "refused" : "unreadable");
    log_num(&line, "worker", w->index);
    log_num(&line, "conn", conn->id);
    log_text(&line, "path", path);
    log_word(&line, "code", err_name(err));
    if (err == ERR_NOT_FOUND && error != 0) {
        log_errno(&line, error);
    }
    log_end(&line);
}

static uint16_t
open_code(int err)
{
    switch (err) {
    case ERR_LIMIT:
    case ERR_NOMEM:
        return WIRE_BUSY;
    case ERR_NOT_FOUND:
    case ERR_NOT_A_FILE:
    case ERR_NOT_A_DIRECTORY:
    case ERR_UNSUPPORTED:
    case ERR_IO:
        return err_wire(err);
    default:
        return WIRE_INTERNAL;
    }
}

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

static void
describe(const struct stat *st, struct sender_file *out)
{
    out->file_type = file_type(st->st_mode);
    out->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
    out->mtime_s = st->st_mtim.tv_sec;
    out->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    out->mode = st->st_mode & 0777;
}

static uint8_t
choose_chunk_log2(const struct sender_job_open *job, uint64_t size)
{
    if (job->chunk_log2 != 0) {
        return job->chunk_log2;
    }
    uint8_t c = cid_recommended_chunk_log2(size);
    return c < job->max_chunk_log2 ? c : job->max_chunk_log2;
}

static struct opened *
opened_new(struct conn *c, struct source *source)
{
    struct opened *o = calloc(1, sizeof(*o));
    if (o == NULL) {
        return NULL;
    }
    o->conn = c;
    o->source = source;
    o->next = c->opened;
    if (o->next != NULL) {
        o->next->prev = o;
    }
    c->opened = o;
    return o;
}

static void
opened_free(struct opened *o)
{
    if (o->prev != NULL) {
        o->prev->next = o->next;
    } else {
        o->conn->opened = o->next;
    }
    if (o->next != NULL) {
        o->next->prev = o->prev;
    }
    source_release(o->source);
    free(o);
}

/* Rule I2: *st is the only fstat, judged by the sender and bound here. Takes
 * fd over. */
static int
finish_file(struct conn *c, const struct sender_job *job, int fd,
            const struct stat *st, struct sender_result *result)
{
    struct fileid id = fileid_of(st);
    struct source *src = NULL;
    uint8_t chunk_log2 = choose_chunk_log2(&job->open, id.size);

    if (!cid_geometry_ok(id.size, chunk_log2)) {
        close(fd);
        return ERR_UNSUPPORTED; /* I3: more chunks than a block can have */
    }
    int err = sources_get(c->worker->sources, fd, st, chunk_log2, &src);
    if (err != 0) {
        return err;
    }
    struct opened *o = opened_new(c, src);
    if (o == NULL) {
        source_release(src);
        return ERR_NOMEM;
    }
    describe(st, &result->open);
    result->open.file = o;
    result->open.chunk_log2 = chunk_log2;
    result->open.strong = fileid_is_settled(&id, clock_file_ns());
    result->open.version_len = SOURCE_VERSION_LEN;
    memcpy(result->open.version, src->version, SOURCE_VERSION_LEN);
    result->cid_known = digests_cid(src->digests, result->cid);
    return 0;
}

/* err and fd as rootfs_open() gave them; error its errno. */
static void
finish_open(struct conn *c, const struct sender_job *job, int err, int error,
            int fd, const struct stat *st)
{
    struct sender_result result = { .code = 0 };

    if (err == 0 && fd >= 0) {
        err = finish_file(c, job, fd, st, &result);
    } else if (err == 0) {
        describe(st, &result.open);
    }
    if (err != 0) {
        serve_log_refused(c, job->open.path, err, error);
        result.code = open_code(err);
    }
    sender_job_done(c->sender, now_of(c), job->id, &result);
}

static void
open_work(void *arg)
{
    struct open_task *task = arg;
    const struct rootfs *root = task->conn->worker->root;

    task->fd = -1;
    task->err = rootfs_open(root, task->job.open.path, false, &task->st,
                            &task->fd);
    task->error = errno;
    if (task->err != 0 && task->job.open.no_handle) {
        task->err = rootfs_stat(root, task->job.open.path, &task->st);
        task->error = errno;
    }
}

static void
open_done(void *arg)
{
    struct open_task *task = arg;
    struct conn *c = task->conn;

    if (c->dead) {
        if (task->fd >= 0) {
            close(task->fd);
        }
    } else {
        finish_open(c, &task->job, task->err, task->error, task->fd,
                    &task->st);
    }
    loop_work_free(task->work);
    free(task);
    if (conn_task_end(c)) {
        conn_pump(c);
    }
}

/* May the client read it, or, where a directory is only described, know of
 * it? */
static bool
may_open(const struct conn *c, const struct sender_job_open *open)
{
    struct gate_who who;

    conn_describe(c, &who);
    return gate_may_read(c->gate, &who, open->path) ||
           (open->no_handle && gate_may_pass(c->gate, &who, open->path));
}

/* A path that the client may not read: it is never looked at, so nothing about
 * it can be learnt, and the answer is that for a file that is not there, after
 * the same work. */
static void
refuse_open(struct conn *c, const struct sender_job *job)
{
    struct stat st;
    int fd = -1;

    if (rootfs_open(c->worker->root, SERVE_NOWHERE, true, &st, &fd) == 0) {
        close(fd);
    }
    serve_log_refused(c, job->open.path, ERR_DENIED, 0);
    serve_code(c, job->id, WIRE_NOT_FOUND);
}

static void
serve_open(struct conn *c, const struct sender_job *job)
{
    struct stat st;
    int fd = -1;

    if (!may_open(c, &job->open)) {
        refuse_open(c, job);
        return;
    }
    int err = rootfs_open(c->worker->root, job->open.path, true, &st, &fd);

    if (err == 0 || (err != ERR_AGAIN && !job->open.no_handle)) {
        finish_open(c, job, err, errno, fd, &st);
        return;
    }
    struct open_task *task = calloc(1, sizeof(*task));
    if (task == NULL || loop_work_new(c->worker->loop, open_work, open_done,
                                      task, &task->work) != 0) {
        free(task);
        serve_code(c, job->id, WIRE_BUSY);
        return;
    }
    task->conn = c;
    task->job = *job;
    conn_task_begin(c);
    loop_work_submit(task->work);
}

/* ---- CHUNK. */

static struct source *
source_of(const struct sender_job *job)
{
    return ((const struct opened *)job->file)->source;
}

/* Bytes that the kernel has not sent yet: what the link is behind. */
static uint64_t
unsent_bytes(const struct conn *c)
{
    int unsent = 0;

    if (c->blocked || c->left != NULL || c->sending != NULL) {
        return UINT64_MAX;
    }
    return ioctl(c->io.out_fd, SIOCOUTQNSD, &unsent) == 0 && unsent > 0
               ? (uint64_t)unsent
               : 0;
}

static void
answer_chunk(struct conn *c, struct conn_piece *cp)
{
    const struct piece *p = &cp->piece;

    if (cp->compressible) {
        cp->unsent = unsent_bytes(c);
    }
    struct sender_result result = {
        .code = p->code,
        .has_offset = p->has_offset,
        .offset = p->offset,
        .piece = cp,
        .codec = p->codec,
        .stored_len = p->stored_len,
    };
    memcpy(result.digest, p->digest, HASH_LEN);
    if (p->code != 0) {
        prepare_release(c->worker->prepare, &cp->piece);
        cp->used = false;
    }
    sender_job_done(c->sender, now_of(c), cp->job, &result);
}

static void
piece_done(struct piece *piece)
{
    struct conn_piece *cp = (struct conn_piece *)piece;
    struct conn *c = cp->conn;

    cp->working = false;
    if (!c->dead) {
        answer_chunk(c, cp);
    }
    if (conn_task_end(c)) {
        conn_pump(c);
    }
}

static struct conn_piece *
piece_take(struct conn *c)
{
    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        if (!c->pieces[i].used) {
            return &c->pieces[i];
        }
    }
    BELAY_UNREACHABLE();
}

static void
serve_chunk(struct conn *c, const struct sender_job *job)
{
    struct conn_piece *cp = piece_take(c);

    *cp = (struct conn_piece){
        .piece = {
            .source = source_of(job),
            .index = job->chunk.index,
            .raw_len = job->chunk.raw_len,
            .zero_ok = job->chunk.zero,
            .zlib_ok = job->chunk.zlib && packing_wanted(&c->packing),
            .zlib_level = packing_level(&c->packing),
            .done = piece_done,
        },
        .compressible = job->chunk.zlib,
        .conn = c,
        .job = job->id,
        .used = true,
    };
    bool ready = prepare_start(c->worker->prepare, &cp->piece);
    metrics_add(c->worker->count, cp->piece.known ? METRICS_DIGEST_HITS
                                                  : METRICS_DIGEST_MISSES, 1);
    if (ready) {
        answer_chunk(c, cp);
        return;
    }
    cp->working = true;
    conn_task_begin(c);
}

/* ---- CHECK. */

/* A GET that ends while the CID is not known yet. */
struct check_task {
    struct source_wait wait;
    struct conn *conn;
    struct source *source; /* a reference */
    uint32_t id;
};

static void
answer_check(struct conn *c, uint32_t id, struct source *src)
{
    struct sender_result result = { .code = 0 };
    bool unlinked = false;
    int err = source_check(src, &unlinked);

    if (err != 0) {
        result.code =
            err == ERR_CHANGED ? WIRE_CHANGED_DURING : WIRE_IO_ERROR;
    }
    result.cid_known = digests_cid(src->digests, result.cid);
    sender_job_done(c->sender, now_of(c), id, &result);
}

static void
check_done(struct source_wait *wait)
{
    struct check_task *task = (struct check_task *)wait;
    struct conn *c = task->conn;

    if (!c->dead) {
        answer_check(c, task->id, task->source);
    }
    source_release(task->source);
    free(task);
    if (conn_task_end(c)) {
        conn_pump(c);
    }
}

static void
serve_check(struct conn *c, const struct sender_job *job)
{
    struct source *src = source_of(job);

    if (!digests_sync_helps(src->digests)) {
        answer_check(c, job->id, src);
        return;
    }
    struct check_task *task = calloc(1, sizeof(*task));
    if (task == NULL) {
        answer_check(c, job->id, src);
        return;
    }
    task->wait.done = check_done;
    task->conn = c;
    task->source = src;
    task->id = job->id;
    source_hold(src);
    conn_task_begin(c);
    source_sync(src, &task->wait);
}

/* ---- Dispatch. */

void
serve_job(struct conn *conn, const struct sender_job *job)
{
    switch (job->type) {
    case SENDER_JOB_OPEN:
        serve_open(conn, job);
        break;
    case SENDER_JOB_CHUNK:
        serve_chunk(conn, job);
        break;
    case SENDER_JOB_CHECK:
        serve_check(conn, job);
        break;
    case SENDER_JOB_DIGEST:
        serve_digest(conn, job);
        break;
    case SENDER_JOB_LIST:
        serve_list(conn, job);
        break;
    case SENDER_JOB_CLOSE:
        opened_free(job->file);
        break;
    case SENDER_JOB_DROP: {
        struct conn_piece *cp = job->piece;
        prepare_release(conn->worker->prepare, &cp->piece);
        cp->used = false;
        break;
    }
    case SENDER_JOB_ABANDON:
        serve_abandon(conn, job->id);
        break;
    }
}

void
serve_clear(struct conn *conn)
{
    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        struct conn_piece *cp = &conn->pieces[i];
        BELAY_ASSERT(!cp->working);
        if (cp->used) {
            prepare_release(conn->worker->prepare, &cp->piece);
            cp->used = false;
        }
    }
    while (conn->opened != NULL) {
        opened_free(conn->opened);
    }
}
