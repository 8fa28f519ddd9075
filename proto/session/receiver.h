/* Receiver: the client's half of one connection (belay-1, sections 8 and 14).
 *
 * A pure machine.  The caller moves bytes: it sends what receiver_out() shows
 * and feeds what arrives to receiver_feed(), which consumes up to one event
 * at a time.  Chunk data never passes through the receiver: after an
 * RECEIVER_CHUNK event the next `stored_len` bytes of the stream are data,
 * which the caller puts where it likes and reports by receiver_chunk_data().
 *
 * The receiver checks everything about a frame that one connection can know:
 * framing, CRC, direction, TLVs, that a reply belongs to an outstanding
 * request, that a chunk fits its request, its handle and the order of the
 * answer (rule G4 up to the digest), and that DONE means complete.
 *
 * Any negative return of receiver_feed() or receiver_tick() ends the
 * connection: the caller closes it and treats every outstanding request as
 * unanswered (rule C2).  `receiver_error_text()` says what was wrong.
 *
 * Times are milliseconds of one monotonic clock, given by the caller.
 * Memory: fixed at receiver_new(); no allocation afterwards.
 * Not thread-safe: one owner. */
#ifndef PROTO_SESSION_RECEIVER_H
#define PROTO_SESSION_RECEIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/registry.h"
#include "proto/data/hash.h"
#include "proto/wire/msg.h"

/* At most this many requests and handles are used at once, whatever the
 * server allows: one file needs few. */
#define RECEIVER_REQUESTS_MAX 64
#define RECEIVER_HANDLES_MAX 16
#define RECEIVER_RANGES_MAX LIMIT_RANGES_MIN
/* The same for a receiver of many small files: its GETs have one range, and
 * its handles in use differ modulo RECEIVER_WIDE_HANDLES. */
#define RECEIVER_WIDE_REQUESTS 1024
#define RECEIVER_WIDE_HANDLES 512
#define RECEIVER_OUT_MAX LIMIT_UNREAD_WRITES /* unsent bytes, rule L5 */

/* Who we are.  AUTH goes out right behind HELLO, so that it costs no time; a
 * token only where `secure` says that nobody else can read it (B1-S2a). */
struct receiver_auth {
    const uint8_t *token; /* NULL: none */
    size_t token_len;     /* 1..LIMIT_TOKEN */
    bool external;        /* the transport has shown our certificate */
    bool secure;          /* TLS or a local pipe */
};

struct receiver_config {
    uint8_t max_chunk_log2;  /* largest chunk that the caller can hold */
    bool compression;        /* offer zlib as well as raw and zero-fill */
    const char *agent;       /* AGENT text, borrowed for receiver_new() */
    uint64_t grease_seed;    /* any value; selects the grease sent (X4) */
    uint64_t silence_ms;     /* no byte for so long: PING; 0 = default */
    uint64_t ping_wait_ms;   /* ... and no byte after that: lost; 0 = default,
                                but at most silence_ms */
    const struct receiver_auth *auth; /* borrowed for receiver_start(); NULL:
                                         we are nobody */
};

/* What the server's HELLO declared (defaults until then). */
struct receiver_limits {
    uint8_t max_chunk_log2;
    uint16_t max_requests;
    uint16_t max_handles;
    uint16_t max_ranges;
    bool auth_required; /* and by none of the methods that we have used */
};

enum receiver_event_type {
    RECEIVER_NONE,     /* all input consumed, nothing to report */
    RECEIVER_HELLO,    /* the greeting is complete */
    RECEIVER_INFO,     /* .info; ends the OPEN request */
    RECEIVER_CHUNK,    /* .chunk; data follows in the stream */
    RECEIVER_DIGESTS,  /* .digests; .end when it ends the request */
    RECEIVER_DONE,     /* .done; ends the request */
    RECEIVER_ERROR,    /* .error; ends the request */
    RECEIVER_PROGRESS, /* .progress: the server is busy on this request */
    RECEIVER_NOTICE,   /* .notice: text for people, not yet escaped */
    RECEIVER_GOAWAY,   /* .goaway: open no more requests here */
    RECEIVER_ENTRIES,  /* .entries; .end when it ends the request */
};

/* Pointers inside the message structs are borrowed from the receiver and
 * live until the next receiver_feed(). */
struct receiver_event {
    enum receiver_event_type type;
    uint32_t request;
    uint32_t handle; /* handle of that request, 0 if none */
    bool end;
    union {
        struct msg_info info;
        struct msg_chunk chunk;
        struct msg_digests digests;
        struct msg_entries entries;
        struct msg_done done;
        struct msg_error error;
        struct msg_progress progress;
        struct msg_goaway goaway;
        struct msg_notice notice;
    };
};

