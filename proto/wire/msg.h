/* Messages: one plain struct for each, and bytes <-> struct (belay-1,
 * sections 8, 10 and 15).
 *
 * Decoding takes the payload of a frame that frame_scan and frame_classify
 * accepted. It checks fixed fields, then TLVs (rule F3), and either fills
 * *out completely and returns BELAY_OK, or returns an error and leaves *out
 * in no state to be used. Views are borrowed from the payload. Errors:
 *
 *   ERR_TRUNCATED, ERR_TRAILING, ERR_MALFORMED   the connection ends
 *   ERR_BAD_REQUEST, ERR_UNSUPPORTED             only this request fails
 *
 * What a message alone cannot tell is not checked here: paths and names
 * (proto/data/relpath.h), whether handles are open, whether an answer fits
 * its request.
 *
 * Encoding appends a complete frame, header and CRC included, to a writer;
 * the error is ERR_SPACE (the frames before it stay) or ERR_TOO_LARGE.
 * Values that break a rule of the protocol are bugs and assert. Accepted
 * bytes encode to the same bytes again, except for what must be ignored:
 * reserved fields and bits, and TLVs that the message does not define.
 *
 * A view of length 0 stands for an absent TLV, since no TLV may be empty.
 * `grease` is for encoding only: a meaningless TLV that a sender adds (rule
 * X4, tlv_grease in tlv.h), type 0 for none; decoding sets it to none.
 *
 * Pure: no memory is allocated or kept. */

#ifndef PROTO_WIRE_MSG_H
#define PROTO_WIRE_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/reader.h"
#include "proto/base/registry.h"
#include "proto/base/writer.h"
#include "proto/wire/frame.h"
#include "proto/wire/tlv.h"

/* ---- HELLO (section 8.1). */

/* Which TLVs a HELLO holds. */
#define HELLO_HAS_MAX_CHUNK_LOG2 0x01u
#define HELLO_HAS_MAX_REQUESTS 0x02u
#define HELLO_HAS_MAX_HANDLES 0x04u
#define HELLO_HAS_MAX_RANGES 0x08u
#define HELLO_HAS_IDLE_TIMEOUT 0x10u
#define HELLO_HAS_PING_INTERVAL 0x20u

/* Declarations about the sender. After decoding every number is in its range
 * and an absent one has the default of the registry, so that a receiver
 * needs no look at `has`. codecs: absent means CODEC_RAW only; use
 * msg_hello_codec. */
struct msg_hello {
    uint32_t has; /* HELLO_HAS_...: encoding writes these */
    uint8_t max_chunk_log2;
    uint16_t max_requests;    /* server only, like the next two */
    uint16_t max_handles;
    uint16_t max_ranges;
    uint16_t idle_timeout_s;
    uint16_t ping_interval_s; /* server only */
    struct bytes_view codecs; /* one id per byte */
    struct bytes_view agent;  /* not checked to be UTF-8: escape it */
    struct bytes_view auth_methods; /* server only; one id per byte */
    struct bytes_view features;     /* big-endian u16 list: msg_u16_at */
    struct tlv grease;
};

/* sender: FRAME_FROM_CLIENT or FRAME_FROM_SERVER. TLVs that only a server
 * may send are unknown in a client's HELLO. */
MUST_USE int msg_hello_decode(const uint8_t *payload, size_t len,
                              uint8_t sender, struct msg_hello *out);
MUST_USE int msg_hello_encode(const struct msg_hello *m, uint8_t sender,
                              struct writer *w);

/* Does this HELLO name the codec? CODEC_RAW always counts as named. */
bool msg_hello_codec(const struct msg_hello *m, uint8_t codec);

/* Does this HELLO list the authentication method? */
bool msg_hello_auth_method(const struct msg_hello *m, uint8_t method);

/* Items of a u16 list (FEATURES, VERSIONS). index < msg_u16_count, asserted. */
size_t msg_u16_count(struct bytes_view list);
uint16_t msg_u16_at(struct bytes_view list, size_t index);

/* ---- OPEN and INFO (section 10.1). */

/* Decoding guarantees: handle is 0 exactly with OPEN_NO_HANDLE (else
 * ERR_BAD_REQUEST), want_chunk_log2 is 0 or 12..22 (else ERR_UNSUPPORTED).
 * path is not checked yet. */
struct msg_open {
    uint32_t handle;
    uint8_t flags;           /* OPEN_NO_HANDLE; reserved bits are cleared */
    uint8_t want_chunk_log2; /* 0: the server's choice */
    struct bytes_view path;
    struct bytes_view expect_version; /* 1..32 bytes, or absent */
    struct bytes_view expect_cid;     /* 32 bytes, or absent */
    struct tlv grease;
};

