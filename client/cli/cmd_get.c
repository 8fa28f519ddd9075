/* belay get: downloads. */
#include "client/cli/batch.h"
#include "client/cli/commands.h"
#include "client/cli/get_options.h"
#include "client/cli/get_release.h"
#include "client/cli/get_tree.h"

static int get(struct get_options *options)
{
    struct batch batch;
    int result;

    if (options->manifest != NULL) {
        return get_release(options);
    }
    if (options->recursive) {
        return get_tree(options);
    }
    result = batch_read(&batch, options);
    if (result < 0) {
        result = batch_run(&batch);
    }
    batch_clear(&batch);
    return result;
}

int cmd_get(int argc, char **argv)
{
    struct get_options options;
    int result = get_options_parse(argc, argv, &options);

    if (result < 0) {
        result = get(&options);
        jail_clear(&options.jail);
    }
    return result;
}
