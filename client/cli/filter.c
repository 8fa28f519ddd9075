#include "client/cli/filter.h"

#include <fnmatch.h>
#include <stddef.h>
#include <string.h>

bool filter_add(struct filter *filter, bool include, const char *pattern)
{
    const char **list = include ? filter->include : filter->exclude;
    unsigned *count = include ? &filter->includes : &filter->excludes;

    if (*count == FILTER_MAX) {
        return false;
    }
    list[(*count)++] = pattern;
    return true;
}

static bool matches(const char *pattern, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (strchr(pattern, '/') == NULL && slash != NULL) {
        path = slash + 1;
    }
    pattern += *pattern == '/';
    return fnmatch(pattern, path, FNM_PATHNAME) == 0;
}

bool filter_enters(const struct filter *filter, const char *path)
{
    for (unsigned k = 0; k < filter->excludes; k++) {
        if (matches(filter->exclude[k], path)) {
            return false;
        }
    }
    return true;
}

bool filter_takes(const struct filter *filter, const char *path)
{
    bool taken = filter->includes == 0;

    for (unsigned k = 0; k < filter->includes && !taken; k++) {
        taken = matches(filter->include[k], path);
    }
    return taken && filter_enters(filter, path);
}
