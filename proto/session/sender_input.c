#include <stdlib.h>
#include <string.h>

#include "proto/session/sender_internal.h"
#include "proto/wire/preface.h"

static void
fail_input(struct sender *s, int err)
{
    sender_fail(s, err_wire(err), err_name(err));
}

/* May more requests be taken? Not while the refusals of earlier ones wait
 * for a transport that does not move (rule L5). */
static bool
may_take(const struct sender *s)
{
    return s->phase < PHASE_CLOSING && s->refusals < SENDER_REFUSALS_MAX;
}

bool
sender_wants_read(const struct sender *s)
{
    return may_take(s) && s->stash_len < SENDER_RECV_BYTES + SENDER_EMIT_BYTES;
}

/* Takes the preface when it is complete. Returns the bytes used. A peer that
 * is no client of ours gets no answer: it would only help to use this server
 * against another service (V2b). */
static size_t
take_preface(struct sender *s, const uint8_t *data, size_t len)
{
    if (!preface_possible(data, len)) {
        sender_close(s, err_name(ERR_MAGIC));
        return 0;
    }
    if (len < PREFACE_LEN) {
        return 0;
    }
    struct preface p;
    int err = preface_decode(data, ROLE_CLIENT, &p);
    if (err != 0) {
        s->reject_version = err == ERR_VERSION;
        if (s->reject_version) {
            fail_input(s, err);
        } else {
            sender_close(s, err_name(err));
        }
        return 0;
    }
    s->phase = PHASE_HELLO;
    return PREFACE_LEN;
}

static void
take_hello(struct sender *s, const struct msg_hello *hello)
{
    s->peer_chunk_log2 = hello->max_chunk_log2;
    s->peer_zlib = msg_hello_codec(hello, CODEC_ZLIB);
    s->peer_zero = msg_hello_codec(hello, CODEC_ZERO);
    s->agent_len = (uint8_t)hello->agent.len;
    if (hello->agent.len > 0) {
        memcpy(s->agent, hello->agent.ptr, hello->agent.len);
    }
    s->phase = PHASE_ACTIVE;
    s->greeted = true;
}

static void
on_hello(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_hello hello;

    int err =
        msg_hello_decode(payload, f->length, FRAME_FROM_CLIENT, &hello);
    if (err == ERR_BAD_REQUEST || err == ERR_UNSUPPORTED) {
        err = ERR_MALFORMED; /* X1: in HELLO it ends the connection */
    }
    if (err != 0) {
        fail_input(s, err);
        return;
    }
    take_hello(s, &hello);
}

static void
on_goaway(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_goaway m;

    int err = msg_goaway_decode(payload, f->length, &m);
    if (err != 0) {
        fail_input(s, err);
        return;
    }
    s->peer_done = true; /* what came in the same read is judged first */
}

static void
on_ping(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_ping m;

    int err = msg_ping_decode(payload, f->length, &m);
    if (err != 0) {
        fail_input(s, err);
        return;
    }
    sender_admit_ping(s, &m);
}

static void
on_cancel(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_cancel m;

    int err = msg_cancel_decode(payload, f->length, &m);
    if (err != 0) {
        /* It has no answer of its own, so nothing smaller can fail. */
        fail_input(s, err == ERR_UNSUPPORTED ? ERR_MALFORMED : err);
        return;
    }
    sender_cancel(s, f->request_id);
}

/* The client found fault with us and leaves. */
static void
on_error(struct sender *s)
{
    sender_close(s, "peer-error");
}

static void
dispatch(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    enum frame_verdict verdict = FRAME_SKIP;
    int err = frame_classify(f, FRAME_FROM_CLIENT, &verdict);

    if (s->phase == PHASE_HELLO &&
        (err != 0 || verdict == FRAME_SKIP || f->type != FRAME_HELLO)) {
        fail_input(s, err != 0 && err != ERR_UNSUPPORTED ? err : ERR_STATE);
        return;
    }
    if (err == ERR_UNSUPPORTED) {
        sender_admit_unknown(s, f);
        return;
    }
    if (err != 0) {
        fail_input(s, err);
        return;
    }
    if (verdict == FRAME_SKIP) {
        return;
    }
    switch (f->type) {
    case FRAME_HELLO:
        if (s->phase == PHASE_HELLO) {
            on_hello(s, f, payload);
        } else {
            fail_input(s, ERR_STATE);
        }
        return;
    case FRAME_PING:
        on_ping(s, f, payload);
        return;
    case FRAME_PONG:
        return; /* we send no PING, and what fits none is ignored (C5) */
    case FRAME_GOAWAY:
        on_goaway(s, f, payload);
        return;
    case FRAME_CANCEL:
        on_cancel(s, f, payload);
        return;
    case FRAME_ERROR:
        on_error(s);
        return;
    default:
        sender_admit(s, f, payload);
        return;
    }
}

