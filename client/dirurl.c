#include "client/dirurl.h"

#include <string.h>

/* Where the path begins, with its slash if the address has a scheme; NULL: it
 * has none. */
static const char *path_of(const char *url)
{
    const char *scheme = strstr(url, "://");
    const char *colon;

    if (scheme != NULL) {
        return strchr(scheme + 3, '/');
    }
    colon = strchr(url, ':');
    return colon != NULL ? colon + 1 : NULL;
}

char *dirurl_plain(const char *url)
{
    const char *path = path_of(url);
    size_t len = strlen(url);

    if (path != NULL && len > 0 && url[len - 1] == '/' &&
        url + len - 1 > path) {
        len--;
    }
    return strndup(url, len);
}
