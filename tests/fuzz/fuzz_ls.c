/* What `belay ls` prints (client/cli/entry_print.c): one line for an entry,
 * whatever its name, that steers no terminal and says what the server said.
 *
 * Input: what there is and how it is printed (a byte), type, size, time and
 * mode, the length of the link target (a byte), the target, the path. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "client/cli/entry_print.h"
#include "proto/data/text.h"
#include "tests/fuzz/shown.h"

enum option {
    OPTION_JSON = 1,
    OPTION_DETAILS = 2,
    OPTION_CID = 4,
    OPTION_KNOWN_CID = 8,
    OPTION_TARGET = 16,
};

#define CID "b1:22:1234567890abcdef1234567890abcdef" \
            "1234567890abcdef1234567890abcdef"

static void check_hex(const json_t *hex, const char *path)
{
    char two[3];

    FUZZ_CHECK(json_string_length(hex) == 2 * strlen(path));
    for (size_t k = 0; path[k] != '\0'; k++) {
        (void)snprintf(two, sizeof two, "%02x", (unsigned char)path[k]);
        FUZZ_CHECK(memcmp(json_string_value(hex) + 2 * k, two, 2) == 0);
    }
}

/* It is JSON, in plain ASCII, and has what was put in. */
static void check_json(const char *line, const struct belay_entry *e)
{
    json_t *object = json_loads(line, 0, NULL);
    const json_t *hex = json_object_get(object, "path_hex");
    const json_t *size = json_object_get(object, "size");
    const char *path =
        json_string_value(json_object_get(object, "path"));

    for (const char *p = line; *p != '\0'; p++) {
        FUZZ_CHECK(*p >= 0x20);
    }
    FUZZ_CHECK(json_is_object(object) && path != NULL);
    FUZZ_CHECK(strcmp(path, hex == NULL ? e->path : e->shown) == 0);
    FUZZ_CHECK((hex == NULL) == text_is_utf8(e->path, strlen(e->path)));
    if (hex != NULL) {
        check_hex(hex, e->path);
    }
    FUZZ_CHECK(e->size <= INT64_MAX
                   ? json_integer_value(size) == (json_int_t)e->size
                   : json_real_value(size) > 9e18);
    FUZZ_CHECK((json_object_get(object, "target") != NULL) ==
               (e->target != NULL));
    json_decref(object);
}

static void check_line(const char *line, const struct belay_entry *e,
                       unsigned options)
{
    size_t len = strlen(e->shown);
    const char *name = line;

    shown_check(line, strlen(line));
    if (options & OPTION_DETAILS) {
        name += 11 + strspn(line + 11, " 0123456789T:@-");
        FUZZ_CHECK(strchr("-dl?", line[0]) != NULL);
    }
    FUZZ_CHECK((options & (OPTION_DETAILS | OPTION_CID)) != 0 ||
               strncmp(name, e->shown, len) == 0);
    FUZZ_CHECK(strstr(line, e->shown) != NULL);
    FUZZ_CHECK((options & OPTION_DETAILS) == 0 || e->target == NULL ||
               strcmp(line + strlen(line) - strlen(e->target), e->target) ==
                   0);
}

static void print(const struct belay_entry *e, unsigned options)
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    FUZZ_CHECK(to != NULL);
    FUZZ_CHECK(options & OPTION_JSON
                   ? entry_print_json(to, e)
                   : entry_print_line(to, options & OPTION_DETAILS,
                                      options & OPTION_CID, e));
    FUZZ_CHECK(fclose(to) == 0 && len > 0 && strlen(text) == len);
    FUZZ_CHECK(strchr(text, '\n') == text + len - 1);
    text[len - 1] = '\0';
    if (options & OPTION_JSON) {
        check_json(text, e);
    } else {
        check_line(text, e, options);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, size};
    unsigned options = script_u8(&s);
    struct belay_entry e = {.struct_size = sizeof e};
    size_t target_len;
    size_t len;

    e.type = 1 + script_u8(&s) % 5u;
    e.size = script_u64(&s);
    e.mtime_s = (int64_t)script_u64(&s);
    e.mtime_ns = script_u32(&s) % 1000000000u;
    e.mode = script_u16(&s) & 0777u;
    target_len = script_u8(&s);
    uint8_t *target = script_copy(&s, &target_len);
    uint8_t *bytes = script_rest(&s, &len);
    /* As client/dirjob.c makes it of an answer. */
    len = strnlen((const char *)bytes, len);
    char *path = strndup((const char *)bytes, len);
    char *shown = malloc(TEXT_ESCAPE_SIZE(len) + TEXT_ESCAPE_MIN);
    char *to = malloc(TEXT_ESCAPE_SIZE(target_len) + TEXT_ESCAPE_MIN);
    FUZZ_CHECK(path != NULL && shown != NULL && to != NULL);
    (void)text_escape(shown, TEXT_ESCAPE_SIZE(len) + TEXT_ESCAPE_MIN, path,
                      len);
    (void)text_escape(to, TEXT_ESCAPE_SIZE(target_len) + TEXT_ESCAPE_MIN,
                      target, target_len);
    e.path = path;
    e.shown = shown;
    e.target = options & OPTION_TARGET ? to : NULL;
    e.cid = options & OPTION_KNOWN_CID ? CID : NULL;
    print(&e, options);
    free(path);
    free(shown);
    free(to);
    free(target);
    free(bytes);
    return 0;
}