/* Takes one frame when it is complete. Returns the bytes used. */
static size_t
take_frame(struct sender *s, const uint8_t *data, size_t len)
{
    struct frame f = { .length = 0 };
    size_t need = 0;
    int err = frame_scan(data, len, &f, &need);

    if (s->phase == PHASE_HELLO && len >= FRAME_HEADER_LEN &&
        (err == ERR_AGAIN || err == 0) &&
        PREFACE_LEN + FRAME_HEADER_LEN + (size_t)f.length > LIMIT_PRE_HELLO) {
        err = ERR_TOO_LARGE;
    }
    if (err == ERR_AGAIN) {
        return 0;
    }
    if (err != 0) {
        fail_input(s, err);
        return 0;
    }
    if (f.covered != f.length) {
        /* A CHUNK, whose data is not here yet: only servers send those. */
        fail_input(s, ERR_DIRECTION);
        return 0;
    }
    s->last_frame = s->now;
    dispatch(s, &f, data + FRAME_HEADER_LEN);
    return need;
}

static size_t
consume(struct sender *s, const uint8_t *data, size_t len)
{
    size_t used = 0;

    while (used < len && may_take(s)) {
        const uint8_t *next = data + used;
        size_t left = len - used;
        size_t took = s->phase == PHASE_PREFACE ? take_preface(s, next, left)
                                                : take_frame(s, next, left);
        if (took == 0) {
            break;
        }
        used += took;
    }
    return used;
}

/* Makes room for more input behind what waits. */
static bool
stash_reserve(struct sender *s, size_t more)
{
    size_t need = s->stash_len + more;
    if (need <= s->stash_cap) {
        return true;
    }
    if (need < 2 * s->stash_cap) {
        need = 2 * s->stash_cap;
    }
    uint8_t *grown = realloc(s->stash, need);
    if (grown == NULL) {
        sender_fail(s, WIRE_BUSY, "memory");
        return false;
    }
    s->stash = grown;
    s->stash_cap = need;
    return true;
}

static void
stash_drop(struct sender *s, size_t used)
{
    s->stash_len -= used;
    if (s->stash_len == 0) {
        free(s->stash);
        s->stash = NULL;
        s->stash_cap = 0;
    } else if (used > 0) {
        memmove(s->stash, s->stash + used, s->stash_len);
    }
}

bool
sender_input_is_partial(const struct sender *s)
{
    return may_take(s);
}

void
sender_input_resume(struct sender *s)
{
    if (s->stash_len > 0 && may_take(s)) {
        stash_drop(s, consume(s, s->stash, s->stash_len));
    }
}

void
sender_recv(struct sender *s, uint64_t now, const uint8_t *data, size_t len)
{
    BELAY_ASSERT(len <= SENDER_RECV_BYTES);
    s->now = now;
    s->stats.bytes_in += len;
    if (s->phase >= PHASE_CLOSING) {
        return;
    }
    if (s->stash_len == 0) {
        size_t used = consume(s, data, len);
        data += used;
        len -= used;
    }
    if (len > 0 && s->phase < PHASE_CLOSING && stash_reserve(s, len)) {
        memcpy(s->stash + s->stash_len, data, len);
        s->stash_len += len;
        if (s->stash_len > len) {
            sender_input_resume(s);
        }
    }
}

void
sender_eof(struct sender *s, uint64_t now)
{
    s->now = now;
    if (s->phase >= PHASE_CLOSING) {
        return;
    }
    if (s->phase < PHASE_ACTIVE) {
        sender_close(s, "eof");
        return;
    }
    s->eof = true;
}
