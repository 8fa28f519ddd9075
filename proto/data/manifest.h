/* Signed manifests: which paths have which contents, and who says so.
 *
 * A manifest is read where it lies (mapped, for a large one): opening it
 * checks every byte, so that walking over its files later cannot fail for
 * what the signer or a peer wrote.  Memory does not grow with the number of
 * files.
 *
 * Implements spec/belay-manifest-1.md.  Pure; any thread, with one hasher
 * each. */
#ifndef PROTO_DATA_MANIFEST_H
#define PROTO_DATA_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/reader.h"
#include "proto/base/registry.h"
#include "proto/base/writer.h"
#include "proto/data/hash.h"
#include "proto/data/note.h"

/* Characters of `YYYY-MM-DDThh:mm:ssZ`, without a NUL. */
#define MANIFEST_TIME_LEN 20
/* The longest file line with its LF: 64 digits, c, a size, the path escaped
 * byte for byte. */
#define MANIFEST_LINE_MAX (64 + 1 + 2 + 1 + 20 + 1 + 3 * LIMIT_PATH + 1)

/* A manifest that was opened.  All pointers are borrowed from its bytes. */
struct manifest {
    const char *origin;
    size_t origin_len;
    uint64_t serial;
    int64_t expires;           /* seconds since 1970, UTC */
    uint64_t count;            /* file lines */
    struct bytes_view text;    /* the signed bytes */
    struct bytes_view lines;   /* the signature lines */
    struct bytes_view files;   /* the file lines */
    uint8_t digest[HASH_LEN];  /* SHA-256 of the signed bytes */
};

/* One file of a manifest. */
struct manifest_entry {
    const char *path;          /* decoded; obeys relpath_check(), not empty */
    size_t path_len;
    uint64_t size;
    uint8_t chunk_log2;
    uint8_t cid[HASH_LEN];
};

/* Are paths in order, each once, none a directory of another (MF1-F5, F6)?
 * Fields are private. */
struct manifest_order {
    bool any;
    size_t last_len;
    size_t count;
    char last[LIMIT_PATH];
    /* Lengths of the earlier paths that begin the last one. */
    uint16_t prefix[LIMIT_PATH + 1];
};

/* A walk over the files of a manifest.  Fields are private. */
struct manifest_walk {
    struct bytes_view rest;
    char path[LIMIT_PATH];
};

/* ---- Reading. */

/* Reads and checks a whole manifest.  With `count` > 0 keys the signatures
 * decide first; verified[k] tells which of the keys signed.  With none
 * (`keys` is NULL, and `verified` may be) only the form is checked: that is for
 * showing a manifest, never for acting on it.  `data` stays the caller's and
 * outlives `out`.  Returns 0; ERR_MANIFEST for a malformed text;
 * ERR_SIGNATURE, ERR_NO_KEY as note_check(); ERR_LIMIT; ERR_INTERNAL;
 * ERR_NOMEM.  `fault` says what and in which line of the file; `out` is
 * unspecified then. */
int manifest_open(struct hasher *hasher, struct bytes_view data,
                  const struct note_key *keys, size_t count, bool *verified,
                  struct manifest *out, struct note_fault *fault) MUST_USE;

/* Reads a text that is not signed yet: all that stands above the empty line,
 * with or without that line.  Otherwise as manifest_open(). */
int manifest_open_text(struct hasher *hasher, struct bytes_view text,
                       struct manifest *out,
                       struct note_fault *fault) MUST_USE;

/* Starts before the first file of an opened manifest. */
void manifest_walk_init(struct manifest_walk *walk,
                        const struct manifest *manifest);

/* The next file.  entry->path is borrowed from the walk until the next call.
 * Returns 0, ERR_EOF behind the last one. */
int manifest_walk_next(struct manifest_walk *walk,
                       struct manifest_entry *entry) MUST_USE;

/* ---- Use. */

/* What a client remembers of an origin. */
struct manifest_memory {
    uint64_t serial;
    uint8_t digest[HASH_LEN];
};

/* May a client with this memory (NULL: none) use the manifest at `now`,
 * seconds since 1970?  Returns 0, ERR_ROLLBACK (MF1-V1, V2) or ERR_EXPIRED
 * (MF1-V3). */
int manifest_accept(const struct manifest *manifest,
                    const struct manifest_memory *memory,
                    int64_t now) MUST_USE;

/* ---- Writing. */

/* Nothing was added yet. */
void manifest_order_init(struct manifest_order *order);

/* The next path.  Returns 0; ERR_EXISTS when it equals the last one,
 * ERR_STATE when it sorts before that, ERR_NOT_A_DIRECTORY when an earlier
 * path is a directory of it, ERR_PATH when relpath_check() refuses it or it
 * is empty. */
int manifest_order_add(struct manifest_order *order, const char *path,
                       size_t len) MUST_USE;

/* Writes the four header lines.  The origin must be a name and the time one
 * that four digits of year can show, otherwise the writer gets ERR_SYNTAX. */
void manifest_write_head(struct writer *w, const char *origin, size_t len,
                         uint64_t serial, int64_t expires);

/* Writes one file line.  The caller keeps the order (manifest_order_add());
 * the geometry of the entry must be sound, otherwise ERR_SYNTAX. */
void manifest_write_file(struct writer *w,
                         const struct manifest_entry *entry);

/* `YYYY-MM-DDThh:mm:ssZ` to seconds since 1970; exactly `len` characters.
 * Returns 0 or ERR_SYNTAX. */
int manifest_time_parse(const char *text, size_t len,
                        int64_t *seconds) MUST_USE;

/* The inverse, with a NUL.  Returns 0, or ERR_RANGE outside the years 1 to
 * 9999. */
int manifest_time_encode(int64_t seconds,
                         char text[MANIFEST_TIME_LEN + 1]) MUST_USE;

#endif
