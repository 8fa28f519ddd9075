/* Newdirs: directories that were made for what is to come, and go again if
 * nothing came.
 *
 * What is removed is what newdirs_make() made, or the sandbox for it, is
 * still the same, and is empty.  Relative paths are those of one current
 * directory. */
#ifndef CLIENT_NEWDIRS_H
#define CLIENT_NEWDIRS_H

#include <stddef.h>
#include <sys/types.h>

struct newdir;

/* All zero is empty. */
struct newdirs {
    struct newdir *dir; /* parents before what is in them */
    size_t count;
    size_t room;
};

/* Makes what is missing of a path.  Returns 0, or an errno: why it is not
 * there then.  What cannot be remembered stays. */
int newdirs_make(struct newdirs *dirs, const char *path);
/* These stay, even if they are empty: the path and what it is in. */
void newdirs_keep(struct newdirs *dirs, const char *path);
/* Removes those that are empty, and forgets all. */
void newdirs_settle(struct newdirs *dirs);

#endif
