#include "proto/data/note.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/limits.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"

#define DASH "\xe2\x80\x94 "
#define DASH_LEN (sizeof DASH - 1)
/* The algorithm of a key: Ed25519. */
#define ALGORITHM 0x01

#define RAW_KEY_LEN (1 + SIGN_PUBLIC_LEN)
#define RAW_LINE_LEN (LIMIT_MANIFEST_KEY_ID + SIGN_LEN)

/* ---- Names and keys. */

bool note_name_ok(const char *name, size_t len)
{
    if (len == 0 || len > LIMIT_COMPONENT) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)name[i];
        if (c <= 0x20 || c == 0x7f || c == '+') {
            return false;
        }
    }
    return text_is_utf8(name, len);
}

int note_key_init(struct hasher *hasher, const char *name, size_t len,
                  const uint8_t public_key[SIGN_PUBLIC_LEN],
                  struct note_key *key)
{
    static const uint8_t infix[] = {'\n', ALGORITHM};
    uint8_t digest[HASH_LEN];
    if (!note_name_ok(name, len)) {
        return ERR_SYNTAX;
    }
    memset(key, 0, sizeof *key);
    memcpy(key->name, name, len);
    key->name_len = len;
    memcpy(key->public_key, public_key, SIGN_PUBLIC_LEN);
    int err = hasher_begin(hasher);
    if (err == 0) {
        err = hasher_update(hasher, name, len);
    }
    if (err == 0) {
        err = hasher_update(hasher, infix, sizeof infix);
    }
    if (err == 0) {
        err = hasher_update(hasher, public_key, SIGN_PUBLIC_LEN);
    }
    if (err == 0) {
        err = hasher_final(hasher, digest);
    }
    if (err == 0) {
        memcpy(key->id, digest, sizeof key->id);
    }
    return err;
}

int note_key_parse(struct hasher *hasher, const char *text, size_t len,
                   struct note_key *key)
{
    char id[2 * LIMIT_MANIFEST_KEY_ID + 1];
    uint8_t raw[BASE64_BYTES(BASE64_LEN(RAW_KEY_LEN))];
    size_t raw_len;
    /* Neither a name nor hex digits hold a plus, base64 may. */
    const char *plus = len > 0 ? memchr(text, '+', len) : NULL;
    if (plus == NULL) {
        return ERR_SYNTAX;
    }
    size_t name_len = (size_t)(plus - text);
    size_t data_at = name_len + 1 + 2 * LIMIT_MANIFEST_KEY_ID + 1;
    if (len != data_at + BASE64_LEN(RAW_KEY_LEN) ||
        text[data_at - 1] != '+' ||
        base64_decode(text + data_at, len - data_at, raw, &raw_len) != 0 ||
        raw_len != RAW_KEY_LEN || raw[0] != ALGORITHM) {
        return ERR_SYNTAX;
    }
    int err = note_key_init(hasher, text, name_len, raw + 1, key);
    if (err != 0) {
        return err;
    }
    cid_hex_encode(key->id, sizeof key->id, id);
    return memcmp(id, plus + 1, 2 * LIMIT_MANIFEST_KEY_ID) == 0 ? 0
                                                                : ERR_SYNTAX;
}

void note_key_encode(const struct note_key *key, char text[NOTE_KEY_MAX])
{
    char id[2 * LIMIT_MANIFEST_KEY_ID + 1];
    char data[BASE64_LEN(RAW_KEY_LEN) + 1];
    uint8_t raw[RAW_KEY_LEN] = {ALGORITHM};
    BELAY_ASSERT(key->name_len <= LIMIT_COMPONENT);
    memcpy(raw + 1, key->public_key, SIGN_PUBLIC_LEN);
    cid_hex_encode(key->id, sizeof key->id, id);
    base64_encode(raw, sizeof raw, data);
    (void)snprintf(text, NOTE_KEY_MAX, "%.*s+%s+%s", (int)key->name_len,
                   key->name, id, data);
}

/* ---- Notes. */

