#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

/* O_DIRECT wants offsets, lengths and memory in multiples of the block size
 * of the device; 4096 is a multiple of every one in common use. */
#define DIRECT_ALIGN 4096u
#define DIRECT_BUFFER ((size_t)1 << 20)

/* Smaller writes gain nothing by going around the page cache: it gathers
 * them, the device would see each. */
#define BYPASS_MIN ((uint64_t)512 << 10)

#define ZERO_BLOCK 65536
#define ZERO_ROUND 16 /* blocks of zeros in one write */

#define MARK_ROUND 102 /* slots in one write: about a page */

static void check_range(const struct store *store, uint64_t offset,
                        uint64_t len)
{
    BELAY_ASSERT(store->phase == STORE_PHASE_ACTIVE);
    BELAY_ASSERT(offset <= store->size && len <= store->size - offset);
}

/* A write failed. For lack of room the file is as it was before; anything
 * else puts the whole partial in doubt. */
static int write_failed(struct store *store, struct store_error *why)
{
    int rc = store_fail_errno(store, why, "write", STORE_FILE_PART);

    if (rc != ERR_NO_SPACE) {
        store_latch(store);
    }
    return rc;
}

/* Is this write large and aligned enough to go around the page cache? */
static bool fits_bypass(struct store *store, uint64_t offset,
                        const struct iovec *iov, size_t count)
{
    uint64_t len = 0;
    uintptr_t bits = (uintptr_t)offset;

    if (!atomic_load(&store->bypass)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
        len += iov[i].iov_len;
    }
    return bits % DIRECT_ALIGN == 0 && len >= BYPASS_MIN;
}

int store_pwrite(struct store *store, uint64_t offset, const struct iovec *iov,
                 size_t count, struct store_error *why)
{
    uint64_t len = 0;

    BELAY_ASSERT(count >= 1 && count <= STORE_IOV_MAX);
    for (size_t i = 0; i < count; i++) {
        len += iov[i].iov_len;
    }
    check_range(store, offset, len);
    int rc = store->in_place ? store_place_touch(store, why) : 0;

    if (rc != 0) {
        return rc;
    }
    if (fits_bypass(store, offset, iov, count)) {
        if (store_call_write(store->sys, store->bypass_fd, iov, count,
                             offset) == 0) {
            return 0;
        }
        if (errno != EINVAL) {
            return write_failed(store, why);
        }
        /* This file system or device does not do it after all. */
        atomic_store(&store->bypass, false);
    }
    if (store_call_write(store->sys, store->part_fd, iov, count, offset)) {
        return write_failed(store, why);
    }
    return 0;
}

/* The slow way of store_zero. */
static int write_zeros(struct store *store, uint64_t offset, uint64_t len)
{
    static const uint8_t zeros[ZERO_BLOCK];

    while (len > 0) {
        struct iovec iov[ZERO_ROUND];
        size_t count = 0;
        uint64_t round = 0;

        while (count < ZERO_ROUND && round < len) {
            uint64_t left = len - round;

            iov[count].iov_base = (void *)(uintptr_t)zeros;
            iov[count].iov_len = left < ZERO_BLOCK ? (size_t)left
                                                   : ZERO_BLOCK;
            round += iov[count].iov_len;
            count++;
        }
        if (store_call_write(store->sys, store->part_fd, iov, count,
                             offset) != 0) {
            return -1;
        }
        offset += round;
        len -= round;
    }
    return 0;
}

int store_zero(struct store *store, uint64_t offset, uint64_t len,
               struct store_error *why)
{
    check_range(store, offset, len);
    int rc = store->in_place ? store_place_touch(store, why) : 0;

    if (rc != 0) {
        return rc;
    }
    if (len == 0 ||
        store_call_punch_hole(store->sys, store->part_fd, offset, len) == 0) {
        return 0;
    }
    /* Whatever the reason: writing zeros does the same, and if the disk is at
     * fault it says so again. */
    return write_zeros(store, offset, len) == 0 ? 0
                                                : write_failed(store, why);
}

int store_mark(struct store *store, uint64_t first, size_t count,
               const uint8_t (*digests)[HASH_LEN], struct store_error *why)
{
    BELAY_ASSERT(store->phase == STORE_PHASE_ACTIVE);
    BELAY_ASSERT(first <= store->chunks && count <= store->chunks - first);
    while (count > 0 && !store->in_place) {
        uint8_t slots[MARK_ROUND * JOURNAL_SLOT_LEN];
        size_t n = count < MARK_ROUND ? count : MARK_ROUND;
        struct iovec iov = {slots, n * JOURNAL_SLOT_LEN};

        for (size_t i = 0; i < n; i++) {
            journal_slot_encode(store->salt, first + i, digests[i],
                                slots + i * JOURNAL_SLOT_LEN);
        }
        if (store_call_write(store->sys, store->journal_fd, &iov, 1,
                             journal_slot_offset(first)) != 0) {
            return store_fail_errno(store, why, "write", STORE_FILE_JOURNAL);
        }
        first += n;
        digests += n;
        count -= n;
    }
    return 0;
}

