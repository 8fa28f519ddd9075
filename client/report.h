/* Filling in struct belay_error, and structs of callers that know an earlier
 * or a later library.  Pure; any thread. */
#ifndef CLIENT_REPORT_H
#define CLIENT_REPORT_H

#include <stddef.h>

#include "client/belay.h"

/* Returns `reason`; `error` may be NULL. */
enum belay_reason report(struct belay_error *error, enum belay_reason reason,
                         const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies what caller and library both know of an options struct, whose first
 * member is its size, to `to` of `size` bytes; the rest becomes zero. */
void report_take(void *to, size_t size, const void *from);
/* The other way: to the caller's struct, keeping its struct_size. */
void report_give(void *to, const void *from, size_t size);

#endif
