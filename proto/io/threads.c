#include "proto/io/threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "proto/base/err.h"

/* The threads wait on a lock that their maker holds until all are there. */
static void *
wait_for_all(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* As libuv does: threads that end leave their stacks to later ones of the
 * same size, so that those need no memory any more. */
static int
set_stack(pthread_attr_t *attr)
{
    struct rlimit limit;

    if (pthread_attr_init(attr) != 0) {
        return ERR_NOMEM;
    }
    if (getrlimit(RLIMIT_STACK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY) {
        (void)pthread_attr_setstacksize(attr, limit.rlim_cur);
    }
    return 0;
}

int
threads_probe(unsigned count)
{
    pthread_attr_t attr;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = calloc(count, sizeof(*threads));
    unsigned started = 0;

    if (threads == NULL || set_stack(&attr) != 0) {
        free(threads);
        return ERR_NOMEM;
    }
    pthread_mutex_lock(&lock);
    while (started < count && pthread_create(&threads[started], &attr,
                                             wait_for_all, &lock) == 0) {
        started++;
    }
    pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    pthread_mutex_destroy(&lock);
    pthread_attr_destroy(&attr);
    free(threads);
    return started == count ? 0 : ERR_LIMIT;
}
