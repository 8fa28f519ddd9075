/* The operator's small text files, line by line: '#' begins a comment line,
 * empty lines mean nothing, control characters are wrong. */
#ifndef SERVER_TEXTFILE_H
#define SERVER_TEXTFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/base/reader.h"

/* One line without its end, never empty; borrowed for the call. */
typedef int textfile_line_fn(void *arg, const char *line, size_t len);

/* Calls back for each line that says something, until one returns other than
 * 0, which is returned, as is ERR_SYNTAX for a control character. *number is
 * then the line, counted from 1. */
MUST_USE int textfile_each(struct bytes_view text, textfile_line_fn *fn,
                           void *arg, unsigned *number);

/* A name of 1 to max letters, digits, '.', '-', '_', '@'. */
bool textfile_is_name(const char *text, size_t len, size_t max);

#endif
