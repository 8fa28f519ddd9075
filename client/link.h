/* Link: the socket of one connection, and the way of its bytes.
 *
 * Chunk data goes from the socket straight into slabs.  While a chunk is
 * coming in, the receive already names the places of the next chunk's header
 * and data, so that a stream of raw chunks needs no copy and about one system
 * call per chunk; when something else comes instead, its bytes are moved.
 *
 * Loop thread only. */
#ifndef CLIENT_LINK_H
#define CLIENT_LINK_H

#include <stdbool.h>

#include "client/fetch_internal.h"

/* Take over the connected socket `fd`, also on error. */
int link_open(struct link *link, int fd) MUST_USE;
/* Close without ceremony; unfinished chunk data is forgotten. */
void link_close(struct link *link);
/* Send what the receiver has queued. */
void link_send(struct link *link);
/* Hand complete chunks to the pipeline even if the slab has room. */
void link_flush(struct link *link);
/* Memory, or allowance, is there again: go on reading. */
void link_resume(struct link *link);

#endif