MUST_USE int msg_open_decode(const uint8_t *payload, size_t len,
                             struct msg_open *out);
MUST_USE int msg_open_encode(const struct msg_open *m, uint32_t request_id,
                             struct writer *w);

/* Decoding guarantees: file_type is known, mtime_ns < 10^9; for regular
 * files chunk_log2 is 12..22 and version is there. Rule N2 is the
 * receiver's. */
struct msg_info {
    uint32_t handle;
    uint8_t file_type; /* FILE_... */
    uint8_t chunk_log2;
    uint16_t info_flags; /* INFO_...; reserved bits are cleared */
    uint64_t size;
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t mode;
    struct bytes_view version;
    struct bytes_view cid;          /* 32 bytes, or absent */
    struct bytes_view whole_sha256; /* 32 bytes, or absent */
    struct tlv grease;
};

MUST_USE int msg_info_decode(const uint8_t *payload, size_t len,
                             struct msg_info *out);
MUST_USE int msg_info_encode(const struct msg_info *m, uint32_t request_id,
                             struct writer *w);

/* ---- GET, CHUNK, DONE (sections 10.2 and 10.3). */

struct msg_range {
    uint64_t offset;
    uint64_t length; /* GET_TO_END: to the end of the file */
};

/* Decoding guarantees rule G1: 1 <= count <= max_ranges, ranges ascending
 * and disjoint, none empty, only the last one open, no other overflowing;
 * and urgency 0..7. A breach is ERR_BAD_REQUEST. */
struct msg_get {
    uint32_t handle;
    uint8_t urgency;
    uint8_t flags; /* GET_...; reserved bits are cleared */
    uint16_t count;
    struct bytes_view ranges; /* as on the wire: msg_get_range */
    struct tlv grease;
};

/* max_ranges: what the receiver announced as MAX_RANGES. */
MUST_USE int msg_get_decode(const uint8_t *payload, size_t len,
                            uint16_t max_ranges, struct msg_get *out);

/* The ranges obey G1 (asserted). */
MUST_USE int msg_get_encode(const struct msg_get *m, uint32_t request_id,
                            struct writer *w);

/* Range number index, which is below count (asserted). */
struct msg_range msg_get_range(const struct msg_get *m, size_t index);

/* Bytes that msg_ranges_pack needs for count ranges. */
#define MSG_RANGES_BYTES(count) ((count) * (size_t)LAYOUT_RANGE_LEN)

/* Set count and ranges of *m from an array, written in wire form to buf,
 * which has room for MSG_RANGES_BYTES(count) and outlives *m. */
void msg_ranges_pack(struct msg_get *m, const struct msg_range *ranges,
                     uint16_t count, uint8_t *buf);

/* The fields of a CHUNK; its data follows them on the wire and is no part of
 * the struct. Decoding guarantees stored_len is the length of that data.
 * Whether the lengths fit the codec: msg_chunk_check; everything else of
 * rule G4 is the receiver's. */
struct msg_chunk {
    uint64_t offset;
    uint32_t raw_len;
    uint32_t stored_len;
    uint32_t handle;
    uint8_t codec;
    uint8_t digest[DIGEST_LEN];
};

/* payload: the covered part of a CHUNK frame, f->covered bytes. */
MUST_USE int msg_chunk_decode(const struct frame *f, const uint8_t *payload,
                              struct msg_chunk *out);

/* Rule Z1, the lengths of each codec: BELAY_OK, or ERR_CODEC also for a
 * codec that this version does not define. */
MUST_USE int msg_chunk_check(const struct msg_chunk *m);

/* Header and fields, FRAME_CHUNK_HEAD_LEN bytes; the caller sends stored_len
 * bytes of data right behind them. *m obeys msg_chunk_check (asserted). */
MUST_USE int msg_chunk_encode(const struct msg_chunk *m, uint32_t request_id,
                              struct writer *w);

struct msg_done {
    uint64_t chunks;
    uint64_t raw_bytes;
    struct bytes_view version;      /* 1..32 bytes, or absent */
    struct bytes_view cid;          /* 32 bytes, or absent */
    struct bytes_view whole_sha256; /* 32 bytes, or absent */
    struct tlv grease;
};

MUST_USE int msg_done_decode(const uint8_t *payload, size_t len,
                             struct msg_done *out);
MUST_USE int msg_done_encode(const struct msg_done *m, uint32_t request_id,
                             struct writer *w);

/* ---- DIGEST, DIGESTS, PROGRESS (section 10.4). */

/* Decoding guarantees block_log2 is 0..32 (else ERR_BAD_REQUEST). */
struct msg_digest {
    uint32_t handle;
    uint8_t block_log2;
    uint8_t flags; /* DIGEST_...; reserved bits are cleared */
    uint64_t first_block;
    uint32_t block_count; /* 0: to the end */
    struct tlv grease;
};

