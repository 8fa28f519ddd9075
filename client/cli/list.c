#include "client/cli/list.h"

#include <stdlib.h>
#include <string.h>

#include "client/belay.h"
#include "client/cli/values.h"

#define BLOCK_LEN ((size_t)64 << 10)
#define BLANKS " \t\r\n\v\f"

struct list_block {
    struct list_block *next;
    char text[];
};

/* ---- keeping. */

static char *keep(struct list *list, const char *text)
{
    size_t len = strlen(text) + 1;
    char *kept;

    if (len > list->text_left) {
        size_t room = len > BLOCK_LEN ? len : BLOCK_LEN;
        struct list_block *block = malloc(sizeof *block + room);

        if (block == NULL) {
            list->nomem = true;
            return NULL;
        }
        block->next = list->blocks;
        list->blocks = block;
        list->text = block->text;
        list->text_left = room;
    }
    kept = list->text;
    memcpy(kept, text, len);
    list->text += len;
    list->text_left -= len;
    return kept;
}

static const char *keep_or_null(struct list *list, const char *text)
{
    return text != NULL ? keep(list, text) : NULL;
}

bool list_add(struct list *list, const struct list_item *item)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 64 : 2 * list->room;
        struct list_item *items = realloc(list->items, room * sizeof *items);

        if (items == NULL) {
            list->nomem = true;
            return false;
        }
        list->items = items;
        list->room = room;
    }
    list->items[list->count] = (struct list_item){
        .url = keep(list, item->url),
        .out = keep_or_null(list, item->out),
        .dir = keep_or_null(list, item->dir),
        .mirror = keep_or_null(list, item->mirror),
        .sha256 = keep_or_null(list, item->sha256),
        .line = item->line,
    };
    list->count += !list->nomem;
    return !list->nomem;
}

void list_free(struct list *list)
{
    while (list->blocks != NULL) {
        struct list_block *next = list->blocks->next;

        free(list->blocks);
        list->blocks = next;
    }
    free(list->items);
    *list = (struct list){0};
}

/* ---- one entry. */

/* Takes a double-quoted value apart in place; *at is behind its quote.
 * False: no closing quote, or an escape that is none. */
static bool unquote(char **at)
{
    char *from = *at;
    char *to = *at;

    for (; *from != '"'; from++) {
        if (*from == '\0') {
            return false;
        }
        if (*from != '\\') {
            *to++ = *from;
            continue;
        }
        from++;
        if (*from == 'n' || *from == 't') {
            *to++ = *from == 'n' ? '\n' : '\t';
        } else if (*from == '"' || *from == '\\') {
            *to++ = *from;
        } else {
            return false;
        }
    }
    *at = from + 1;
    *to = '\0';
    return **at == '\0' || strchr(BLANKS, **at) != NULL;
}

/* The value that begins at *at, which then points behind it. */
static char *take_value(char **at)
{
    char *value = *at;

    if (*value == '"') {
        value++;
        *at = value;
        return unquote(at) ? value : NULL;
    }
    *at += strcspn(*at, BLANKS);
    if (**at != '\0') {
        *(*at)++ = '\0';
    }
    return value;
}

static const char *set_field(struct list_item *item, const char *key,
                             const char *value)
{
    const char **place = NULL;
    bool good = *value != '\0';

    if (strcmp(key, "out") == 0) {
        place = &item->out;
    } else if (strcmp(key, "dir") == 0) {
        place = &item->dir;
    } else if (strcmp(key, "mirror") == 0) {
        place = &item->mirror;
    } else if (strcmp(key, "sha256") == 0) {
        place = &item->sha256;
        good = value_sha256(value);
    } else if (strcmp(key, "checksum") == 0) {
        place = &item->sha256;
        good = value_checksum(value, &value);
    } else {
        return "no such field: out=, dir=, mirror=, sha256= are";
    }
    if (*place != NULL) {
        return "a field is given twice";
    }
    *place = value;
    return good ? NULL
                : place == &item->sha256 ? "a SHA-256 is 64 hexadecimal digits"
                                         : "a field is empty";
}

