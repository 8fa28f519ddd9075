#include "proto/data/relpath.h"

#include <string.h>

#include "proto/base/registry.h"

bool relpath_next(const char *path, size_t len, size_t *pos,
                  struct relpath_part *part)
{
    if (*pos >= len) {
        return false;
    }
    const char *start = path + *pos;
    const char *slash = memchr(start, '/', len - *pos);
    part->name = start;
    part->len = slash != NULL ? (size_t)(slash - start) : len - *pos;
    *pos += part->len + 1;
    return true;
}

/* What a component must not be on any system. */
static bool part_ok(const char *name, size_t len)
{
    if (len == 0 || len > LIMIT_COMPONENT) {
        return false;
    }
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))) {
        return false;
    }
    return memchr(name, '/', len) == NULL && memchr(name, '\0', len) == NULL;
}

int relpath_check(const char *path, size_t len)
{
    if (len == 0) {
        return 0;
    }
    /* A final slash would be an empty last component, which the walk over
     * the components does not show. */
    if (len > LIMIT_PATH || path[len - 1] == '/') {
        return ERR_PATH;
    }
    struct relpath_part part;
    size_t pos = 0;
    while (relpath_next(path, len, &pos, &part)) {
        if (!part_ok(part.name, part.len)) {
            return ERR_PATH;
        }
    }
    return 0;
}

/* Equal without regard to case, where `upper` has no lower-case letter.  Only
 * ASCII counts, in every locale. */
static bool same_letters(const char *upper, const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c >= 'a' && c <= 'z') {
            c = (char)(c - 'a' + 'A');
        }
        if (c != upper[i]) {
            return false;
        }
    }
    return true;
}

/* Device names count with any extension and with spaces before it: "nul",
 * "NUL.txt" and "con .log" all open a device. */
static bool is_windows_device(const char *name, size_t len)
{
    static const char *const devices[] = {
        "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$",
        "COM0", "COM1", "COM2", "COM3", "COM4",
        "COM5", "COM6", "COM7", "COM8", "COM9",
        "LPT0", "LPT1", "LPT2", "LPT3", "LPT4",
        "LPT5", "LPT6", "LPT7", "LPT8", "LPT9",
        /* Superscript digits one to three count as digits. */
        "COM\xc2\xb9", "COM\xc2\xb2", "COM\xc2\xb3",
        "LPT\xc2\xb9", "LPT\xc2\xb2", "LPT\xc2\xb3",
    };
    const char *dot = memchr(name, '.', len);
    if (dot != NULL) {
        len = (size_t)(dot - name);
    }
    while (len > 0 && name[len - 1] == ' ') {
        len--;
    }
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        if (strlen(devices[i]) == len &&
            same_letters(devices[i], name, len)) {
            return true;
        }
    }
    return false;
}

bool relpath_name_ok(const char *name, size_t len, enum relpath_rules rules)
{
    if (!part_ok(name, len)) {
        return false;
    }
    if (rules == RELPATH_POSIX) {
        return true;
    }
    return memchr(name, '\\', len) == NULL && memchr(name, ':', len) == NULL &&
           name[len - 1] != '.' && name[len - 1] != ' ' &&
           !is_windows_device(name, len);
}
