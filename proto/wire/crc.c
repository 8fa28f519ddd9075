#include "proto/wire/crc.h"

#include <zlib.h>

uint32_t crc_update(uint32_t crc, const uint8_t *data, size_t len)
{
    /* zlib takes a NULL pointer for a request of the start value. */
    if (len == 0) {
        return crc;
    }
    return (uint32_t)crc32_z(crc, data, len);
}
