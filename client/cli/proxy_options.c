#include "client/cli/proxy_options.h"

#include <stdlib.h>

bool proxy_option(struct belay_get_options *get, int opt, const char *value)
{
    switch (opt) {
    case OPT_PROXY:
        get->proxy = value;
        return true;
    case OPT_NO_PROXY:
        get->no_proxy = value;
        return true;
    default:
        return false;
    }
}

static const char *either(const char *lower, const char *upper)
{
    const char *value = getenv(lower);

    return value != NULL ? value : getenv(upper);
}

void proxy_defaults(struct belay_get_options *get)
{
    if (get->proxy == NULL) {
        get->proxy = either("all_proxy", "ALL_PROXY");
    }
    if (get->no_proxy == NULL) {
        get->no_proxy = either("no_proxy", "NO_PROXY");
    }
}
