/* Receiver: bytes in and out, time. */
#include "proto/session/receiver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/text.h"
#include "proto/session/receiver_internal.h"

static struct receiver *make(uint32_t requests, uint32_t handles,
                             uint32_t ranges)
{
    struct receiver *r = calloc(1, sizeof *r);

    BELAY_ASSERT((requests & (requests - 1)) == 0 &&
                 (handles & (handles - 1)) == 0);
    if (r == NULL) {
        return NULL;
    }
    r->request_cap = requests;
    r->handle_cap = handles;
    r->range_max = ranges;
    r->request = calloc(requests, sizeof r->request[0]);
    r->handle = calloc(handles, sizeof r->handle[0]);
    r->range = calloc((size_t)requests * ranges, sizeof r->range[0]);
    if (r->request == NULL || r->handle == NULL || r->range == NULL) {
        receiver_free(r);
        return NULL;
    }
    for (uint32_t k = 0; k < requests; k++) {
        r->request[k].range = r->range + (size_t)k * ranges;
    }
    return r;
}

struct receiver *receiver_new(void)
{
    return make(RECEIVER_REQUESTS_MAX, RECEIVER_HANDLES_MAX,
                RECEIVER_RANGES_MAX);
}

struct receiver *receiver_new_wide(void)
{
    return make(RECEIVER_WIDE_REQUESTS, RECEIVER_WIDE_HANDLES, 1);
}

void receiver_free(struct receiver *r)
{
    if (r != NULL) {
        free(r->request);
        free(r->handle);
        free(r->range);
        free(r);
    }
}

int receiver_error(struct receiver *r, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text_vprint(r->error, sizeof r->error, format, args);
    va_end(args);
    r->phase = RECEIVER_DEAD;
    return err;
}

/* ---- output. */

/* A writer over the free end of the output buffer. */
void receiver_writer(struct receiver *r, struct writer *w)
{
    if (r->out_at > 0) {
        memmove(r->out, r->out + r->out_at, r->out_len - r->out_at);
        r->out_len -= r->out_at;
        r->out_at = 0;
    }
    writer_init(w, r->out + r->out_len, sizeof r->out - r->out_len);
}

void receiver_queued(struct receiver *r, const struct writer *w)
{
    r->out_len += writer_len(w);
    BELAY_ASSERT(r->out_len <= sizeof r->out);
}

size_t receiver_out(const struct receiver *r, const uint8_t **data)
{
    *data = r->out + r->out_at;
    return r->out_len - r->out_at;
}

void receiver_sent(struct receiver *r, size_t len, uint64_t now)
{
    BELAY_ASSERT(len <= r->out_len - r->out_at);
    r->out_at += len;
    if (r->out_at == r->out_len) {
        r->out_at = 0;
        r->out_len = 0;
    }
    /* Silence is measured from the question, not from before it. */
    if (len > 0 && !r->pinged) {
        r->heard = now;
    }
}

struct tlv receiver_grease(struct receiver *r)
{
    r->grease = r->grease * UINT64_C(6364136223846793005) + 1;
    uint64_t v = r->grease >> 24;

    memcpy(r->grease_bytes, &v, sizeof v);
    return tlv_grease((uint32_t)(v >> 8),
                      (struct bytes_view){r->grease_bytes, 1 + v % 8});
}

static void queue_greeting(struct receiver *r, const char *agent)
{
    static const uint8_t codecs[] = {CODEC_RAW, CODEC_ZERO, CODEC_ZLIB};
    struct preface preface = {.version = PROTO_VERSION, .role = ROLE_CLIENT};
    struct msg_hello hello = {.has = HELLO_HAS_MAX_CHUNK_LOG2,
                              .max_chunk_log2 = r->max_chunk_log2};
    uint8_t bytes[PREFACE_LEN];
    struct writer w;
    int err;

    preface_encode(&preface, bytes);
    receiver_writer(r, &w);
    writer_bytes(&w, bytes, sizeof bytes);
    hello.codecs.ptr = codecs;
    hello.codecs.len = r->compression ? 3 : 2;
    hello.agent.ptr = (const uint8_t *)agent;
    hello.agent.len = strlen(agent);
    hello.grease = receiver_grease(r);
    err = msg_hello_encode(&hello, FRAME_FROM_CLIENT, &w);
    if (err == 0) {
        err = frame_encode_grease(&w, (uint32_t)(r->grease >> 32), 0,
                                  (struct bytes_view){r->grease_bytes, 4});
    }
    BELAY_ASSERT(err == 0); /* an empty buffer has room for a greeting */
    receiver_queued(r, &w);
}

