/* What the message families share; visible to proto/wire/msg*.c only. */

#ifndef PROTO_WIRE_MSG_INTERNAL_H
#define PROTO_WIRE_MSG_INTERNAL_H

#include <string.h>

#include "proto/base/err.h"
#include "proto/wire/msg.h"

#define MSG_NS_PER_S 1000000000u

/* No grease: what decoding leaves in a message. */
#define MSG_NO_GREASE ((struct tlv){ 0, { NULL, 0 } })

/* Is this one of FILE_...? */
static inline bool msg_file_type_known(uint8_t file_type)
{
    return file_type >= FILE_REGULAR && file_type <= FILE_OTHER;
}

/* Finish a message that defines no TLV but may hold grease. */
static inline void msg_put_grease(struct writer *w, const struct tlv *grease)
{
    struct tlv_writer t;
    tlv_writer_init(&t, w, grease);
    tlv_writer_end(&t);
}

#endif
