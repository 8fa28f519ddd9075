#include "client/cli/jail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/belay-sandbox.h"
#include "client/cli/ask_trust.h"
#include "client/cli/exitcode.h"

/* ---- what the command says. */

bool jail_directory(struct jail *jail, const char *dir)
{
    size_t tag = 0;

    return targets_add(&jail->places, NULL, dir, &tag) != TARGETS_NOMEM;
}

bool jail_file(struct jail *jail, const char *dir, const char *file)
{
    const char *slash = strrchr(file, '/');
    bool relative = dir != NULL && *dir != '\0' && *file != '/';
    char *path = NULL;
    bool good;

    if (asprintf(&path, "%s%s%.*s", relative ? dir : "", relative ? "/" : "",
                 slash == NULL ? 0 : (int)(slash - file) + 1, file) < 0) {
        return false;
    }
    good = jail_directory(jail, path);
    free(path);
    return good;
}

bool jail_url(struct jail *jail, const char *url)
{
    jail->secure = jail->secure || strncasecmp(url, "belay://", 8) == 0;
    if (strstr(url, "://") != NULL &&
        strncasecmp(url, "belay+ssh:", 10) != 0) {
        return true;
    }
    if (jail->url_count == jail->url_room) {
        size_t room = 2 * jail->url_room + 16;
        const char **more = realloc(jail->urls, room * sizeof *more);

        if (more == NULL) {
            return false;
        }
        jail->urls = more;
        jail->url_room = room;
    }
    jail->urls[jail->url_count++] = url;
    return true;
}

void jail_clear(struct jail *jail)
{
    belay_sandbox_tidy();
    free(jail->urls);
    targets_clear(&jail->places);
    *jail = (struct jail){.entered = jail->entered};
}

/* ---- entering. */

/* The places as an array, borrowed; NULL: memory is out. */
static const char **list_places(const struct jail *jail)
{
    const struct targets *t = &jail->places;
    const char **list = calloc(t->count + 1, sizeof *list);
    size_t count = 0;

    for (size_t k = 0; k < t->room && list != NULL; k++) {
        if (t->path[k] != NULL) {
            list[count++] = t->path[k];
        }
    }
    return list;
}

/* A key may have to be recorded. */
static bool may_record(const struct jail *jail,
                       const struct security_options *security)
{
    const struct ask_trust none = {.refused = false};

    return jail->secure && (security->options.accept_new ||
                            ask_trust_possible(&none, security));
}

static int fail(jail_tell_fn *tell, void *arg, const char *text, int code)
{
    tell(arg, false, text);
    return code;
}

static int enter(struct jail *jail, const struct security_options *security,
                 const char **places, jail_tell_fn *tell, void *arg)
{
    struct belay_sandbox_options options = {
        .struct_size = sizeof options,
        .directories = places,
        .directory_count = jail->places.count,
        .make_directories = jail->make,
        .security = may_record(jail, security) ? &security->options : NULL,
        .trust = jail->trust,
        .urls = jail->urls,
        .url_count = jail->url_count,
        .job = jail->job,
    };
    struct belay_sandbox_state state = {.struct_size = sizeof state};
    struct belay_error error;
    enum belay_reason reason = belay_sandbox(&options, &state, &error);
    char line[640];

    if (reason != BELAY_DONE && security->sandbox == SANDBOX_REQUIRE) {
        return fail(tell, arg, error.text, EXIT_FAULT);
    }
    if (reason != BELAY_DONE) {
        tell(arg, true, error.text);
    }
    if (state.text[0] != '\0') {
        (void)snprintf(line, sizeof line, "sandbox: %s", state.text);
        tell(arg, true, line);
    }
    return -1;
}

int jail_enter(struct jail *jail, const struct security_options *security,
               jail_tell_fn *tell, void *arg)
{
    struct belay_error error;
    enum belay_reason reason;
    const char **places;
    int result;

    if (jail->entered) {
        return -1;
    }
    /* Wrong use makes no directories. */
    reason = belay_security_check(&security->options, &error);
    if (reason != BELAY_DONE) {
        return fail(tell, arg, error.text, (int)exit_code_of(reason));
    }
    jail->entered = true;
    if (geteuid() == 0) {
        tell(arg, true, "running as root, which no download needs: a fault "
                        "in this program would be one of the whole machine");
    }
    if (security->sandbox == SANDBOX_OFF) {
        tell(arg, true, "sandbox: off");
        return -1;
    }
    places = list_places(jail);
    if (places == NULL) {
        return fail(tell, arg, "out of memory", EXIT_FAULT);
    }
    result = enter(jail, security, places, tell, arg);
    free(places);
    return result;
}
