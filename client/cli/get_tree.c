#include "client/cli/get_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/exitcode.h"
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

static enum exit_code no_memory(void)
{
    fputs("belay: out of memory\n", stderr);
    return EXIT_FAULT;
}

/* Not EXIT_DONE: told. */
static enum exit_code name_of(const char *url, char name[4097])
{
    struct belay_url parts = {.struct_size = sizeof parts};
    struct belay_error error;
    enum exit_code code = EXIT_DONE;
    size_t len = strlen(url);
    char *copy = strndup(url, len > 1 && url[len - 1] == '/' ? len - 1 : len);

    if (copy == NULL) {
        return no_memory();
    }
    if (belay_url_parse(copy, &parts, &error) == BELAY_DONE ||
        belay_url_parse(url, &parts, &error) == BELAY_DONE) {
        memcpy(name, parts.name, sizeof parts.name);
    } else {
        fprintf(stderr, "belay: %s\n", error.text);
        code = exit_code_of(error.reason);
    }
    free(copy);
    return code;
}

static enum exit_code add(struct run *run, const struct get_options *o,
                          int k)
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
    enum exit_code code = name_of(o->urls[k], name);

    if (code != EXIT_DONE) {
        return code;
    }
    directory = choose_directory(o, name);
    if (directory == NULL) {
        return no_memory();
    }
    tree.directory = directory;
    if (!run_tree(run, &tree, (size_t)k)) {
        code = run->worst;
    }
    free(directory);
    return code;
}

static enum exit_code jail_tree(const struct get_options *o)
{
    struct jail *jail = o->run.jail;
    char name[4097];

    for (int k = 0; k < o->url_count; k++) {
        enum exit_code code = name_of(o->urls[k], name);
        char *directory;
        bool good;

        if (code != EXIT_DONE) {
            return code;
        }
        directory = choose_directory(o, name);
        good = directory != NULL && jail_url(jail, o->urls[k]) &&
               (o->get.dry_run || jail_directory(jail, directory));
        free(directory);
        if (!good) {
            return no_memory();
        }
    }
    jail->make = true;
    return EXIT_DONE;
}

int get_tree(const struct get_options *options)
{
    struct run run;
    int result = (int)jail_tree(options);

    if (result != EXIT_DONE) {
        return result;
    }
    result = run_open(&run, &options->run, (size_t)options->url_count);
    if (result >= 0) {
        return result;
    }
    for (int k = 0; k < options->url_count; k++) {
        run.worst = exit_code_worse(add(&run, options, k), run.worst);
        if (run.worst != EXIT_DONE) {
            return run_abandon(&run);
        }
    }
    return run_close(&run);
}
