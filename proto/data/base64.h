/* Standard base64 with padding (RFC 4648, section 4).  Pure; any thread. */
#ifndef PROTO_DATA_BASE64_H
#define PROTO_DATA_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

/* Characters for `len` bytes, and the most bytes that so many characters
 * give. */
#define BASE64_LEN(len) (((len) + 2) / 3 * 4)
#define BASE64_BYTES(len) ((len) / 4 * 3)

/* Writes BASE64_LEN(len) characters and a NUL to `text`. */
void base64_encode(const uint8_t *bytes, size_t len, char *text);

/* Reads exactly `len` characters: whole groups of four, padding only at the
 * end, nothing else between.  `bytes` holds BASE64_BYTES(len); `*count` gets
 * how many there are.  Returns 0, or ERR_SYNTAX with the outputs
 * unspecified. */
int base64_decode(const char *text, size_t len, uint8_t *bytes,
                  size_t *count) MUST_USE;

#endif