void receiver_start(struct receiver *r, const struct receiver_config *config,
                    uint64_t now)
{
    for (uint32_t k = 0; k < r->request_cap; k++) {
        r->request[k].id = 0;
    }
    memset(r->handle, 0, r->handle_cap * sizeof r->handle[0]);
    memset(&r->phase, 0,
           offsetof(struct receiver, in) - offsetof(struct receiver, phase));
    r->phase = RECEIVER_PREFACE;
    r->in_need = PREFACE_LEN;
    r->compression = config->compression;
    r->max_chunk_log2 = config->max_chunk_log2;
    r->silence_ms = config->silence_ms != 0 ? config->silence_ms
                                            : TIMER_SILENCE_MS;
    /* Who bears less silence waits less for the answer, too. */
    r->ping_wait_ms = config->ping_wait_ms != 0 ? config->ping_wait_ms
                      : r->silence_ms < TIMER_PING_WAIT_MS
                          ? r->silence_ms
                          : TIMER_PING_WAIT_MS;
    r->started = now;
    r->heard = now;
    r->grease = config->grease_seed;
    r->next_id = 1;
    r->limits.max_chunk_log2 = LIMIT_CHUNK_LOG2_DEFAULT;
    r->limits.max_requests = LIMIT_REQUESTS_DEFAULT;
    r->limits.max_handles = LIMIT_HANDLES_DEFAULT;
    r->limits.max_ranges = LIMIT_RANGES_DEFAULT;
    queue_greeting(r, config->agent);
    if (config->auth != NULL) {
        receiver_queue_auth(r, config->auth, now);
    }
}

/* ---- input. */

/* How a TLS server complains of bytes that are no TLS. */
#define TLS_ALERT 0x15
#define TLS_MAJOR 0x03

static int foreign_peer(struct receiver *r)
{
    char shown[120];

    if (r->in[0] == TLS_ALERT && r->in_len > 1 && r->in[1] == TLS_MAJOR) {
        return receiver_error(r, ERR_MAGIC, "the peer speaks TLS, which is "
                                            "for belay:// instead of "
                                            "belay+tcp://");
    }
    (void)text_escape(shown, sizeof shown, r->in,
                      r->in_len < 64 ? r->in_len : 64);
    return receiver_error(r, ERR_MAGIC,
                          "the peer is not a Belay server; it says \"%s\"",
                          shown);
}

static int take_preface(struct receiver *r)
{
    struct preface preface;
    int err = preface_decode(r->in, ROLE_SERVER, &preface);

    if (err == ERR_ROLE) {
        return receiver_error(r, err, "the peer echoes our own bytes");
    }
    if (err == ERR_VERSION || (err == 0 && preface.rejected)) {
        return receiver_error(r, ERR_VERSION,
                              "the server speaks protocol version %u, this "
                              "program version %u",
                              preface.version,
                              PROTO_VERSION);
    }
    if (err != 0) {
        return receiver_error(r, err, "the greeting is damaged: %s",
                              err_sentence(err));
    }
    r->phase = RECEIVER_GREETING;
    r->in_len = 0;
    r->in_need = FRAME_HEADER_LEN;
    return 0;
}

/* Every byte is a sign of life, so a peer could hold a connection for ever
 * with one now and then. A frame that was begun has to come on at this pace;
 * links that are honestly slower get smaller chunks after some losses. */
#define WINDOW_MS 60000u
#define WINDOW_BYTES (UINT64_C(128) * WINDOW_MS / 1000)

static void new_window(struct receiver *r, uint64_t now)
{
    r->window_at = now;
    r->window_bytes = 0;
}

static void count_bytes(struct receiver *r, uint64_t now, size_t len)
{
    r->window_bytes += len;
    if (r->window_bytes >= WINDOW_BYTES) {
        new_window(r, now);
    }
}

static bool within_frame(const struct receiver *r)
{
    return r->in_len > 0 || r->chunk_left > 0;
}

/* Is a whole frame in the buffer?  ERR_AGAIN: in_need bytes are wanted. */
static int take_frame(struct receiver *r, struct receiver_event *event)
{
    struct frame frame;
    size_t need = 0;
    int err = frame_scan(r->in, r->in_len, &frame, &need);

    if (err == ERR_AGAIN) {
        r->in_need = need;
        return err;
    }
    if (err != 0) {
        return receiver_error(r, err, "%s", err_sentence(err));
    }
    r->in_len = 0;
    r->in_need = FRAME_HEADER_LEN;
    return receiver_frame(r, &frame, r->in + FRAME_HEADER_LEN, event);
}

