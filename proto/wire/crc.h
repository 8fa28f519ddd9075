/* CRC-32 of zlib, PNG and gzip (belay-1, section 5): reflected 0xEDB88320,
 * check value CBF43926 for "123456789". Pure; no state. */

#ifndef PROTO_WIRE_CRC_H
#define PROTO_WIRE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of nothing: where a calculation starts. */
#define CRC_START 0u

/* The CRC of the bytes that gave crc, followed by len bytes at data (which
 * may be NULL when len is 0). */
uint32_t crc_update(uint32_t crc, const uint8_t *data, size_t len);

#endif
