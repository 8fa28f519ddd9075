#include "proto/data/base64.h"

#include <string.h>

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const uint8_t *bytes, size_t len, char *text)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < len ? bytes[i + 2] : 0;
        text[at] = digits[group >> 18];
        text[at + 1] = digits[group >> 12 & 63];
        text[at + 2] = i + 1 < len ? digits[group >> 6 & 63] : '=';
        text[at + 3] = i + 2 < len ? digits[group & 63] : '=';
        at += 4;
    }
    text[at] = '\0';
}

int base64_decode(const char *text, size_t len, uint8_t *bytes,
                  size_t *count)
{
    if (len % 4 != 0) {
        return ERR_SYNTAX;
    }
    size_t padding = 0;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=') {
        padding++;
    }
    uint32_t group = 0;
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        const char *digit = i < len - padding
                                ? memchr(digits, text[i], 64) : digits;
        if (digit == NULL) {
            return ERR_SYNTAX;
        }
        group = group << 6 | (uint32_t)(digit - digits);
        if (i % 4 == 3) {
            bytes[at] = (uint8_t)(group >> 16);
            bytes[at + 1] = (uint8_t)(group >> 8);
            bytes[at + 2] = (uint8_t)group;
            at += 3;
            group = 0;
        }
    }
    *count = at - padding;
    return 0;
}
