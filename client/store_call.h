/* The calls of store_sys.h that may be interrupted or do only a part, carried
 * to their end.
 *
 * All return -1 and set errno on failure. An interrupted sync has reported no
 * error yet, so making it again loses none. Thread-safe as the table is. */
#ifndef CLIENT_STORE_CALL_H
#define CLIENT_STORE_CALL_H

#include "client/store_sys.h"

int store_call_openat(const struct store_sys *sys, int dir, const char *name,
                      int flags, mode_t mode);
int store_call_ftruncate(const struct store_sys *sys, int fd, uint64_t size);
int store_call_punch_hole(const struct store_sys *sys, int fd, uint64_t offset,
                          uint64_t len);
int store_call_fsync(const struct store_sys *sys, int fd);
int store_call_fdatasync(const struct store_sys *sys, int fd);
int store_call_lock(const struct store_sys *sys, int fd);

/* Close *fd if it is open and make it -1. Never repeated: Linux has given the
 * descriptor back even when it says EINTR, which is no failure here. */
int store_call_close(const struct store_sys *sys, int *fd);

/* Write all of iov[0..count), 1 <= count <= STORE_IOV_MAX, at offset. */
int store_call_write(const struct store_sys *sys, int fd,
                     const struct iovec *iov, size_t count, uint64_t offset);

/* Fill buffer from offset on, or up to the end of the file; *got bytes. */
int store_call_read(const struct store_sys *sys, int fd,
                    const struct iovec *buffer, uint64_t offset, size_t *got);

#endif
