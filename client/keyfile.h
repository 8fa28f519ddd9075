/* Keys of manifests as files (belay.h, "Signed manifests").
 *
 * A private key file is the line "Belay-Key-Name: NAME" and a PEM block, which
 * other programs read as it is.  Blocks: not for the loop thread. */
#ifndef CLIENT_KEYFILE_H
#define CLIENT_KEYFILE_H

#include "client/belay.h"
#include "proto/data/hash.h"
#include "proto/data/note.h"

/* A private key; sign_forget() the whole when done. */
struct keyfile {
    uint8_t seed[SIGN_SEED_LEN];
    struct note_key key;
};

/* Reads the private key at `path`, which must belong to nobody else's eyes.
 * `name` (may be NULL) is what to call it; the file's own name must agree. */
enum belay_reason keyfile_load(struct hasher *hasher, const char *path,
                               const char *name, struct keyfile *out,
                               struct belay_error *error) MUST_USE;

/* Reads what the user named with --key: the text of a public key, or a file
 * of them, one a line.  Adds to keys[*count], at most MAX_NOTE_KEYS. */
enum belay_reason keyfile_load_public(struct hasher *hasher, const char *what,
                                      struct note_key *keys, size_t *count,
                                      struct belay_error *error) MUST_USE;

#endif
