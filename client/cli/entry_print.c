#include "client/cli/entry_print.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- a line. */

static char type_letter(enum belay_file_type type)
{
    switch (type) {
    case BELAY_TYPE_FILE:
        return '-';
    case BELAY_TYPE_DIRECTORY:
        return 'd';
    case BELAY_TYPE_LINK:
        return 'l';
    case BELAY_TYPE_OTHER:
        break;
    }
    return '?';
}

static const char *type_name(enum belay_file_type type)
{
    switch (type) {
    case BELAY_TYPE_FILE:
        return "file";
    case BELAY_TYPE_DIRECTORY:
        return "directory";
    case BELAY_TYPE_LINK:
        return "link";
    case BELAY_TYPE_OTHER:
        break;
    }
    return "other";
}

static void mode_text(const struct belay_entry *e, char out[11])
{
    static const char letters[] = "rwxrwxrwx";

    out[0] = type_letter(e->type);
    for (unsigned k = 0; k < 9; k++) {
        out[1 + k] = e->mode == 0 ? '?'
                     : (e->mode & (0400u >> k)) != 0 ? letters[k]
                                                     : '-';
    }
    out[10] = '\0';
}

/* "2026-01-31T12:00:00"; a time that has no such form becomes seconds. */
static void time_text(const struct belay_entry *e, char *out, size_t cap)
{
    time_t seconds = (time_t)e->mtime_s;
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        (void)snprintf(out, cap, "@%" PRId64, e->mtime_s);
    }
}

bool entry_print_line(FILE *to, bool details, bool cid,
                      const struct belay_entry *e)
{
    char mode[11];
    char when[64];
    const char *slash = e->type == BELAY_TYPE_DIRECTORY ? "/" : "";
    bool link = details && e->target != NULL;

    if (details) {
        mode_text(e, mode);
        time_text(e, when, sizeof when);
        if (fprintf(to, "%s %14" PRIu64 " %s ", mode, e->size, when) < 0) {
            return false;
        }
    }
    if (cid && fprintf(to, "%-71s ", e->cid != NULL ? e->cid : "-") < 0) {
        return false;
    }
    return fprintf(to, "%s%s%s%s\n", e->shown, slash, link ? " -> " : "",
                   link ? e->target : "") >= 0;
}

/* ---- JSON. */

/* Names that are not UTF-8 cannot stand in JSON: their bytes do, in hex. */
static int set_path(json_t *object, const struct belay_entry *e)
{
    static const char digits[] = "0123456789abcdef";
    json_t *path = json_string(e->path);
    size_t len = strlen(e->path);
    char *hex;
    int rc;

    if (path != NULL) {
        return json_object_set_new(object, "path", path);
    }
    hex = malloc(2 * len + 1);
    if (hex == NULL) {
        return -1;
    }
    for (size_t k = 0; k < len; k++) {
        hex[2 * k] = digits[(unsigned char)e->path[k] >> 4];
        hex[2 * k + 1] = digits[(unsigned char)e->path[k] & 15];
    }
    hex[2 * len] = '\0';
    rc = json_object_set_new(object, "path_hex", json_string(hex));
    free(hex);
    return rc != 0 ? rc
                   : json_object_set_new(object, "path",
                                         json_string(e->shown));
}

/* No file is that large, but a server may say so. */
static json_t *number(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value)
                              : json_real((double)value);
}

bool entry_print_json(FILE *to, const struct belay_entry *e)
{
    json_t *object = json_object();
    char mode[8];
    bool good;

    (void)snprintf(mode, sizeof mode, "%04o", e->mode);
    good = object != NULL && set_path(object, e) == 0 &&
           json_object_set_new(object, "type",
                               json_string(type_name(e->type))) == 0 &&
           json_object_set_new(object, "size", number(e->size)) == 0 &&
           json_object_set_new(object, "mtime",
                               json_integer((json_int_t)e->mtime_s)) == 0 &&
           json_object_set_new(object, "mtime_ns",
                               json_integer((json_int_t)e->mtime_ns)) == 0 &&
           json_object_set_new(object, "mode", json_string(mode)) == 0;
    if (good && e->target != NULL) {
        good = json_object_set_new(object, "target",
                                   json_string(e->target)) == 0;
    }
    if (good && e->cid != NULL) {
        good = json_object_set_new(object, "cid", json_string(e->cid)) == 0;
    }
    /* The bytes of a name may steer a terminal; escapes in ASCII do not. */
    good = good &&
           json_dumpf(object, to, JSON_COMPACT | JSON_ENSURE_ASCII) == 0 &&
           putc('\n', to) != EOF;
    json_decref(object);
    return good;
}
