#include "server/shared.h"

#include <errno.h>
#include <sys/mman.h>

void *
shared_new(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void
shared_free(void *memory, size_t bytes)
{
    if (memory != NULL) {
        munmap(memory, bytes);
    }
}

int
shared_lock_init(struct shared_lock *lock)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    int rc = pthread_mutex_init(&lock->mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    return rc == 0 ? 0 : ERR_IO;
}

void
shared_lock_take(struct shared_lock *lock)
{
    if (pthread_mutex_lock(&lock->mutex) == EOWNERDEAD) {
        pthread_mutex_consistent(&lock->mutex);
    }
}

void
shared_lock_give(struct shared_lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}
