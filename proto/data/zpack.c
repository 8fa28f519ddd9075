#include "proto/data/zpack.h"

#include <stdlib.h>
#include <string.h>

/* Input is read only; zlib says so on request. */
#define ZLIB_CONST
#include <zlib.h>
#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "proto/base/check.h"
#include "proto/base/registry.h"

#define PROBE_LEN ((size_t)16 * 1024)
/* RFC 1950: bit of the second header byte that announces a dictionary. */
#define FDICT 0x20
/* log2 of the largest window of RFC 1950, 32 KiB. */
#define WINDOW_LOG2 15
/* zlib's own default; 9 costs cache misses and gains little. */
#define MEM_LEVEL 8

#define LEVELS (ZPACK_LEVEL_MAX + 1)

/* Whatever is missing is made when first needed.  One compressor for each
 * level that was asked for: a probe at the fastest level and a better level
 * for the chunk itself take turns. */
struct zpack {
    bool zlib_only;
    bool inflate_ready;
    bool deflate_ready[LEVELS];
    z_stream inflate;
    z_stream deflate[LEVELS];
#ifdef HAVE_LIBDEFLATE
    struct libdeflate_decompressor *decompressor;
    struct libdeflate_compressor *compressor[LEVELS];
#endif
    uint8_t probe[PROBE_LEN];
};

struct zpack *zpack_new(void)
{
    return calloc(1, sizeof(struct zpack));
}

struct zpack *zpack_new_zlib(void)
{
    struct zpack *zpack = zpack_new();
    if (zpack != NULL) {
        zpack->zlib_only = true;
    }
    return zpack;
}

void zpack_free(struct zpack *zpack)
{
    if (zpack == NULL) {
        return;
    }
    if (zpack->inflate_ready) {
        (void)inflateEnd(&zpack->inflate);
    }
    for (int level = 0; level < LEVELS; level++) {
        if (zpack->deflate_ready[level]) {
            (void)deflateEnd(&zpack->deflate[level]);
        }
#ifdef HAVE_LIBDEFLATE
        libdeflate_free_compressor(zpack->compressor[level]);
#endif
    }
#ifdef HAVE_LIBDEFLATE
    libdeflate_free_decompressor(zpack->decompressor);
#endif
    free(zpack);
}

bool zpack_stored_len_ok(uint8_t codec, uint64_t stored_len, uint64_t raw_len)
{
    switch (codec) {
    case CODEC_RAW:
        return stored_len == raw_len;
    case CODEC_ZLIB:
        return stored_len >= LIMIT_ZLIB_STORED_MIN && stored_len < raw_len;
    case CODEC_ZERO:
        return stored_len == 0;
    default:
        return false;
    }
}

/* ---- zlib */

static int zlib_inflate_ready(struct zpack *zpack)
{
    if (zpack->inflate_ready) {
        return inflateReset(&zpack->inflate) == Z_OK ? 0 : ERR_INTERNAL;
    }
    if (inflateInit2(&zpack->inflate, WINDOW_LOG2) != Z_OK) {
        return ERR_NOMEM;
    }
    zpack->inflate_ready = true;
    return 0;
}

static int zlib_inflate(struct zpack *zpack, const void *in, size_t in_len,
                        void *out, size_t raw_len)
{
    int err = zlib_inflate_ready(zpack);
    if (err != 0) {
        return err;
    }
    z_stream *z = &zpack->inflate;
    z->next_in = in;
    z->avail_in = (uInt)in_len;
    z->next_out = out;
    z->avail_out = (uInt)raw_len;
    int status = inflate(z, Z_FINISH);
    if (z->avail_out == 0 && (status == Z_OK || status == Z_BUF_ERROR)) {
        /* All bytes are there, but the end of the stream has not been read.
         * It must follow without any further byte of output. */
        uint8_t overflow;
        z->next_out = &overflow;
        z->avail_out = sizeof overflow;
        status = inflate(z, Z_FINISH);
        if (z->avail_out == 0) {
            return ERR_CODEC;
        }
        z->avail_out = 0;
    }
    if (status == Z_MEM_ERROR) {
        return ERR_NOMEM;
    }
    return status == Z_STREAM_END && z->avail_out == 0 && z->avail_in == 0
               ? 0
               : ERR_CODEC;
}

