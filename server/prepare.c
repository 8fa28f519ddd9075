#include "server/prepare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/io/clock.h"
#include "proto/io/loop.h"
#include "server/limits.h"
#include "server/permits.h"
#include "server/resident.h"

/* Pieces that one thread takes at a time: the two lanes of the hash. */
#define LANES 2u

/* Bytes of one read that only warms pages. */
#define WARM_BYTES (128u * 1024u)

/* A chunk that cannot be compressed makes the next 2, 4, 8 .. 64 of the file
 * be sent as they are (rule Z4). */
#define PACK_SKIP_MAX 64u

struct slot {
    struct prepare *owner;
    struct loop_work *work;
    struct hasher *hasher;
    struct zpack *zpack;
    uint8_t *warm;
    struct piece *pieces[LANES];
    size_t count;
    struct prepare_slice *slice;
    bool busy;
};

struct prepare {
    struct loop *loop;
    struct bufpool *buffers;
    struct piece *first; /* waiting, in order */
    struct piece **last;
    struct prepare_slice *slice_first;
    struct prepare_slice **slice_last;
    unsigned slices; /* in work */
    struct permits *permits; /* NULL: none are needed */
    unsigned worker;
    struct loop_poll *permit;
    bool permit_waits; /* a metered slice waits until one is free */
    struct loop_defer *soon;
    struct slot slots[SERVER_HASH_SLOTS];
};

/* ---- Threads. */

