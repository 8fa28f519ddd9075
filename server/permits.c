#include "server/permits.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/limits.h"
#include "server/shared.h"

struct held {
    unsigned count[SERVER_WORKERS_MAX];
};

struct permits {
    int fd;
    struct held *held; /* shared: each worker writes its own */
};

int
permits_new(unsigned count, struct permits **out)
{
    BELAY_ASSERT(count > 0);
    struct permits *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return ERR_NOMEM;
    }
    p->fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    p->held = shared_new(sizeof(*p->held));
    if (p->fd < 0 || p->held == NULL) {
        int err = p->fd < 0 ? ERR_IO : ERR_NOMEM;
        permits_free(p);
        return err;
    }
    *out = p;
    return 0;
}

void
permits_free(struct permits *permits)
{
    if (permits == NULL) {
        return;
    }
    if (permits->fd >= 0) {
        close(permits->fd);
    }
    shared_free(permits->held, sizeof(*permits->held));
    free(permits);
}

unsigned
permits_for_cores(long cores)
{
    return cores < 4 ? 1 : (unsigned)(cores / 2);
}

int
permits_fd(const struct permits *permits)
{
    return permits->fd;
}

static void
give(const struct permits *p, uint64_t count)
{
    /* It cannot overflow, so it never has to wait. */
    ssize_t n = write(p->fd, &count, sizeof(count));
    (void)n;
}

/* Noted before it is taken: a worker that dies in between leaves one permit
 * too many rather than none for ever. */
bool
permits_take(struct permits *permits, unsigned worker)
{
    uint64_t one = 0;

    permits->held->count[worker]++;
    if (read(permits->fd, &one, sizeof(one)) == sizeof(one)) {
        return true;
    }
    permits->held->count[worker]--;
    return false;
}

void
permits_give(struct permits *permits, unsigned worker)
{
    give(permits, 1);
    permits->held->count[worker]--;
}

/* No more than a worker can hold, whatever it wrote down. */
void
permits_worker_died(struct permits *permits, unsigned worker)
{
    unsigned count = permits->held->count[worker];

    if (count > 0) {
        give(permits, count < SERVER_SLICES ? count : SERVER_SLICES);
    }
    permits->held->count[worker] = 0;
}
