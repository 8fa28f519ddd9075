/* Sandbox: what the rest of the library has to know of belay_sandbox(), which
 * is declared in belay-sandbox.h.
 *
 * Directories have to exist before rights can be given for them, so the
 * sandbox makes early what a job would have made later. */
#ifndef CLIENT_SANDBOX_H
#define CLIENT_SANDBOX_H

#include <stdbool.h>
#include <sys/stat.h>

/* Did the sandbox make this directory, on behalf of whoever asks first?  True
 * once for each.  Any thread. */
bool sandbox_made(const struct stat *st);

#endif
