/* Chunk buffers of one worker: bounded in all, reused, given back when idle.
 *
 * Sizes are powers of two from 4 KiB to 4 MiB. Only the loop's thread takes
 * and returns buffers; what is in them is the holder's business. */
#ifndef SERVER_BUFPOOL_H
#define SERVER_BUFPOOL_H

#include <stddef.h>
#include <stdint.h>

struct bufpool;

/* max: bytes handed out at most; kept: bytes held for reuse. NULL when
 * memory is out. */
struct bufpool *bufpool_new(size_t max, size_t kept);

/* All buffers must be back (asserted). NULL is allowed. */
void bufpool_free(struct bufpool *pool);

/* A buffer of at least len bytes (1 to 4 MiB), or NULL when the bound is
 * reached or memory is out: wait until one comes back. */
uint8_t *bufpool_take(struct bufpool *pool, size_t len);

/* len as it was taken. NULL is allowed. */
void bufpool_give(struct bufpool *pool, uint8_t *buf, size_t len);

/* Frees what is held for reuse. */
void bufpool_trim(struct bufpool *pool);

/* Bytes handed out. */
size_t bufpool_used(const struct bufpool *pool);

#endif
