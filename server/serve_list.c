#include <stdlib.h>

#include "server/conn_internal.h"
#include "server/listing.h"

/* A LIST on its way: directories are read where slices of hashing are, one at
 * a time for each worker, so the worker's one run of names serves them all. */
struct list_task {
    struct prepare_slice slice; /* first: see task_of() */
    struct conn *conn;
    struct sender_job job;
    int err;
    size_t len;
};

static struct list_task *
task_of(struct prepare_slice *slice)
{
    return (struct list_task *)slice;
}

static void
list_work(struct prepare_slice *slice, struct hasher *hasher)
{
    struct list_task *task = task_of(slice);
    const struct sender_job_list *list = &task->job.list;
    const struct listing_ask ask = {
        .path = list->path,
        .cursor = list->cursor,
        .cursor_len = list->cursor_len,
        .max_entries = list->max_entries,
        .with_cid = list->with_cid,
        .request = list->request,
        .out = list->out,
        .cap = SENDER_PAGE_BYTES,
    };
    task->err = listing_page(task->conn->worker->listing, hasher, &ask,
                             &task->len);
}

static uint16_t
list_code(int err)
{
    switch (err) {
    case ERR_NOT_FOUND:
    case ERR_NOT_A_DIRECTORY:
    case ERR_CHANGED:
        return err_wire(err);
    case ERR_NOMEM:
    case ERR_LIMIT:
        return WIRE_BUSY;
    case ERR_IO:
        return WIRE_IO_ERROR;
    default:
        return WIRE_INTERNAL;
    }
}

static void
list_done(struct prepare_slice *slice)
{
    struct list_task *task = task_of(slice);
    struct conn *c = task->conn;

    if (!c->dead) {
        struct sender_result result = {
            .code = task->err == 0 ? 0 : list_code(task->err),
            .out_len = task->len,
        };
        sender_job_done(c->sender, loop_now_ms(c->worker->loop), task->job.id,
                        &result);
    }
    free(task);
    if (conn_task_end(c)) {
        conn_pump(c);
    }
}

void
serve_list(struct conn *conn, const struct sender_job *job)
{
    struct list_task *task = calloc(1, sizeof(*task));
    if (task == NULL) {
        serve_code(conn, job->id, WIRE_BUSY);
        return;
    }
    task->conn = conn;
    task->job = *job;
    task->slice.work = list_work;
    task->slice.done = list_done;
    conn_task_begin(conn);
    prepare_slice(conn->worker->prepare, &task->slice);
}
