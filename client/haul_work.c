/* Haul: jobs.  Which loads go to which stage, and what came of it. */
#include <stdlib.h>
#include <string.h>

#include "client/haul_internal.h"
#include "proto/base/err.h"
#include "proto/data/zpack.h"

/* Loads of one turn of a stage. */
#define LOOK_BATCH 512u
#define WRITE_BATCH 128u
#define SETTLE_BATCH 4096u
/* So much is worth a second and third writer. */
#define WRITE_WORTH 32u
#define WRITE_WORTH_BYTES ((uint64_t)1 << 20)
/* What waits for its names waits no longer than this for company. */
#define GATHER_MS 300u

void haul_push(struct load_list *list, struct load *load)
{
    load->next = NULL;
    if (list->last != NULL) {
        list->last->next = load;
    } else {
        list->first = load;
    }
    list->last = load;
    list->count++;
    list->bytes += load->identity.size;
}

struct load *haul_pop(struct load_list *list)
{
    struct load *load = list->first;

    if (load == NULL) {
        return NULL;
    }
    list->first = load->next;
    if (list->first == NULL) {
        list->last = NULL;
    }
    list->count--;
    list->bytes -= load->identity.size;
    load->next = NULL;
    return load;
}

/* ---- the end of a turn. */

static void finish(struct haul_job *job)
{
    struct haul *h = job->haul;
    struct load *load;

    while ((load = haul_pop(&job->list)) != NULL) {
        switch (job->stage) {
        case STAGE_LOOK:
            haul_looked(h, load);
            break;
        case STAGE_COMPARE:
            haul_compared(h, load);
            break;
        case STAGE_WRITE:
            h->unwritten -= load->identity.size;
            haul_written(h, load);
            break;
        case STAGE_SETTLE:
            if (job->err != 0) {
                load->err = job->err;
                load->sys_errno = job->sys_errno;
            }
            haul_settled(h, load);
            break;
        }
    }
}

static void on_done(void *arg)
{
    struct haul_job *job = arg;
    struct haul *h = job->haul;

    job->busy = false;
    if (h->ended) {
        return; /* nobody waits for it: the end was told without it */
    }
    if (job->stage == STAGE_SETTLE && job->err != 0) {
        haul_stop(h, BELAY_DISK, "cannot make files durable: %s",
                  job->err == ERR_IO ? strerror(job->sys_errno)
                                     : err_sentence(job->err));
    }
    finish(job);
    haul_turn_later(h);
}

static void on_work(void *arg)
{
    haul_stage_run(arg);
}

/* ---- the begin of a turn. */

static struct haul_job *idle_job(struct haul *h, unsigned from, unsigned to)
{
    for (unsigned k = from; k < to; k++) {
        if (!h->job[k].busy) {
            return &h->job[k];
        }
    }
    return NULL;
}

static void start(struct haul_job *job, enum stage stage,
                  struct load_list *from, unsigned most)
{
    while (job->list.count < most && from->count > 0) {
        haul_push(&job->list, haul_pop(from));
    }
    job->stage = stage;
    job->busy = true;
    loop_work_submit(job->work);
}

/* Looking comes first: it feeds the connections. */
static void pump_look(struct haul *h)
{
    struct haul_job *job = idle_job(h, 0, HAUL_LOOKERS);

    if (job == NULL) {
        return;
    }
    if (h->comparing.count > 0) {
        start(job, STAGE_COMPARE, &h->comparing, 16);
    } else if (h->looking.count > 0) {
        start(job, STAGE_LOOK, &h->looking, LOOK_BATCH);
    }
}

static void pump_write(struct haul *h)
{
    struct haul_job *job;

    while (h->writing.count > 0 &&
           (job = idle_job(h, HAUL_LOOKERS, HAUL_JOBS - 1)) != NULL) {
        bool alone = job == &h->job[HAUL_LOOKERS];

        if (!alone && h->writing.count < WRITE_WORTH &&
            h->writing.bytes < WRITE_WORTH_BYTES) {
            return;
        }
        start(job, STAGE_WRITE, &h->writing, WRITE_BATCH);
    }
}

static void pump_settle(struct haul *h)
{
    struct haul_job *job = &h->job[HAUL_JOBS - 1];
    bool enough = h->settling.count >= MAX_BATCH_FILES ||
                  h->settling.bytes >= MAX_BATCH_BYTES ||
                  h->settling.count == h->loads || h->stopping;

    if (job->busy || h->settling.count == 0) {
        return;
    }
    if (!enough && !h->gathered) {
        if (!h->gathering) {
            h->gathering = true;
            loop_timer_start(h->gather_timer, GATHER_MS);
        }
        return;
    }
    h->gathered = false;
    h->gathering = false;
    loop_timer_stop(h->gather_timer);
    start(job, STAGE_SETTLE, &h->settling, SETTLE_BATCH);
}

void haul_work_pump(struct haul *h)
{
    if (!h->stopping) {
        pump_look(h);
    }
    pump_write(h);
    pump_settle(h);
}

bool haul_work_busy(const struct haul *h)
{
    for (unsigned k = 0; k < HAUL_JOBS; k++) {
        if (h->job[k].busy) {
            return true;
        }
    }
    return false;
}

/* ---- life. */

int haul_work_init(struct haul *h)
{
    for (unsigned k = 0; k < HAUL_JOBS; k++) {
        struct haul_job *job = &h->job[k];

        job->haul = h;
        job->hasher = hasher_new();
        job->zpack = zpack_new();
        if (job->hasher == NULL || job->zpack == NULL ||
            loop_work_new(h->loop, on_work, on_done, job, &job->work) != 0) {
            return ERR_NOMEM;
        }
    }
    return 0;
}

void haul_work_free(struct haul *h)
{
    for (unsigned k = 0; k < HAUL_JOBS; k++) {
        loop_work_free(h->job[k].work);
        hasher_free(h->job[k].hasher);
        zpack_free(h->job[k].zpack);
    }
}
