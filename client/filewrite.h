/* Writing small files as a whole.  Blocks: not for the loop thread. */
#ifndef CLIENT_FILEWRITE_H
#define CLIENT_FILEWRITE_H

#include <stdbool.h>
#include <stddef.h>

/* Writes all `len` bytes.  False with the reason in errno. */
bool filewrite_all(int fd, const void *data, size_t len);

/* Makes a directory and those above it that are missing, with this mode,
 * which the umask narrows.  `path` is changed and restored.  False with the
 * reason in errno. */
bool filewrite_make_path(char *path, unsigned mode);

#endif
