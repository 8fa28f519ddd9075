#include "client/cli/config.h"

#include <string.h>

static const struct {
    const char *name;
    bool flag;
} settings[] = {
    {"accept-new", true},
    {"cacert", false},
    {"cert", false},
    {"cert-key", false},
    {"chunk-size", false},
    {"compress", true},
    {"connect-timeout", false},
    {"connections", false},
    {"deadline", false},
    {"directory", false},
    {"error-on-nothing", true},
    {"if-changed", false},
    {"ipv4", true},
    {"ipv6", true},
    {"jobs", false},
    {"known-hosts", false},
    {"limit-rate", false},
    {"log-file", false},
    {"max-size", false},
    {"no-clobber", true},
    {"no-remote-time", true},
    {"noproxy", false},
    {"progress", false},
    {"proxy", false},
    {"quiet", true},
    {"remote-belayd", false},
    {"retry", false},
    {"sandbox", false},
    {"speed-limit", false},
    {"speed-time", false},
    {"ssh", false},
    {"timeout", false},
    {"token-file", false},
    {"verbose", true},
};

#define SETTINGS (sizeof settings / sizeof settings[0])

bool config_knows(const char *name, bool *flag)
{
    for (size_t k = 0; k < SETTINGS; k++) {
        if (strcmp(settings[k].name, name) == 0) {
            *flag = settings[k].flag;
            return true;
        }
    }
    return false;
}

const char *config_name(size_t number)
{
    return number < SETTINGS ? settings[number].name : NULL;
}

/* Without the blanks at both ends. */
static char *trim(char *text)
{
    size_t len;

    text += strspn(text, " \t");
    len = strlen(text);
    while (len > 0 && strchr(" \t\r", text[len - 1]) != NULL) {
        len--;
    }
    text[len] = '\0';
    return text;
}

static const char *take_line(char *text, config_setting_fn *fn, void *arg,
                             unsigned line)
{
    char *equals;
    char *name = trim(text);
    char *value;
    bool flag;

    if (*name == '\0' || *name == '#') {
        return NULL;
    }
    equals = strchr(name, '=');
    if (equals == NULL) {
        return "expected NAME = VALUE";
    }
    *equals = '\0';
    value = trim(equals + 1);
    name = trim(name);
    if (!config_knows(name, &flag)) {
        return "there is no such setting";
    }
    if (flag && strcmp(value, "no") == 0) {
        return NULL;
    }
    if (flag && strcmp(value, "yes") != 0) {
        return "expected yes or no";
    }
    if (!flag && *value == '\0' && strcmp(name, "proxy") != 0) {
        return "the value is missing";
    }
    return fn(arg, line, name, flag ? NULL : value) ? NULL : "out of memory";
}

const char *config_parse(char *text, size_t len, config_setting_fn *fn,
                         void *arg, unsigned *line)
{
    char *end = text + len;

    *line = 0;
    if (memchr(text, '\0', len) != NULL) {
        return "it is not a text";
    }
    while (text < end) {
        char *stop = memchr(text, '\n', (size_t)(end - text));
        const char *why;

        stop = stop != NULL ? stop : end;
        *stop = '\0';
        (*line)++;
        why = take_line(text, fn, arg, *line);
        if (why != NULL) {
            return why;
        }
        text = stop + 1;
    }
    return NULL;
}
