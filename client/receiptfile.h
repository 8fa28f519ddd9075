/* Receipts as files (proto/data/receipt.h).  Blocking; any thread. */
#ifndef CLIENT_RECEIPTFILE_H
#define CLIENT_RECEIPTFILE_H

#include <stddef.h>

#include "proto/base/check.h"
#include "proto/data/receipt.h"

/* Writes the receipt with the time of now and these digests (chunks * HASH_LEN
 * bytes) so that `path` has all of it or what it had before, durably.  0, or
 * ERR_IO with errno set. */
int receiptfile_write(const char *path, const struct receipt *receipt,
                      const uint8_t *digests) MUST_USE;

/* Reads and parses; the receipt borrows *text, which the caller frees.  0,
 * ERR_IO with errno set, ERR_LIMIT when it is too long for a receipt,
 * ERR_NOMEM, or what receipt_parse() and receipt_check() say. */
int receiptfile_read(const char *path, char **text, struct receipt *out,
                     struct receipt_error *where) MUST_USE;

#endif
