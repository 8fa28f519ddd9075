/* A set of unsigned numbers as ranges: chunk indexes, or bytes of a file.
 *
 * Ranges are half-open, [start, end), ascending, and never touch or overlap,
 * so a set has exactly one form.  The number UINT64_MAX itself cannot be a
 * member.  The memory grows as needed up to the cap of ranges that the owner
 * gives at init; what needs more is ERR_LIMIT.  Whenever a function returns
 * an error, the sets are unchanged.
 *
 * Looking up takes O(log n), changing O(n) in the worst case (a memmove).
 * One owner at a time. */
#ifndef PROTO_DATA_RANGESET_H
#define PROTO_DATA_RANGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct range {
    uint64_t start;
    uint64_t end;  /* One past the last; larger than start. */
};

/* Read the fields through the functions below. */
struct rangeset {
    struct range *ranges;
    size_t count;
    size_t room;       /* Ranges that fit into the memory at hand. */
    size_t max;        /* The cap. */
    uint64_t members;  /* Sum of the lengths. */
};

/* Makes an empty set of at most `ranges_max` ranges (at least 1).  Allocates
 * nothing yet. */
void rangeset_init(struct rangeset *set, size_t ranges_max);

/* Frees the memory and leaves an empty set with the same cap.  Harmless when
 * done twice. */
void rangeset_free(struct rangeset *set);

/* Removes all members, keeps the memory. */
void rangeset_clear(struct rangeset *set);

/* Adds [start, end); members already there are fine, start == end adds
 * nothing.  Requires start <= end (asserted).  Returns 0, ERR_LIMIT, or
 * ERR_NOMEM. */
int rangeset_add(struct rangeset *set, uint64_t start, uint64_t end) MUST_USE;

/* Removes [start, end), of which any part may be absent.  Requires start <=
 * end.  Removing from the middle of a range makes one range more, hence
 * returns 0, ERR_LIMIT, or ERR_NOMEM. */
int rangeset_remove(struct rangeset *set, uint64_t start,
                    uint64_t end) MUST_USE;

/* Adds all members of `other`.  Returns 0, ERR_LIMIT, or ERR_NOMEM. */
int rangeset_union(struct rangeset *set,
                   const struct rangeset *other) MUST_USE;

/* Is all of [start, end) in the set?  True for start == end. */
bool rangeset_contains(const struct rangeset *set, uint64_t start,
                       uint64_t end);

/* Is any of [start, end) in the set? */
bool rangeset_intersects(const struct rangeset *set, uint64_t start,
                         uint64_t end);

/* The first stretch of [start, end) whose numbers are all absent, as long as
 * possible, goes to `gap`.  Returns false, with `gap` unchanged, when nothing
 * is absent. */
bool rangeset_next_gap(const struct rangeset *set, uint64_t start,
                       uint64_t end, struct range *gap);

/* The same for members: the first stretch of [start, end) that is in the
 * set. */
bool rangeset_next_part(const struct rangeset *set, uint64_t start,
                        uint64_t end, struct range *part);

/* Removes up to `max` numbers from the low end of the first range and stores
 * them in `taken`.  Never fails for want of memory or room.  Returns false,
 * with `taken` unchanged, when the set is empty or `max` is 0. */
bool rangeset_take_first(struct rangeset *set, uint64_t max,
                         struct range *taken);

/* How many numbers are in the set. */
uint64_t rangeset_members(const struct rangeset *set);

/* How many ranges these form, and range `index` of them, ascending.
 * Requires index < count. */
size_t rangeset_count(const struct rangeset *set);
struct range rangeset_at(const struct rangeset *set, size_t index);

/* Do both have the same members?  The caps do not matter. */
bool rangeset_equal(const struct rangeset *a, const struct rangeset *b);

/* Asserts every invariant named above; for tests and fuzzers. */
void rangeset_check(const struct rangeset *set);

#endif
