#include "proto/data/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"

#define ELLIPSIS "\xe2\x80\xa6"
#define ELLIPSIS_LEN (sizeof ELLIPSIS - 1)

BELAY_STATIC_ASSERT(TEXT_ESCAPE_MIN == sizeof ELLIPSIS, "room for a cut");

/* Code points above ASCII that are valid but not shown as they are. */
static const struct {
    uint32_t first;
    uint32_t last;
} hidden[] = {
    {0x0080, 0x009f},    /* C1 controls. */
    {0x061c, 0x061c},    /* Arabic letter mark. */
    {0x200e, 0x200f},    /* Direction marks. */
    {0x2028, 0x202e},    /* Separators, embeddings and overrides. */
    {0x2066, 0x2069},    /* Isolates. */
    {0xfeff, 0xfeff},    /* Byte order mark. */
    {0xfff9, 0xfffb},    /* Interlinear annotation. */
    {0xe0000, 0xe007f},  /* Tags. */
};

static bool is_shown(uint32_t code)
{
    if (code < 0x80) {
        return code >= 0x20 && code != 0x7f && code != '\\';
    }
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        if (code >= hidden[i].first && code <= hidden[i].last) {
            return false;
        }
    }
    return true;
}

/* Length of the UTF-8 character at `p`, of which `left` bytes may be read, and
 * its code point; 0 when the bytes are no character (RFC 3629: no overlong
 * forms, no surrogates, nothing beyond U+10FFFF). */
static size_t decode(const uint8_t *p, size_t left, uint32_t *code)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len;
    if (p[0] < 0x80) {
        *code = p[0];
        return 1;
    } else if ((p[0] & 0xe0) == 0xc0) {
        len = 2;
        *code = p[0] & 0x1f;
    } else if ((p[0] & 0xf0) == 0xe0) {
        len = 3;
        *code = p[0] & 0x0f;
    } else if ((p[0] & 0xf8) == 0xf0) {
        len = 4;
        *code = p[0] & 0x07;
    } else {
        return 0;
    }
    if (len > left) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        *code = *code << 6 | (p[i] & 0x3f);
    }
    bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
    return *code < smallest[len] || *code > 0x10ffff || surrogate ? 0 : len;
}

/* Writes the shown form of the character or stray byte at `p` to `piece`.
 * Returns its length; `used` is how many bytes of `p` it stands for. */
static size_t escape_one(const uint8_t *p, size_t left, char piece[16],
                         size_t *used)
{
    static const char digits[] = "0123456789ABCDEF";
    uint32_t code;
    size_t len = decode(p, left, &code);
    if (len > 0 && is_shown(code)) {
        memcpy(piece, p, len);
        *used = len;
        return len;
    }
    if (p[0] == '\\') {
        memcpy(piece, "\\\\", 2);
        *used = 1;
        return 2;
    }
    *used = len > 0 ? len : 1;
    for (size_t i = 0; i < *used; i++) {
        piece[4 * i] = '\\';
        piece[4 * i + 1] = 'x';
        piece[4 * i + 2] = digits[p[i] >> 4];
        piece[4 * i + 3] = digits[p[i] & 15];
    }
    return 4 * *used;
}

size_t text_escape(char *out, size_t cap, const void *bytes, size_t len)
{
    BELAY_ASSERT(cap >= TEXT_ESCAPE_MIN);
    BELAY_ASSERT(bytes != NULL || len == 0);
    const uint8_t *in = bytes;
    size_t at = 0;
    size_t end = 0;
    /* Last length at which an ellipsis still fits behind. */
    size_t cut = 0;
    while (at < len) {
        char piece[16];
        size_t used;
        size_t piece_len = escape_one(in + at, len - at, piece, &used);
        if (end + ELLIPSIS_LEN < cap) {
            cut = end;
        }
        if (piece_len >= cap - end) {
            memcpy(out + cut, ELLIPSIS, ELLIPSIS_LEN);
            end = cut + ELLIPSIS_LEN;
            break;
        }
        memcpy(out + end, piece, piece_len);
        end += piece_len;
        at += used;
    }
    out[end] = '\0';
    return end;
}

bool text_is_utf8(const void *bytes, size_t len)
{
    const uint8_t *in = bytes;
    size_t at = 0;
    while (at < len) {
        uint32_t code;
        size_t step = decode(in + at, len - at, &code);
        if (step == 0) {
            return false;
        }
        at += step;
    }
    return true;
}

void text_vprint(char *out, size_t cap, const char *format, va_list args)
{
    BELAY_ASSERT(cap >= TEXT_ESCAPE_MIN);
    int len = vsnprintf(out, cap, format, args);
    if (len < 0) {
        out[0] = '\0';
    } else if ((size_t)len >= cap) {
        size_t cut = cap - sizeof ELLIPSIS;
        while (cut > 0 && ((uint8_t)out[cut] & 0xc0) == 0x80) {
            cut--;
        }
        memcpy(out + cut, ELLIPSIS, sizeof ELLIPSIS);
    }
}

void text_size(char *out, size_t cap, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB",
                                        "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    while (value >= 1024 && unit < 6) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, cap, unit == 0 ? "%.0f %s" : "%.2f %s", value,
                   units[unit]);
}
