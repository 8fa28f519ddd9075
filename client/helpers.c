/* The helpers of belay.h: texts, URLs, content ids. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/filecid.h"
#include "client/report.h"
#include "proto/base/check.h"
#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/data/hash.h"
#include "proto/data/text.h"
#include "proto/data/uri.h"
#include "proto/data/zpack.h"
#include "proto/io/loop.h"

_Static_assert(BELAY_CID_SIZE == CID_TEXT_LEN + 1, "CID text");
_Static_assert(BELAY_CHUNK_SIZE_MIN == 1u << LIMIT_CHUNK_LOG2_MIN, "chunks");
_Static_assert(BELAY_CHUNK_SIZE_MAX == 1u << LIMIT_CHUNK_LOG2_MAX, "chunks");

const char *belay_version(void)
{
    return BELAY_VERSION;
}

unsigned belay_protocol_version(void)
{
    return PROTO_VERSION;
}

void belay_libraries(char *out, size_t cap)
{
    (void)snprintf(out, cap, "OpenSSL %s, zlib %s, libuv %s", hash_library(),
                   zpack_library(), loop_library());
}

size_t belay_text_escape(char *out, size_t cap, const char *text)
{
    return text_escape(out, cap, text, strlen(text));
}

void belay_text_bytes(uint64_t bytes, char *out, size_t cap)
{
    text_size(out, cap, bytes);
}

/* ---- URLs. */

static void describe(const struct uri *uri, struct belay_url *out)
{
    const char *name = uri_basename(uri);
    struct belay_url url = {.port = uri->port, .pinned = uri->pinned};

    (void)snprintf(url.host, sizeof url.host, "%s", uri->host);
    (void)snprintf(url.name, sizeof url.name, "%s", name != NULL ? name : "");
    (void)snprintf(url.path, sizeof url.path, "%s", uri->path);
    report_give(out, &url, sizeof url);
}

enum belay_reason belay_url_parse(const char *url, struct belay_url *out,
                                  struct belay_error *error)
{
    struct uri_error where;
    struct uri uri;
    char shown[400];

    (void)text_escape(shown, sizeof shown, url, strlen(url));
    if (uri_parse(url, &uri, &where) != 0) {
        return report(error, BELAY_USAGE, "bad URL %s: %s (at character %zu)",
                      shown, where.reason, where.pos + 1);
    }
    if (uri.scheme == URI_UNIX) {
        return report(error, BELAY_USAGE,
                      "%s: use belay://, belay+tcp:// or belay+ssh://",
                      shown);
    }
    if (out != NULL) {
        describe(&uri, out);
    }
    return BELAY_DONE;
}

/* ---- content ids. */

static unsigned log2_of(uint32_t size)
{
    unsigned log2 = 0;

    while (((uint32_t)1 << log2) < size && log2 < 31) {
        log2++;
    }
    return log2;
}

static enum belay_reason cid_of(int fd, uint32_t chunk_size,
                                char cid[BELAY_CID_SIZE], const char *shown,
                                struct belay_error *error)
{
    uint8_t bytes[HASH_LEN];
    struct stat st;
    int err;

    if (fstat(fd, &st) != 0) {
        return report(error, BELAY_DISK, "%s: %s", shown, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return report(error, BELAY_USAGE, "%s: not a regular file", shown);
    }
    uint8_t log2 = chunk_size != 0
                       ? (uint8_t)log2_of(chunk_size)
                       : cid_recommended_chunk_log2((uint64_t)st.st_size);

    if (!cid_geometry_ok((uint64_t)st.st_size, log2)) {
        return report(error, BELAY_USAGE,
                      "%s: the chunk size does not fit a file of this size",
                      shown);
    }
    errno = 0;
    err = file_cid(fd, (uint64_t)st.st_size, log2, bytes);
    if (err == ERR_NOMEM) {
        return report(error, BELAY_INTERNAL, "%s: out of memory", shown);
    }
    if (err != 0) {
        return report(error, BELAY_DISK, "%s: %s", shown,
                      errno != 0 ? strerror(errno) : "it became shorter");
    }
    cid_encode(log2, bytes, cid);
    return BELAY_DONE;
}

enum belay_reason belay_file_cid(const char *path, uint32_t chunk_size,
                                 char cid[BELAY_CID_SIZE],
                                 struct belay_error *error)
{
    enum belay_reason reason;
    char shown[400];
    int fd;

    (void)text_escape(shown, sizeof shown, path, strlen(path));
    if (chunk_size != 0 && (chunk_size < BELAY_CHUNK_SIZE_MIN ||
                            chunk_size > BELAY_CHUNK_SIZE_MAX ||
                            (chunk_size & (chunk_size - 1)) != 0)) {
        return report(error, BELAY_USAGE,
                      "%s: a chunk size is a power of two from 4 KiB to "
                      "4 MiB", shown);
    }
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return report(error, belay_reason_of_file(errno), "%s: %s", shown,
                      strerror(errno));
    }
    reason = cid_of(fd, chunk_size, cid, shown, error);
    close(fd);
    return reason;
}
