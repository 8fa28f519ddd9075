/* Jail: the sandbox of a command (belay_sandbox()).  The command says where it
 * writes and which URLs it is about; run_open() enters the jail when the log
 * is open and before there is an engine.
 *
 * Once in a process; a zeroed one that nothing was added to allows no writing
 * at all. */
#ifndef CLIENT_CLI_JAIL_H
#define CLIENT_CLI_JAIL_H

#include <stdbool.h>
#include <stddef.h>

#include "client/belay.h"
#include "client/cli/security_options.h"
#include "client/cli/targets.h"

struct jail {
    struct targets places; /* directories, each once */
    const char **urls;     /* through ssh; borrowed */
    size_t url_count;
    size_t url_room;
    bool secure;   /* there are URLs of TLS */
    bool make;     /* the directories that are missing */
    const struct belay_trust *trust; /* serials are stored; NULL: not */
    const struct belay_get_options *job;
    bool entered;
};

/* All of these: false when memory is out. */

/* Files are written in the directory of dir/file, or of `file` if it is
 * absolute or `dir` NULL. */
bool jail_file(struct jail *jail, const char *dir, const char *file);
/* ... or below `dir`. */
bool jail_directory(struct jail *jail, const char *dir);
/* The run is about this URL, too.  Borrowed. */
bool jail_url(struct jail *jail, const char *url);

/* What is told of it; `detail`: to who looks closely. */
typedef void jail_tell_fn(void *arg, bool detail, const char *text);

/* Returns -1 to go on, else the exit code, told.  The second time it does
 * nothing. */
int jail_enter(struct jail *jail, const struct security_options *security,
               jail_tell_fn *tell, void *arg);

/* The process stays where it is; directories that were made for it and are
 * empty go. */
void jail_clear(struct jail *jail);

#endif
