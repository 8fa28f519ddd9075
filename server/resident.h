/* What of a file is in memory, so that reading it waits for no disk. */
#ifndef SERVER_RESIDENT_H
#define SERVER_RESIDENT_H

#include <stdbool.h>
#include <stdint.h>

/* Are all pages of these bytes there? len is not 0. False also when unsure.
 * Any thread. */
bool resident_all(int fd, uint64_t offset, uint32_t len);

#endif