static int zlib_deflate_ready(struct zpack *zpack, int level)
{
    z_stream *z = &zpack->deflate[level];
    if (zpack->deflate_ready[level]) {
        return deflateReset(z) == Z_OK ? 0 : ERR_INTERNAL;
    }
    if (deflateInit2(z, level, Z_DEFLATED, WINDOW_LOG2, MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return ERR_NOMEM;
    }
    zpack->deflate_ready[level] = true;
    return 0;
}

static int zlib_deflate(struct zpack *zpack, int level, const void *in,
                        size_t len, struct zpack_out *out)
{
    int err = zlib_deflate_ready(zpack, level);
    if (err != 0) {
        return err;
    }
    z_stream *z = &zpack->deflate[level];
    z->next_in = in;
    z->avail_in = (uInt)len;
    z->next_out = out->bytes;
    z->avail_out = (uInt)out->cap;
    if (deflate(z, Z_FINISH) != Z_STREAM_END) {
        return ERR_SPACE;
    }
    out->len = out->cap - z->avail_out;
    return 0;
}

/* ---- libdeflate, or zlib in its place */

#ifdef HAVE_LIBDEFLATE

static int stream_inflate(struct zpack *zpack, const void *in, size_t in_len,
                          void *out, size_t raw_len)
{
    if (zpack->zlib_only) {
        return zlib_inflate(zpack, in, in_len, out, raw_len);
    }
    if (zpack->decompressor == NULL) {
        zpack->decompressor = libdeflate_alloc_decompressor();
        if (zpack->decompressor == NULL) {
            return ERR_NOMEM;
        }
    }
    size_t used;
    size_t made;
    enum libdeflate_result result = libdeflate_zlib_decompress_ex(
        zpack->decompressor, in, in_len, out, raw_len, &used, &made);
    return result == LIBDEFLATE_SUCCESS && used == in_len && made == raw_len
               ? 0
               : ERR_CODEC;
}

static int stream_deflate(struct zpack *zpack, int level, const void *in,
                          size_t len, struct zpack_out *out)
{
    if (zpack->zlib_only) {
        return zlib_deflate(zpack, level, in, len, out);
    }
    if (zpack->compressor[level] == NULL) {
        zpack->compressor[level] = libdeflate_alloc_compressor(level);
        if (zpack->compressor[level] == NULL) {
            return ERR_NOMEM;
        }
    }
    size_t made = libdeflate_zlib_compress(zpack->compressor[level], in, len,
                                           out->bytes, out->cap);
    if (made == 0) {
        return ERR_SPACE;
    }
    out->len = made;
    return 0;
}

#else

static int stream_inflate(struct zpack *zpack, const void *in, size_t in_len,
                          void *out, size_t raw_len)
{
    return zlib_inflate(zpack, in, in_len, out, raw_len);
}

static int stream_deflate(struct zpack *zpack, int level, const void *in,
                          size_t len, struct zpack_out *out)
{
    return zlib_deflate(zpack, level, in, len, out);
}

#endif

int zpack_inflate(struct zpack *zpack, const void *in, size_t in_len,
                  void *out, size_t raw_len)
{
    const uint8_t *header = in;
    /* Beyond the largest chunk nothing was ever asked for, and the libraries
     * count in types that may be narrower than size_t. */
    if (raw_len > (size_t)1 << LIMIT_CHUNK_LOG2_MAX ||
        !zpack_stored_len_ok(CODEC_ZLIB, in_len, raw_len) ||
        (header[1] & FDICT) != 0) {
        return ERR_CODEC;
    }
    return stream_inflate(zpack, in, in_len, out, raw_len);
}

int zpack_deflate(struct zpack *zpack, int level, const void *in, size_t len,
                  struct zpack_out *out)
{
    BELAY_ASSERT(level >= ZPACK_LEVEL_MIN && level <= ZPACK_LEVEL_MAX);
    BELAY_ASSERT(len <= (size_t)1 << LIMIT_CHUNK_LOG2_MAX);
    /* A result as long as the input is no gain: less room ends the attempt
     * as soon as that is certain. */
    struct zpack_out shorter = *out;
    if (len == 0) {
        return ERR_SPACE;
    }
    if (shorter.cap > len - 1) {
        shorter.cap = len - 1;
    }
    if (shorter.cap < LIMIT_ZLIB_STORED_MIN) {
        return ERR_SPACE;
    }
    int err = stream_deflate(zpack, level, in, len, &shorter);
    if (err == 0) {
        BELAY_ASSERT(zpack_stored_len_ok(CODEC_ZLIB, shorter.len, len));
        out->len = shorter.len;
    }
    return err;
}

bool zpack_probe(struct zpack *zpack, const void *in, size_t len)
{
    size_t sample = len < PROBE_LEN ? len : PROBE_LEN;
    struct zpack_out out = {
        .bytes = zpack->probe,
        .cap = sample - (sample + 19) / 20,
    };
    return zpack_deflate(zpack, ZPACK_LEVEL_MIN, in, sample, &out) == 0;
}

bool zpack_is_zero(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    /* Equal to itself one byte later, and the first is zero: so all are.
     * memcmp is the fastest loop there is. */
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

const char *zpack_library(void)
{
    return zlibVersion();
}
