/* Retry: what every client machine does in the same way after a failure
 * (belay-1, section 15): random waits, and the server's words for people.
 *
 * Pure; the only state is a seed of the caller. */
#ifndef PROTO_SESSION_RETRY_H
#define PROTO_SESSION_RETRY_H

#include <stddef.h>
#include <stdint.h>

#include "proto/wire/msg.h"

/* Longest wait that a server may ask for (T13). */
#define RETRY_AFTER_MAX_MS 60000u

/* The next number of a sequence that is good enough to spread retries and to
 * choose grease.  `*state` is not 0. */
uint64_t retry_random(uint64_t *state);

/* Rule T12, full jitter: a random wait after `k` earlier connections in a row
 * without progress. */
uint64_t retry_backoff_ms(uint64_t *state, unsigned k);

/* How long the server asks to wait: as it says, the default when it does not,
 * never longer than RETRY_AFTER_MAX_MS. */
uint64_t retry_after_ms(const struct msg_error *error);

/* Why the server refused, for people: the meaning of the code, and its own
 * words, escaped.  Returns `out`, which holds `cap` >= 16 bytes, or a constant
 * string. */
const char *retry_sentence(const struct msg_error *error, char *out,
                           size_t cap);

#endif
