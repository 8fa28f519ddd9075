/* A sender with a runner made of memory, shared by the tests of the sender.
 *
 * Files are patterns: byte i is i mod 251, but for inverted ones. Jobs run at
 * once unless the test holds their type back; then they wait in `held` until
 * the test finishes them. Output is collected and taken apart frame by frame.
 * Time is a number that the test moves. */

#ifndef TESTS_UNIT_SENDER_FIXTURE_H
#define TESTS_UNIT_SENDER_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/data/cid.h"
#include "proto/data/hash.h"
#include "proto/data/merkle.h"
#include "proto/session/sender.h"
#include "proto/wire/msg.h"
#include "proto/wire/preface.h"

#define FIXTURE_FILES 8
#define FIXTURE_HELD 64

struct fixture_file {
    const char *path;
    uint64_t size;
    uint64_t inverted; /* index of one inverted byte; UINT64_MAX: none */
    uint8_t version;   /* last byte of the token */
    int64_t mtime_s;
    bool cid_known;
    uint16_t read_code; /* reading gives this code, */
    uint64_t read_from; /* ... from this chunk on */
    uint16_t check_code;
    unsigned opened;    /* handles that were not closed */
};

/* The runner's idea of an open file, and of a prepared chunk. */
struct fixture_open {
    struct fixture_open *next;
    struct fixture_file *file;
    uint8_t chunk_log2;
};

struct fixture_piece {
    struct fixture_piece *next;
    uint8_t *data;
    uint32_t len;
};

struct fixture {
    struct sender *s;
    uint64_t now;
    struct hasher *hasher;
    struct fixture_file files[FIXTURE_FILES];
    unsigned hold; /* bit mask of job types to hold back */
    struct sender_job held[FIXTURE_HELD];
    size_t held_count;
    struct fixture_open *open_list;
    struct fixture_piece *piece_list;
    unsigned opens; /* length of these */
    unsigned pieces;
    unsigned abandoned;
    bool blocked;    /* the transport takes nothing */
    uint8_t *out;
    size_t out_len;
    size_t out_read; /* taken apart so far */
};

static inline uint8_t
fixture_byte(const struct fixture_file *file, uint64_t i)
{
    uint8_t b = (uint8_t)(i % 251);
    return i == file->inverted ? (uint8_t)~b : b;
}

static inline uint8_t *
fixture_chunk(const struct fixture_open *o, uint64_t index, uint32_t *len)
{
    uint64_t at = cid_chunk_offset(o->chunk_log2, index);
    *len = cid_chunk_len(o->file->size, o->chunk_log2, index);
    uint8_t *data = malloc(*len);
    assert_non_null(data);
    for (uint32_t i = 0; i < *len; i++) {
        data[i] = fixture_byte(o->file, at + i);
    }
    return data;
}

static inline void
fixture_digest(struct fixture *f, const struct fixture_open *o, uint64_t index,
               uint8_t out[HASH_LEN])
{
    uint32_t len = 0;
    uint8_t *data = fixture_chunk(o, index, &len);
    assert_int_equal(hash_sha256(f->hasher, data, len, out), 0);
    free(data);
}

static inline void
fixture_cid(struct fixture *f, const struct fixture_open *o,
            uint8_t cid[HASH_LEN])
{
    uint64_t n = cid_chunk_count(o->file->size, o->chunk_log2);
    uint8_t root[HASH_LEN];
    struct merkle_builder b;
    merkle_builder_init(&b, o->file->size, o->chunk_log2);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t d[HASH_LEN];
        fixture_digest(f, o, i, d);
        assert_int_equal(merkle_builder_add(&b, f->hasher, d, 1), 0);
    }
    assert_int_equal(merkle_builder_root(&b, f->hasher, root), 0);
    assert_int_equal(cid_from_root(f->hasher, o->file->size, o->chunk_log2,
                                   root, cid),
                     0);
}

/* ---- The runner. */

static inline struct fixture_file *
fixture_find(struct fixture *f, const char *path)
{
    for (size_t i = 0; i < FIXTURE_FILES; i++) {
        if (f->files[i].path != NULL && strcmp(f->files[i].path, path) == 0) {
            return &f->files[i];
        }
    }
    return NULL;
}

