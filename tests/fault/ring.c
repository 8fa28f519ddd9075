#include "tests/fault/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int
ring_init(struct ring *ring, size_t capacity)
{
    assert(capacity > 0);
    *ring = (struct ring){ .data = malloc(capacity), .capacity = capacity };
    return ring->data != NULL ? 0 : -ENOMEM;
}

void
ring_clear(struct ring *ring)
{
    free(ring->data);
    *ring = (struct ring){ 0 };
}

size_t
ring_room(const struct ring *ring)
{
    return ring->capacity - ring->used;
}

static int
ring_region(const struct ring *ring, size_t start, size_t len,
    struct iovec iov[2])
{
    if (len == 0) {
        return 0;
    }
    size_t first = ring->capacity - start;
    iov[0].iov_base = ring->data + start;
    if (len <= first) {
        iov[0].iov_len = len;
        return 1;
    }
    iov[0].iov_len = first;
    iov[1] = (struct iovec){ ring->data, len - first };
    return 2;
}

int
ring_free_iov(struct ring *ring, size_t max, struct iovec iov[2])
{
    size_t room = ring_room(ring);
    if (ring->used == 0) {
        /* An empty ring starts at the front again: one piece, warm cache. */
        ring->tail = 0;
    }
    size_t start = (ring->tail + ring->used) % ring->capacity;
    return ring_region(ring, start, max < room ? max : room, iov);
}

int
ring_data_iov(const struct ring *ring, size_t max, struct iovec iov[2])
{
    size_t len = max < ring->used ? max : ring->used;
    return ring_region(ring, ring->tail, len, iov);
}

void
ring_commit(struct ring *ring, size_t len)
{
    assert(len <= ring_room(ring));
    ring->used += len;
}

void
ring_consume(struct ring *ring, size_t len)
{
    assert(len <= ring->used);
    ring->tail = (ring->tail + len) % ring->capacity;
    ring->used -= len;
}

void
ring_flip_head(struct ring *ring, uint8_t mask)
{
    assert(ring->used > 0);
    ring->data[ring->tail] ^= mask;
}
