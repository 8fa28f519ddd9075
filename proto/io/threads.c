#include "proto/io/threads.h"

#include <pthread.h>
#include <stdlib.h>

#include "proto/base/err.h"

/* The threads wait on a lock that their maker holds until all are there. */
static void *
wait_for_all(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

int
threads_probe(unsigned count)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = calloc(count, sizeof(*threads));
    unsigned started = 0;

    if (threads == NULL) {
        return ERR_NOMEM;
    }
    pthread_mutex_lock(&lock);
    while (started < count && pthread_create(&threads[started], NULL,
                                             wait_for_all, &lock) == 0) {
        started++;
    }
    pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    pthread_mutex_destroy(&lock);
    free(threads);
    return started == count ? 0 : ERR_LIMIT;
}
