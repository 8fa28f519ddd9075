/* TLVs: the extensible part of a payload (belay-1, section 7).
 *
 * Reading: tlv_reader_init looks at the structure of all TLVs at once (none
 * cut short, ascending by type without TLV_CRITICAL, none twice); then
 * tlv_next hands out, in order, those that this message defines, with their
 * length and list form checked against the registry. The others are passed
 * over, unless they are critical (rule X1). The first error sticks.
 *
 * Writing: tlv_put in ascending order. One meaningless TLV (grease, rule X4)
 * can be given at the start and lands at its place in the order.
 *
 * Values are borrowed from the payload. Pure; one owner at a time. */

#ifndef PROTO_WIRE_TLV_H
#define PROTO_WIRE_TLV_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/reader.h"
#include "proto/base/registry.h"
#include "proto/base/writer.h"

/* The longest grease value that is ever written: builders of long frames
 * leave room for it. */
#define TLV_GREASE_MAX 64u

/* As grease, type 0 stands for none. */
struct tlv {
    uint16_t type; /* TLV_..., with its critical bit */
    struct bytes_view value;
};

/* Fields are private to tlv.c. */
struct tlv_reader {
    struct reader r;
    uint32_t where;
    int unknown_err;
};

/* Start at the first TLV in bytes. where is the TLV_IN_... bit of the
 * message, 0 when it defines none. unknown_err is the error for a critical
 * TLV that the message does not define: ERR_UNSUPPORTED in a request,
 * ERR_MALFORMED elsewhere. */
void tlv_reader_init(struct tlv_reader *t, struct bytes_view bytes,
                     uint32_t where, int unknown_err);

/* The next TLV that the message defines; false at the end or after an
 * error. */
bool tlv_next(struct tlv_reader *t, struct tlv *out);

/* After tlv_next returned false: BELAY_OK, ERR_MALFORMED, ERR_TRUNCATED, or
 * unknown_err. */
MUST_USE int tlv_reader_err(const struct tlv_reader *t);

/* For a message that defines no TLV: pass over what is there. */
MUST_USE int tlv_skip_all(struct bytes_view bytes, int unknown_err);

/* The value as an integer. The TLV came from tlv_next and its registered
 * length is the width of the integer (asserted). */
uint8_t tlv_u8(const struct tlv *t);
uint16_t tlv_u16(const struct tlv *t);
uint32_t tlv_u32(const struct tlv *t);
uint64_t tlv_u64(const struct tlv *t);

/* Fields are private to tlv.c. */
struct tlv_writer {
    struct writer *w;
    struct tlv grease;
    uint32_t next_order;
};

/* grease: see struct tlv; a reserved type and a value of at most
 * TLV_GREASE_MAX bytes (asserted). */
void tlv_writer_init(struct tlv_writer *t, struct writer *w,
                     const struct tlv *grease);

/* Append one TLV. Types ascend from call to call (asserted). */
void tlv_put(struct tlv_writer *t, uint16_t type, struct bytes_view value);

/* The same, but nothing at all for a value of length 0, which stands for an
 * absent TLV in the messages of msg.h. */
void tlv_put_present(struct tlv_writer *t, uint16_t type,
                     struct bytes_view value);
void tlv_put_u8(struct tlv_writer *t, uint16_t type, uint8_t v);
void tlv_put_u16(struct tlv_writer *t, uint16_t type, uint16_t v);
void tlv_put_u32(struct tlv_writer *t, uint16_t type, uint32_t v);
void tlv_put_u64(struct tlv_writer *t, uint16_t type, uint64_t v);

/* After the last TLV; writes the grease if its place is here. */
void tlv_writer_end(struct tlv_writer *t);

/* Make a grease TLV: the type is chosen by index modulo GREASE_TLV_COUNT,
 * the value is borrowed. */
struct tlv tlv_grease(uint32_t index, struct bytes_view value);

/* Is this one of the reserved types? */
bool tlv_is_grease(uint16_t type);

#endif
