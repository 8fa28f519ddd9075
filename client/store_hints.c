#include <stdlib.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

#define HINTS_ROUND 1638 /* slots in one read: 64 KiB */

int store_hints(struct store *store, uint64_t *next, struct store_hint *hints,
                size_t *count, struct store_error *why)
{
    size_t room = *count;
    struct iovec buffer = {NULL, (size_t)HINTS_ROUND * JOURNAL_SLOT_LEN};

    BELAY_ASSERT(store->phase == STORE_PHASE_ACTIVE ||
                 store->phase == STORE_PHASE_FOUND);
    *count = 0;
    buffer.iov_base = malloc(buffer.iov_len);
    if (buffer.iov_base == NULL) {
        return store_fail(store, why, ERR_NOMEM, "read", STORE_FILE_JOURNAL);
    }
    while (*next < store->chunks && *count < room) {
        uint64_t left = store->chunks - *next;
        size_t slots = left < HINTS_ROUND ? (size_t)left : HINTS_ROUND;
        size_t got;
        size_t i;

        /* A part that cannot be read has no hints: its chunks come again. */
        if (store_call_read(store->sys, store->journal_fd, &buffer,
                            journal_slot_offset(*next), &got) != 0) {
            *next += slots;
            continue;
        }
        for (i = 0; i < slots && *count < room; i++) {
            size_t at = i * JOURNAL_SLOT_LEN;

            if (at + JOURNAL_SLOT_LEN > got) {
                i = slots;
                break;
            }
            if (journal_slot_decode(store->salt, *next + i,
                                    (uint8_t *)buffer.iov_base + at,
                                    hints[*count].digest)) {
                hints[*count].index = *next + i;
                ++*count;
            }
        }
        *next = got == 0 ? store->chunks : *next + i;
    }
    free(buffer.iov_base);
    return 0;
}
