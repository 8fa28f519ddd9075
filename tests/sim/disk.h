/* Disk: the partial file and its record, as the store of the client keeps
 * them.  It survives the client; after a power cut some recorded chunks are
 * not what the record says. */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/session/transfer.h"
#include "tests/sim/rand.h"

struct mark {
    bool there;
    uint8_t digest[HASH_LEN];
};

struct disk {
    uint8_t *data; /* cap bytes; what was never written reads as zeros */
    uint64_t cap;
    bool recorded;
    struct transfer_identity identity;
    struct mark *mark;
    uint64_t marks;
};

void disk_init(struct disk *d, uint64_t cap);
void disk_free(struct disk *d);
/* A new record without marks; the data stays. */
void disk_record(struct disk *d, const struct transfer_identity *identity);
void disk_write(struct disk *d, uint64_t offset, const uint8_t *data,
                uint64_t len);
void disk_mark(struct disk *d, uint64_t index, const uint8_t *digest);
/* Spoil some of the marked chunks.  Returns how many. */
unsigned disk_spoil(struct disk *d, struct rng *rng, unsigned percent);

#endif
