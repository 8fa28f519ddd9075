#include "server/textfile.h"

#include <string.h>

static bool
is_clean(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

int
textfile_each(struct bytes_view text, textfile_line_fn *fn, void *arg,
              unsigned *number)
{
    const char *line = (const char *)text.ptr;
    size_t left = text.len;

    *number = 0;
    while (left > 0) {
        const char *end = memchr(line, '\n', left);
        size_t len = end != NULL ? (size_t)(end - line) : left;
        (*number)++;
        if (!is_clean(line, len)) {
            return ERR_SYNTAX;
        }
        int err = len > 0 && line[0] != '#' ? fn(arg, line, len) : 0;
        if (err != 0) {
            return err;
        }
        size_t used = len + (end != NULL);
        line += used;
        left -= used;
    }
    return 0;
}

bool
textfile_is_name(const char *text, size_t len, size_t max)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789.-_@";

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\0' || strchr(allowed, text[i]) == NULL) {
            return false;
        }
    }
    return len > 0 && len <= max;
}
