/* Chunk codecs: how the bytes of one chunk are stored in a CHUNK frame.  The
 * only user of zlib and libdeflate.
 *
 * A context holds the working memory of the codecs (some hundred KiB for each
 * level in use, made when first needed) and is reusable.  One thread at a time
 * may use it.  Each chunk is a complete zlib stream (RFC 1950) of its own, so
 * contexts and chunks combine freely.  libdeflate does the work where the
 * build found it; both libraries read what the other wrote, but do not write
 * the same bytes.
 *
 * Implements rules Z1 to Z5 of spec/belay-1.md, section 12. */
#ifndef PROTO_DATA_ZPACK_H
#define PROTO_DATA_ZPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

/* Compression levels: fastest to smallest. */
#define ZPACK_LEVEL_MIN 1
#define ZPACK_LEVEL_MAX 9

struct zpack;

/* Makes a context, or returns NULL when there is no memory. */
struct zpack *zpack_new(void);

/* Like zpack_new(), but always with zlib: the reference for tests. */
struct zpack *zpack_new_zlib(void);

/* Frees the context; NULL is allowed. */
void zpack_free(struct zpack *zpack);

/* Rule Z1: may a chunk of `raw_len` bytes be stored by `codec` (CODEC_RAW,
 * CODEC_ZLIB, CODEC_ZERO; anything else is refused) in `stored_len` bytes?
 * Any values may come from a peer. */
bool zpack_stored_len_ok(uint8_t codec, uint64_t stored_len,
                         uint64_t raw_len);

/* Inflates one chunk: `in` must be one complete zlib stream, exactly `in_len`
 * bytes long, without a preset dictionary, that yields exactly `raw_len`
 * bytes; these go to `out`, of which not one byte more is written.  Returns 0;
 * ERR_CODEC for any other input, rule Z1 included, with `out` unspecified;
 * or ERR_NOMEM. */
int zpack_inflate(struct zpack *zpack, const void *in, size_t in_len,
                  void *out, size_t raw_len) MUST_USE;

/* Where a result of zpack_deflate() goes. */
struct zpack_out {
    void *bytes;
    size_t cap;
    size_t len;  /* Set on success. */
};

/* Deflates `len` bytes at `level` into `out`.  Returns 0; ERR_SPACE when the
 * result is not shorter than the input or than out->cap allows, in which case
 * the chunk travels raw; or ERR_NOMEM.  After an error the bytes of `out` are
 * unspecified.  Requires ZPACK_LEVEL_MIN <= level <= ZPACK_LEVEL_MAX. */
int zpack_deflate(struct zpack *zpack, int level, const void *in, size_t len,
                  struct zpack_out *out) MUST_USE;

/* Does it pay to deflate this chunk (rule Z4)?  True when the first 16 KiB
 * shrink by 5 percent at the fastest level; false also without memory. */
bool zpack_probe(struct zpack *zpack, const void *in, size_t len);

/* Are all bytes zero, so that CODEC_ZERO fits?  True for no bytes.  Ends
 * within the first bytes on most other data. */
bool zpack_is_zero(const void *bytes, size_t len);

/* The version of zlib that runs, a constant text. */
const char *zpack_library(void);

#endif
