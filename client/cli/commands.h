/* The subcommands of `belay`: one file cmd_NAME.c each.
 *
 * Each gets its own part of the command line, argv[0] being its name, and
 * returns the exit code. */
#ifndef CLIENT_CLI_COMMANDS_H
#define CLIENT_CLI_COMMANDS_H

#include <getopt.h>

int cmd_cid(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_repair(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_manifest(int argc, char **argv);
int cmd_trust(int argc, char **argv);

/* Their options, of those for which the configuration file has defaults. */
extern const struct option cmd_get_options[];
extern const struct option cmd_repair_options[];
extern const struct option cmd_verify_options[];
extern const struct option cmd_ls_options[];
extern const struct option cmd_trust_options[];

#endif
