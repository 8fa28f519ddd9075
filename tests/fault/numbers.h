/* Numbers as people type them: sizes with K, M, G, T and decimal seconds.
 *
 * Pure. Every function needs the whole text to be the number; each returns 0,
 * or -EINVAL (not a number) or -ERANGE (too large), *out unchanged. */
#ifndef TESTS_FAULT_NUMBERS_H
#define TESTS_FAULT_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

/* A whole number, no unit. */
int numbers_count(const char *text, uint64_t *out);

/* Bytes: a whole number and an optional K, M, G or T (powers of 1024). */
int numbers_bytes(const char *text, uint64_t *out);

/* Decimal units, such as seconds or milliseconds, as nanoseconds:
 * unit_ns is the length of one unit. At most 10^9 seconds. */
int numbers_time(const char *text, int64_t unit_ns, int64_t *out_ns);

#endif