MUST_USE int msg_digest_decode(const uint8_t *payload, size_t len,
                               struct msg_digest *out);
MUST_USE int msg_digest_encode(const struct msg_digest *m,
                               uint32_t request_id, struct writer *w);

/* Decoding guarantees: count is 1..2000, block_log2 is 0..32, and the views
 * hold count and proof_len digests. */
struct msg_digests {
    uint64_t first_chunk;
    uint32_t count;
    uint8_t proof_len;
    uint8_t block_log2;
    struct bytes_view digests; /* count times DIGEST_LEN bytes */
    struct bytes_view proof;   /* proof_len times DIGEST_LEN bytes */
};

MUST_USE int msg_digests_decode(const uint8_t *payload, size_t len,
                                struct msg_digests *out);

/* Digest number index of such a view, borrowed; index is in range
 * (asserted). */
const uint8_t *msg_digest_at(struct bytes_view digests, size_t index);

/* Builds one DIGESTS frame digest by digest. Fields are private. */
struct msg_digests_builder {
    struct writer *w;
    size_t start;
    uint64_t first_chunk;
    uint32_t count;
    uint8_t block_log2;
};

void msg_digests_begin(struct msg_digests_builder *b, struct writer *w,
                       uint64_t first_chunk, uint8_t block_log2);

/* BELAY_OK; ERR_LIMIT when the frame would have no room left for a path of
 * LIMIT_PROOF digests and grease; ERR_SPACE when the writer is full. After
 * an error the frame is as before and can be finished if it holds at least
 * one digest. */
MUST_USE int msg_digests_add(struct msg_digests_builder *b,
                             const uint8_t digest[DIGEST_LEN]);

/* Complete the frame; at least one digest was added (asserted). proof holds
 * the path of the block that the frame completes, or is empty. end: last
 * frame of the answer. grease: see above, never NULL. */
MUST_USE int msg_digests_finish(struct msg_digests_builder *b,
                                struct bytes_view proof, bool end,
                                uint32_t request_id,
                                const struct tlv *grease);

struct msg_progress {
    uint64_t done;
    uint64_t total;
    struct tlv grease;
};

MUST_USE int msg_progress_decode(const uint8_t *payload, size_t len,
                                 struct msg_progress *out);
MUST_USE int msg_progress_encode(const struct msg_progress *m,
                                 uint32_t request_id, struct writer *w);

/* ---- LIST and ENTRIES (section 10.5). */

/* path is not checked yet. */
struct msg_list {
    uint8_t flags; /* LIST_WITH_CID; reserved bits are cleared */
    struct bytes_view path;
    struct bytes_view cursor; /* 1..64 bytes, or absent */
    bool has_max_entries;
    uint32_t max_entries;
    struct tlv grease;
};

MUST_USE int msg_list_decode(const uint8_t *payload, size_t len,
                             struct msg_list *out);
MUST_USE int msg_list_encode(const struct msg_list *m, uint32_t request_id,
                             struct writer *w);

struct msg_entry {
    uint8_t file_type; /* FILE_... */
    uint64_t size;
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t mode;
    struct bytes_view name;        /* 1..255 bytes; rule N3 is not checked */
    struct bytes_view cid;         /* 32 bytes, or absent */
    struct bytes_view link_target; /* 1..4096 bytes, or absent; any bytes */
};

/* Decoding guarantees that all entries are whole, with known file types,
 * mtime_ns < 10^9 and strictly ascending names. */
struct msg_entries {
    uint16_t count;
    struct bytes_view entries; /* as on the wire: msg_entries_next */
    struct bytes_view cursor;  /* 1..64 bytes, or absent */
};

MUST_USE int msg_entries_decode(const uint8_t *payload, size_t len,
                                struct msg_entries *out);

/* Walk the entries: start with a reader over m->entries (reader_init); false
 * after the last one. */
bool msg_entries_next(struct reader *at, struct msg_entry *out);

/* Builds one ENTRIES frame entry by entry. Fields are private. */
struct msg_entries_builder {
    struct writer *w;
    size_t start;
    uint16_t count;
};

void msg_entries_begin(struct msg_entries_builder *b, struct writer *w);

/* BELAY_OK; ERR_LIMIT when the frame would have no room left for a cursor
 * and grease; ERR_SPACE when the writer is full. After an error the frame is
 * as before and can be finished. Names ascend from call to call; that is the
 * caller's business. */
MUST_USE int msg_entries_add(struct msg_entries_builder *b,
                             const struct msg_entry *entry);

