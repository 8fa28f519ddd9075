#include "client/cli/targets.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t hash_of(const char *text)
{
    uint64_t hash = 14695981039346656037u;

    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    }
    return (size_t)(hash ^ hash >> 32);
}

/* Takes out "." and empty components, in place. */
static void tidy(char *path)
{
    char *from = path + (*path == '/');
    char *to = from;

    while (*from != '\0') {
        size_t len = strcspn(from, "/");

        if (len > 0 && !(len == 1 && *from == '.')) {
            if (to > path && to[-1] != '/') {
                *to++ = '/';
            }
            memmove(to, from, len);
            to += len;
        }
        from += len + (from[len] == '/');
    }
    *to = '\0';
}

static size_t place_of(const struct targets *targets, const char *path)
{
    size_t at = hash_of(path) & (targets->room - 1);

    while (targets->path[at] != NULL &&
           strcmp(targets->path[at], path) != 0) {
        at = (at + 1) & (targets->room - 1);
    }
    return at;
}

static bool grow(struct targets *targets)
{
    struct targets larger = {.room = targets->room == 0 ? 256
                                                        : 2 * targets->room,
                             .count = targets->count};

    larger.path = calloc(larger.room, sizeof *larger.path);
    larger.tag = calloc(larger.room, sizeof *larger.tag);
    if (larger.path == NULL || larger.tag == NULL) {
        free(larger.path);
        free(larger.tag);
        return false;
    }
    for (size_t k = 0; k < targets->room; k++) {
        if (targets->path[k] != NULL) {
            size_t at = place_of(&larger, targets->path[k]);

            larger.path[at] = targets->path[k];
            larger.tag[at] = targets->tag[k];
        }
    }
    free(targets->path);
    free(targets->tag);
    *targets = larger;
    return true;
}

enum targets_result targets_add(struct targets *targets, const char *dir,
                                const char *name, size_t *tag)
{
    char *path;
    size_t at;

    if (2 * targets->count >= targets->room && !grow(targets)) {
        return TARGETS_NOMEM;
    }
    if (asprintf(&path, "%s%s%s", dir != NULL && *name != '/' ? dir : "",
                 dir != NULL && *name != '/' ? "/" : "", name) < 0) {
        return TARGETS_NOMEM;
    }
    tidy(path);
    at = place_of(targets, path);
    if (targets->path[at] != NULL) {
        free(path);
        *tag = targets->tag[at];
        return TARGETS_AGAIN;
    }
    targets->path[at] = path;
    targets->tag[at] = *tag;
    targets->count++;
    return TARGETS_NEW;
}

void targets_clear(struct targets *targets)
{
    for (size_t k = 0; k < targets->room; k++) {
        free(targets->path[k]);
    }
    free(targets->path);
    free(targets->tag);
    *targets = (struct targets){0};
}
