/* Numbers about the server for whoever watches it: counted by its processes,
 * rendered as text.
 *
 * They live in memory that all processes of the server share: one slot for
 * each worker and one for the parent, each written by its own process only,
 * from one thread, and read by the process that answers requests for them. A
 * slot outlives its worker, so a counter never falls while the server runs;
 * only what a dead worker had at the moment (METRICS_..._NOW) is taken back.
 *
 * The text is the Prometheus text format 0.0.4. The names are a promise to
 * those who built upon them; belayd(8) lists them. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* In the order in which they are rendered; families stay together. */
enum metrics_id {
    METRICS_CONNECTIONS_NOW,
    METRICS_CONNECTIONS,
    METRICS_RESETS,
    METRICS_HANDSHAKES,
    METRICS_HANDSHAKES_FAILED,
    METRICS_AUTH_FAILED,
    METRICS_WIRE_BYTES_OUT,
    METRICS_WIRE_BYTES_IN,
    METRICS_FILE_BYTES,
    METRICS_CHUNKS_RAW, /* these three by codec */
    METRICS_CHUNKS_ZLIB,
    METRICS_CHUNKS_ZERO,
    METRICS_REQUESTS,
    METRICS_ERRORS_PERMANENT, /* from here by class */
    METRICS_ERRORS_TRANSIENT,
    METRICS_ERRORS_STALE,
    METRICS_ERRORS_ACCESS,
    METRICS_ERRORS_SERVER,
    METRICS_ERRORS_PROTOCOL,
    METRICS_ERRORS_CANCELLED,
    METRICS_DIGEST_HITS,
    METRICS_DIGEST_MISSES,
    METRICS_HASH_RUNNING_NOW,
    METRICS_HASH_WAITING_NOW,
    METRICS_HASH_DONE,
    METRICS_LIMIT_CONNECTIONS,
    METRICS_LIMIT_PER_ADDRESS,
    METRICS_LIMIT_STRANGERS,
    METRICS_LIMIT_STRANGERS_PER_ADDRESS,
    METRICS_LIMIT_BARRED,
    METRICS_LIMIT_SMALL_REQUESTS,
    METRICS_LIMIT_HASHING,
    METRICS_LIMIT_DESCRIPTORS,
    METRICS_LIMIT_MEMORY,
    METRICS_LIMIT_HANDSHAKE_TIME,
    METRICS_LIMIT_AUTH_TIME,
    METRICS_LIMIT_AUTH_ATTEMPTS,
    METRICS_LIMIT_REQUESTS,
    METRICS_LIMIT_HANDLES,
    METRICS_LIMIT_CANCELS,
    METRICS_LIMIT_PINGS,
    METRICS_LIMIT_SLOW_READER,
    METRICS_LIMIT_IDLE_TIME,
    METRICS_WORKERS_NOW,
    METRICS_WORKER_STARTS,
    METRICS_WORKER_CRASHES,
    METRICS_IDS,
};

struct metrics;
struct metrics_slot;

/* All zero; made before other processes are forked. ERR_NOMEM. */
MUST_USE int metrics_new(struct metrics **out);
/* This process's view of them; NULL is allowed. */
void metrics_free(struct metrics *metrics);

/* For the process of this worker (below SERVER_WORKERS_MAX), or for the
 * parent. Borrowed. */
struct metrics_slot *metrics_of_worker(struct metrics *metrics,
                                       unsigned worker);
struct metrics_slot *metrics_of_parent(struct metrics *metrics);

/* Only ..._NOW may fall. */
void metrics_add(struct metrics_slot *slot, enum metrics_id id, uint64_t n);
void metrics_sub(struct metrics_slot *slot, enum metrics_id id, uint64_t n);

/* The worker's process is gone, and what it had with it. */
void metrics_worker_died(struct metrics *metrics, unsigned worker);

/* From now on this process can only read them. ERR_IO. */
MUST_USE int metrics_seal(struct metrics *metrics);

/* Over all slots. */
uint64_t metrics_sum(const struct metrics *metrics, enum metrics_id id);

/* Room for what metrics_render() writes, with all numbers at their longest. */
#define METRICS_TEXT_MAX (16u * 1024u)

/* Writes the text, not terminated, and its length; uptime_ms: since the
 * server began. ERR_LIMIT when it does not fit: not with METRICS_TEXT_MAX. */
MUST_USE int metrics_render(const struct metrics *metrics, uint64_t uptime_ms,
                            char *buf, size_t cap, size_t *len);

#endif
