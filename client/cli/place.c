#include "client/cli/place.h"

#include <stdlib.h>

#include "client/cli/proxy_options.h"

const char *ssh_default(void)
{
    const char *ssh = getenv("BELAY_SSH");

    return ssh != NULL && *ssh != '\0' ? ssh : NULL;
}

bool place_add(const char **list, unsigned most, unsigned *count,
               const char *value)
{
    if (*count == most) {
        return false;
    }
    list[(*count)++] = value;
    return true;
}

int place_run(struct place *place, const char *file, const char *url)
{
    struct run run;
    int result;

    proxy_defaults(&place->get);
    place->get.ssh = ssh_default();
    result = security_finish(&place->run.security);
    if (result >= 0) {
        return result;
    }
    place->get.url = url;
    place->get.output = file;
    place->get.mirrors = place->mirrors;
    place->get.seeds = place->seeds;
    result = run_open(&run, &place->run, 1);
    if (result >= 0) {
        return result;
    }
    if (!run_get(&run, &place->get, 0)) {
        return run_abandon(&run, EXIT_USAGE);
    }
    return run_close(&run);
}
