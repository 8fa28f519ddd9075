/* Run_file: what a run keeps of one of its files. */
#ifndef CLIENT_CLI_RUN_FILE_H
#define CLIENT_CLI_RUN_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "client/belay.h"
#include "client/cli/progress.h"

/* One file of the run. */
struct run_file {
    struct run_file *next; /* at work */
    struct run_file *prev;
    struct belay_job *job;
    size_t id;             /* the caller's */
    struct belay_get_options get; /* but url, output and seeds its texts are
                                     the caller's */
    char *url;    /* NULL: a directory */
    char *output; /* may be NULL */
    char **seeds;
    bool began;
    struct progress progress;
};

/* Copies the options, which may be needed again at the end, when texts that
 * were made for this file only are gone.  False: memory is out. */
bool run_file_keep(struct run_file *file,
                   const struct belay_get_options *get);
/* NULL is allowed. */
void run_file_free(struct run_file *file);

#endif
