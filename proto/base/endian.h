/* Load and store big-endian integers at any alignment.
 *
 * The pointers address at least as many bytes as the integer is wide; the
 * bounded users are reader.h and writer.h, and hash inputs of fixed form. */

#ifndef PROTO_BASE_ENDIAN_H
#define PROTO_BASE_ENDIAN_H

#include <stdint.h>

static inline uint16_t endian_load_u16(const uint8_t *p)
{
    return (uint16_t)((uint32_t)p[0] << 8 | p[1]);
}

static inline uint32_t endian_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
           (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t endian_load_u64(const uint8_t *p)
{
    return (uint64_t)endian_load_u32(p) << 32 | endian_load_u32(p + 4);
}

static inline void endian_store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void endian_store_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void endian_store_u64(uint8_t *p, uint64_t v)
{
    endian_store_u32(p, (uint32_t)(v >> 32));
    endian_store_u32(p + 4, (uint32_t)v);
}

#endif
