#include "client/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define THREADS_MAX 64u

struct share {
    parallel_fn *fn;
    void *arg;
};

static void *run(void *arg)
{
    const struct share *share = arg;

    share->fn(share->arg);
    return NULL;
}

void parallel_run(unsigned threads, parallel_fn *fn, void *arg)
{
    struct share share = {fn, arg};
    pthread_t others[THREADS_MAX];
    unsigned count = 0;
    sigset_t all, before;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (threads == 0) {
        threads = cores > 0 ? (unsigned)cores : 1;
    }
    threads = threads < THREADS_MAX ? threads : THREADS_MAX;
    /* Signals stay with the thread that the program knows. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (count + 1 < threads &&
           pthread_create(&others[count], NULL, run, &share) == 0) {
        count++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    fn(arg);
    for (unsigned k = 0; k < count; k++) {
        (void)pthread_join(others[k], NULL);
    }
}
