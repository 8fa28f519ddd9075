/* Memory that all processes of the server share, and a lock in it that
 * outlives its holder. */
#ifndef SERVER_SHARED_H
#define SERVER_SHARED_H

#include <pthread.h>
#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Zeros; to be made before the workers are forked. NULL when memory is out. */
void *shared_new(size_t bytes);
/* NULL is allowed. */
void shared_free(void *memory, size_t bytes);

/* In shared memory. Held for a moment only, never while waiting. When a
 * process dies within, the next one gets the lock: what it protects must make
 * sense after any part of a change. */
struct shared_lock {
    pthread_mutex_t mutex;
};

/* ERR_IO. */
MUST_USE int shared_lock_init(struct shared_lock *lock);
void shared_lock_take(struct shared_lock *lock);
void shared_lock_give(struct shared_lock *lock);

#endif
