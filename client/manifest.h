/* An opened manifest of belay.h, as the library's own files see it. */
#ifndef CLIENT_MANIFEST_H
#define CLIENT_MANIFEST_H

#include "client/belay.h"
#include "proto/data/manifest.h"
#include "proto/io/rootfs.h"

/* A copy of a file that nobody else can change while it is read. */
struct snapshot {
    uint8_t *data; /* mapped; NULL when it is empty */
    size_t len;
};

/* Copies the file behind `fd` to where only this process sees it: what was
 * verified is what is used.  The pages belong to the page cache, not to the
 * heap.  BELAY_USAGE when it is no regular file or too large. */
enum belay_reason snapshot_take(int fd, const char *shown,
                                struct snapshot *out,
                                struct belay_error *error) MUST_USE;
void snapshot_clear(struct snapshot *snapshot);

struct belay_manifest {
    struct snapshot snapshot;
    struct manifest text;
    struct manifest_walk walk;
    char path[LIMIT_PATH + 1]; /* of the file told last */
    char signers[1024];
};

/* One file was compared; number `index` in the order of paths. */
typedef void compare_fn(void *arg, uint64_t index,
                        const struct manifest_entry *entry,
                        enum belay_match match);

/* belay_manifest_compare() for a directory that is open. */
enum belay_reason compare_all(const struct manifest *manifest,
                              const struct rootfs *root, unsigned threads,
                              compare_fn *fn, void *arg, uint64_t counts[4],
                              struct belay_error *error) MUST_USE;

#endif
