/* Frames: the 16-byte header, its checks and its CRC (belay-1, section 6).
 *
 * The checks of a received frame run in the order of rule F3:
 *
 *   1. frame_scan      length limit of the type (F2), as soon as 16 bytes are
 *                      there; then the CRC over header and covered payload
 *                      (F1), as soon as that part is there: the whole payload,
 *                      or the first 56 bytes of a CHUNK
 *   2. frame_classify  direction and type (F5), request id (F6), END
 *   3. msg_..._decode  fixed fields, then TLVs (msg.h)
 *
 * Nothing of a frame may be used before step 1 said BELAY_OK. Pure: input is
 * borrowed for the call, nothing is kept. */

#ifndef PROTO_WIRE_FRAME_H
#define PROTO_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/reader.h"
#include "proto/base/registry.h"
#include "proto/base/writer.h"
#include "proto/wire/layout.h"

#define FRAME_HEADER_LEN LAYOUT_HEADER_LEN

/* Header and chunk fields: what precedes the data of a CHUNK. */
#define FRAME_CHUNK_HEAD_LEN (LAYOUT_HEADER_LEN + LAYOUT_CHUNK_LEN)

struct frame {
    uint32_t length;     /* payload bytes, the header not counted */
    uint32_t covered;    /* how many of these the CRC covers: the first ones */
    uint32_t request_id; /* 0: the connection */
    uint8_t type;
    uint8_t flags;       /* as received; only FRAME_FLAG_END has a meaning */
};

static inline bool frame_is_end(const struct frame *f)
{
    return (f->flags & FRAME_FLAG_END) != 0;
}

/* Look at the first avail bytes of the stream, at a frame border.
 *
 * BELAY_OK: header and covered payload are there and whole; *f is complete
 *   and *need is 16 + f->covered. For every type but CHUNK that is the whole
 *   frame; a CHUNK's data follows.
 * ERR_AGAIN: *need (more than avail) bytes of the stream are needed to go on.
 *   *f is complete once avail is at least 16, but not to be trusted yet.
 * ERR_TOO_LARGE, ERR_CRC: the connection ends. */
MUST_USE int frame_scan(const uint8_t *data, size_t avail, struct frame *f,
                        size_t *need);

enum frame_verdict {
    FRAME_ACCEPT, /* a type of this version: decode it */
    FRAME_SKIP,   /* ignorable and unknown, grease too: take no notice */
};

/* What becomes of a frame that frame_scan accepted. sender is
 * FRAME_FROM_CLIENT or FRAME_FROM_SERVER.
 *
 * BELAY_OK: see *verdict.
 * ERR_UNSUPPORTED: an unknown type that must not be ignored. A server answers
 *   ERROR UNSUPPORTED under its request id and carries on; a client fails
 *   that request and sends CANCEL. Its payload is passed over.
 * ERR_DIRECTION, ERR_REQUEST_ID, ERR_MALFORMED (END where it must not be, or
 *   not where it must): the connection ends. */
MUST_USE int frame_classify(const struct frame *f, uint8_t sender,
                            enum frame_verdict *verdict);

/* The name of a frame type ("HELLO"), or NULL when it has none. */
const char *frame_name(uint8_t type);

/* ---- Building. */

/* Start a frame: reserves its header. Returns the position to give to
 * frame_finish; the payload is appended in between. */
size_t frame_begin(struct writer *w);

/* Complete the frame that began at start: length, CRC, header. Returns
 * BELAY_OK, or the writer's error (ERR_SPACE, ERR_TOO_LARGE when the payload
 * exceeds the limit of the type). After an error the writer is back at
 * start, without an error, so that the frames before it can be sent.
 * A CHUNK is built by msg_chunk_encode instead. */
MUST_USE int frame_finish(struct writer *w, size_t start, uint8_t type,
                          uint8_t flags, uint32_t request_id);

/* Write the header (16 bytes) of a frame whose payload is length bytes long
 * and begins with the covered_len covered bytes given here. */
void frame_header_encode(uint8_t out[FRAME_HEADER_LEN], const struct frame *f,
                         const uint8_t *covered);

/* A grease frame (X4): one of the GREASE_FRAME_COUNT reserved types, chosen
 * by index modulo that count. At most LIMIT_GREASE payload bytes
 * (asserted). BELAY_OK or ERR_SPACE with the writer as it was. */
MUST_USE int frame_encode_grease(struct writer *w, uint32_t index,
                                 uint32_t request_id,
                                 struct bytes_view payload);

#endif
