/* belay get -r: directories. */
#ifndef CLIENT_CLI_GET_TREE_H
#define CLIENT_CLI_GET_TREE_H

#include "client/cli/get_options.h"

/* Carries out a command line with -r; returns the exit code. */
int get_tree(const struct get_options *options);

#endif
