#include "server/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>

#include "proto/base/registry.h"
#include "proto/data/hash.h"
#include "server/limits.h"

#define SLOTS (SERVER_WORKERS_MAX + 1)
#define PARENT_SLOT SERVER_WORKERS_MAX

/* One writer each: what it stored last is what it reads. */
struct metrics_slot {
    _Alignas(64) atomic_uint_least64_t value[METRICS_IDS];
};

struct metrics {
    struct metrics_slot slot[SLOTS];
};

/* ---- Names. */

enum kind {
    COUNTER,
    GAUGE,
};

/* One line of the text. name NULL: of the same family as the one before. */
struct row {
    const char *name;
    enum kind kind;
    const char *help;
    const char *label; /* NULL: none, and it is the family's only line */
};

static const struct row rows[METRICS_IDS] = {
    [METRICS_CONNECTIONS_NOW] = { "belayd_connections_open", GAUGE,
        "Connections that are open now.", NULL },
    [METRICS_CONNECTIONS] = { "belayd_connections_total", COUNTER,
        "Connections that were taken.", NULL },
    [METRICS_RESETS] = { "belayd_connection_resets_total", COUNTER,
        "Connections that ended by a reset or a broken link.", NULL },
    [METRICS_HANDSHAKES] = { "belayd_tls_handshakes_total", COUNTER,
        "TLS handshakes that were completed.", NULL },
    [METRICS_HANDSHAKES_FAILED] = { "belayd_tls_handshakes_failed_total",
        COUNTER, "TLS handshakes that were begun and not completed, and "
        "clients without TLS.", NULL },
    [METRICS_AUTH_FAILED] = { "belayd_auth_failures_total", COUNTER,
        "Tokens and certificates that were refused.", NULL },
    [METRICS_WIRE_BYTES_OUT] = { "belayd_sent_bytes_total", COUNTER,
        "Bytes of frames and chunks as sent, before TLS.", NULL },
    [METRICS_WIRE_BYTES_IN] = { "belayd_received_bytes_total", COUNTER,
        "Bytes of frames as received, after TLS.", NULL },
    [METRICS_FILE_BYTES] = { "belayd_sent_file_bytes_total", COUNTER,
        "Bytes of files that were sent, before compression.", NULL },
    [METRICS_CHUNKS_RAW] = { "belayd_chunks_sent_total", COUNTER,
        "Chunks that were sent, by encoding.", "encoding=\"raw\"" },
    [METRICS_CHUNKS_ZLIB] = { .label = "encoding=\"zlib\"" },
    [METRICS_CHUNKS_ZERO] = { .label = "encoding=\"zero\"" },
    [METRICS_REQUESTS] = { "belayd_requests_total", COUNTER,
        "Requests of clients.", NULL },
    [METRICS_ERRORS_PERMANENT] = { "belayd_errors_total", COUNTER,
        "Errors told to clients, by class.", "class=\"permanent\"" },
    [METRICS_ERRORS_TRANSIENT] = { .label = "class=\"transient\"" },
    [METRICS_ERRORS_STALE] = { .label = "class=\"stale\"" },
    [METRICS_ERRORS_ACCESS] = { .label = "class=\"access\"" },
    [METRICS_ERRORS_SERVER] = { .label = "class=\"server\"" },
    [METRICS_ERRORS_PROTOCOL] = { .label = "class=\"protocol\"" },
    [METRICS_ERRORS_CANCELLED] = { .label = "class=\"cancelled\"" },
    [METRICS_DIGEST_HITS] = { "belayd_digest_cache_hits_total", COUNTER,
        "Digests of chunks that were known when they were needed.", NULL },
    [METRICS_DIGEST_MISSES] = { "belayd_digest_cache_misses_total", COUNTER,
        "Digests of chunks that had to be computed first.", NULL },
    [METRICS_HASH_RUNNING_NOW] = { "belayd_hash_jobs", GAUGE,
        "Files that are being hashed because digests are wanted, by state.",
        "state=\"running\"" },
    [METRICS_HASH_WAITING_NOW] = { .label = "state=\"waiting\"" },
    [METRICS_HASH_DONE] = { "belayd_hash_jobs_done_total", COUNTER,
        "Jobs of hashing a file that ended, or were given up.", NULL },
    [METRICS_LIMIT_CONNECTIONS] = { "belayd_limit_hits_total", COUNTER,
        "How often a limit was reached, by limit.",
        "limit=\"connections\"" },
    [METRICS_LIMIT_PER_ADDRESS] = { .label =
        "limit=\"connections_per_address\"" },
    [METRICS_LIMIT_STRANGERS] = { .label = "limit=\"strangers\"" },
    [METRICS_LIMIT_STRANGERS_PER_ADDRESS] = {
        .label = "limit=\"strangers_per_address\"" },
    [METRICS_LIMIT_BARRED] = { .label = "limit=\"barred\"" },
    [METRICS_LIMIT_SMALL_REQUESTS] = { .label = "limit=\"small_requests\"" },
    [METRICS_LIMIT_HASHING] = {
        .label = "limit=\"hash_jobs_per_address\"" },
    [METRICS_LIMIT_DESCRIPTORS] = { .label = "limit=\"descriptors\"" },
    [METRICS_LIMIT_MEMORY] = { .label = "limit=\"memory\"" },
    [METRICS_LIMIT_HANDSHAKE_TIME] = { .label = "limit=\"handshake_time\"" },
    [METRICS_LIMIT_AUTH_TIME] = { .label = "limit=\"auth_time\"" },
    [METRICS_LIMIT_AUTH_ATTEMPTS] = { .label = "limit=\"auth_attempts\"" },
    [METRICS_LIMIT_REQUESTS] = { .label = "limit=\"requests\"" },
    [METRICS_LIMIT_HANDLES] = { .label = "limit=\"handles\"" },
    [METRICS_LIMIT_CANCELS] = { .label = "limit=\"cancels\"" },
    [METRICS_LIMIT_PINGS] = { .label = "limit=\"pings\"" },
    [METRICS_LIMIT_SLOW_READER] = { .label = "limit=\"slow_reader\"" },
    [METRICS_LIMIT_IDLE_TIME] = { .label = "limit=\"idle_time\"" },
    [METRICS_WORKERS_NOW] = { "belayd_workers", GAUGE,
        "Worker processes that run now.", NULL },
    [METRICS_WORKER_STARTS] = { "belayd_worker_starts_total", COUNTER,
        "Worker processes that were started.", NULL },
    [METRICS_WORKER_CRASHES] = { "belayd_worker_crashes_total", COUNTER,
        "Worker processes that ended otherwise than asked.", NULL },
};

