/* Finding the configuration file and making it part of the command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/cli/config.h"
#include "client/cli/exitcode.h"
#include "client/cli/usage.h"

/* What is added to the command line. */
struct addition {
    const char *path;
    const struct option *options; /* that the command takes */
    char **items; /* each in its own memory */
    size_t count;
    bool nomem;
};

/* What the command line is made of until config_release(). */
static struct {
    char **argv;
    char **items;
    size_t count;
    char *usual; /* the places of items name it */
} own;

/* Where the file is if nobody says so; to be freed.  NULL: nowhere. */
static char *usual_path(void)
{
    const char *config = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int len = -1;

    if (config != NULL && config[0] == '/') {
        len = asprintf(&path, "%s/belay/config", config);
    } else if (home != NULL && home[0] == '/') {
        len = asprintf(&path, "%s/.config/belay/config", home);
    }
    return len >= 0 ? path : NULL;
}

/* Takes --config FILE, --config=FILE and --no-config out of the arguments
 * before "--".  *path: what was said, or NULL; *none: no file at all. */
static int take_options(int *argc, char **argv, const char **path, bool *none)
{
    int kept = 1;
    bool over = false;

    *path = NULL;
    *none = false;
    for (int k = 1; k < *argc; k++) {
        over = over || strcmp(argv[k], "--") == 0;
        if (!over && strcmp(argv[k], "--no-config") == 0) {
            *none = true;
        } else if (!over && strncmp(argv[k], "--config=", 9) == 0) {
            *path = argv[k] + 9;
        } else if (!over && strcmp(argv[k], "--config") == 0) {
            if (k + 1 == *argc) {
                return usage_wrong("option", "--config", "it needs a value");
            }
            *path = argv[++k];
        } else {
            argv[kept++] = argv[k];
        }
    }
    argv[kept] = NULL;
    *argc = kept;
    return -1;
}

static bool is_taken(const struct option *options, const char *name)
{
    while (options->name != NULL && strcmp(options->name, name) != 0) {
        options++;
    }
    return options->name != NULL;
}

static bool add(void *arg, unsigned line, const char *name, const char *value)
{
    struct addition *a = arg;
    char **items;
    char *item;

    if (!is_taken(a->options, name)) {
        return true; /* it is about other commands */
    }
    a->nomem = true;
    items = realloc(a->items, (a->count + 1) * sizeof *items);
    if (items == NULL) {
        return false;
    }
    a->items = items;
    if (asprintf(&item, "--%s%s%s", name, value != NULL ? "=" : "",
                 value != NULL ? value : "") < 0) {
        return false;
    }
    items[a->count++] = item;
    a->nomem = !usage_note_place(item, a->path, line);
    return !a->nomem;
}

/* The whole file with a NUL behind it; NULL with errno. */
static char *read_all(int fd, size_t *len)
{
    char *text = malloc(CONFIG_SIZE_MAX + 1);

    *len = 0;
    while (text != NULL) {
        ssize_t n = read(fd, text + *len, CONFIG_SIZE_MAX - *len);

        if (n > 0) {
            *len += (size_t)n;
        }
        if (n == 0 || *len == CONFIG_SIZE_MAX) {
            text[*len] = '\0';
            errno = EFBIG;
            if (*len < CONFIG_SIZE_MAX) {
                return text;
            }
        }
        if ((n < 0 && errno != EINTR) || *len == CONFIG_SIZE_MAX) {
            free(text);
            return NULL;
        }
    }
    return NULL;
}

/* Returns -1 to go on, else the exit code. */
static int read_file(struct addition *a, bool must_exist)
{
    int fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char shown[2049];
    unsigned line = 0;
    const char *why = NULL;
    char *text = NULL;
    size_t len;
    int code;

    /* HOME may be that of another user whose files are not ours to read. */
    if (fd < 0 && !must_exist &&
        (errno == ENOENT || errno == ENOTDIR || errno == EACCES)) {
        return -1;
    }
    if (fd >= 0) {
        text = read_all(fd, &len);
    }
    if (text == NULL) {
        code = (int)exit_code_of_file(errno);
        why = strerror(errno);
    } else {
        why = config_parse(text, len, add, a, &line);
        code = a->nomem ? EXIT_FAULT : EXIT_USAGE;
    }
    (void)belay_text_escape(shown, sizeof shown, a->path);
    if (why != NULL && line > 0) {
        fprintf(stderr, "belay: %s:%u: %s\n", shown, line, why);
    } else if (why != NULL) {
        fprintf(stderr, "belay: %s: %s\n", shown, why);
    }
    free(text);
    if (fd >= 0) {
        close(fd);
    }
    return why != NULL ? code : -1;
}

/* The command, what was read, and the rest. */
static bool join(const struct addition *a, int *argc, char ***argv)
{
    char **all = calloc((size_t)*argc + a->count + 1, sizeof *all);

    if (all == NULL) {
        return false;
    }
    own.argv = all;
    all[0] = (*argv)[0];
    if (a->count > 0) {
        memcpy(all + 1, a->items, a->count * sizeof *all);
    }
    memcpy(all + 1 + a->count, *argv + 1,
           (size_t)(*argc - 1) * sizeof *all);
    *argv = all;
    *argc += (int)a->count;
    return true;
}

int config_apply(const struct option *options, int *argc, char ***argv)
{
    struct addition a = {.options = options};
    const char *said;
    bool none;
    int result = take_options(argc, *argv, &said, &none);

    if (result >= 0 || (none && said == NULL)) {
        return result;
    }
    if (said == NULL) {
        own.usual = usual_path();
    }
    a.path = said != NULL ? said : own.usual;
    if (a.path == NULL) {
        return -1;
    }
    result = read_file(&a, said != NULL);
    if (result < 0 && a.count > 0 && !join(&a, argc, argv)) {
        fputs("belay: out of memory\n", stderr);
        result = EXIT_FAULT;
    }
    own.items = a.items;
    own.count = a.count;
    return result;
}

void config_release(void)
{
    for (size_t k = 0; k < own.count; k++) {
        free(own.items[k]);
    }
    free(own.items);
    free(own.argv);
    free(own.usual);
    memset(&own, 0, sizeof own);
}
