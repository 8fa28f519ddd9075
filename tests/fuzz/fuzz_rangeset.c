/* Range sets against a bitmap.
 *
 * Input: the cap of ranges (a byte), then operations of three bytes: what,
 * start, length. Numbers are below 512. */

#include "proto/data/rangeset.h"
#include "tests/fuzz/fuzz.h"

#define NUMBERS 512u

static size_t runs(const bool *bits)
{
    size_t count = 0;
    for (size_t i = 0; i < NUMBERS; i++) {
        count += bits[i] && (i == 0 || !bits[i - 1]);
    }
    return count;
}

static void compare(const struct rangeset *set, const bool *bits)
{
    uint64_t members = 0;
    rangeset_check(set);
    for (size_t i = 0; i < NUMBERS; i++) {
        members += bits[i];
        FUZZ_CHECK(rangeset_contains(set, i, i + 1) == bits[i]);
    }
    FUZZ_CHECK(rangeset_members(set) == members);
    FUZZ_CHECK(rangeset_count(set) == runs(bits));
}

/* Apply a change if the set took it; a refusal must have been one. */
static void change(struct rangeset *set, bool *bits, size_t cap, uint64_t a,
                   uint64_t b, bool value)
{
    bool after[NUMBERS];
    memcpy(after, bits, sizeof after);
    for (uint64_t i = a; i < b; i++) {
        after[i] = value;
    }
    int err = value ? rangeset_add(set, a, b) : rangeset_remove(set, a, b);
    FUZZ_CHECK(err == 0 || err == ERR_LIMIT);
    FUZZ_CHECK((err == 0) == (runs(after) <= cap));
    if (err == 0) {
        memcpy(bits, after, sizeof after);
    }
}

static void query(const struct rangeset *set, const bool *bits, uint64_t a,
                  uint64_t b)
{
    struct range found = { 0, 0 };
    bool all = true;
    bool any = false;
    for (uint64_t i = a; i < b; i++) {
        all = all && bits[i];
        any = any || bits[i];
    }
    FUZZ_CHECK(rangeset_contains(set, a, b) == all);
    FUZZ_CHECK(rangeset_intersects(set, a, b) == any);
    FUZZ_CHECK(rangeset_next_gap(set, a, b, &found) == !all);
    if (!all) {
        FUZZ_CHECK(found.start >= a && found.end <= b && !bits[found.start]);
        FUZZ_CHECK(found.start == a || bits[found.start - 1]);
        FUZZ_CHECK(found.end == b || bits[found.end]);
    }
    FUZZ_CHECK(rangeset_next_part(set, a, b, &found) == any);
    if (any) {
        FUZZ_CHECK(found.start >= a && found.end <= b && bits[found.start]);
        FUZZ_CHECK(found.end == b || !bits[found.end]);
    }
}

static void take(struct rangeset *set, bool *bits, uint64_t max)
{
    struct range taken = { 0, 0 };
    size_t first = 0;
    while (first < NUMBERS && !bits[first]) {
        first++;
    }
    bool some = rangeset_take_first(set, max, &taken);
    FUZZ_CHECK(some == (first < NUMBERS && max > 0));
    if (some) {
        FUZZ_CHECK(taken.start == first && taken.end - taken.start <= max);
        for (uint64_t i = taken.start; i < taken.end; i++) {
            FUZZ_CHECK(bits[i]);
            bits[i] = false;
        }
        FUZZ_CHECK(taken.end - taken.start == max || !bits[taken.end]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    bool bits[NUMBERS + 1] = { false };
    struct rangeset set;
    struct rangeset other;
    size_t cap = 1u + script_u8(&s) % 40u;
    rangeset_init(&set, cap);
    rangeset_init(&other, NUMBERS);
    while (s.left > 0) {
        uint8_t what = script_u8(&s);
        uint64_t a = script_u8(&s) + (what & 0x80u ? 256u : 0u);
        uint64_t b = a + script_u8(&s);
        b = b > NUMBERS ? NUMBERS : b;
        switch (what % 6) {
        case 0:
        case 1:
            change(&set, bits, cap, a, b, true);
            break;
        case 2:
            change(&set, bits, cap, a, b, false);
            break;
        case 3:
            query(&set, bits, a, b);
            break;
        case 4:
            take(&set, bits, b - a);
            break;
        default:
            rangeset_clear(&other);
            FUZZ_CHECK(rangeset_union(&other, &set) == 0);
            FUZZ_CHECK(rangeset_equal(&other, &set));
            break;
        }
        compare(&set, bits);
    }
    rangeset_free(&set);
    rangeset_free(&other);
    return 0;
}