static bool
is_momentary(enum metrics_id id)
{
    while (rows[id].name == NULL) {
        id--;
    }
    return rows[id].kind == GAUGE;
}

/* ---- Life. */

int
metrics_new(struct metrics **out)
{
    struct metrics *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) {
        return ERR_NOMEM;
    }
    *out = m;
    return 0;
}

void
metrics_free(struct metrics *metrics)
{
    if (metrics != NULL) {
        munmap(metrics, sizeof(*metrics));
    }
}

int
metrics_seal(struct metrics *metrics)
{
    return mprotect(metrics, sizeof(*metrics), PROT_READ) == 0 ? 0 : ERR_IO;
}

struct metrics_slot *
metrics_of_worker(struct metrics *metrics, unsigned worker)
{
    BELAY_ASSERT(worker < SERVER_WORKERS_MAX);
    return &metrics->slot[worker];
}

struct metrics_slot *
metrics_of_parent(struct metrics *metrics)
{
    return &metrics->slot[PARENT_SLOT];
}

/* ---- Numbers. */

static uint64_t
get(const struct metrics_slot *slot, enum metrics_id id)
{
    return atomic_load_explicit(&slot->value[id], memory_order_relaxed);
}

static void
set(struct metrics_slot *slot, enum metrics_id id, uint64_t value)
{
    atomic_store_explicit(&slot->value[id], value, memory_order_relaxed);
}

void
metrics_add(struct metrics_slot *slot, enum metrics_id id, uint64_t n)
{
    set(slot, id, get(slot, id) + n);
}

void
metrics_sub(struct metrics_slot *slot, enum metrics_id id, uint64_t n)
{
    uint64_t was = get(slot, id);

    BELAY_ASSERT(is_momentary(id));
    set(slot, id, was > n ? was - n : 0);
}

void
metrics_worker_died(struct metrics *metrics, unsigned worker)
{
    struct metrics_slot *slot = metrics_of_worker(metrics, worker);

    for (enum metrics_id id = 0; id < METRICS_IDS; id++) {
        if (is_momentary(id)) {
            set(slot, id, 0);
        }
    }
}

uint64_t
metrics_sum(const struct metrics *metrics, enum metrics_id id)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < SLOTS; i++) {
        sum += get(&metrics->slot[i], id);
    }
    return sum;
}

/* ---- Text. */

struct text {
    char *buf;
    size_t cap;
    size_t len;
    bool full;
};

static void __attribute__((format(printf, 2, 3)))
put(struct text *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(t->buf + t->len, t->cap - t->len, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= t->cap - t->len) {
        t->full = true;
    } else {
        t->len += (size_t)n;
    }
}

static void
put_head(struct text *t, const char *name, enum kind kind, const char *help)
{
    put(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
        kind == COUNTER ? "counter" : "gauge");
}

static void
put_row(struct text *t, const struct row *row, const char *name,
        uint64_t value)
{
    if (row->name != NULL) {
        put_head(t, name, row->kind, row->help);
    }
    if (row->label != NULL) {
        put(t, "%s{%s} %" PRIu64 "\n", name, row->label, value);
    } else {
        put(t, "%s %" PRIu64 "\n", name, value);
    }
}

static void
put_server(struct text *t, uint64_t uptime_ms)
{
    put_head(t, "belayd_build_info", GAUGE,
             "What runs here; always 1.");
    put(t, "belayd_build_info{version=\"%s\",protocol=\"%u\","
        "openssl=\"%s\"} 1\n", BELAY_VERSION, PROTO_VERSION, hash_library());
    put_head(t, "belayd_uptime_seconds", GAUGE,
             "Time since the server began.");
    put(t, "belayd_uptime_seconds %" PRIu64 ".%03" PRIu64 "\n",
        uptime_ms / 1000, uptime_ms % 1000);
}

int
metrics_render(const struct metrics *metrics, uint64_t uptime_ms, char *buf,
               size_t cap, size_t *len)
{
    struct text t = { .buf = buf, .cap = cap };
    const char *name = NULL;

    put_server(&t, uptime_ms);
    for (enum metrics_id id = 0; id < METRICS_IDS; id++) {
        name = rows[id].name != NULL ? rows[id].name : name;
        put_row(&t, &rows[id], name, metrics_sum(metrics, id));
    }
    *len = t.len;
    return t.full ? ERR_LIMIT : 0;
}