/* Complete the frame. cursor: at most LIMIT_CURSOR bytes, empty when nothing
 * remains. end: last frame of the answer. grease: see above, never NULL. */
MUST_USE int msg_entries_finish(struct msg_entries_builder *b,
                                struct bytes_view cursor, bool end,
                                uint32_t request_id,
                                const struct tlv *grease);

/* ---- ERROR (section 15). */

struct msg_error {
    uint16_t code; /* WIRE_...; any value may arrive: err_wire_class */
    struct bytes_view versions; /* big-endian u16 list, or absent */
    struct bytes_view version;  /* 1..32 bytes, or absent */
    struct bytes_view cid;      /* 32 bytes, or absent */
    struct bytes_view message;  /* 1..512 bytes, or absent: escape it */
    bool has_retry_after;
    bool has_offset;
    bool has_size;
    uint32_t retry_after_ms; /* 0 unless has_retry_after, and so on */
    uint64_t offset;
    uint64_t size;
    struct tlv grease;
};

MUST_USE int msg_error_decode(const uint8_t *payload, size_t len,
                              struct msg_error *out);

/* request_id 0: the connection. */
MUST_USE int msg_error_encode(const struct msg_error *m, uint32_t request_id,
                              struct writer *w);

/* ---- Control (sections 8.2 to 8.4, 10.6, 16). */

struct msg_ping {
    uint8_t opaque[PING_LEN];
};

MUST_USE int msg_ping_decode(const uint8_t *payload, size_t len,
                             struct msg_ping *out);

/* type: FRAME_PING or FRAME_PONG. */
MUST_USE int msg_ping_encode(const struct msg_ping *m, uint8_t type,
                             struct writer *w);

struct msg_goaway {
    uint32_t last_id;
    uint16_t code;             /* WIRE_..., or 0 */
    struct bytes_view message; /* 1..512 bytes, or absent: escape it */
    bool has_retry_after;
    uint32_t retry_after_ms; /* 0 unless has_retry_after */
    struct tlv grease;
};

MUST_USE int msg_goaway_decode(const uint8_t *payload, size_t len,
                               struct msg_goaway *out);
MUST_USE int msg_goaway_encode(const struct msg_goaway *m, struct writer *w);

struct msg_close {
    uint32_t handle;
    struct tlv grease;
};

MUST_USE int msg_close_decode(const uint8_t *payload, size_t len,
                              struct msg_close *out);
MUST_USE int msg_close_encode(const struct msg_close *m, uint32_t request_id,
                              struct writer *w);

struct msg_cancel {
    struct tlv grease;
};

MUST_USE int msg_cancel_decode(const uint8_t *payload, size_t len,
                               struct msg_cancel *out);
MUST_USE int msg_cancel_encode(const struct msg_cancel *m,
                               uint32_t request_id, struct writer *w);

/* Decoding guarantees that AUTH_BEARER comes with a token (else
 * ERR_BAD_REQUEST). Other methods are not judged. */
struct msg_auth {
    uint8_t method;          /* AUTH_... */
    struct bytes_view token; /* 1..4096 bytes, or absent: secret */
    struct tlv grease;
};

MUST_USE int msg_auth_decode(const uint8_t *payload, size_t len,
                             struct msg_auth *out);
MUST_USE int msg_auth_encode(const struct msg_auth *m, uint32_t request_id,
                             struct writer *w);

/* At most LIMIT_NOTICE bytes, not checked to be UTF-8: escape it. */
struct msg_notice {
    struct bytes_view text;
};

MUST_USE int msg_notice_decode(const uint8_t *payload, size_t len,
                               struct msg_notice *out);
MUST_USE int msg_notice_encode(const struct msg_notice *m, struct writer *w);

/* ---- Any message. */

/* The member that belongs to the type of the frame is valid; PING and PONG
 * share one. */
struct msg {
    uint8_t type;
    union {
        struct msg_hello hello;
        struct msg_ping ping;
        struct msg_goaway goaway;
        struct msg_open open;
        struct msg_list list;
        struct msg_get get;
        struct msg_digest digest;
        struct msg_close close;
        struct msg_cancel cancel;
        struct msg_auth auth;
        struct msg_info info;
        struct msg_entries entries;
        struct msg_chunk chunk;
        struct msg_digests digests;
        struct msg_done done;
        struct msg_error error;
        struct msg_progress progress;
        struct msg_notice notice;
    };
};

/* Decode the payload of an accepted frame (FRAME_ACCEPT, asserted).
 * f->covered bytes at payload. sender as in frame_classify; max_ranges as in
 * msg_get_decode. */
MUST_USE int msg_decode(const struct frame *f, const uint8_t *payload,
                        uint8_t sender, uint16_t max_ranges, struct msg *out);

#endif
