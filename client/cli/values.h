/* Values of options: text to number.  Each returns false, with `out`
 * unspecified, when the text does not fit.  Pure. */
#ifndef CLIENT_CLI_VALUES_H
#define CLIENT_CLI_VALUES_H

#include <stdbool.h>
#include <stdint.h>

/* "500k", "1.5M", "2G": k is 1024; from 1. */
bool value_bytes(const char *text, uint64_t *out);
/* Seconds, with a fraction; to milliseconds, from 1. */
bool value_seconds(const char *text, uint64_t *ms);
bool value_number(const char *text, unsigned long least, unsigned long most,
                  unsigned *out);
/* Tries: a number from 1; "inf" and "0" are 0. */
bool value_tries(const char *text, unsigned *out);
/* "HH:MM": milliseconds until the clock shows that, within a day. */
bool value_clock(const char *text, uint64_t *ms);
/* A chunk size in bytes: a power of two within the bounds of belay.h. */
bool value_chunk(const char *text, uint32_t *bytes);
/* 64 hexadecimal digits. */
bool value_sha256(const char *text);
/* "sha256:HEX" and its spellings; *hex points into `text`. */
bool value_checksum(const char *text, const char **hex);

#endif
