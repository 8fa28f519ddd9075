/* The configuration file: defaults of the options of commands that talk to
 * servers.
 *
 *     # comment
 *     limit-rate = 2M
 *     compress = yes
 *
 * One setting a line, named like the long option; the value reaches to the
 * end of the line, without the blanks around it.  Options without a value
 * take yes or no. */
#ifndef CLIENT_CLI_CONFIG_H
#define CLIENT_CLI_CONFIG_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

/* A larger file is not a configuration. */
#define CONFIG_SIZE_MAX 65536u

/* One setting; the texts are borrowed. `value` is NULL for an option without
 * one that is switched on. */
typedef bool config_setting_fn(void *arg, unsigned line, const char *name,
                               const char *value);

/* Reads a text of `len` bytes with a NUL behind it, which is cut into pieces.
 * Returns NULL, or why it is wrong, a constant phrase; *line tells where.  A
 * callback that returns false ends it with "out of memory". */
const char *config_parse(char *text, size_t len, config_setting_fn *fn,
                         void *arg, unsigned *line);

/* May the file set this option?  *flag: it has no value.  For tests, and for
 * the list in the manual: names by number, NULL behind the last. */
bool config_knows(const char *name, bool *flag);
const char *config_name(size_t number);

/* Reads the file that the command line or the environment names, and puts those
 * of its settings that are among the command's options behind its name, so that
 * options of the command line win.
 * Takes --config and --no-config away.  Returns -1 to go on, else the exit
 * code; a line told why.  *argv may be replaced by one that lives until
 * config_release(), which the end of the command calls; harmless twice. */
int config_apply(const struct option *options, int *argc, char ***argv);
void config_release(void);

#endif
