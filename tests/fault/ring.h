/* A byte ring of fixed capacity that hands its regions to readv and writev.
 *
 * The bytes held are [tail, tail + used). Memory is taken by ring_init and
 * given back by ring_clear. Not thread-safe: one owner at a time. */
#ifndef TESTS_FAULT_RING_H
#define TESTS_FAULT_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct ring {
    uint8_t *data;
    size_t capacity;
    size_t tail;
    size_t used;
};

/* Make an empty ring of capacity bytes (> 0). Returns 0 or -ENOMEM. */
int ring_init(struct ring *ring, size_t capacity);

/* Free the memory. Harmless on a zeroed or cleared ring. */
void ring_clear(struct ring *ring);

size_t ring_room(const struct ring *ring);

/* Describe up to max free bytes in at most two pieces; returns the number of
 * pieces. The pieces stay valid until the next call that changes the ring. */
int ring_free_iov(struct ring *ring, size_t max, struct iovec iov[2]);

/* Describe the first up to max held bytes; same rules. */
int ring_data_iov(const struct ring *ring, size_t max, struct iovec iov[2]);

/* len bytes have been stored in the free region (len <= room). */
void ring_commit(struct ring *ring, size_t len);

/* Drop the first len held bytes (len <= used). */
void ring_consume(struct ring *ring, size_t len);

/* Flip the bits of mask in the first held byte (used > 0). */
void ring_flip_head(struct ring *ring, uint8_t mask);

#endif
