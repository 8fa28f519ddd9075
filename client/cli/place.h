/* Place: the run of a command about one file that is there already. */
#ifndef CLIENT_CLI_PLACE_H
#define CLIENT_CLI_PLACE_H

#include "client/belay.h"
#include "client/cli/run.h"

struct place {
    struct run_options run;
    struct belay_get_options get; /* but url, output and the lists */
    struct jail jail;
    const char *mirrors[BELAY_MIRRORS_MAX];
    const char *seeds[BELAY_SEEDS_MAX];
};

/* Adds to a list; false when it is full. */
bool place_add(const char **list, unsigned most, unsigned *count,
               const char *value);
/* BELAY_SSH of the environment; NULL: not set. */
const char *ssh_default(void);
/* Returns the exit code. */
int place_run(struct place *place, const char *file, const char *url);

#endif
