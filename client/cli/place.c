#include "client/cli/place.h"

#include <stdio.h>
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

/* Comparing writes nothing. */
static bool jail_place(struct place *place)
{
    struct belay_get_options *get = &place->get;
    struct jail *jail = &place->jail;
    bool good = jail_url(jail, get->url);

    for (unsigned k = 0; k < get->mirror_count && good; k++) {
        good = jail_url(jail, get->mirrors[k]);
    }
    if (get->kind == BELAY_KIND_REPAIR) {
        good = good && jail_file(jail, NULL, get->output);
    }
    if (get->receipt != NULL && get->receipt[0] != '\0') {
        good = good && jail_file(jail, NULL, get->receipt);
    }
    jail->job = get;
    place->run.jail = jail;
    return good;
}

static int run_one(struct place *place)
{
    struct run run;
    int result = run_open(&run, &place->run, 1);

    if (result >= 0) {
        return result;
    }
    return run_get(&run, &place->get, 0) ? run_close(&run)
                                         : run_abandon(&run, EXIT_USAGE);
}

int place_run(struct place *place, const char *file, const char *url)
{
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
    if (jail_place(place)) {
        result = run_one(place);
    } else {
        fputs("belay: out of memory\n", stderr);
        result = EXIT_FAULT;
    }
    jail_clear(&place->jail);
    return result;
}
