/* Tests of proto/data/rangeset.  The oracle is a bitmap; after each operation
 * the whole set is compared with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/data/rangeset.h"

#define BITS 200
#define SETS 2

static uint32_t seed;

static uint32_t next_random(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* Ranges that a bitmap falls into. */
static size_t bitmap_runs(const bool *bits)
{
    size_t runs = 0;
    for (size_t i = 0; i < BITS; i++) {
        runs += bits[i] && (i == 0 || !bits[i - 1]) ? 1 : 0;
    }
    return runs;
}

/* Compares everything that can be asked of the set with the bitmap. */
static void check_same(const struct rangeset *set, const bool *bits)
{
    rangeset_check(set);
    assert_int_equal(rangeset_count(set), bitmap_runs(bits));
    uint64_t members = 0;
    size_t run = 0;
    for (size_t i = 0; i < BITS; i++) {
        members += bits[i] ? 1 : 0;
        assert_int_equal(rangeset_contains(set, i, i + 1), bits[i]);
        if (bits[i] && (i == 0 || !bits[i - 1])) {
            size_t end = i;
            while (end < BITS && bits[end]) {
                end++;
            }
            struct range got = rangeset_at(set, run++);
            assert_int_equal(got.start, i);
            assert_int_equal(got.end, end);
        }
    }
    assert_int_equal(rangeset_members(set), members);
}

/* Compares the questions about [start, end) with the bitmap. */
static void check_questions(const struct rangeset *set, const bool *bits,
                            size_t start, size_t end)
{
    size_t gap = start;
    size_t part = start;
    while (gap < end && bits[gap]) {
        gap++;
    }
    while (part < end && !bits[part]) {
        part++;
    }
    size_t gap_end = gap;
    size_t part_end = part;
    while (gap_end < end && !bits[gap_end]) {
        gap_end++;
    }
    while (part_end < end && bits[part_end]) {
        part_end++;
    }
    struct range got = {7, 7};
    assert_int_equal(rangeset_contains(set, start, end), gap == end);
    assert_int_equal(rangeset_intersects(set, start, end), part < end);
    assert_int_equal(rangeset_next_gap(set, start, end, &got), gap < end);
    assert_int_equal(got.start, gap < end ? gap : 7);
    assert_int_equal(got.end, gap < end ? gap_end : 7);
    got = (struct range){7, 7};
    assert_int_equal(rangeset_next_part(set, start, end, &got), part < end);
    assert_int_equal(got.start, part < end ? part : 7);
    assert_int_equal(got.end, part < end ? part_end : 7);
}

static void fill(bool *bits, size_t start, size_t end, bool value)
{
    for (size_t i = start; i < end; i++) {
        bits[i] = value;
    }
}

static void take(struct rangeset *set, bool *bits, uint32_t max)
{
    struct range got = {7, 7};
    size_t start = 0;
    while (start < BITS && !bits[start]) {
        start++;
    }
    size_t end = start;
    while (end < BITS && bits[end] && end - start < max) {
        end++;
    }
    assert_int_equal(rangeset_take_first(set, max, &got), end > start);
    assert_int_equal(got.start, end > start ? start : 7);
    assert_int_equal(got.end, end > start ? end : 7);
    fill(bits, start, end, false);
}

/* One random operation on one of the sets and on its bitmap. */
static void random_step(struct rangeset *sets, bool bits[SETS][BITS],
                        size_t cap)
{
    size_t which = next_random(SETS);
    struct rangeset *set = &sets[which];
    bool want[BITS];
    memcpy(want, bits[which], sizeof want);
    size_t start = next_random(BITS + 1);
    size_t end = start + next_random(20);
    end = end > BITS ? BITS : end;
    int err = 0;
    switch (next_random(20)) {
    case 0:
        for (size_t i = 0; i < BITS; i++) {
            want[i] = want[i] || bits[1 - which][i];
        }
        err = rangeset_union(set, &sets[1 - which]);
        break;
    case 1:
        if (next_random(10) == 0) {
            rangeset_clear(set);
            fill(want, 0, BITS, false);
        } else if (next_random(10) == 0) {
            rangeset_free(set);
            fill(want, 0, BITS, false);
        }
        break;
    case 2:
        take(set, want, next_random(12));
        break;
    case 3: case 4: case 5: case 6: case 7: case 8: case 9:
        fill(want, start, end, false);
        err = rangeset_remove(set, start, end);
        break;
    default:
        fill(want, start, end, true);
        err = rangeset_add(set, start, end);
        break;
    }
    /* Exactly what would not fit is refused, and then nothing happens. */
    assert_int_equal(err, bitmap_runs(want) > cap ? ERR_LIMIT : 0);
    if (err == 0) {
        memcpy(bits[which], want, sizeof want);
    }
    check_same(set, bits[which]);
    check_questions(set, bits[which], start, end);
    assert_int_equal(rangeset_equal(&sets[0], &sets[1]),
                     memcmp(bits[0], bits[1], BITS * sizeof(bool)) == 0);
}

