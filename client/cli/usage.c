#include "client/cli/usage.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/belay.h"
#include "client/cli/exitcode.h"
#include "client/cli/habits.h"

struct place {
    const char *item;
    const char *path;
    unsigned line;
};

static struct place *places;
static size_t place_count;

bool usage_note_place(const char *item, const char *path, unsigned line)
{
    struct place *more =
        realloc(places, (place_count + 1) * sizeof places[0]);

    if (more == NULL) {
        return false;
    }
    places = more;
    places[place_count] = (struct place){item, path, line};
    place_count++;
    return true;
}

static bool is_in(const char *text, const char *item)
{
    uintptr_t start = (uintptr_t)item;

    return (uintptr_t)text >= start &&
           (uintptr_t)text <= start + strlen(item);
}

bool usage_has_place(const char *text)
{
    for (size_t k = 0; k < place_count; k++) {
        if (is_in(text, places[k].item)) {
            return true;
        }
    }
    return false;
}

/* "FILE:LINE: " when the value is part of an item that came from there. */
static void print_place(const char *value)
{
    char shown[2049];

    for (size_t k = 0; k < place_count; k++) {
        if (is_in(value, places[k].item)) {
            (void)belay_text_escape(shown, sizeof shown, places[k].path);
            fprintf(stderr, "%s:%u: ", shown, places[k].line);
        }
    }
}

int usage_wrong(const char *what, const char *value, const char *why)
{
    char shown[2049];

    (void)belay_text_escape(shown, sizeof shown, value);
    fputs("belay: ", stderr);
    print_place(value);
    fprintf(stderr, "%s %s: %s\nTry 'belay --help'.\n", what, shown, why);
    return EXIT_USAGE;
}

int usage_value(enum value_form form, const char *value)
{
    static const struct {
        const char *what;
        const char *why;
    } table[] = {
        [VALUE_BYTES] = {"bad size", "expected a number such as 500k or 2M"},
        [VALUE_CHUNK] = {"bad chunk size",
                         "expected a power of two from 4K to 4M"},
        [VALUE_CLOCK] = {"bad time of day", "expected HH:MM"},
        [VALUE_CONNECTIONS] = {"bad number of connections",
                               "expected 1 to 16"},
        [VALUE_PROGRESS] = {"bad progress mode",
                            "expected bar, plain, json or none"},
        [VALUE_SECONDS] = {"bad number of seconds",
                           "expected a positive number"},
        [VALUE_TRIES] = {"bad number of tries",
                         "expected a number; 0 and inf never end"},
    };

    return usage_wrong(table[form].what, value, table[form].why);
}

/* "option TYPED: there is no such option", and what there is instead. */
static int no_option(const char *typed, const struct option *options)
{
    const char *hint = habits_option(typed, options);
    char why[400];

    (void)snprintf(why, sizeof why, "there is no such option%s%s",
                   hint != NULL ? "; " : "", hint != NULL ? hint : "");
    return usage_wrong("option", typed, why);
}

int usage_option(int opt, const char *argument, const struct option *options)
{
    char letter[3] = {'-', (char)optopt, '\0'};
    unsigned matches = 0;
    bool plain = false;
    size_t len = strcspn(argument, "=");

    if (opt == ':') {
        return usage_wrong("option", argument, "it needs a value");
    }
    for (const struct option *o = options; o->name != NULL; o++) {
        matches += len > 2 && strncmp(argument, "--", 2) == 0 &&
                   strncmp(argument + 2, o->name, len - 2) == 0;
        plain = plain || (o->val == optopt && o->has_arg == no_argument);
    }
    if (optopt == 0 && matches > 1) {
        return usage_wrong("option", argument,
                           "it could mean several options");
    }
    if (optopt == 0) {
        return no_option(argument, options);
    }
    if (plain && matches > 0 && argument[len] == '=') {
        return usage_wrong("option", argument, "it takes no value");
    }
    return no_option(letter, options);
}
