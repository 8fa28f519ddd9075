/* Random bytes from the kernel, good enough for keys. Any thread. */
#ifndef PROTO_IO_RAND_H
#define PROTO_IO_RAND_H

#include <stddef.h>
#include <stdint.h>

/* Fills len bytes. Waits, once after a boot, until the kernel has collected
 * enough; cannot fail on a kernel that has getrandom (asserted). */
void rand_bytes(void *buf, size_t len);

uint64_t rand_u64(void);

#endif
