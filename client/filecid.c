#include "client/filecid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/data/cid.h"
#include "proto/data/merkle.h"

#define GROUP 8u

static int read_full(int fd, uint8_t *data, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = pread(fd, data, len, (off_t)offset);

        if (n > 0) {
            data += n;
            offset += (uint64_t)n;
            len -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            return ERR_IO;
        }
    }
    return 0;
}

static int add_group(int fd, struct hasher *hasher,
                     struct merkle_builder *tree, uint8_t *buffer,
                     uint64_t first)
{
    struct hash_item items[GROUP];
    uint8_t digest[GROUP][HASH_LEN];
    uint64_t n = tree->end - first < GROUP ? tree->end - first : GROUP;
    size_t at = 0;
    int err;

    for (uint64_t k = 0; k < n; k++) {
        items[k].data = buffer + at;
        items[k].len = cid_chunk_len(tree->size, tree->chunk_log2, first + k);
        items[k].out = digest[k];
        at += items[k].len;
    }
    err = read_full(fd, buffer, at, first << tree->chunk_log2);
    if (err == 0) {
        err = hash_sha256_many(hasher, items, n);
    }
    if (err == 0) {
        err = merkle_builder_add(tree, hasher, digest[0], n);
    }
    return err;
}

int file_chunks(int fd, uint64_t size, uint8_t chunk_log2,
                void (*each)(void *arg, uint64_t index,
                             const uint8_t *digest),
                void *arg)
{
    struct hasher *hasher = hasher_new();
    uint8_t *buffer = malloc((size_t)GROUP << chunk_log2);
    uint64_t count = cid_chunk_count(size, chunk_log2);
    struct hash_item items[GROUP];
    uint8_t digest[GROUP][HASH_LEN];
    bool there[GROUP];
    int err = hasher == NULL || buffer == NULL ? ERR_NOMEM : 0;

    for (uint64_t at = 0; err == 0 && at < count; at += GROUP) {
        size_t n = count - at < GROUP ? (size_t)(count - at) : GROUP;

        for (size_t k = 0; k < n; k++) {
            items[k].data = buffer + (k << chunk_log2);
            items[k].len = cid_chunk_len(size, chunk_log2, at + k);
            items[k].out = digest[k];
            there[k] = read_full(fd, buffer + (k << chunk_log2),
                                 items[k].len,
                                 (at + k) << chunk_log2) == 0;
        }
        err = hash_sha256_many(hasher, items, n);
        for (size_t k = 0; err == 0 && k < n; k++) {
            each(arg, at + k, there[k] ? digest[k] : NULL);
        }
    }
    free(buffer);
    hasher_free(hasher);
    return err;
}

int file_cid(int fd, uint64_t size, uint8_t chunk_log2,
             uint8_t cid[HASH_LEN])
{
    struct hasher *hasher = hasher_new();
    uint8_t *buffer = malloc((size_t)GROUP << chunk_log2);
    struct merkle_builder tree;
    uint8_t root[HASH_LEN];
    int err = hasher == NULL || buffer == NULL ? ERR_NOMEM : 0;

    merkle_builder_init(&tree, size, chunk_log2);
    for (uint64_t at = 0; err == 0 && at < tree.end; at += GROUP) {
        err = add_group(fd, hasher, &tree, buffer, at);
    }
    if (err == 0) {
        err = merkle_builder_root(&tree, hasher, root);
    }
    if (err == 0) {
        err = cid_from_root(hasher, size, chunk_log2, root, cid);
    }
    free(buffer);
    hasher_free(hasher);
    return err;
}

struct collected {
    uint8_t (*digest)[HASH_LEN];
    bool whole;
};

static void collect(void *arg, uint64_t index, const uint8_t *digest)
{
    struct collected *c = arg;

    if (digest == NULL) {
        c->whole = false;
    } else {
        memcpy(c->digest[index], digest, HASH_LEN);
    }
}

int file_digests(int fd, uint64_t size, uint8_t chunk_log2,
                 uint8_t (*digest)[HASH_LEN], uint8_t cid[HASH_LEN])
{
    struct collected c = {.digest = digest, .whole = true};
    struct hasher *hasher = hasher_new();
    uint8_t root[HASH_LEN];
    int err = hasher == NULL ? ERR_NOMEM
                             : file_chunks(fd, size, chunk_log2, collect, &c);

    if (err == 0 && !c.whole) {
        err = ERR_IO;
    }
    if (err == 0) {
        err = merkle_root(hasher, size, chunk_log2, digest[0],
                          cid_chunk_count(size, chunk_log2), root);
    }
    if (err == 0) {
        err = cid_from_root(hasher, size, chunk_log2, root, cid);
    }
    hasher_free(hasher);
    return err;
}

bool file_is_as_before(const struct stat *before, const struct stat *now)
{
    return now->st_dev == before->st_dev && now->st_ino == before->st_ino &&
           now->st_size == before->st_size &&
           now->st_mtim.tv_sec == before->st_mtim.tv_sec &&
           now->st_mtim.tv_nsec == before->st_mtim.tv_nsec &&
           now->st_ctim.tv_sec == before->st_ctim.tv_sec &&
           now->st_ctim.tv_nsec == before->st_ctim.tv_nsec;
}