/* Takes `entry` apart in place.  NULL, or what is wrong with it. */
static const char *parse(char *entry, struct list_item *item)
{
    char *at = entry;
    const char *why = NULL;

    item->url = take_value(&at);
    if (item->url == NULL || *item->url == '\0') {
        return "it does not begin with a URL";
    }
    for (at += strspn(at, BLANKS); why == NULL && *at != '\0';
         at += strspn(at, BLANKS)) {
        char *key = at;
        char *value;

        at += strcspn(at, "=" BLANKS);
        if (*at != '=') {
            return "behind the URL come fields of the form key=value, "
                   "key=\"a value\" if it has blanks";
        }
        *at++ = '\0';
        value = take_value(&at);
        if (value == NULL) {
            return "a quote is not closed, or an escape is unknown";
        }
        why = set_field(item, key, value);
    }
    return why;
}

static const char *check_url(const struct list_item *item,
                             struct belay_error *error)
{
    struct belay_url url = {.struct_size = sizeof url};

    if (belay_url_parse(item->url, &url, error) != BELAY_DONE) {
        return error->text;
    }
    return item->out == NULL && url.name[0] == '\0'
               ? "the URL names no file; out= can"
               : NULL;
}

static bool take_entry(struct list *list, char *entry, unsigned line,
                       list_fault_fn *fault, void *arg)
{
    struct list_item item = {.line = line};
    struct belay_error error;
    const char *why = parse(entry, &item);

    if (why == NULL) {
        why = check_url(&item, &error);
    }
    if (why != NULL) {
        fault(arg, line, why);
        return true;
    }
    return list_add(list, &item);
}

/* ---- reading. */

/* Reads up to `separator`: what does not fit, or a NUL within, makes the
 * entry bad.  False at the end of the file. */
static bool read_entry(FILE *from, char separator, char *entry,
                       const char **why)
{
    size_t len = 0;
    int c;

    *why = NULL;
    while ((c = getc_unlocked(from)) != EOF && c != (unsigned char)separator) {
        if (c == '\0') {
            *why = "it holds a NUL byte";
        } else if (len == LIST_ENTRY_MAX) {
            *why = "it is too long";
        } else {
            entry[len++] = (char)c;
        }
    }
    entry[len] = '\0';
    return c != EOF || len > 0 || *why != NULL;
}

bool list_read(struct list *list, FILE *from, char separator,
               list_fault_fn *fault, void *arg)
{
    char *entry = malloc(LIST_ENTRY_MAX + 1);
    const char *why;
    unsigned line = 0;

    list->nomem = list->nomem || entry == NULL;
    while (!list->nomem && read_entry(from, separator, entry, &why)) {
        char *at = entry + strspn(entry, BLANKS);

        line++;
        if (why != NULL) {
            fault(arg, line, why);
        } else if (*at != '\0' && (*at != '#' || separator == '\0')) {
            (void)take_entry(list, at, line, fault, arg);
        }
    }
    free(entry);
    return !list->nomem && !ferror(from);
}

/* ---- writing. */

static void write_value(FILE *to, const char *key, const char *value)
{
    if (value == NULL) {
        return;
    }
    fprintf(to, " %s=", key);
    if (strpbrk(value, BLANKS "\"\\") == NULL) {
        fputs(value, to);
        return;
    }
    putc('"', to);
    for (; *value != '\0'; value++) {
        if (*value == '\n' || *value == '\t') {
            fputs(*value == '\n' ? "\\n" : "\\t", to);
            continue;
        }
        if (*value == '"' || *value == '\\') {
            putc('\\', to);
        }
        putc(*value, to);
    }
    putc('"', to);
}

void list_write(FILE *to, const struct list_item *item)
{
    fputs(item->url, to);
    write_value(to, "out", item->out);
    write_value(to, "dir", item->dir);
    write_value(to, "mirror", item->mirror);
    write_value(to, "sha256", item->sha256);
    putc('\n', to);
}
