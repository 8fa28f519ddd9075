#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/limits.h"
#include "server/conn_internal.h"
#include "server/listing.h"

/* A LIST on its way: directories are read where slices of hashing are, one at
 * a time for each worker, so the worker's one run of names serves them all. */
struct list_task {
    struct prepare_slice slice; /* first: see task_of() */
    struct conn *conn;
    struct sender_job job;
    const struct gate *gate; /* of the connection, which waits for us */
    struct gate_who who;
    const char *asked; /* path, in the job */
    int err;
    int error; /* errno, for the log */
    size_t len;
};

static struct list_task *
task_of(struct prepare_slice *slice)
{
    return (struct list_task *)slice;
}

/* On the thread. */
static bool
may_see(void *arg, const char *name, bool directory)
{
    struct list_task *task = arg;
    char path[LIMIT_PATH + LIMIT_COMPONENT + 2];
    const char *dir = task->job.list.path;

    int len = snprintf(path, sizeof(path), "%s%s%s", dir,
                       dir[0] != '\0' ? "/" : "", name);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        return false;
    }
    return directory ? gate_may_pass(task->gate, &task->who, path)
                     : gate_may_read(task->gate, &task->who, path);
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
        .see = gate_has_rules(task->gate) ? may_see : NULL,
        .see_arg = task,
    };
    task->err = listing_page(task->conn->worker->listing, hasher, &ask,
                             &task->len);
    task->error = errno;
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
        if (task->err != 0) {
            serve_log_refused(c, task->asked, task->err,
                              task->error);
        }
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
    task->asked = job->list.path;
    task->gate = conn->gate;
    conn_describe(conn, &task->who);
    if (!gate_may_pass(task->gate, &task->who, job->list.path)) {
        task->job.list.path = SERVE_NOWHERE; /* answered as one that is not
                                                there, after the same work */
    }
    task->slice.work = list_work;
    task->slice.done = list_done;
    conn_task_begin(conn);
    prepare_slice(conn->worker->prepare, &task->slice);
}