static void test_against_bitmap(void **state)
{
    (void)state;
    static const size_t caps[] = {1, 2, 3, 8, 17, 40, 1000};
    for (size_t c = 0; c < sizeof caps / sizeof caps[0]; c++) {
        struct rangeset sets[SETS];
        bool bits[SETS][BITS] = {{false}};
        seed = 1 + (uint32_t)c;
        for (size_t i = 0; i < SETS; i++) {
            rangeset_init(&sets[i], caps[c]);
        }
        for (int step = 0; step < 4000; step++) {
            random_step(sets, bits, caps[c]);
        }
        for (size_t i = 0; i < SETS; i++) {
            rangeset_free(&sets[i]);
            rangeset_free(&sets[i]);
        }
    }
}

static void test_all_questions(void **state)
{
    (void)state;
    struct rangeset set;
    bool bits[BITS] = {false};
    rangeset_init(&set, 8);
    static const struct range parts[] = {{0, 3}, {5, 6}, {20, 41}, {60, 61}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(rangeset_add(&set, parts[i].start, parts[i].end), 0);
        fill(bits, parts[i].start, parts[i].end, true);
    }
    for (size_t start = 0; start < 64; start++) {
        for (size_t end = start; end < 64; end++) {
            check_questions(&set, bits, start, end);
        }
    }
    rangeset_free(&set);
}

static void test_cap_is_exact(void **state)
{
    (void)state;
    struct rangeset set;
    rangeset_init(&set, 3);
    assert_int_equal(rangeset_add(&set, 0, 10), 0);
    assert_int_equal(rangeset_add(&set, 20, 30), 0);
    assert_int_equal(rangeset_add(&set, 40, 50), 0);
    assert_int_equal(rangeset_add(&set, 60, 70), ERR_LIMIT);
    assert_int_equal(rangeset_remove(&set, 4, 5), ERR_LIMIT);
    assert_int_equal(rangeset_members(&set), 30);
    /* Growing, bridging and cutting ends need no further range. */
    assert_int_equal(rangeset_add(&set, 10, 20), 0);
    assert_int_equal(rangeset_count(&set), 2);
    assert_int_equal(rangeset_remove(&set, 0, 5), 0);
    assert_int_equal(rangeset_remove(&set, 45, 60), 0);
    struct rangeset other;
    rangeset_init(&other, 8);
    assert_int_equal(rangeset_add(&other, 100, 101), 0);
    assert_int_equal(rangeset_add(&other, 102, 103), 0);
    assert_int_equal(rangeset_union(&set, &other), ERR_LIMIT);
    assert_int_equal(rangeset_members(&set), 30);
    assert_int_equal(rangeset_union(&other, &set), 0);
    assert_int_equal(rangeset_members(&other), 32);
    assert_int_equal(rangeset_union(&other, &other), 0);
    assert_int_equal(rangeset_members(&other), 32);
    rangeset_check(&set);
    rangeset_check(&other);
    rangeset_free(&set);
    rangeset_free(&other);
}

static void test_large_numbers(void **state)
{
    (void)state;
    struct rangeset set;
    struct range got;
    rangeset_init(&set, 4);
    assert_int_equal(rangeset_add(&set, 0, UINT64_MAX), 0);
    assert_true(rangeset_members(&set) == UINT64_MAX);
    assert_false(rangeset_next_gap(&set, 0, UINT64_MAX, &got));
    assert_int_equal(rangeset_remove(&set, UINT64_MAX - 1, UINT64_MAX), 0);
    assert_true(rangeset_next_gap(&set, 0, UINT64_MAX, &got));
    assert_true(got.start == UINT64_MAX - 1 && got.end == UINT64_MAX);
    assert_true(rangeset_take_first(&set, UINT64_MAX, &got));
    assert_true(got.start == 0 && got.end == UINT64_MAX - 1);
    assert_false(rangeset_take_first(&set, UINT64_MAX, &got));
    assert_int_equal(rangeset_add(&set, UINT64_MAX - 1, UINT64_MAX), 0);
    assert_true(rangeset_contains(&set, UINT64_MAX - 1, UINT64_MAX));
    rangeset_check(&set);
    rangeset_free(&set);
}

/* More at once than the room doubles to. */
static void test_union_of_many(void **state)
{
    struct rangeset a;
    struct rangeset b;

    (void)state;
    rangeset_init(&a, 200);
    rangeset_init(&b, 200);
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(rangeset_add(&a, 4 * i, 4 * i + 1), 0);
        assert_int_equal(rangeset_add(&b, 4 * i + 2, 4 * i + 3), 0);
    }
    assert_int_equal(rangeset_union(&a, &b), 0);
    rangeset_check(&a);
    assert_int_equal(rangeset_count(&a), 100);
    assert_int_equal(rangeset_members(&a), 100);
    rangeset_free(&a);
    rangeset_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_bitmap),
        cmocka_unit_test(test_all_questions),
        cmocka_unit_test(test_union_of_many),
        cmocka_unit_test(test_cap_is_exact),
        cmocka_unit_test(test_large_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
