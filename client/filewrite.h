/* Writing small files as a whole.  Blocks: not for the loop thread. */
#ifndef CLIENT_FILEWRITE_H
#define CLIENT_FILEWRITE_H

#include <stdbool.h>
#include <stddef.h>

/* Makes the last name of `path` last: syncs the directory that it is in.  A
 * directory that cannot be synced, because its file system knows no such call
 * or we may not open it, is left as it is.  False with the reason in errno. */
bool filewrite_sync_name(const char *path);

/* Makes one directory that outlasts a power cut once something in it is
 * synced.  Returns 0 or an errno, EEXIST where something is there. */
int filewrite_mkdir(const char *path, unsigned mode);

/* Writes all `len` bytes.  False with the reason in errno. */
bool filewrite_all(int fd, const void *data, size_t len);

/* Makes a directory and those above it that are missing, with this mode,
 * which the umask narrows; they last.  `path` is changed and restored.  False
 * with the reason in errno. */
bool filewrite_make_path(char *path, unsigned mode);
/* Only those above it. */
bool filewrite_make_parents(char *path, unsigned mode);

#endif
