#include "proto/data/rangeset.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

#define ROOM_MIN 16

void rangeset_init(struct rangeset *set, size_t ranges_max)
{
    BELAY_ASSERT(ranges_max >= 1);
    *set = (struct rangeset){.max = ranges_max};
}

void rangeset_free(struct rangeset *set)
{
    free(set->ranges);
    *set = (struct rangeset){.max = set->max};
}

void rangeset_clear(struct rangeset *set)
{
    set->count = 0;
    set->members = 0;
}

/* Index of the first range that ends after `at`, or the count: the only range
 * that can contain `at`, or the first one behind it. */
static size_t find(const struct rangeset *set, uint64_t at)
{
    size_t low = 0;
    size_t high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->ranges[middle].end > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Index of the first range that starts after `at`, or the count. */
static size_t find_start_after(const struct rangeset *set, uint64_t at)
{
    size_t low = 0;
    size_t high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->ranges[middle].start > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Makes room for `count` ranges. */
static int reserve(struct rangeset *set, size_t count)
{
    if (count > set->max) {
        return ERR_LIMIT;
    }
    if (count <= set->room) {
        return 0;
    }
    size_t room = set->room < ROOM_MIN ? ROOM_MIN : 2 * set->room;
    /* Doubling may pass the cap; the cap holds `count`. */
    if (room > set->max) {
        room = set->max;
    }
    if (room < count) {
        room = count;
    }
    if (room > SIZE_MAX / sizeof *set->ranges) {
        return ERR_NOMEM;
    }
    struct range *ranges =
        realloc(set->ranges, room * sizeof *set->ranges);
    if (ranges == NULL) {
        return ERR_NOMEM;
    }
    set->ranges = ranges;
    set->room = room;
    return 0;
}

/* Replaces ranges [first, last) by `with_count` others; keeps `members`
 * right. */
static int replace(struct rangeset *set, size_t first, size_t last,
                   const struct range *with, size_t with_count)
{
    size_t count = set->count - (last - first) + with_count;
    int err = reserve(set, count);
    if (err != 0) {
        return err;
    }
    for (size_t i = first; i < last; i++) {
        set->members -= set->ranges[i].end - set->ranges[i].start;
    }
    if (last < set->count) {
        memmove(set->ranges + first + with_count, set->ranges + last,
                (set->count - last) * sizeof *set->ranges);
    }
    for (size_t i = 0; i < with_count; i++) {
        set->ranges[first + i] = with[i];
        set->members += with[i].end - with[i].start;
    }
    set->count = count;
    return 0;
}

int rangeset_add(struct rangeset *set, uint64_t start, uint64_t end)
{
    BELAY_ASSERT(start <= end);
    if (start == end) {
        return 0;
    }
    /* Ranges that overlap or touch [start, end) melt into one. */
    size_t first = start > 0 ? find(set, start - 1) : 0;
    size_t last = find_start_after(set, end);
    struct range merged = {start, end};
    if (first < last) {
        if (set->ranges[first].start < start) {
            merged.start = set->ranges[first].start;
        }
        if (set->ranges[last - 1].end > end) {
            merged.end = set->ranges[last - 1].end;
        }
    }
    return replace(set, first, last, &merged, 1);
}

int rangeset_remove(struct rangeset *set, uint64_t start, uint64_t end)
{
    BELAY_ASSERT(start <= end);
    if (start == end) {
        return 0;
    }
    size_t first = find(set, start);
    size_t last = find_start_after(set, end - 1);
    struct range rest[2];
    size_t rests = 0;
    if (first >= last) {
        return 0;
    }
    if (set->ranges[first].start < start) {
        rest[rests++] = (struct range){set->ranges[first].start, start};
    }
    if (set->ranges[last - 1].end > end) {
        rest[rests++] = (struct range){end, set->ranges[last - 1].end};
    }
    return replace(set, first, last, rest, rests);
}

/* Merges both into `out`, which has room for all ranges of both, or only
 * counts when `out` is NULL.  Returns the number of ranges. */
static size_t merge(const struct rangeset *a, const struct rangeset *b,
                    struct range *out)
{
    size_t count = 0;
    size_t i = 0;
    size_t k = 0;
    struct range last = {0, 0};
    while (i < a->count || k < b->count) {
        bool from_a = k == b->count ||
                      (i < a->count &&
                       a->ranges[i].start <= b->ranges[k].start);
        struct range next = from_a ? a->ranges[i++] : b->ranges[k++];
        if (count > 0 && next.start <= last.end) {
            last.end = next.end > last.end ? next.end : last.end;
        } else {
            last = next;
            count++;
        }
        if (out != NULL) {
            out[count - 1] = last;
        }
    }
    return count;
}

int rangeset_union(struct rangeset *set, const struct rangeset *other)
{
    if (other->count == 0) {
        return 0;
    }
    size_t count = merge(set, other, NULL);
    struct rangeset both = {.max = set->max};
    int err = reserve(&both, count);
    if (err != 0) {
        return err;
    }
    both.count = merge(set, other, both.ranges);
    for (size_t i = 0; i < both.count; i++) {
        both.members += both.ranges[i].end - both.ranges[i].start;
    }
    free(set->ranges);
    *set = both;
    return 0;
}

bool rangeset_contains(const struct rangeset *set, uint64_t start,
                       uint64_t end)
{
    BELAY_ASSERT(start <= end);
    if (start == end) {
        return true;
    }
    size_t i = find(set, start);
    return i < set->count && set->ranges[i].start <= start &&
           set->ranges[i].end >= end;
}

bool rangeset_intersects(const struct rangeset *set, uint64_t start,
                         uint64_t end)
{
    struct range part;
    return rangeset_next_part(set, start, end, &part);
}

bool rangeset_next_gap(const struct rangeset *set, uint64_t start,
                       uint64_t end, struct range *gap)
{
    BELAY_ASSERT(start <= end);
    size_t i = find(set, start);
    if (i < set->count && set->ranges[i].start <= start) {
        start = set->ranges[i].end;
        i++;
    }
    if (start >= end) {
        return false;
    }
    gap->start = start;
    gap->end = end;
    if (i < set->count && set->ranges[i].start < end) {
        gap->end = set->ranges[i].start;
    }
    return true;
}

bool rangeset_next_part(const struct rangeset *set, uint64_t start,
                        uint64_t end, struct range *part)
{
    BELAY_ASSERT(start <= end);
    size_t i = find(set, start);
    if (start == end || i == set->count || set->ranges[i].start >= end) {
        return false;
    }
    struct range found = set->ranges[i];
    part->start = found.start > start ? found.start : start;
    part->end = found.end < end ? found.end : end;
    return true;
}

bool rangeset_take_first(struct rangeset *set, uint64_t max,
                         struct range *taken)
{
    if (set->count == 0 || max == 0) {
        return false;
    }
    struct range *first = &set->ranges[0];
    uint64_t len = first->end - first->start;
    if (len > max) {
        len = max;
    }
    *taken = (struct range){first->start, first->start + len};
    first->start += len;
    set->members -= len;
    if (first->start == first->end) {
        set->count--;
        memmove(set->ranges, set->ranges + 1,
                set->count * sizeof *set->ranges);
    }
    return true;
}

uint64_t rangeset_members(const struct rangeset *set)
{
    return set->members;
}

size_t rangeset_count(const struct rangeset *set)
{
    return set->count;
}

struct range rangeset_at(const struct rangeset *set, size_t index)
{
    BELAY_ASSERT(index < set->count);
    return set->ranges[index];
}

bool rangeset_equal(const struct rangeset *a, const struct rangeset *b)
{
    if (a->count != b->count || a->members != b->members) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (a->ranges[i].start != b->ranges[i].start ||
            a->ranges[i].end != b->ranges[i].end) {
            return false;
        }
    }
    return true;
}

void rangeset_check(const struct rangeset *set)
{
    uint64_t members = 0;
    BELAY_ASSERT(set->count <= set->room && set->room <= set->max);
    BELAY_ASSERT(set->ranges != NULL || set->room == 0);
    for (size_t i = 0; i < set->count; i++) {
        struct range r = set->ranges[i];
        BELAY_ASSERT(r.start < r.end);
        BELAY_ASSERT(i == 0 || set->ranges[i - 1].end < r.start);
        members += r.end - r.start;
    }
    BELAY_ASSERT(members == set->members);
}
