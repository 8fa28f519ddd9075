/* A set of one-shot timers ordered by time: a binary heap of borrowed nodes.
 *
 * A node lives in its owner's struct and is in at most one heap. Times are
 * nanoseconds of CLOCK_MONOTONIC. The heap never calls anybody: the owner
 * asks for the earliest node that is due. Not thread-safe. */
#ifndef TESTS_FAULT_TIMERS_H
#define TESTS_FAULT_TIMERS_H

#include <stddef.h>
#include <stdint.h>

#define TIMER_NEVER INT64_MAX

struct timer {
    int64_t at_ns;
    size_t slot;  /* 1-based place in the heap; 0 = not armed */
    void *owner;  /* for the one who takes the node out; may be NULL */
};

struct timers {
    struct timer **heap;
    size_t count;
    size_t capacity;
};

/* Make sure that count nodes fit. Returns 0 or -ENOMEM (set unchanged). */
int timers_reserve(struct timers *set, size_t count);

/* Free the heap's memory; the nodes are their owners'. */
void timers_clear(struct timers *set);

/* Arm, move or (at_ns == TIMER_NEVER) disarm node. Room for it must have
 * been reserved. */
void timers_set(struct timers *set, struct timer *node, int64_t at_ns);

/* The time of the earliest node, or TIMER_NEVER. */
int64_t timers_next(const struct timers *set);

/* Take out the earliest node that is due at now_ns, or return NULL. */
struct timer *timers_take_due(struct timers *set, int64_t now_ns);

#endif
