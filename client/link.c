#include "client/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "proto/io/clock.h"
#include "proto/wire/frame.h"

/* Bytes received per turn of the loop, so that the links share it. */
#define TURN_BYTES ((size_t)8 << 20)

static bool is_open(const struct link *link)
{
    return link->channel.fd >= 0;
}

static uint64_t now_ms(const struct link *link)
{
    return loop_now_ms(link->fetch->loop);
}

static void set_events(struct link *link)
{
    const uint8_t *data;
    struct receiver *r = transfer_receiver(link->fetch->transfer, link->conn);
    unsigned events = 0;

    if (!is_open(link)) {
        return;
    }
    if (!link->held && !link->throttled) {
        events |= LOOP_READ;
    }
    if (link->send_errno == 0 && receiver_out(r, &data) > 0) {
        events |= LOOP_WRITE;
    }
    events = channel_events(&link->channel, events);
    if (events != link->events) {
        link->events = events;
        loop_poll_set(link->poll, events);
    }
}

/* ---- chunks. */

static void drop_slabs(struct link *link)
{
    pipeline_slab_drop(link->fetch->pipeline, link->slab);
    pipeline_slab_drop(link->fetch->pipeline, link->packed);
    link->slab = NULL;
    link->packed = NULL;
}

void link_flush(struct link *link)
{
    struct run *run = link->run;

    if (run == NULL || run->count == 0) {
        return;
    }
    link->run = NULL;
    fetch_pump(link->fetch); /* the store must be ready for what follows */
    if (link->fetch->over) {
        pipeline_discard(run);
        return;
    }
    pipeline_submit(run);
    if (!link->in_chunk) {
        drop_slabs(link); /* nobody else can use what an idle link holds */
    }
}

static void chunk_complete(struct link *link)
{
    struct fetch *f = link->fetch;
    struct piece *piece = &link->piece;

    link->in_chunk = false;
    if (link->run == NULL) {
        link->run = pipeline_run(f->pipeline);
        if (link->run == NULL) {
            fetch_over(f, BELAY_INTERNAL, "out of memory");
            return;
        }
        link->run_since = now_ms(link);
    }
    if (piece->data != NULL) {
        pipeline_slab_hold(piece->data);
    }
    if (piece->packed != NULL) {
        pipeline_slab_hold(piece->packed);
    }
    link->run->piece[link->run->count++] = *piece;
    if (link->run->count == RUN_PIECES_MAX) {
        link_flush(link);
    }
}

static void advance(struct link *link, size_t n)
{
    struct fetch *f = link->fetch;

    link->left -= n;
    if (link->dest != NULL) {
        link->dest += n;
    }
    transfer_chunk_data(f->transfer, link->conn, n, now_ms(link));
    if (link->left == 0) {
        if (link->piece.chunk.wanted) {
            chunk_complete(link);
        }
        link->in_chunk = false;
    }
}

static bool fits(const struct slab *slab, size_t size, size_t len)
{
    return slab != NULL && slab->used + len <= size;
}

/* Room for the chunk's data in the open slabs, or in new ones. */
static bool make_room(struct link *link)
{
    struct pipeline *p = link->fetch->pipeline;
    size_t size = pipeline_slab_size(p);
    const struct transfer_chunk *c = &link->piece.chunk;
    bool packed = c->codec == CODEC_ZLIB;
    struct slab *slabs[2];
    int err;

    if (fits(link->slab, size, c->raw_len) &&
        (!packed || fits(link->packed, size, c->stored_len))) {
        return true;
    }
    link_flush(link);
    drop_slabs(link);
    if (!is_open(link)) {
        return false;
    }
    err = pipeline_slabs(p, slabs, packed ? 2 : 1);
    if (err != 0) {
        if (err == ERR_NOMEM) {
            fetch_over(link->fetch, BELAY_INTERNAL, "out of memory");
        }
        return false;
    }
    link->slab = slabs[0];
    link->packed = packed ? slabs[1] : NULL;
    return true;
}

