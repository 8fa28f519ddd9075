#include "proto/session/sender.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"
#include "proto/session/sender_internal.h"

static uint16_t
or_default(uint16_t announced, uint16_t otherwise)
{
    return announced != 0 ? announced : otherwise;
}

static void
init_limits(struct sender *s)
{
    const struct sender_config *c = &s->config;

    s->max_requests = or_default(c->max_requests, LIMIT_REQUESTS_DEFAULT);
    s->max_handles = or_default(c->max_handles, LIMIT_HANDLES_DEFAULT);
    s->max_ranges = or_default(c->max_ranges, LIMIT_RANGES_DEFAULT);
    s->idle_ms =
        or_default(c->idle_timeout_s, LIMIT_IDLE_DEFAULT_S) * UINT64_C(1000);
    s->ping_half_ms =
        or_default(c->ping_interval_s, LIMIT_PING_INTERVAL_DEFAULT_S) *
        UINT64_C(500);
    s->ping_tokens = SENDER_PING_BURST;
    s->peer_chunk_log2 = LIMIT_CHUNK_LOG2_DEFAULT;
}

struct sender *
sender_new(const struct sender_config *config, uint64_t now)
{
    struct sender *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->config = *config;
    s->now = now;
    s->born = now;
    s->last_frame = now;
    s->last_sent = now;
    s->write_moved = now;
    s->ping_refill = now;
    s->reason = "open";
    init_limits(s);
    TAILQ_INIT(&s->all);
    TAILQ_INIT(&s->gone);
    TAILQ_INIT(&s->ready);
    TAILQ_INIT(&s->checks);
    TAILQ_INIT(&s->digests);
    TAILQ_INIT(&s->lists);
    TAILQ_INIT(&s->handles_all);
    TAILQ_INIT(&s->dead);
    TAILQ_INIT(&s->opens);
    for (size_t i = 0; i < SENDER_URGENCIES; i++) {
        TAILQ_INIT(&s->run[i]);
    }
    s->grease_state = config->grease_seed;
    s->grease_frame_due = config->grease;
    s->grease_frame_late = sender_grease_pick(s, 2) == 1;
    return s;
}

static void
free_requests(struct request_list_head *list)
{
    struct request *r;

    while ((r = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, r, all);
        free(r);
    }
}

static void
free_handles(struct handle_list_head *list)
{
    struct handle *h;

    while ((h = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, h, all);
        free(h);
    }
}

void
sender_free(struct sender *s)
{
    if (s == NULL) {
        return;
    }
    free_requests(&s->all);
    free_requests(&s->gone);
    free_handles(&s->handles_all);
    free_handles(&s->dead);
    page_release(&s->digest_page);
    page_release(&s->list_page);
    free(s->stash);
    free(s);
}

uint32_t
sender_grease_pick(struct sender *s, uint32_t bound)
{
    /* SplitMix64: any seed will do, and equal seeds give equal bytes. */
    s->grease_state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = s->grease_state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)((z ^ (z >> 31)) % bound);
}

/* ---- The end. */

void
sender_fail(struct sender *s, uint16_t code, const char *reason)
{
    if (s->phase >= PHASE_CLOSING) {
        return;
    }
    s->phase = PHASE_CLOSING;
    s->reason = reason;
    s->stats.errors_of_class[err_wire_class(code)]++;
    s->close_error = code;
    s->close_goaway = code != WIRE_VERSION_REJECTED;
    s->goaway_code = code;
    s->goaway_last_id = s->last_id;
}

void
sender_refuse(struct sender *s, uint16_t code, const char *reason)
{
    sender_fail(s, code, reason);
}

void
sender_close(struct sender *s, const char *reason)
{
    if (s->phase < PHASE_FINISHED) {
        s->phase = PHASE_FINISHED;
        s->reason = reason;
    }
}

static void
close_by_goaway(struct sender *s, uint16_t code, const char *reason)
{
    s->phase = PHASE_CLOSING;
    s->reason = reason;
    s->close_goaway = true;
    s->goaway_code = code;
    s->goaway_last_id = s->last_id;
}

void
sender_settle(struct sender *s)
{
    if (s->phase != PHASE_ACTIVE || !TAILQ_EMPTY(&s->all)) {
        return;
    }
    if (s->peer_done) {
        sender_close(s, "done");
    } else if (s->eof && sender_input_is_partial(s)) {
        sender_close(s, s->stash_len > 0 ? "cut" : "eof");
    } else if (s->drain == DRAIN_FINISH) {
        sender_close(s, "drained");
    }
}

