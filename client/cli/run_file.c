#include "client/cli/run_file.h"

#include <stdlib.h>
#include <string.h>

void run_file_free(struct run_file *file)
{
    for (unsigned k = 0; file != NULL && file->seeds != NULL &&
                         k < file->get.seed_count; k++) {
        free(file->seeds[k]);
    }
    if (file != NULL) {
        free(file->seeds);
        free(file->output);
        free(file->url);
    }
    free(file);
}

bool run_file_keep(struct run_file *file,
                   const struct belay_get_options *get)
{
    unsigned count = get->seed_count;
    bool good;

    file->get = *get;
    file->get.seed_count = 0;
    file->url = strdup(get->url);
    file->output = get->output != NULL ? strdup(get->output) : NULL;
    file->seeds = calloc((size_t)count + 1, sizeof *file->seeds);
    good = file->url != NULL && file->seeds != NULL &&
           (file->output != NULL) == (get->output != NULL);
    for (unsigned k = 0; k < count && good; k++) {
        file->seeds[k] = strdup(get->seeds[k]);
        file->get.seed_count++;
        good = file->seeds[k] != NULL;
    }
    file->get.url = file->url;
    file->get.output = file->output;
    file->get.seeds = (const char *const *)file->seeds;
    return good;
}