int note_split(struct bytes_view note, struct bytes_view *text,
               struct bytes_view *lines, struct note_fault *fault)
{
    fault->line = 0;
    if (note.len == 0) {
        fault->reason = "it is empty";
        return ERR_MANIFEST;
    }
    if (!text_is_utf8(note.ptr, note.len)) {
        fault->reason = "it is not UTF-8 text";
        return ERR_MANIFEST;
    }
    const uint8_t *gap = memmem(note.ptr, note.len, "\n\n", 2);
    if (gap == NULL) {
        fault->reason = "it has no empty line before its signatures";
        return ERR_MANIFEST;
    }
    text->ptr = note.ptr;
    text->len = (size_t)(gap - note.ptr) + 1;
    lines->ptr = gap + 2;
    lines->len = note.len - text->len - 1;
    if (note.ptr[note.len - 1] != '\n') {
        fault->reason = "its last line has no end";
        return ERR_MANIFEST;
    }
    if (lines->len == 0) {
        fault->reason = "it has no signature";
        return ERR_MANIFEST;
    }
    return 0;
}

/* A signature line in its parts. */
struct line {
    const char *name;
    size_t name_len;
    bool fits; /* its base64 has the length of id and signature */
    uint8_t raw[RAW_LINE_LEN + 1];
};

/* Reads base64 of any length; only that of the right length is kept. */
static int read_base64(const char *data, size_t len, struct line *line)
{
    uint8_t piece[BASE64_BYTES(1024)];
    size_t got = 0;
    line->fits = len == BASE64_LEN(RAW_LINE_LEN);
    if (len == 0) {
        return ERR_MANIFEST;
    }
    while (len > 0) {
        size_t part = len < 1024 ? len : 1024;
        if (base64_decode(data, part, piece, &got) != 0 ||
            (part < len && got != sizeof piece)) {
            return ERR_MANIFEST;
        }
        data += part;
        len -= part;
    }
    line->fits = line->fits && got == RAW_LINE_LEN;
    if (line->fits) {
        memcpy(line->raw, piece, RAW_LINE_LEN);
    }
    return 0;
}

static int read_line(const char *text, size_t len, struct line *line)
{
    if (len <= DASH_LEN || memcmp(text, DASH, DASH_LEN) != 0) {
        return ERR_MANIFEST;
    }
    line->name = text + DASH_LEN;
    const char *space = memchr(line->name, ' ', len - DASH_LEN);
    if (space == NULL) {
        return ERR_MANIFEST;
    }
    line->name_len = (size_t)(space - line->name);
    if (!note_name_ok(line->name, line->name_len)) {
        return ERR_MANIFEST;
    }
    return read_base64(space + 1, len - DASH_LEN - line->name_len - 1, line);
}

static bool is_of(const struct line *line, const struct note_key *key)
{
    return line->fits && line->name_len == key->name_len &&
           memcmp(line->name, key->name, key->name_len) == 0 &&
           memcmp(line->raw, key->id, sizeof key->id) == 0;
}

int note_check(struct bytes_view text, struct bytes_view lines,
               const struct note_key *keys, size_t count, bool *verified,
               struct note_fault *fault)
{
    bool any = false;
    size_t at = 0;
    fault->line = 0;
    for (size_t k = 0; k < count; k++) {
        verified[k] = false;
    }
    while (at < lines.len) {
        struct line line;
        const char *start = (const char *)lines.ptr + at;
        const char *end = memchr(start, '\n', lines.len - at);
        fault->line++;
        if (fault->line > MAX_NOTE_LINES) {
            fault->reason = "it has too many signatures";
            return ERR_LIMIT;
        }
        fault->reason = "this is no signature line";
        if (end == NULL ||
            read_line(start, (size_t)(end - start), &line) != 0) {
            return ERR_MANIFEST;
        }
        for (size_t k = 0; k < count; k++) {
            if (!is_of(&line, &keys[k])) {
                continue;
            }
            int err = sign_check(keys[k].public_key, text.ptr, text.len,
                                 line.raw + LIMIT_MANIFEST_KEY_ID);
            if (err != 0) {
                fault->reason = "the signature of a known key is wrong";
                return err;
            }
            verified[k] = true;
            any = true;
        }
        at += (size_t)(end - start) + 1;
    }
    fault->line = 0;
    fault->reason = "no known key signed it";
    return any ? 0 : ERR_NO_KEY;
}

void note_line_encode(const struct note_key *key,
                      const uint8_t signature[SIGN_LEN],
                      char line[NOTE_LINE_MAX])
{
    char data[BASE64_LEN(RAW_LINE_LEN) + 1];
    uint8_t raw[RAW_LINE_LEN];
    memcpy(raw, key->id, sizeof key->id);
    memcpy(raw + sizeof key->id, signature, SIGN_LEN);
    base64_encode(raw, sizeof raw, data);
    (void)snprintf(line, NOTE_LINE_MAX, DASH "%.*s %s\n", (int)key->name_len,
                   key->name, data);
}