void
sender_goaway(struct sender *s, uint64_t now)
{
    s->now = now;
    if (s->phase < PHASE_ACTIVE) {
        close_by_goaway(s, WIRE_SHUTTING_DOWN, "shutdown");
    } else if (s->phase == PHASE_ACTIVE && s->drain == DRAIN_NONE) {
        s->drain = DRAIN_ANNOUNCE;
    }
}

bool
sender_finished(const struct sender *s)
{
    return s->phase == PHASE_FINISHED && !s->chunk_open;
}

/* ---- Time. */

bool
sender_is_blocked(const struct sender *s)
{
    return s->emitted > s->stats.bytes_out;
}

static bool
is_quiet(const struct sender *s)
{
    return s->phase == PHASE_ACTIVE && s->drain == DRAIN_NONE &&
           TAILQ_EMPTY(&s->all) && !sender_is_blocked(s);
}

static void
earliest(uint64_t *best, uint64_t at)
{
    if (at < *best) {
        *best = at;
    }
}

uint64_t
sender_deadline(const struct sender *s)
{
    uint64_t best = UINT64_MAX;

    if (s->phase == PHASE_FINISHED) {
        return best;
    }
    if (s->phase == PHASE_PREFACE && !s->greeting_sent) {
        earliest(&best, s->born + TIMER_PREFACE_WAIT_MS);
    }
    if (s->phase < PHASE_ACTIVE) {
        earliest(&best, s->born + TIMER_HANDSHAKE_MS);
    }
    if (s->phase == PHASE_ACTIVE && sender_needs_auth(s)) {
        earliest(&best, s->born + TIMER_AUTH_MS);
    }
    if (is_quiet(s)) {
        earliest(&best, s->last_frame + s->idle_ms);
    }
    if (sender_is_blocked(s)) {
        earliest(&best, s->write_moved + TIMER_WRITE_BLOCKED_MS);
        earliest(&best, s->slow_since + SLOW_READER_WINDOW_MS);
    }
    if (s->drain == DRAIN_GAP || s->drain == DRAIN_FINISH) {
        earliest(&best, s->drain_at);
    }
    if (sender_progress_request(s) != NULL) {
        earliest(&best, s->last_sent + TIMER_PROGRESS_MS);
    }
    return best;
}

static void
tick_transport(struct sender *s)
{
    if (!sender_is_blocked(s)) {
        return;
    }
    if (s->now >= s->write_moved + TIMER_WRITE_BLOCKED_MS) {
        sender_close(s, "write-blocked");
    } else if (s->now >= s->slow_since + SLOW_READER_WINDOW_MS) {
        uint64_t took = s->stats.bytes_out - s->slow_bytes;
        if (took < LIMIT_SLOW_BYTES_PER_S *
                       (uint64_t)(SLOW_READER_WINDOW_MS / 1000)) {
            sender_close(s, "slow-reader");
        }
        s->slow_since = s->now;
        s->slow_bytes = s->stats.bytes_out;
    }
}

static void
tick_drain(struct sender *s)
{
    if (s->now < s->drain_at) {
        return;
    }
    if (s->drain == DRAIN_GAP) {
        s->drain = DRAIN_NAME;
        s->drain_last_id = s->last_id;
    } else if (s->drain == DRAIN_FINISH) {
        sender_close(s, "drain-timeout");
    }
}

void
sender_tick(struct sender *s, uint64_t now)
{
    s->now = now;
    if (s->phase == PHASE_FINISHED) {
        return;
    }
    if (s->phase < PHASE_ACTIVE && now >= s->born + TIMER_HANDSHAKE_MS) {
        if (s->phase == PHASE_PREFACE) {
            sender_close(s, "handshake-timeout");
        } else {
            sender_fail(s, WIRE_HANDSHAKE_TIMEOUT, "handshake-timeout");
        }
    }
    if (s->phase == PHASE_ACTIVE && sender_needs_auth(s) &&
        now >= s->born + TIMER_AUTH_MS) {
        sender_fail(s, WIRE_HANDSHAKE_TIMEOUT, "auth-timeout");
    }
    if (is_quiet(s) && now >= s->last_frame + s->idle_ms) {
        close_by_goaway(s, 0, "idle");
    }
    tick_transport(s);
    tick_drain(s);
}

/* ---- Queries. */

bool
sender_ready(const struct sender *s)
{
    return s->greeted;
}

bool
sender_is_idle(const struct sender *s)
{
    return TAILQ_EMPTY(&s->all) && !sender_is_blocked(s);
}

const char *
sender_reason(const struct sender *s)
{
    return s->reason;
}

const struct sender_stats *
sender_stats(const struct sender *s)
{
    return &s->stats;
}

const uint8_t *
sender_agent(const struct sender *s, size_t *len)
{
    *len = s->agent_len;
    return s->agent;
}