int
prepare_read(int fd, uint8_t *buf, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t got = pread(fd, buf, len, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return ERR_IO;
        }
        if (got == 0) {
            return ERR_CHANGED;
        }
        buf += got;
        len -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

static void
piece_fail(struct piece *piece, int err)
{
    if (piece->code != 0) {
        return;
    }
    switch (err) {
    case ERR_CHANGED:
        piece->code = WIRE_CHANGED_DURING;
        break;
    case ERR_IO:
        piece->code = WIRE_IO_ERROR;
        piece->has_offset = true;
        break;
    case ERR_NOMEM:
        piece->code = WIRE_BUSY;
        break;
    default:
        piece->code = WIRE_INTERNAL;
        break;
    }
}

/* Rule G5, before and after each reading. A chunk without a digest may not be
 * read from a file that lost its name, because nothing vouches for its being
 * of the same version. */
static void
check_source(struct piece *piece)
{
    bool unlinked = false;
    int err = source_check(piece->source, &unlinked);

    if (err == 0 && unlinked && piece->hashing) {
        piece->settled = false;
        if (!piece->verify && !source_may_hash(piece->source)) {
            err = ERR_CHANGED;
        }
    }
    if (err != 0) {
        piece_fail(piece, err);
    }
}

static void
warm_piece(struct slot *slot, struct piece *piece)
{
    uint64_t offset = piece->offset;
    uint32_t left = piece->raw_len;

    if (slot->warm == NULL) {
        slot->warm = malloc(WARM_BYTES);
        if (slot->warm == NULL) {
            piece_fail(piece, ERR_NOMEM);
            return;
        }
    }
    check_source(piece);
    while (left > 0 && piece->code == 0) {
        uint32_t step = left < WARM_BYTES ? left : WARM_BYTES;
        int err = prepare_read(piece->source->fd, slot->warm, step, offset);
        if (err != 0) {
            piece_fail(piece, err);
        }
        offset += step;
        left -= step;
    }
}

static void
read_piece(struct piece *piece)
{
    const struct source *src = piece->source;

    piece->settled = fileid_is_settled(&src->id, clock_file_ns());
    check_source(piece);
    if (piece->code == 0) {
        int err =
            prepare_read(src->fd, piece->raw, piece->raw_len, piece->offset);
        if (err != 0) {
            piece_fail(piece, err);
        }
    }
}

static void
hash_pieces(struct slot *slot)
{
    struct hash_item items[LANES];
    uint8_t digests[LANES][HASH_LEN];
    size_t n = 0;

    for (size_t i = 0; i < slot->count; i++) {
        struct piece *piece = slot->pieces[i];
        if (piece->code == 0) {
            items[n].data = piece->raw;
            items[n].len = piece->raw_len;
            items[n].out = digests[n];
            n++;
        }
    }
    int err = hash_sha256_many(slot->hasher, items, n);
    n = 0;
    for (size_t i = 0; i < slot->count; i++) {
        struct piece *piece = slot->pieces[i];
        if (piece->code != 0) {
            continue;
        }
        if (err != 0) {
            piece_fail(piece, err);
        } else if (piece->verify &&
                   memcmp(piece->digest, digests[n], HASH_LEN) != 0) {
            piece_fail(piece, ERR_CHANGED);
        }
        memcpy(piece->digest, digests[n], HASH_LEN);
        n++;
    }
}

/* Chooses how a chunk that was read is stored. */
static void
encode_piece(struct slot *slot, struct piece *piece)
{
    bool zero = zpack_is_zero(piece->raw, piece->raw_len);
    struct digest_state state = {
        .zero = zero,
        .settled = piece->settled,
    };
    memcpy(state.digest, piece->digest, HASH_LEN);
    int err = digests_put(piece->source->digests, piece->index, &state);
    if (err != 0) {
        piece_fail(piece, err);
        return;
    }
    piece->codec = CODEC_RAW;
    piece->data = piece->raw;
    piece->stored_len = piece->raw_len;
    piece->packable = true;
    if (zero && piece->zero_ok) {
        piece->codec = CODEC_ZERO;
        piece->data = NULL;
        piece->stored_len = 0;
        return;
    }
    if (piece->packed == NULL) {
        return;
    }
    struct zpack_out out = { .bytes = piece->packed, .cap = piece->raw_len };
    piece->packable =
        zpack_probe(slot->zpack, piece->raw, piece->raw_len) &&
        zpack_deflate(slot->zpack, piece->zlib_level, piece->raw,
                      piece->raw_len, &out) == 0;
    if (piece->packable) {
        piece->codec = CODEC_ZLIB;
        piece->data = piece->packed;
        piece->stored_len = (uint32_t)out.len;
    }
}

static void
slot_work(void *arg)
{
    struct slot *slot = arg;

    if (slot->slice != NULL) {
        slot->slice->work(slot->slice, slot->hasher);
        return;
    }
    if (slot->pieces[0]->work == PIECE_WARM) {
        warm_piece(slot, slot->pieces[0]);
        return;
    }
    for (size_t i = 0; i < slot->count; i++) {
        read_piece(slot->pieces[i]);
    }
    hash_pieces(slot);
    for (size_t i = 0; i < slot->count; i++) {
        struct piece *piece = slot->pieces[i];
        /* Bytes that changed while they were read have no digest. */
        if (piece->code == 0) {
            check_source(piece);
        }
        if (piece->code == 0) {
            encode_piece(slot, piece);
        }
    }
}

/* ---- The loop's thread. */

static void dispatch(struct prepare *p);

/* Rule Z4's memory of files that do not compress. */
static void
learn_packing(struct piece *piece)
{
    struct source *src = piece->source;

    if (piece->packed == NULL || piece->code != 0) {
        return;
    }
    if (piece->packable) {
        src->pack_next = 2;
        return;
    }
    src->pack_skip = src->pack_next;
    if (src->pack_next < PACK_SKIP_MAX) {
        src->pack_next *= 2;
    }
}

static void
give_raw(struct prepare *p, struct piece *piece)
{
    bufpool_give(p->buffers, piece->raw, piece->raw_len);
    piece->raw = NULL;
}

static void
give_packed(struct prepare *p, struct piece *piece)
{
    bufpool_give(p->buffers, piece->packed, piece->packed_cap);
    piece->packed = NULL;
}

/* A compressed chunk may wait long for its reader: it moves to a buffer of
 * its own size. */
static void
shrink_packed(struct prepare *p, struct piece *piece)
{
    uint8_t *small = bufpool_take(p->buffers, piece->stored_len);
    if (small == NULL) {
        return;
    }
    memcpy(small, piece->packed, piece->stored_len);
    give_packed(p, piece);
    piece->packed = small;
    piece->packed_cap = piece->stored_len;
    piece->data = small;
}

/* Keeps only the buffer that will be sent, and none where the bytes have a
 * settled digest and are in the page cache by now: so a slow reader holds no
 * buffer that others could use. */
static void
shed_buffers(struct prepare *p, struct piece *piece)
{
    bool keep = piece->code == 0;

    if (!keep || piece->codec != CODEC_RAW) {
        give_raw(p, piece);
    } else if (piece->settled) {
        give_raw(p, piece);
        piece->data = NULL;
    }
    if (!keep || piece->codec != CODEC_ZLIB) {
        give_packed(p, piece);
    } else if (piece->stored_len <= piece->packed_cap / 2) {
        shrink_packed(p, piece);
    }
}

static void
slot_done(void *arg)
{
    struct slot *slot = arg;
    struct prepare *p = slot->owner;
    struct slot was = *slot;

    slot->busy = false;
    slot->slice = NULL;
    slot->count = 0;
    if (was.slice != NULL) {
        p->slices--;
        if (was.slice->metered && p->permits != NULL) {
            permits_give(p->permits, p->worker);
        }
        was.slice->done(was.slice);
    }
    for (size_t i = 0; i < was.count; i++) {
        struct piece *piece = was.pieces[i];
        if (piece->work == PIECE_READ) {
            learn_packing(piece);
            shed_buffers(p, piece);
        }
        piece->done(piece);
    }
    dispatch(p);
}

/* Chunks that are asked for in one turn of the loop are looked at together,
 * so that two of them can share a thread's lanes. */
static void
on_soon(void *arg)
{
    dispatch(arg);
}

static int
slot_init(struct prepare *p, struct slot *slot)
{
    slot->owner = p;
    slot->hasher = hasher_new();
    slot->zpack = zpack_new();
    if (slot->hasher == NULL || slot->zpack == NULL) {
        return ERR_NOMEM;
    }
    return loop_work_new(p->loop, slot_work, slot_done, slot, &slot->work);
}

struct prepare *
prepare_new(struct loop *loop, struct bufpool *buffers)
{
    struct prepare *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return NULL;
    }
    p->loop = loop;
    p->buffers = buffers;
    p->last = &p->first;
    p->slice_last = &p->slice_first;
    int err = loop_defer_new(loop, on_soon, p, &p->soon);
    for (size_t i = 0; i < SERVER_HASH_SLOTS && err == 0; i++) {
        err = slot_init(p, &p->slots[i]);
    }
    if (err != 0) {
        prepare_free(p);
        return NULL;
    }
    return p;
}

