#include "tests/fault/numbers.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIME_MAX_NS INT64_C(1000000000000000000)

static int
numbers_digits(const char *text, uint64_t *out, const char **rest)
{
    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    uint64_t value = 0;
    while (isdigit((unsigned char)*text)) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return -ERANGE;
        }
        value = value * 10 + digit;
        text++;
    }
    *out = value;
    *rest = text;
    return 0;
}

int
numbers_count(const char *text, uint64_t *out)
{
    uint64_t value;
    const char *rest;
    int err = numbers_digits(text, &value, &rest);
    if (err != 0) {
        return err;
    }
    if (*rest != '\0') {
        return -EINVAL;
    }
    *out = value;
    return 0;
}

int
numbers_bytes(const char *text, uint64_t *out)
{
    uint64_t value;
    const char *rest;
    int err = numbers_digits(text, &value, &rest);
    if (err != 0) {
        return err;
    }
    unsigned shift = 0;
    if (*rest != '\0') {
        static const char units[] = "KMGT";
        const char *unit = strchr(units, toupper((unsigned char)*rest));
        if (unit == NULL) {
            return -EINVAL;
        }
        shift = 10 * (unsigned)(unit - units + 1);
        rest++;
    }
    if (*rest != '\0' && strcmp(rest, "iB") != 0) {
        return -EINVAL;
    }
    /* Positions near the top are kept free for "never". */
    if (value > (UINT64_MAX >> 2) >> shift) {
        return -ERANGE;
    }
    *out = value << shift;
    return 0;
}

int
numbers_time(const char *text, int64_t unit_ns, int64_t *out_ns)
{
    uint64_t whole;
    const char *rest;
    int err = numbers_digits(text, &whole, &rest);
    if (err != 0) {
        return err;
    }
    if (whole > (uint64_t)(TIME_MAX_NS / unit_ns)) {
        return -ERANGE;
    }
    int64_t value_ns = (int64_t)whole * unit_ns;
    if (*rest == '.') {
        rest++;
        int64_t place_ns = unit_ns / 10;
        while (isdigit((unsigned char)*rest)) {
            value_ns += place_ns * (*rest - '0');
            place_ns /= 10;
            rest++;
        }
    }
    if (*rest != '\0') {
        return -EINVAL;
    }
    *out_ns = value_ns;
    return 0;
}
