/* Donors: local files that may hold some of the content of a fetch.
 *
 * Only regular files are opened, and only for reading.  What is read is
 * hashed before it counts, so a donor may change at any time.
 *
 * donor_read() may run on worker threads; the rest is for the loop's. */
#ifndef CLIENT_DONOR_H
#define CLIENT_DONOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/belay.h"
#include "proto/base/check.h"
#include "proto/session/transfer.h"

struct donor {
    int fd;
    bool self;     /* the file that is written to */
    uint64_t size; /* when it was opened */
};

struct donors {
    struct donor donor[TRANSFER_DONORS_MAX];
    unsigned count;
    bool no_clone; /* blocks cannot be shared; loop thread only */
};

/* Adds the file `name` in the directory `dir`.  0, ERR_NOT_A_FILE, ERR_LIMIT
 * when there are enough, or ERR_IO with errno set.  A symlink is not
 * followed where `plain` says so. */
int donors_add(struct donors *donors, const char *dir, const char *name,
               bool plain) MUST_USE;
/* The outcome for a file that donors_add() refused with `err`; looks at
 * errno. */
enum belay_reason donors_reason(int err);
/* ... and why; until the next call of the system. */
const char *donors_problem(int err);
/* Read from the device, not from pages that an earlier failure left behind:
 * for files that are suspected to be damaged.  Advice. */
void donor_refresh(const struct donor *donor);
void donors_close(struct donors *donors);

/* Exactly `len` bytes, or ERR_IO. */
int donor_read(const struct donor *donor, uint64_t offset, void *buffer,
               size_t len) MUST_USE;

#endif
