/* Wrong use of the command line: one clear line, and the exit code. */
#ifndef CLIENT_CLI_USAGE_H
#define CLIENT_CLI_USAGE_H

#include <getopt.h>
#include <stdbool.h>

/* `item`, an argument "--NAME=VALUE" that is never freed, stands in line
 * `line` of the file `path`, which lives as long: messages about its value
 * then say so.  False: out of memory. */
bool usage_note_place(const char *item, const char *path, unsigned line);

/* Is this text part of such an item? */
bool usage_has_place(const char *text);
/* "belay: WHAT VALUE: WHY", with the value made printable.  Returns
 * EXIT_USAGE. */
int usage_wrong(const char *what, const char *value, const char *why);
/* What the value of an option may look like. */
enum value_form {
    VALUE_BYTES,
    VALUE_CHUNK,
    VALUE_CLOCK,
    VALUE_CONNECTIONS,
    VALUE_PROGRESS,
    VALUE_SECONDS,
    VALUE_TRIES,
};

/* The same for a value that has another form. */
int usage_value(enum value_form form, const char *value);
/* What getopt_long(), called with `options`, did not like: `opt` is what it
 * returned ('?' or ':'), `argument` is argv[optind - 1]. */
int usage_option(int opt, const char *argument, const struct option *options);

#endif