/* A wanted chunk with data: say where it goes.  False: wait for memory. */
static bool place_chunk(struct link *link)
{
    struct fetch *f = link->fetch;
    struct piece *piece = &link->piece;
    struct receiver *r = transfer_receiver(f->transfer, link->conn);

    if (!f->begun) {
        fetch_pump(f); /* INFO came just before: slabs need its numbers */
    }
    if (!f->begun || !make_room(link)) {
        if (is_open(link)) { /* flushing may have ended the connection */
            link->held = true;
            receiver_pause(r, true, now_ms(link));
        }
        return false;
    }
    piece->data = link->slab;
    piece->data_at = (uint32_t)link->slab->used;
    link->slab->used += piece->chunk.raw_len;
    link->dest = link->slab->data + piece->data_at;
    if (piece->chunk.codec == CODEC_ZLIB) {
        piece->packed = link->packed;
        piece->packed_at = (uint32_t)link->packed->used;
        link->packed->used += piece->chunk.stored_len;
        link->dest = link->packed->data + piece->packed_at;
    }
    return true;
}

static void begin_chunk(struct link *link, const struct transfer_chunk *chunk)
{
    struct piece *piece = &link->piece;

    memset(piece, 0, sizeof *piece);
    piece->chunk = *chunk;
    link->in_chunk = true;
    link->left = chunk->stored_len;
    link->dest = NULL;
    if (chunk->wanted && chunk->codec != CODEC_ZERO) {
        (void)place_chunk(link);
    } else if (chunk->stored_len == 0) {
        advance(link, 0);
    }
}

/* ---- bytes. */

/* Look at received bytes until they are used up or nothing more can be done
 * with them now.  Returns how many were used. */
static size_t consume(struct link *link, uint8_t *data, size_t len)
{
    struct fetch *f = link->fetch;
    size_t at = 0;

    while (at < len && is_open(link) && !link->held && !f->over) {
        struct transfer_chunk chunk;
        size_t used;

        if (link->in_chunk) {
            size_t n = link->left < len - at ? link->left : len - at;

            if (link->dest != NULL && link->dest != data + at) {
                memmove(link->dest, data + at, n);
            }
            at += n;
            advance(link, n);
            continue;
        }
        transfer_feed(f->transfer, link->conn, data + at, len - at, &used,
                      &chunk, now_ms(link));
        at += used;
        if (!transfer_conn_open(f->transfer, link->conn)) {
            break;
        }
        if (chunk.present) {
            begin_chunk(link, &chunk);
        }
    }
    return at;
}

/* Bytes left over from before, in order. */
static void consume_kept(struct link *link)
{
    if (link->stage_at < link->stage_len) {
        link->stage_at += consume(link, link->stage + link->stage_at,
                                  link->stage_len - link->stage_at);
    }
    if (link->stage_at < link->stage_len || !is_open(link)) {
        return;
    }
    link->stage_at = 0;
    link->stage_len = 0;
    if (link->spill != NULL) {
        link->spill_at += consume(link, link->spill + link->spill_at,
                                  link->spill_len - link->spill_at);
        if (is_open(link) && link->spill_at == link->spill_len) {
            free(link->spill);
            link->spill = NULL;
        }
    }
}

/* The guess was wrong: these bytes are something else than the next chunk's
 * data.  Set them aside, since their place is needed. */
static void set_aside(struct link *link, const uint8_t *data, size_t len)
{
    if (len == 0) {
        return;
    }
    link->spill = malloc(len);
    if (link->spill == NULL) {
        fetch_over(link->fetch, BELAY_INTERNAL, "out of memory");
        return;
    }
    memcpy(link->spill, data, len);
    link->spill_at = 0;
    link->spill_len = len;
}

/* Where the next chunk's data will go if the answer goes on as expected. */
static uint8_t *guess(struct link *link, uint32_t *raw_len)
{
    struct fetch *f = link->fetch;
    uint32_t handle;
    uint64_t offset;

    if (link->slab == NULL || f->options.rate != NULL ||
        (link->in_chunk && (link->dest == NULL ||
                            link->piece.chunk.codec != CODEC_RAW)) ||
        !receiver_predict(transfer_receiver(f->transfer, link->conn),
                          &handle, &offset, raw_len) ||
        !fits(link->slab, pipeline_slab_size(f->pipeline), *raw_len)) {
        return NULL;
    }
    return link->slab->data + link->slab->used;
}

struct reading {
    struct iovec iov[3];
    int count;
    size_t data_len;  /* for the current chunk */
    size_t stage_len;
    uint8_t *guess;
};

