#include "server/bufpool.h"

#include <stdlib.h>

#include "proto/base/check.h"
#include "proto/base/registry.h"

#define CLASSES (LIMIT_CHUNK_LOG2_MAX - LIMIT_CHUNK_LOG2_MIN + 1)

/* A free buffer holds the link to the next one. */
struct free_buffer {
    struct free_buffer *next;
};

struct bufpool {
    size_t max;
    size_t used;
    size_t kept_max;
    size_t kept;
    struct free_buffer *free[CLASSES];
};

struct bufpool *
bufpool_new(size_t max, size_t kept)
{
    struct bufpool *pool = calloc(1, sizeof(*pool));
    if (pool != NULL) {
        pool->max = max;
        pool->kept_max = kept;
    }
    return pool;
}

void
bufpool_trim(struct bufpool *pool)
{
    for (size_t i = 0; i < CLASSES; i++) {
        struct free_buffer *b;
        while ((b = pool->free[i]) != NULL) {
            pool->free[i] = b->next;
            free(b);
        }
    }
    pool->kept = 0;
}

void
bufpool_free(struct bufpool *pool)
{
    if (pool != NULL) {
        BELAY_ASSERT(pool->used == 0);
        bufpool_trim(pool);
        free(pool);
    }
}

static size_t
class_of(size_t len)
{
    size_t i = 0;
    BELAY_ASSERT(len >= 1 && len <= (size_t)1 << LIMIT_CHUNK_LOG2_MAX);
    while ((size_t)1 << (LIMIT_CHUNK_LOG2_MIN + i) < len) {
        i++;
    }
    return i;
}

static size_t
class_bytes(size_t i)
{
    return (size_t)1 << (LIMIT_CHUNK_LOG2_MIN + i);
}

uint8_t *
bufpool_take(struct bufpool *pool, size_t len)
{
    size_t i = class_of(len);
    size_t bytes = class_bytes(i);

    /* One buffer is always possible, or a small bound would stop all. */
    if (pool->used > 0 && pool->used + bytes > pool->max) {
        return NULL;
    }
    struct free_buffer *b = pool->free[i];
    if (b != NULL) {
        pool->free[i] = b->next;
        pool->kept -= bytes;
    } else {
        b = malloc(bytes);
        if (b == NULL) {
            return NULL;
        }
    }
    pool->used += bytes;
    return (uint8_t *)b;
}

void
bufpool_give(struct bufpool *pool, uint8_t *buf, size_t len)
{
    if (buf == NULL) {
        return;
    }
    size_t i = class_of(len);
    size_t bytes = class_bytes(i);
    pool->used -= bytes;
    if (pool->kept + bytes > pool->kept_max) {
        free(buf);
        return;
    }
    struct free_buffer *b = (struct free_buffer *)(void *)buf;
    b->next = pool->free[i];
    pool->free[i] = b;
    pool->kept += bytes;
}

size_t
bufpool_used(const struct bufpool *pool)
{
    return pool->used;
}
