/* Habits: what users of curl, wget, aria2 and rsync type first, and what it is
 * called here. */
#ifndef CLIENT_CLI_HABITS_H
#define CLIENT_CLI_HABITS_H

#include <getopt.h>

/* Behind "there is no such option": what to do instead, for an option as it
 * was typed ("-O", "--user", "--split=4").  NULL when nothing is known, or
 * the command, whose options these are, has none for it. */
const char *habits_option(const char *typed, const struct option *options);
/* The same for what stands in place of a command. */
const char *habits_command(const char *word);

#endif
