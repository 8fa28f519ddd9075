/* What a connection adds to the numbers of its worker. */
#include <string.h>

#include "server/conn_internal.h"

void
conn_tally_begin(struct conn *conn)
{
    struct metrics_slot *count = conn->worker->count;

    metrics_add(count, METRICS_CONNECTIONS, 1);
    metrics_add(count, METRICS_CONNECTIONS_NOW, 1);
}

/* ---- What the sender did. */

static void
add_lists(struct metrics_slot *count, const struct sender_stats *now,
          const struct sender_stats *told)
{
    for (unsigned i = 0; i < SENDER_CODECS; i++) {
        metrics_add(count, METRICS_CHUNKS_RAW + i,
                    now->chunks_of_codec[i] - told->chunks_of_codec[i]);
    }
    for (unsigned i = WIRE_CLASS_PERMANENT; i < SENDER_CLASSES; i++) {
        metrics_add(count, METRICS_ERRORS_PERMANENT + i - WIRE_CLASS_PERMANENT,
                    now->errors_of_class[i] - told->errors_of_class[i]);
    }
}

void
conn_tally(struct conn *conn)
{
    struct metrics_slot *count = conn->worker->count;
    const struct sender_stats *now = sender_stats(conn->sender);
    const struct sender_stats *told = &conn->told;

    metrics_add(count, METRICS_WIRE_BYTES_OUT,
                now->bytes_out - told->bytes_out);
    metrics_add(count, METRICS_WIRE_BYTES_IN, now->bytes_in - told->bytes_in);
    metrics_add(count, METRICS_FILE_BYTES, now->raw_bytes - told->raw_bytes);
    metrics_add(count, METRICS_REQUESTS, now->requests - told->requests);
    metrics_add(count, METRICS_AUTH_FAILED,
                now->auth_refused - told->auth_refused);
    metrics_add(count, METRICS_LIMIT_REQUESTS,
                now->too_many_requests - told->too_many_requests);
    metrics_add(count, METRICS_LIMIT_HANDLES,
                now->too_many_handles - told->too_many_handles);
    add_lists(count, now, told);
    conn->told = *now;
}

/* ---- The end. */

/* Ends that a limit brought about, by the word of the log. */
static const struct {
    const char *reason;
    enum metrics_id limit;
} limits[] = {
    { "memory", METRICS_LIMIT_MEMORY },
    { "handshake-timeout", METRICS_LIMIT_HANDSHAKE_TIME },
    { "auth-timeout", METRICS_LIMIT_AUTH_TIME },
    { "auth-refused", METRICS_LIMIT_AUTH_ATTEMPTS },
    { "cancel-flood", METRICS_LIMIT_CANCELS },
    { "pings", METRICS_LIMIT_PINGS },
    { "slow-reader", METRICS_LIMIT_SLOW_READER },
    { "write-blocked", METRICS_LIMIT_SLOW_READER },
    { "idle", METRICS_LIMIT_IDLE_TIME },
};

void
conn_tally_end(struct conn *conn)
{
    struct metrics_slot *count = conn->worker->count;
    const char *reason = conn->reason;

    conn_tally(conn);
    metrics_sub(count, METRICS_CONNECTIONS_NOW, 1);
    if (strcmp(reason, "reset") == 0) {
        metrics_add(count, METRICS_RESETS, 1);
    }
    if (conn->wire == CONN_SHAKING || strcmp(reason, "not-tls") == 0) {
        metrics_add(count, METRICS_HANDSHAKES_FAILED, 1);
    }
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (strcmp(reason, limits[i].reason) == 0) {
            metrics_add(count, limits[i].limit, 1);
        }
    }
}
