/* Private parts of receiver: shared by the receiver_*.c files only. */
#ifndef PROTO_SESSION_RECEIVER_INTERNAL_H
#define PROTO_SESSION_RECEIVER_INTERNAL_H

#include "proto/session/receiver.h"
#include "proto/wire/frame.h"
#include "proto/wire/preface.h"

struct request {
    uint32_t id; /* 0: free */
    uint8_t type;
    bool failed; /* given up locally, its END is still to come */
    bool cancelled;
    uint32_t handle;
    uint32_t range_count;
    uint32_t range_at;   /* first range that can still bring a chunk */
    uint64_t pos;        /* all chunks before this offset were delivered */
    uint64_t chunks;     /* delivered so far */
    uint64_t raw_bytes;
    uint8_t auth_method;
    struct msg_range *range; /* range_max of the receiver, for good */
};

struct bound_handle {
    uint32_t handle; /* 0: free */
    uint8_t chunk_log2;
    uint64_t size;
};

enum receiver_phase {
    RECEIVER_PREFACE,
    RECEIVER_GREETING, /* preface came, HELLO did not */
    RECEIVER_ACTIVE,
    RECEIVER_DEAD,
};

/* The tables are as long as a power of two; what has id or handle k stands
 * at k modulo that, and nowhere else. */
struct receiver {
    uint32_t request_cap;
    uint32_t handle_cap;
    uint32_t range_max;
    struct request *request;
    struct bound_handle *handle;
    struct msg_range *range; /* request_cap * range_max */
    enum receiver_phase phase;
    bool compression;
    bool draining;
    bool paused;
    bool pinged;     /* silence counts from pinged_at on */
    bool pong_due;   /* a PING of ours was not answered yet (B1-C3) */
    bool sent_token;
    bool kept_token; /* not sent: the connection is in the open */
    bool sent_external;
    uint8_t max_chunk_log2;
    uint64_t silence_ms;
    uint64_t ping_wait_ms;
    uint64_t started;
    uint64_t heard; /* last byte, or the end of the last pause */
    uint64_t pinged_at;
    uint64_t window_at; /* since when the bytes of a frame are counted */
    uint64_t window_bytes;
    uint64_t grease;
    uint32_t next_id;
    uint32_t outstanding;
    uint32_t current;    /* request whose chunk data is coming */
    uint32_t predict_id; /* ... and whose chunk will probably come next */
    unsigned idle_frames;
    uint64_t idle_since;
    size_t chunk_left;
    struct receiver_limits limits;
    size_t in_len;
    size_t in_need;
    size_t out_at;
    size_t out_len;
    char error[160];
    uint8_t grease_bytes[8];
    uint8_t in[FRAME_HEADER_LEN + LIMIT_CONTROL_PAYLOAD];
    uint8_t out[RECEIVER_OUT_MAX];
};

struct request *receiver_find(struct receiver *r, uint32_t id);
struct bound_handle *receiver_bound(struct receiver *r, uint32_t handle);
/* Remember what INFO told about the handle; a newer one takes the place. */
void receiver_bind(struct receiver *r, uint32_t handle,
                   const struct msg_info *info);
/* Offset of the next chunk that the request must bring; false when none. */
bool receiver_expected(const struct request *q, const struct bound_handle *h,
                       uint64_t *offset);
void receiver_finish(struct receiver *r, struct request *q);
/* Queue AUTH for what is in `auth`; there is room for it. */
void receiver_queue_auth(struct receiver *r, const struct receiver_auth *auth,
                         uint64_t now);
/* Set the error text and return err. */
int receiver_error(struct receiver *r, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void receiver_writer(struct receiver *r, struct writer *w);
void receiver_queued(struct receiver *r, const struct writer *w);
struct tlv receiver_grease(struct receiver *r);

/* receiver_frame.c: one whole frame (a CHUNK without its data). */
int receiver_frame(struct receiver *r, const struct frame *f,
                   const uint8_t *payload, struct receiver_event *event)
    MUST_USE;

#endif
