#include "tests/fault/timers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int
timers_reserve(struct timers *set, size_t count)
{
    if (count <= set->capacity) {
        return 0;
    }
    size_t capacity = set->capacity > 0 ? set->capacity : 16;
    while (capacity < count) {
        capacity *= 2;
    }
    struct timer **heap =
        reallocarray(set->heap, capacity, sizeof(set->heap[0]));
    if (heap == NULL) {
        return -ENOMEM;
    }
    set->heap = heap;
    set->capacity = capacity;
    return 0;
}

void
timers_clear(struct timers *set)
{
    free(set->heap);
    *set = (struct timers){ 0 };
}

/* Slots are 1-based: the children of slot s are 2s and 2s + 1. */
static void
timers_place(struct timers *set, size_t slot, struct timer *node)
{
    set->heap[slot - 1] = node;
    node->slot = slot;
}

static void
timers_sift_up(struct timers *set, struct timer *node)
{
    size_t slot = node->slot;
    while (slot > 1 && set->heap[slot / 2 - 1]->at_ns > node->at_ns) {
        timers_place(set, slot, set->heap[slot / 2 - 1]);
        slot /= 2;
    }
    timers_place(set, slot, node);
}

static void
timers_sift_down(struct timers *set, struct timer *node)
{
    size_t slot = node->slot;
    for (;;) {
        size_t child = 2 * slot;
        if (child > set->count) {
            break;
        }
        if (child < set->count &&
            set->heap[child]->at_ns < set->heap[child - 1]->at_ns) {
            child++;
        }
        if (set->heap[child - 1]->at_ns >= node->at_ns) {
            break;
        }
        timers_place(set, slot, set->heap[child - 1]);
        slot = child;
    }
    timers_place(set, slot, node);
}

static void
timers_remove(struct timers *set, struct timer *node)
{
    struct timer *last = set->heap[set->count - 1];
    set->count--;
    if (last != node) {
        timers_place(set, node->slot, last);
        timers_sift_up(set, last);
        timers_sift_down(set, last);
    }
    node->slot = 0;
}

void
timers_set(struct timers *set, struct timer *node, int64_t at_ns)
{
    if (at_ns == TIMER_NEVER) {
        if (node->slot != 0) {
            timers_remove(set, node);
        }
        return;
    }
    node->at_ns = at_ns;
    if (node->slot == 0) {
        assert(set->count < set->capacity);
        set->count++;
        timers_place(set, set->count, node);
    }
    timers_sift_up(set, node);
    timers_sift_down(set, node);
}

int64_t
timers_next(const struct timers *set)
{
    return set->count > 0 ? set->heap[0]->at_ns : TIMER_NEVER;
}

struct timer *
timers_take_due(struct timers *set, int64_t now_ns)
{
    if (set->count == 0 || set->heap[0]->at_ns > now_ns) {
        return NULL;
    }
    struct timer *node = set->heap[0];
    timers_remove(set, node);
    return node;
}