static inline void
fixture_do_open(struct fixture *f, const struct sender_job *job,
                struct sender_result *result)
{
    struct fixture_file *file = fixture_find(f, job->open.path);
    if (file == NULL) {
        result->code = WIRE_NOT_FOUND;
        return;
    }
    struct fixture_open *o = calloc(1, sizeof(*o));
    assert_non_null(o);
    o->file = file;
    o->next = f->open_list;
    f->open_list = o;
    o->chunk_log2 = job->open.chunk_log2 != 0 ? job->open.chunk_log2 : 12;
    f->opens++;
    file->opened++;
    result->open = (struct sender_file){
        .file = o,
        .file_type = FILE_REGULAR,
        .chunk_log2 = o->chunk_log2,
        .strong = true,
        .version_len = 8,
        .size = file->size,
        .mtime_s = file->mtime_s,
        .mode = 0644,
    };
    static const uint8_t token[8] = { 0xa1, 0xb2, 0xc3, 0xd4,
                                      0xe5, 0xf6, 0x07, 0x00 };
    memcpy(result->open.version, token, 8);
    result->open.version[7] = file->version;
    result->cid_known = file->cid_known;
    if (file->cid_known) {
        fixture_cid(f, o, result->cid);
    }
}

static inline void
fixture_do_chunk(struct fixture *f, const struct sender_job *job,
                 struct sender_result *result)
{
    const struct fixture_open *o = job->file;
    if (o->file->read_code != 0 && job->chunk.index >= o->file->read_from) {
        result->code = o->file->read_code;
        result->has_offset = true;
        result->offset = cid_chunk_offset(o->chunk_log2, job->chunk.index);
        return;
    }
    struct fixture_piece *piece = calloc(1, sizeof(*piece));
    assert_non_null(piece);
    piece->data = fixture_chunk(o, job->chunk.index, &piece->len);
    assert_int_equal(piece->len, job->chunk.raw_len);
    f->pieces++;
    piece->next = f->piece_list;
    f->piece_list = piece;
    fixture_digest(f, o, job->chunk.index, result->digest);
    result->piece = piece;
    result->codec = CODEC_RAW;
    result->stored_len = piece->len;
}

static inline void
fixture_do_digest(struct fixture *f, const struct sender_job *job,
                  struct sender_result *result)
{
    const struct fixture_open *o = job->file;
    const struct sender_job_digest *d = &job->digest;
    for (uint32_t i = 0; i < d->count; i++) {
        fixture_digest(f, o, d->first + i, d->out + i * HASH_LEN);
    }
    if (!d->with_proof) {
        return;
    }
    uint64_t n = cid_chunk_count(o->file->size, o->chunk_log2);
    uint8_t *nodes = malloc(merkle_tree_len(n) * HASH_LEN);
    assert_non_null(nodes);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t digest[HASH_LEN];
        fixture_digest(f, o, i, digest);
        assert_int_equal(
            merkle_leaf(f->hasher, cid_chunk_offset(o->chunk_log2, i),
                        cid_chunk_len(o->file->size, o->chunk_log2, i),
                        digest, nodes + i * HASH_LEN),
            0);
    }
    assert_int_equal(merkle_tree_build(f->hasher, nodes, n), 0);
    result->proof_len = (uint8_t)merkle_tree_path(
        nodes, n, d->block_log2, d->block, d->out + d->count * HASH_LEN);
    free(nodes);
}

static inline void
fixture_finish(struct fixture *f, const struct sender_job *job)
{
    struct sender_result result = { .code = 0 };
    const struct fixture_open *o = job->file;

    switch (job->type) {
    case SENDER_JOB_OPEN:
        fixture_do_open(f, job, &result);
        break;
    case SENDER_JOB_CHUNK:
        fixture_do_chunk(f, job, &result);
        break;
    case SENDER_JOB_CHECK:
        result.code = o->file->check_code;
        result.cid_known = true;
        fixture_cid(f, o, result.cid);
        break;
    case SENDER_JOB_DIGEST:
        fixture_do_digest(f, job, &result);
        break;
    default:
        result.code = WIRE_UNSUPPORTED;
        break;
    }
    sender_job_done(f->s, f->now, job->id, &result);
}

static inline void
fixture_free_piece(struct fixture *f, struct fixture_piece *piece)
{
    struct fixture_piece **link = &f->piece_list;
    while (*link != piece) {
        link = &(*link)->next;
    }
    *link = piece->next;
    f->pieces--;
    free(piece->data);
    free(piece);
}

static inline void
fixture_free_open(struct fixture *f, struct fixture_open *o)
{
    struct fixture_open **link = &f->open_list;
    while (*link != o) {
        link = &(*link)->next;
    }
    *link = o->next;
    o->file->opened--;
    f->opens--;
    free(o);
}

