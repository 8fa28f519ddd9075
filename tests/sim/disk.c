#include "tests/sim/disk.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/data/cid.h"

void disk_init(struct disk *d, uint64_t cap)
{
    memset(d, 0, sizeof *d);
    d->data = calloc(1, cap + 1);
    d->cap = cap;
    BELAY_ASSERT(d->data != NULL);
}

void disk_free(struct disk *d)
{
    free(d->data);
    free(d->mark);
    memset(d, 0, sizeof *d);
}

void disk_record(struct disk *d, const struct transfer_identity *identity)
{
    BELAY_ASSERT(identity->size <= d->cap);
    free(d->mark);
    d->identity = *identity;
    d->recorded = true;
    d->marks = cid_chunk_count(identity->size, identity->chunk_log2);
    d->mark = calloc(d->marks + 1, sizeof *d->mark);
    BELAY_ASSERT(d->mark != NULL);
}

void disk_write(struct disk *d, uint64_t offset, const uint8_t *data,
                uint64_t len)
{
    BELAY_ASSERT(d->recorded && offset + len <= d->cap);
    memcpy(d->data + offset, data, len);
}

void disk_mark(struct disk *d, uint64_t index, const uint8_t *digest)
{
    BELAY_ASSERT(d->recorded && index < d->marks);
    d->mark[index].there = true;
    memcpy(d->mark[index].digest, digest, HASH_LEN);
}

unsigned disk_spoil(struct disk *d, struct rng *rng, unsigned percent)
{
    unsigned spoiled = 0;

    for (uint64_t i = 0; d->recorded && i < d->marks; i++) {
        uint32_t len = cid_chunk_len(d->identity.size,
                                     d->identity.chunk_log2, i);

        if (d->mark[i].there && rng_percent(rng, percent)) {
            uint8_t *at = d->data + (i << d->identity.chunk_log2);

            if (rng_percent(rng, 50)) {
                memset(at, 0, len);
            } else {
                at[rng_below(rng, len)] ^= 0x80;
            }
            spoiled++;
        }
    }
    return spoiled;
}
