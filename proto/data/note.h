/* Signed notes: a text, an empty line, lines of signatures; and their keys.
 *
 *     text with LF at the end of each line
 *     (empty line)
 *     EM DASH, space, key name, space, base64(key id || signature)
 *
 * The signed bytes are the text with its last LF.  A signature belongs to a
 * key when name and id are equal.
 *
 * Implements section 2 of spec/belay-manifest-1.md (the C2SP signed note).
 * Pure; any thread, with one hasher each. */
#ifndef PROTO_DATA_NOTE_H
#define PROTO_DATA_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/reader.h"
#include "proto/base/registry.h"
#include "proto/data/base64.h"
#include "proto/data/hash.h"
#include "proto/data/sign.h"

/* A trusted key.  The name is not terminated by NUL. */
struct note_key {
    char name[LIMIT_COMPONENT];
    size_t name_len;
    uint8_t id[LIMIT_MANIFEST_KEY_ID];
    uint8_t public_key[SIGN_PUBLIC_LEN];
};

/* Buffers for the text of a key and for a signature line, with their NUL. */
#define NOTE_KEY_MAX                                                         \
    (LIMIT_COMPONENT + 1 + 2 * LIMIT_MANIFEST_KEY_ID + 1 +                   \
     BASE64_LEN(1 + SIGN_PUBLIC_LEN) + 1)
#define NOTE_LINE_MAX                                                        \
    (4 + LIMIT_COMPONENT + 1 +                                               \
     BASE64_LEN(LIMIT_MANIFEST_KEY_ID + SIGN_LEN) + 2)

/* What is wrong with a text: a constant phrase, and the line, counted from 1;
 * 0 when it is about the whole. */
struct note_fault {
    uint64_t line;
    const char *reason;
};

/* Is this the name of a key or an origin: 1..LIMIT_COMPONENT bytes of UTF-8
 * without space, control character and `+`? */
bool note_name_ok(const char *name, size_t len);

/* Makes a key of its name and public part.  Returns 0, ERR_SYNTAX for a name
 * that is none, or ERR_INTERNAL. */
int note_key_init(struct hasher *hasher, const char *name, size_t len,
                  const uint8_t public_key[SIGN_PUBLIC_LEN],
                  struct note_key *key) MUST_USE;

/* Reads `name+id+base64` from exactly `len` characters; the id must be that of
 * name and key.  Returns 0, ERR_SYNTAX or ERR_INTERNAL. */
int note_key_parse(struct hasher *hasher, const char *text, size_t len,
                   struct note_key *key) MUST_USE;

/* Writes the text of a key and a NUL. */
void note_key_encode(const struct note_key *key, char text[NOTE_KEY_MAX]);

/* Cuts a note at its empty line; both parts are borrowed from it.  Returns 0,
 * or ERR_MANIFEST with the reason. */
int note_split(struct bytes_view note, struct bytes_view *text,
               struct bytes_view *lines, struct note_fault *fault) MUST_USE;

/* Checks the signature lines against the known keys; verified[k] tells which
 * of them signed, and is unspecified after an error.  Returns 0 when one did
 * and none failed; ERR_MANIFEST for a malformed line, ERR_SIGNATURE when the
 * signature of a known key is wrong, ERR_NO_KEY when no known key signed,
 * ERR_LIMIT for more than MAX_NOTE_LINES lines, ERR_INTERNAL.  The line of a
 * fault is counted from the first signature line. */
int note_check(struct bytes_view text, struct bytes_view lines,
               const struct note_key *keys, size_t count, bool *verified,
               struct note_fault *fault) MUST_USE;

/* Writes a signature line with its LF, and a NUL. */
void note_line_encode(const struct note_key *key,
                      const uint8_t signature[SIGN_LEN],
                      char line[NOTE_LINE_MAX]);

#endif