static inline void
fixture_job(struct fixture *f, const struct sender_job *job)
{
    struct fixture_open *o = job->file;
    switch (job->type) {
    case SENDER_JOB_CLOSE:
        fixture_free_open(f, o);
        return;
    case SENDER_JOB_DROP:
        fixture_free_piece(f, job->piece);
        return;
    case SENDER_JOB_ABANDON:
        f->abandoned++;
        return;
    default:
        break;
    }
    if ((f->hold & 1u << job->type) != 0) {
        assert_true(f->held_count < FIXTURE_HELD);
        f->held[f->held_count++] = *job;
    } else {
        fixture_finish(f, job);
    }
}

static inline void
fixture_append(struct fixture *f, const uint8_t *data, size_t len)
{
    f->out = realloc(f->out, f->out_len + len + 1);
    assert_non_null(f->out);
    if (len > 0) {
        memcpy(f->out + f->out_len, data, len);
    }
    f->out_len += len;
}

static inline bool
fixture_emit(struct fixture *f)
{
    static uint8_t buf[SENDER_EMIT_BYTES];
    struct sender_out out;
    sender_emit(f->s, f->now, buf, sizeof(buf), &out);
    fixture_append(f, buf, out.len);
    sender_wrote(f->s, f->now, out.len);
    if (out.has_chunk) {
        struct fixture_piece *piece = out.piece;
        assert_int_equal(piece->len, out.raw_len);
        fixture_append(f, piece->data, out.stored_len);
        sender_wrote(f->s, f->now, out.stored_len);
        sender_chunk_sent(f->s, f->now);
        fixture_free_piece(f, piece);
    }
    return out.len > 0;
}

static inline void
fixture_pump(struct fixture *f)
{
    bool more = true;
    while (more) {
        struct sender_job job;
        while (sender_next_job(f->s, f->now, &job)) {
            fixture_job(f, &job);
        }
        more = !f->blocked && fixture_emit(f);
    }
}

/* Finish the held job number i now. */
static inline void
fixture_release(struct fixture *f, size_t i)
{
    assert_true(i < f->held_count);
    struct sender_job job = f->held[i];
    f->held_count--;
    memmove(&f->held[i], &f->held[i + 1],
            (f->held_count - i) * sizeof(f->held[0]));
    fixture_finish(f, &job);
    fixture_pump(f);
}

/* ---- Life. */

static inline void
fixture_init(struct fixture *f, const struct sender_config *config)
{
    memset(f, 0, sizeof(*f));
    f->now = 1000;
    f->hasher = hasher_new();
    assert_non_null(f->hasher);
    f->s = sender_new(config, f->now);
    assert_non_null(f->s);
    for (size_t i = 0; i < FIXTURE_FILES; i++) {
        f->files[i].inverted = UINT64_MAX;
        f->files[i].version = 0x18;
        f->files[i].mtime_s = 0x6955b900;
    }
    f->files[0].path = "iso/demo.bin";
    f->files[0].size = 20000;
}

/* What the sender still held at its end is the runner's to free. */
static inline void
fixture_clear(struct fixture *f)
{
    sender_free(f->s);
    while (f->open_list != NULL) {
        fixture_free_open(f, f->open_list);
    }
    while (f->piece_list != NULL) {
        fixture_free_piece(f, f->piece_list);
    }
    hasher_free(f->hasher);
    free(f->out);
    memset(f, 0, sizeof(*f));
}

static inline void
fixture_feed(struct fixture *f, const uint8_t *data, size_t len)
{
    sender_recv(f->s, f->now, data, len);
    fixture_pump(f);
}

/* ---- Taking the output apart. */

/* The next frame of the output; false at its end. Chunk data is passed over,
 * and its length and CRC are checked by frame_scan. */
static inline bool
fixture_frame(struct fixture *f, struct frame *frame, const uint8_t **payload)
{
    size_t need = 0;
    if (f->out_read == f->out_len) {
        return false;
    }
    const uint8_t *at = f->out + f->out_read;
    size_t left = f->out_len - f->out_read;
    assert_int_equal(frame_scan(at, left, frame, &need), 0);
    assert_true(left >= FRAME_HEADER_LEN + frame->length);
    *payload = at + FRAME_HEADER_LEN;
    f->out_read += FRAME_HEADER_LEN + frame->length;
    return true;
}

/* Passes over preface and HELLO. */
static inline void
fixture_skip_greeting(struct fixture *f)
{
    struct frame frame;
    const uint8_t *payload = NULL;
    struct preface p;
    assert_true(f->out_len >= PREFACE_LEN);
    assert_int_equal(preface_decode(f->out, ROLE_SERVER, &p), 0);
    f->out_read = PREFACE_LEN;
    assert_true(fixture_frame(f, &frame, &payload));
    assert_int_equal(frame.type, FRAME_HELLO);
}

#endif