void
prepare_free(struct prepare *p)
{
    if (p == NULL) {
        return;
    }
    BELAY_ASSERT(p->first == NULL && p->slice_first == NULL);
    for (size_t i = 0; i < SERVER_HASH_SLOTS; i++) {
        struct slot *slot = &p->slots[i];
        BELAY_ASSERT(!slot->busy);
        loop_work_free(slot->work);
        hasher_free(slot->hasher);
        zpack_free(slot->zpack);
        free(slot->warm);
    }
    loop_poll_free(p->permit);
    loop_defer_free(p->soon);
    free(p);
}

/* There may be a permit to take. */
static void
on_permit(void *arg, unsigned events)
{
    struct prepare *p = arg;

    (void)events;
    p->permit_waits = false;
    loop_poll_set(p->permit, 0);
    dispatch(p);
}

int
prepare_meter(struct prepare *p, struct permits *permits, unsigned worker)
{
    p->permits = permits;
    p->worker = worker;
    return loop_poll_new(p->loop, permits_fd(permits), on_permit, p,
                         &p->permit);
}

static bool
take_buffers(struct prepare *p, struct piece *piece)
{
    if (piece->raw == NULL) {
        piece->raw = bufpool_take(p->buffers, piece->raw_len);
    }
    if (piece->raw != NULL && piece->zlib_ok && piece->packed == NULL) {
        /* Without room for a second buffer it is sent as it is. */
        piece->packed = bufpool_take(p->buffers, piece->raw_len);
        piece->packed_cap = piece->raw_len;
    }
    return piece->raw != NULL;
}

/* Takes the first piece off the queue, if it can be worked on now. */
static struct piece *
take_piece(struct prepare *p)
{
    struct piece *piece = p->first;
    if (piece == NULL ||
        (piece->work == PIECE_READ && !take_buffers(p, piece))) {
        return NULL;
    }
    p->first = piece->next;
    if (p->first == NULL) {
        p->last = &p->first;
    }
    piece->next = NULL;
    return piece;
}

/* A second piece for the other lane: of the same length, or it would wait. */
static struct piece *
take_second(struct prepare *p, const struct piece *one)
{
    const struct piece *two = p->first;
    if (one->work != PIECE_READ || two == NULL || two->work != PIECE_READ ||
        two->raw_len != one->raw_len) {
        return NULL;
    }
    return take_piece(p);
}

