/* Listing a directory in order, page by page, in bounded memory.
 *
 * Names come from the file system in any order and are wanted by bytes. One
 * scan keeps the SERVER_LIST_RUN smallest names behind the cursor; the pages
 * that follow are cut from this run as long as the directory does not change.
 * A worker keeps one run. Rules Q1 to Q9.
 *
 * For one thread at a time. */
#ifndef SERVER_LISTING_H
#define SERVER_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/data/hash.h"
#include "proto/io/rootfs.h"

struct digestcache;
struct listing;

/* NULL when memory is out. */
struct listing *listing_new(const struct rootfs *root,
                            struct digestcache *cache);
void listing_free(struct listing *listing);

struct listing_ask {
    const char *path;
    const uint8_t *cursor; /* of an earlier page; cursor_len 0: the start */
    size_t cursor_len;
    uint32_t max_entries;  /* at least 1 */
    bool with_cid;
    uint32_t request;      /* id for the frame */
    uint8_t *out;          /* room for the frame */
    size_t cap;
    /* Is this entry told? NULL: all are. */
    bool (*see)(void *see_arg, const char *name, bool directory);
    void *see_arg;
};

/* Writes one ENTRIES frame with END. ERR_NOT_FOUND, ERR_NOT_A_DIRECTORY,
 * ERR_CHANGED (the cursor cannot be placed), ERR_NOMEM, ERR_LIMIT, ERR_IO. */
MUST_USE int listing_page(struct listing *listing, struct hasher *hasher,
                          const struct listing_ask *ask, size_t *len_out);

#endif
