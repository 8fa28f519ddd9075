/* Configuration files (client/cli/config.c): a setting is known, its value
 * has no blank at its ends and no line end, and a fault has a line.
 *
 * Input: the file. */
#include "client/cli/config.h"
#include "tests/fuzz/fuzz.h"

struct seen {
    unsigned count;
    unsigned line;
    bool refuse;
};

static bool on_setting(void *arg, unsigned line, const char *name,
                       const char *value)
{
    struct seen *seen = arg;
    bool flag = false;

    FUZZ_CHECK(line > seen->line);
    seen->line = line;
    seen->count++;
    FUZZ_CHECK(config_knows(name, &flag));
    FUZZ_CHECK(flag == (value == NULL));
    if (value != NULL) {
        size_t len = strlen(value);

        FUZZ_CHECK(strchr(value, '\n') == NULL);
        FUZZ_CHECK(len == 0 || (value[0] != ' ' && value[0] != '\t' &&
                                value[len - 1] != ' ' &&
                                value[len - 1] != '\t'));
    }
    return !seen->refuse;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned refuse = 0; refuse < 2; refuse++) {
        struct seen seen = {.refuse = refuse != 0};
        char *text = malloc(size + 1);
        unsigned line = 0;
        const char *why;

        FUZZ_CHECK(text != NULL);
        if (size > 0) {
            memcpy(text, data, size);
        }
        text[size] = '\0';
        why = config_parse(text, size, on_setting, &seen, &line);
        /* A text with a NUL has no lines. */
        FUZZ_CHECK(why == NULL || *why != '\0');
        FUZZ_CHECK(why == NULL || seen.count == 0 || line >= seen.line);
        FUZZ_CHECK(!seen.refuse || seen.count == 0 || why != NULL);
        FUZZ_CHECK(!seen.refuse || seen.count <= 1);
        free(text);
    }
    return 0;
}
