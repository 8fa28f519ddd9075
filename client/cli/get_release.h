/* belay get --manifest: the files of a signed manifest, all or none. */
#ifndef CLIENT_CLI_GET_RELEASE_H
#define CLIENT_CLI_GET_RELEASE_H

#include "client/cli/get_options.h"

/* Is this manifest fetched from somewhere? */
bool get_release_remote(const char *manifest);
/* Does it; returns the exit code.  options->manifest is set. */
int get_release(struct get_options *options);

#endif
