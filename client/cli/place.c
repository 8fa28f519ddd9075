#include "client/cli/place.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/cli/usage.h"
#include "client/cli/values.h"

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

/* ---- options. */

static bool take_flag(struct place *p, int opt)
{
    switch (opt) {
    case 'z':
        p->get.compression = true;
        return true;
    case '4':
    case '6':
        p->get.family = opt == '4' ? 4 : 6;
        return true;
    case OPT_PLACE_JSON:
        p->run.json = true;
        return true;
    case OPT_PLACE_NO_PROGRESS:
        p->run.progress = PROGRESS_NONE;
        return true;
    case 'q':
        p->run.quiet = true;
        return true;
    case 'v':
        p->run.verbose++;
        return true;
    default:
        return false;
    }
}

static bool take_text(struct place *p, int opt, const char *value)
{
    switch (opt) {
    case 'e':
        p->get.ssh = value;
        return true;
    case OPT_PLACE_REMOTE_BELAYD:
        p->get.remote_belayd = value;
        return true;
    case OPT_PLACE_LOG_FILE:
        p->run.log_file = value;
        return true;
    default:
        return false;
    }
}

/* Values that have a form. */
static bool take_value(struct place *p, int opt, const char *value)
{
    switch (opt) {
    case 'x':
        return value_number(value, 1, 16, &p->get.connections);
    case OPT_PLACE_RATE:
        return value_bytes(value, &p->run.engine.rate);
    case OPT_PLACE_SPEED_LIMIT:
        return value_bytes(value, &p->get.speed_limit);
    case OPT_PLACE_SPEED_TIME:
        return value_seconds(value, &p->get.speed_ms);
    case OPT_PLACE_RETRY:
        p->get.wait_first = true;
        return value_tries(value, &p->get.tries);
    case OPT_PLACE_CONNECT_TIMEOUT:
        return value_seconds(value, &p->get.connect_timeout_ms);
    case OPT_PLACE_TIMEOUT:
        return value_seconds(value, &p->get.silence_ms);
    case OPT_PLACE_DEADLINE:
        return value_seconds(value, &p->run.engine.deadline_ms);
    case OPT_PLACE_STOP_AT:
        return value_clock(value, &p->run.engine.deadline_ms);
    case OPT_PLACE_PROGRESS:
        return progress_mode_parse(value, &p->run.progress);
    default:
        return false;
    }
}

static enum value_form form_of(int opt)
{
    switch (opt) {
    case 'x':
        return VALUE_CONNECTIONS;
    case OPT_PLACE_RATE:
    case OPT_PLACE_SPEED_LIMIT:
        return VALUE_BYTES;
    case OPT_PLACE_RETRY:
        return VALUE_TRIES;
    case OPT_PLACE_STOP_AT:
        return VALUE_CLOCK;
    case OPT_PLACE_PROGRESS:
        return VALUE_PROGRESS;
    default:
        return VALUE_SECONDS;
    }
}

int place_option(struct place *place, int opt, const char *value)
{
    return take_flag(place, opt) || take_text(place, opt, value) ||
                   proxy_option(&place->get, opt, value) ||
                   security_option(&place->run.security, opt, value) ||
                   take_value(place, opt, value)
               ? -1
               : usage_value(form_of(opt), value);
}

/* ---- running. */

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
                                         : run_abandon(&run);
}

int place_run(struct place *place, const char *file, const char *url)
{
    int result;

    proxy_defaults(&place->get);
    if (place->get.ssh == NULL) {
        place->get.ssh = ssh_default();
    }
    result = security_finish(&place->run.security);
    if (result >= 0) {
        return result;
    }
    if (place->get.speed_limit > 0 && place->get.speed_ms == 0) {
        place->get.speed_ms = PLACE_SPEED_TIME_MS;
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
