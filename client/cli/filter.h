/* Filter: --include and --exclude.
 *
 * A path is taken when no --include is given or one of them matches, and no
 * --exclude does.  A pattern with a slash is matched against the whole path
 * (without a leading slash), one without against the last component; * and ?
 * do not match a slash. */
#ifndef CLIENT_CLI_FILTER_H
#define CLIENT_CLI_FILTER_H

#include <stdbool.h>

#define FILTER_MAX 64u

struct filter {
    const char *include[FILTER_MAX]; /* borrowed */
    const char *exclude[FILTER_MAX];
    unsigned includes;
    unsigned excludes;
};

/* False: there are FILTER_MAX of them already. */
bool filter_add(struct filter *filter, bool include, const char *pattern);
bool filter_takes(const struct filter *filter, const char *path);
/* The same for a directory, which is gone through unless an --exclude
 * matches it: what is wanted may be in it. */
bool filter_enters(const struct filter *filter, const char *path);

#endif