static void add_iov(struct reading *r, void *base, size_t len)
{
    r->iov[r->count].iov_base = base;
    r->iov[r->count].iov_len = len;
    r->count++;
}

static void plan_reading(struct link *link, struct reading *r)
{
    struct receiver *receiver =
        transfer_receiver(link->fetch->transfer, link->conn);
    size_t allowed = fetch_allowance(link);
    uint32_t raw_len = 0;
    size_t head;

    memset(r, 0, sizeof *r);
    if (link->in_chunk) {
        r->data_len = link->left;
        if (link->dest == NULL && r->data_len > FETCH_SCRAP) {
            r->data_len = FETCH_SCRAP;
        }
        if (r->data_len > allowed) {
            r->data_len = allowed;
        }
        add_iov(r, link->dest != NULL ? link->dest : link->fetch->scrap,
                r->data_len);
        if (r->data_len < link->left) {
            return;
        }
        allowed -= r->data_len;
    }
    head = link->in_chunk ? FRAME_CHUNK_HEAD_LEN
                          : receiver_head_left(receiver);
    r->guess = head > 0 ? guess(link, &raw_len) : NULL;
    r->stage_len = r->guess != NULL ? head : LINK_STAGE;
    if (r->stage_len > allowed) {
        r->stage_len = allowed;
    }
    if (r->stage_len > 0) {
        add_iov(r, link->stage, r->stage_len);
    }
    if (r->guess != NULL) {
        add_iov(r, r->guess, raw_len);
    }
}

/* `n` bytes arrived in the places of the plan. */
static void take_reading(struct link *link, const struct reading *r, size_t n)
{
    size_t data = n < r->data_len ? n : r->data_len;
    size_t stage = n - data < r->stage_len ? n - data : r->stage_len;
    size_t guessed = n - data - stage;

    fetch_spent(link, n);
    if (data > 0) {
        advance(link, data);
    }
    if (stage == 0 || !is_open(link)) {
        return;
    }
    link->stage_at = 0;
    link->stage_len = stage;
    if (guessed == 0) {
        consume_kept(link);
        return;
    }
    link->stage_at = consume(link, link->stage, stage);
    if (is_open(link) && link->stage_at == stage && link->in_chunk &&
        link->dest == r->guess && guessed <= link->left) {
        link->stage_len = 0;
        link->stage_at = 0;
        advance(link, guessed);
        return;
    }
    if (is_open(link)) {
        set_aside(link, r->guess, guessed);
        consume_kept(link);
    }
}

static void lost(struct link *link, const char *text)
{
    struct fetch *f = link->fetch;

    link_flush(link);
    if (is_open(link)) {
        transfer_lost(f->transfer, link->conn,
                      link->send_errno != 0 ? strerror(link->send_errno)
                                            : text,
                      now_ms(link));
        link_close(link);
    }
}

static void receive(struct link *link)
{
    struct fetch *f = link->fetch;
    size_t turn = 0;

    if (link->channel.shaking) {
        return;
    }
    /* What the transfer has given up brings nothing more: it is closed as
     * soon as that is told. */
    while (is_open(link) && !link->held && !f->over && turn < TURN_BYTES &&
           transfer_conn_open(f->transfer, link->conn)) {
        struct reading reading;
        size_t n = 0;
        int err;

        if (fetch_allowance(link) == 0) {
            link->throttled = true;
            receiver_pause(transfer_receiver(f->transfer, link->conn), true,
                           now_ms(link));
            break;
        }
        plan_reading(link, &reading);
        err = channel_readv(&link->channel, reading.iov, reading.count, &n);
        if (err == 0) {
            take_reading(link, &reading, n);
            turn += n;
        } else if (err == ERR_AGAIN && link->send_errno != 0) {
            lost(link, "it takes nothing more"); /* all it said is read */
        } else if (err == ERR_AGAIN) {
            break;
        } else if (err == ERR_TLS && channel_is_refused(&link->channel)) {
            fetch_distrust(link, channel_problem(&link->channel, err));
        } else {
            lost(link, channel_problem(&link->channel, err));
        }
    }
    if (turn >= TURN_BYTES && is_open(link) &&
        channel_has_input(&link->channel)) {
        loop_defer_arm(link->again); /* no event will come for it */
    }
    if (is_open(link) && link->run != NULL && link->run->count > 0) {
        fetch_arm_flush(f);
    }
}