struct receiver;

/* NULL when memory is out. */
struct receiver *receiver_new(void);
/* The same with the larger tables; NULL when memory is out. */
struct receiver *receiver_new_wide(void);
void receiver_free(struct receiver *r);

/* Start (again) for a new connection: queues preface and HELLO.  `now` starts
 * the greeting timer. */
void receiver_start(struct receiver *r, const struct receiver_config *config,
                    uint64_t now);

/* ---- bytes. */

/* The bytes to send now; borrowed until the next call that queues or sends.
 * Length 0: nothing to send. */
size_t receiver_out(const struct receiver *r, const uint8_t **data);
void receiver_sent(struct receiver *r, size_t len, uint64_t now);

/* Consume input up to one event.  `*used` tells how many bytes were taken:
 * all of them when the event is RECEIVER_NONE.  Never call it with chunk data
 * outstanding (receiver_chunk_left() > 0).  Returns 0 or an ERR_ code. */
int receiver_feed(struct receiver *r, uint64_t now, const uint8_t *data,
                  size_t len, size_t *used, struct receiver_event *event)
    MUST_USE;

/* Chunk data of the last RECEIVER_CHUNK still missing from the stream. */
size_t receiver_chunk_left(const struct receiver *r);
/* `len` bytes of it have arrived; len <= receiver_chunk_left(). */
void receiver_chunk_data(struct receiver *r, uint64_t now, size_t len);

/* The next CHUNK is likely to carry this many bytes of raw data at this
 * offset (the answer goes on in order): a caller may already point its
 * receive buffers there.  False when nothing is expected. */
bool receiver_predict(const struct receiver *r, uint32_t *handle,
                      uint64_t *offset, uint32_t *raw_len);
/* Bytes of the stream before the data of the next CHUNK, if a CHUNK comes
 * next; 0 when it is known that none does. */
size_t receiver_head_left(const struct receiver *r);

/* ---- requests. */

/* True when one more request of any kind may be sent now. */
bool receiver_can_request(const struct receiver *r);
unsigned receiver_outstanding(const struct receiver *r);
const struct receiver_limits *receiver_limits(const struct receiver *r);
/* A sentence for limits.auth_required; static. */
const char *receiver_auth_text(const struct receiver *r);
bool receiver_ready(const struct receiver *r); /* HELLO came, not draining */

/* Each returns 0 and the request id, or ERR_LIMIT (call again later). */
int receiver_open(struct receiver *r, const struct msg_open *open,
                  uint64_t now, uint32_t *request) MUST_USE;
/* Ranges obey G1 and are copied.  `count` <= RECEIVER_RANGES_MAX, or 1 in a
 * wide receiver. */
int receiver_get(struct receiver *r, const struct msg_get *get, uint64_t now,
                 uint32_t *request) MUST_USE;
int receiver_digest(struct receiver *r, const struct msg_digest *digest,
                    uint64_t now, uint32_t *request) MUST_USE;
int receiver_list(struct receiver *r, const struct msg_list *list,
                  uint64_t now, uint32_t *request) MUST_USE;
int receiver_close_handle(struct receiver *r, uint32_t handle, uint64_t now,
                          uint32_t *request) MUST_USE;
/* Ask for an early end of `request`; its END still comes. */
int receiver_cancel(struct receiver *r, uint32_t request) MUST_USE;
/* Tell the server that no more requests follow; it finishes and closes. */
void receiver_goaway(struct receiver *r);

/* ---- time. */

/* When receiver_tick() wants to be called; UINT64_MAX for never. */
uint64_t receiver_deadline(const struct receiver *r);
/* Runs timers: may queue a PING; ERR_TIMEOUT when the peer is lost. */
int receiver_tick(struct receiver *r, uint64_t now) MUST_USE;
/* Ask for a sign of life although nothing is outstanding: queues a PING.
 * ERR_LIMIT: an earlier one is not answered yet, or there was no HELLO. */
int receiver_probe(struct receiver *r, uint64_t now) MUST_USE;
/* While the caller itself does not read (its buffers are full), silence is
 * not the peer's.  Ending the pause restarts the silence timer. */
void receiver_pause(struct receiver *r, bool paused, uint64_t now);
bool receiver_paused(const struct receiver *r);

/* One sentence about the last failure; static or inside `r`, escaped. */
const char *receiver_error_text(const struct receiver *r);

#endif