int receiver_feed(struct receiver *r, uint64_t now, const uint8_t *data,
                  size_t len, size_t *used, struct receiver_event *event)
{
    event->type = RECEIVER_NONE;
    *used = 0;
    BELAY_ASSERT(r->chunk_left == 0);
    if (len > 0) {
        r->heard = now;
        r->pinged = false;
        if (!within_frame(r)) {
            new_window(r, now);
        }
        count_bytes(r, now, len);
    }
    while (event->type == RECEIVER_NONE && *used < len) {
        size_t step = r->in_need - r->in_len;
        int err;

        if (r->phase == RECEIVER_DEAD) {
            return ERR_STATE;
        }
        if (step > len - *used) {
            step = len - *used;
        }
        memcpy(r->in + r->in_len, data + *used, step);
        r->in_len += step;
        *used += step;
        if (r->phase == RECEIVER_PREFACE &&
            !preface_possible(r->in, r->in_len)) {
            /* Show the peer's words as far as they have come. */
            size_t more = len - *used < 64 ? len - *used : 64;

            memcpy(r->in + r->in_len, data + *used, more);
            r->in_len += more;
            return foreign_peer(r);
        }
        if (r->in_len < r->in_need) {
            break;
        }
        err = r->phase == RECEIVER_PREFACE ? take_preface(r)
                                           : take_frame(r, event);
        if (err == ERR_AGAIN) {
            continue;
        }
        if (err != 0) {
            return err;
        }
        new_window(r, now);
        if (r->chunk_left > 0) {
            break;
        }
    }
    return 0;
}

size_t receiver_chunk_left(const struct receiver *r)
{
    return r->chunk_left;
}

void receiver_chunk_data(struct receiver *r, uint64_t now, size_t len)
{
    BELAY_ASSERT(len <= r->chunk_left);
    r->chunk_left -= len;
    count_bytes(r, now, len);
    r->heard = now;
    r->pinged = false;
}

/* ---- time. */

uint64_t receiver_deadline(const struct receiver *r)
{
    if (r->phase == RECEIVER_DEAD) {
        return UINT64_MAX;
    }
    if (r->phase != RECEIVER_ACTIVE) {
        return r->started + TIMER_GREETING_MS;
    }
    if (r->outstanding == 0 || r->paused) {
        return UINT64_MAX;
    }
    uint64_t silent = r->pinged ? r->pinged_at + r->ping_wait_ms
                                : r->heard + r->silence_ms;

    return within_frame(r) && r->window_at + WINDOW_MS < silent
               ? r->window_at + WINDOW_MS
               : silent;
}

static int queue_ping(struct receiver *r, uint64_t now)
{
    struct msg_ping ping = {{0}};
    struct writer w;

    memcpy(ping.opaque, &now, sizeof now);
    receiver_writer(r, &w);
    if (msg_ping_encode(&ping, FRAME_PING, &w) != 0) {
        return ERR_LIMIT;
    }
    receiver_queued(r, &w);
    r->pong_due = true;
    return 0;
}

/* One PING at a time (B1-C3): an earlier one that is still to be answered
 * asks just as well. */
static int send_ping(struct receiver *r, uint64_t now)
{
    if (!r->pong_due && queue_ping(r, now) != 0) {
        return receiver_error(r, ERR_TIMEOUT,
                              "the server does not read what we send");
    }
    r->pinged = true;
    r->pinged_at = now;
    return 0;
}

int receiver_probe(struct receiver *r, uint64_t now)
{
    if (r->phase != RECEIVER_ACTIVE || r->pong_due) {
        return ERR_LIMIT;
    }
    return queue_ping(r, now);
}

int receiver_tick(struct receiver *r, uint64_t now)
{
    if (r->phase == RECEIVER_DEAD || now < receiver_deadline(r)) {
        return 0;
    }
    if (r->phase != RECEIVER_ACTIVE) {
        return receiver_error(r, ERR_TIMEOUT,
                              "no greeting within %u seconds",
                              TIMER_GREETING_MS / 1000);
    }
    if (within_frame(r) && now >= r->window_at + WINDOW_MS) {
        return receiver_error(r, ERR_TIMEOUT,
                              "only %u bytes came in %u seconds",
                              (unsigned)r->window_bytes, WINDOW_MS / 1000);
    }
    if (!r->pinged) {
        return send_ping(r, now);
    }
    return receiver_error(r, ERR_TIMEOUT,
                          "nothing came for %u seconds, not even an answer "
                          "to a ping",
                          (unsigned)((now - r->heard) / 1000));
}

void receiver_pause(struct receiver *r, bool paused, uint64_t now)
{
    if (r->paused && !paused) {
        r->heard = now;
        r->pinged = false;
        new_window(r, now);
    }
    r->paused = paused;
}

bool receiver_paused(const struct receiver *r)
{
    return r->paused;
}

const char *receiver_error_text(const struct receiver *r)
{
    return r->error[0] != '\0' ? r->error : "the connection was lost";
}