void store_writeback_hint(struct store *store, uint64_t offset, uint64_t len)
{
    check_range(store, offset, len);
    /* A length of 0 would mean "to the end" to the kernel. */
    if (len > 0) {
        (void)store->sys->start_writeback(store->part_fd, (off_t)offset,
                                          (off_t)len);
    }
}

/* Read around the page cache: whole aligned blocks into a buffer of ours,
 * the part that was asked for out of it. Sets *got as store_call_read. */
static int read_direct(struct store *store, const struct iovec *buffer,
                       uint64_t offset, size_t *got)
{
    uint64_t end = offset + buffer->iov_len;
    uint64_t at = offset - offset % DIRECT_ALIGN;
    void *block;
    int rc = -1;

    *got = 0;
    errno = posix_memalign(&block, DIRECT_ALIGN, DIRECT_BUFFER);
    if (errno != 0) {
        return -1;
    }
    while (*got < buffer->iov_len) {
        uint64_t span = (end - at + DIRECT_ALIGN - 1) / DIRECT_ALIGN *
                        DIRECT_ALIGN;
        size_t want = span < DIRECT_BUFFER ? (size_t)span : DIRECT_BUFFER;
        uint64_t from = offset + *got;
        uint64_t to;
        ssize_t n = store->sys->pread(store->direct_fd, block, want,
                                      (off_t)at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            goto out_free;
        }
        if (at + (uint64_t)n <= from) {
            break; /* the end of the file */
        }
        to = at + (uint64_t)n < end ? at + (uint64_t)n : end;
        memcpy((uint8_t *)buffer->iov_base + *got,
               (uint8_t *)block + (from - at), (size_t)(to - from));
        *got += (size_t)(to - from);
        /* After an unaligned count the rest of that block comes again. */
        at += (uint64_t)n - (uint64_t)n % DIRECT_ALIGN;
    }
    rc = 0;
out_free:
    free(block);
    return rc;
}

int store_pread(struct store *store, uint64_t offset, void *buffer, size_t len,
                struct store_error *why)
{
    struct iovec iov = {buffer, len};
    size_t got = 0;
    int rc;

    BELAY_ASSERT(store->phase == STORE_PHASE_ACTIVE);
    BELAY_ASSERT(len <= INT64_MAX && offset <= INT64_MAX - len);
    if (store->direct_fd >= 0) {
        rc = read_direct(store, &iov, offset, &got);
    } else {
        rc = store_call_read(store->sys, store->part_fd, &iov, offset, &got);
    }
    if (rc != 0) {
        return store_fail_errno(store, why, "read", STORE_FILE_PART);
    }
    if (got < len) {
        return store_fail(store, why, ERR_EOF, "read", STORE_FILE_PART);
    }
    if (store->rewrite && len > 0) {
        atomic_store(&store->changed, true);
        if (store_call_write(store->sys, store->part_fd, &iov, 1, offset) !=
            0) {
            return write_failed(store, why);
        }
    }
    return 0;
}

int store_clone(struct store *store, int from, uint64_t from_offset,
                uint64_t offset, uint64_t len)
{
    check_range(store, offset, len);
    if (store->sys->clone_range == NULL || store->in_place) {
        return ERR_UNSUPPORTED;
    }
    return store->sys->clone_range(store->part_fd, (off_t)offset, from,
                                   (off_t)from_offset, len) == 0
               ? 0
               : ERR_UNSUPPORTED;
}

int store_next_data(struct store *store, uint64_t *start, uint64_t *end,
                    struct store_error *why)
{
    struct stat st;
    off_t data;
    off_t hole;

    BELAY_ASSERT(store->phase == STORE_PHASE_ACTIVE);
    if (store->sys->fstat(store->part_fd, &st) != 0) {
        return store_fail_errno(store, why, "examine", STORE_FILE_PART);
    }
    *end = (uint64_t)st.st_size;
    if (*start >= *end) {
        *start = *end;
        return 0;
    }
    data = store->sys->lseek(store->part_fd, (off_t)*start, SEEK_DATA);
    if (data < 0) {
        /* No data from here on, or a file system that cannot say: then all
         * of it may be data. */
        *start = errno == ENXIO ? *end : *start;
        return 0;
    }
    hole = store->sys->lseek(store->part_fd, data, SEEK_HOLE);
    *start = (uint64_t)data;
    if (hole > data) {
        *end = (uint64_t)hole;
    }
    return 0;
}
