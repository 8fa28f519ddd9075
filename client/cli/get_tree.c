#include "client/cli/get_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/usage.h"

static bool want(void *arg, const struct belay_entry *entry)
{
    const struct filter *filter = arg;

    return entry->type == BELAY_TYPE_DIRECTORY
               ? filter_enters(filter, entry->path)
               : filter_takes(filter, entry->path);
}

/* Where the contents of a directory go: into DIR itself, or into a directory
 * of its own name; the root of a server has none.  NULL: no memory. */
static char *choose_directory(const struct get_options *o, const char *name)
{
    const char *dir = o->get.directory;
    bool own = (dir == NULL || o->url_count > 1) && *name != '\0';
    char *path = NULL;

    if (asprintf(&path, "%s%s%s", dir != NULL ? dir : own ? "" : ".",
                 dir != NULL && own ? "/" : "", own ? name : "") < 0) {
        return NULL;
    }
    return path;
}

/* False: told. */
static bool name_of(const char *url, char name[4097])
{
    struct belay_url parts = {.struct_size = sizeof parts};
    struct belay_error error;
    size_t len = strlen(url);
    char *copy = strndup(url, len > 1 && url[len - 1] == '/' ? len - 1 : len);
    bool good = copy != NULL &&
                (belay_url_parse(copy, &parts, &error) == BELAY_DONE ||
                 belay_url_parse(url, &parts, &error) == BELAY_DONE);

    if (good) {
        memcpy(name, parts.name, sizeof parts.name);
    } else {
        fprintf(stderr, "belay: %s\n",
                copy != NULL ? error.text : "out of memory");
    }
    free(copy);
    return good;
}

static bool add(struct run *run, const struct get_options *o, int k)
{
    const struct belay_get_options *g = &o->get;
    char name[4097];
    struct belay_tree_options tree = {
        .struct_size = sizeof tree,
        .url = o->urls[k],
        .want = want,
        .want_arg = (void *)(uintptr_t)&o->filter,
        .links = o->links,
        .check = o->check,
        .no_clobber = g->no_clobber,
        .compression = g->compression,
        .no_remote_time = g->no_remote_time,
        .connections = g->connections,
        .tries = g->tries,
        .wait_first = g->wait_first,
        .family = g->family,
        .connect_timeout_ms = g->connect_timeout_ms,
        .silence_ms = g->silence_ms,
        .proxy = g->proxy,
        .no_proxy = g->no_proxy,
        .dry_run = g->dry_run,
        .max_size = g->max_size,
        .ssh = g->ssh,
        .remote_belayd = g->remote_belayd,
    };
    char *directory;
    bool good;

    if (!name_of(o->urls[k], name)) {
        return false;
    }
    directory = choose_directory(o, name);
    if (directory == NULL) {
        fprintf(stderr, "belay: out of memory\n");
        return false;
    }
    tree.directory = directory;
    good = run_tree(run, &tree, (size_t)k);
    free(directory);
    return good;
}

static bool jail_tree(const struct get_options *o)
{
    struct jail *jail = o->run.jail;
    char name[4097];
    bool good = true;

    for (int k = 0; k < o->url_count && good; k++) {
        if (!name_of(o->urls[k], name)) {
            return false;
        }
        char *directory = choose_directory(o, name);

        good = directory != NULL && jail_url(jail, o->urls[k]) &&
               (o->get.dry_run || jail_directory(jail, directory));
        free(directory);
        if (!good) {
            fprintf(stderr, "belay: out of memory\n");
        }
    }
    jail->make = true;
    return good;
}

int get_tree(const struct get_options *options)
{
    struct run run;
    int result;

    if (!jail_tree(options)) {
        return EXIT_USAGE;
    }
    result = run_open(&run, &options->run, (size_t)options->url_count);
    if (result >= 0) {
        return result;
    }
    for (int k = 0; k < options->url_count; k++) {
        if (!add(&run, options, k)) {
            return run_abandon(&run, EXIT_USAGE);
        }
    }
    return run_close(&run);
}
