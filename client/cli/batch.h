/* Batch: the files of one `belay get`, from the command line and a list.
 *
 * Everything is checked before anything is fetched; then a bounded number of
 * jobs is given to the engine at a time, so that a list of any length costs
 * its own text and no more. */
#ifndef CLIENT_CLI_BATCH_H
#define CLIENT_CLI_BATCH_H

#include "client/cli/get_options.h"
#include "client/cli/list.h"
#include "client/cli/run.h"

struct batch_mirrors;

struct batch {
    const struct get_options *options;
    struct list list;
    struct batch_mirrors *mirrors; /* of items that were begun */
    size_t next;     /* item that is given to the engine next */
    size_t in_hand;  /* given, and not ended */
    unsigned faults; /* of the list or the URLs, told */
    struct run run;
    FILE *failed;    /* NULL: nobody asked */
    bool failed_broken;
};

/* Reads and checks what is to be done.  Returns -1 to go on, else the exit
 * code; lines told why. */
int batch_read(struct batch *batch, const struct get_options *options);
/* Does it; returns the exit code. */
int batch_run(struct batch *batch);
void batch_clear(struct batch *batch);

#endif