static void on_again(void *arg)
{
    struct link *link = arg;

    receive(link);
    set_events(link);
    fetch_pump(link->fetch);
}

/* What the server proves comes before anything that we say. */
static void shake(struct link *link)
{
    int err = channel_shake(&link->channel);

    if (err == ERR_TLS) {
        fetch_distrust(link, channel_problem(&link->channel, err));
    } else if (err != 0 && err != ERR_AGAIN) {
        lost(link, channel_problem(&link->channel, err));
    } else if (err == 0) {
        fetch_trusted(link->fetch, link);
        link_send(link);
        receive(link); /* it may be here with the end of the handshake */
    }
}

static void on_ready(void *arg, unsigned events)
{
    struct link *link = arg;
    struct fetch *f = link->fetch;

    if (link->channel.shaking) {
        shake(link);
    } else if ((events & LOOP_READ) != 0 || link->channel.read_wants_write) {
        receive(link);
    }
    if ((events & LOOP_WRITE) != 0 && is_open(link)) {
        link_send(link);
    }
    set_events(link);
    fetch_pump(f);
}

void link_send(struct link *link)
{
    struct fetch *f = link->fetch;
    struct receiver *r = transfer_receiver(f->transfer, link->conn);
    const uint8_t *data;
    size_t len;

    while (is_open(link) && link->send_errno == 0 &&
           !link->channel.shaking && (len = receiver_out(r, &data)) > 0) {
        size_t n = 0;
        int err = channel_send(&link->channel, data, len, &n);

        if (err == 0) {
            receiver_sent(r, n, now_ms(link));
        } else if (err == ERR_AGAIN) {
            break;
        } else {
            /* What the server said before it left is still to be read, but
             * not from here: a caller may be in the middle of a reading. */
            link->send_errno =
                err == ERR_RESET && errno != 0 ? errno : EPIPE;
            loop_defer_arm(link->again);
        }
    }
    set_events(link);
}

void link_resume(struct link *link)
{
    struct fetch *f = link->fetch;
    struct receiver *r;

    if (!is_open(link) || (!link->held && !link->throttled)) {
        return;
    }
    r = transfer_receiver(f->transfer, link->conn);
    link->throttled = false;
    if (link->held) {
        link->held = false;
        if (!place_chunk(link)) {
            return;
        }
        consume_kept(link);
    }
    if (!is_open(link)) {
        return;
    }
    if (!link->held) {
        receiver_pause(r, false, now_ms(link));
        receive(link);
    }
    set_events(link);
}

/* ---- life. */

int link_open(struct link *link, int fd)
{
    struct fetch *f = link->fetch;
    unsigned source = transfer_conn_source(f->transfer, link->conn);
    int err = channel_open(&link->channel, fd, f->trust[source]);

    if (err == 0) {
        err = loop_poll_new(f->loop, fd, on_ready, link, &link->poll);
    }
    if (err == 0) {
        err = loop_defer_new(f->loop, on_again, link, &link->again);
    }
    if (err != 0) {
        loop_poll_free(link->poll);
        link->poll = NULL;
        channel_close(&link->channel);
        return err;
    }
    link->events = 0;
    link->held = false;
    link->throttled = false;
    link->send_errno = 0;
    link->in_chunk = false;
    link->left = 0;
    link->stage_at = 0;
    link->stage_len = 0;
    if (link->channel.shaking) {
        shake(link);
    }
    set_events(link);
    return 0;
}

void link_close(struct link *link)
{
    if (!is_open(link)) {
        return;
    }
    loop_poll_free(link->poll);
    loop_defer_free(link->again);
    link->poll = NULL;
    link->again = NULL;
    channel_close(&link->channel);
    tunnel_free(link->tunnel);
    link->tunnel = NULL;
    rate_leave(link->fetch->options.rate, &link->taker);
    if (link->run != NULL) {
        /* Whole chunks stay good even if the connection does not. */
        struct run *run = link->run;

        link->run = NULL;
        if (run->count > 0 && !link->fetch->over && link->fetch->begun) {
            pipeline_submit(run);
        } else {
            pipeline_discard(run);
        }
    }
    drop_slabs(link);
    free(link->spill);
    link->spill = NULL;
    link->held = false;
    link->in_chunk = false;
    link->stage_at = 0;
    link->stage_len = 0;
}
