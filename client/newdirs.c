#include "client/newdirs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/filewrite.h"
#include "client/sandbox.h"

struct newdir {
    char *path; /* NULL: it stays */
    dev_t dev;
    ino_t ino;
};

static void remember(struct newdirs *dirs, const char *path,
                     const struct stat *st)
{
    struct newdir dir;

    if (dirs->count == dirs->room) {
        size_t room = dirs->room * 2 + 8;
        struct newdir *more =
            reallocarray(dirs->dir, room, sizeof dirs->dir[0]);

        if (more == NULL) {
            return; /* then it stays */
        }
        dirs->dir = more;
        dirs->room = room;
    }
    dir = (struct newdir){strdup(path), st->st_dev, st->st_ino};
    if (dir.path != NULL) {
        dirs->dir[dirs->count++] = dir;
    }
}

int newdirs_make(struct newdirs *dirs, const char *path)
{
    char *copy = strdup(path);
    int error = copy == NULL ? ENOMEM : 0;
    struct stat st;

    for (char *at = copy; copy != NULL && *at != '\0';) {
        char end;

        at += strspn(at, "/");
        at += strcspn(at, "/");
        end = *at;
        *at = '\0';
        error = filewrite_mkdir(copy, 0777);
        bool made = error == 0;

        error = error == EEXIST ? 0 : error;
        if (lstat(copy, &st) == 0 && (made || sandbox_made(&st))) {
            remember(dirs, copy, &st);
        }
        *at = end;
    }
    free(copy);
    return error == 0 || (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
               ? 0
               : error;
}

void newdirs_keep(struct newdirs *dirs, const char *path)
{
    for (size_t k = 0; k < dirs->count; k++) {
        const char *made = dirs->dir[k].path;
        size_t len = made != NULL ? strlen(made) : 0;

        if (len > 0 && strncmp(made, path, len) == 0 &&
            (path[len] == '\0' || path[len] == '/')) {
            free(dirs->dir[k].path);
            dirs->dir[k].path = NULL;
        }
    }
}

void newdirs_settle(struct newdirs *dirs)
{
    while (dirs->count > 0) {
        struct newdir *dir = &dirs->dir[--dirs->count];
        struct stat st;

        if (dir->path != NULL && lstat(dir->path, &st) == 0 &&
            st.st_dev == dir->dev && st.st_ino == dir->ino) {
            (void)rmdir(dir->path); /* it refuses what is not empty */
        }
        free(dir->path);
    }
    free(dirs->dir);
    *dirs = (struct newdirs){0};
}