/* May this slice run now? */
static bool
has_permit(struct prepare *p, const struct prepare_slice *slice)
{
    if (!slice->metered || p->permits == NULL) {
        return true;
    }
    if (p->permit_waits) {
        return false;
    }
    if (permits_take(p->permits, p->worker)) {
        return true;
    }
    p->permit_waits = true;
    loop_poll_set(p->permit, LOOP_READ);
    return false;
}

/* The first slice that may run, off the queue. */
static struct prepare_slice *
take_slice(struct prepare *p)
{
    struct prepare_slice **link = &p->slice_first;

    while (*link != NULL && !has_permit(p, *link)) {
        link = &(*link)->next;
    }
    struct prepare_slice *slice = *link;
    if (slice == NULL) {
        return NULL;
    }
    *link = slice->next;
    if (slice->next == NULL) {
        p->slice_last = link;
    }
    return slice;
}

static bool
fill_slot(struct prepare *p, struct slot *slot)
{
    struct piece *one = take_piece(p);
    if (one != NULL) {
        slot->pieces[0] = one;
        slot->pieces[1] = take_second(p, one);
        slot->count = slot->pieces[1] != NULL ? 2 : 1;
        return true;
    }
    if (p->first == NULL && p->slices < SERVER_SLICES) {
        slot->slice = take_slice(p);
        p->slices += slot->slice != NULL;
    }
    return slot->slice != NULL;
}

static void
dispatch(struct prepare *p)
{
    for (size_t i = 0; i < SERVER_HASH_SLOTS; i++) {
        struct slot *slot = &p->slots[i];
        if (slot->busy) {
            continue;
        }
        if (!fill_slot(p, slot)) {
            return;
        }
        slot->busy = true;
        loop_work_submit(slot->work);
    }
}

void
prepare_slice(struct prepare *p, struct prepare_slice *slice)
{
    slice->next = NULL;
    *p->slice_last = slice;
    p->slice_last = &slice->next;
    loop_defer_arm(p->soon);
}

/* ---- Pieces. */

static bool
wants_packing(struct piece *piece)
{
    struct source *src = piece->source;

    if (!piece->zlib_ok) {
        return false;
    }
    if (src->pack_skip > 0) {
        src->pack_skip--;
        return false;
    }
    return true;
}

/* Settled digests need no second look at the bytes: true when the piece is
 * ready. */
static bool
start_known(struct piece *piece, const struct digest_state *state)
{
    if (state->zero && piece->zero_ok) {
        piece->codec = CODEC_ZERO;
        piece->stored_len = 0;
        return true;
    }
    piece->codec = CODEC_RAW;
    piece->stored_len = piece->raw_len;
    piece->work = PIECE_WARM;
    return resident_all(piece->source->fd, piece->offset,
                               piece->raw_len);
}

static void
enqueue(struct prepare *p, struct piece *piece)
{
    piece->next = NULL;
    *p->last = piece;
    p->last = &piece->next;
    loop_defer_arm(p->soon);
}

bool
prepare_start(struct prepare *p, struct piece *piece)
{
    struct digest_state state;

    piece->code = 0;
    piece->has_offset = false;
    piece->data = NULL;
    piece->raw = NULL;
    piece->packed = NULL;
    piece->work = PIECE_READ;
    piece->offset =
        cid_chunk_offset(piece->source->chunk_log2, piece->index);
    digests_get(piece->source->digests, piece->index, &state);
    piece->zlib_ok = wants_packing(piece);
    piece->hashing = !state.settled ||
                     (piece->zlib_ok && !(state.zero && piece->zero_ok));
    piece->verify = state.published;
    piece->known = state.settled;
    memcpy(piece->digest, state.digest, HASH_LEN);
    check_source(piece);
    if (piece->code != 0) {
        return true;
    }
    if (piece->hashing) {
        atomic_store(&piece->source->served, true);
    } else if (start_known(piece, &state)) {
        return true;
    }
    enqueue(p, piece);
    return false;
}

void
prepare_release(struct prepare *p, struct piece *piece)
{
    give_raw(p, piece);
    give_packed(p, piece);
    piece->data = NULL;
    if (p->first != NULL) {
        loop_defer_arm(p->soon); /* somebody may wait for a buffer */
    }
}
