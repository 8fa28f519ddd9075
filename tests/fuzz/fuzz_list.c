/* List files (client/cli/list.c): every entry is within its line, and what is
 * written for it is read back as the same.
 *
 * Input: the separator (a byte: even LF, odd NUL), then the file. */
#include "client/cli/list.h"
#include "tests/fuzz/fuzz.h"

struct faults {
    unsigned count;
    unsigned last;
};

static void on_fault(void *arg, unsigned line, const char *why)
{
    struct faults *f = arg;

    FUZZ_CHECK(why != NULL && *why != '\0' && line >= f->last && line > 0);
    f->last = line;
    f->count++;
}

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool plain(const char *text)
{
    return text == NULL || strpbrk(text, "\n\r") == NULL;
}

/* What an entry has to be like to survive a line. */
static void check_again(const struct list_item *item)
{
    struct list again = {0};
    struct faults faults = {0};
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);

    FUZZ_CHECK(file != NULL);
    list_write(file, item);
    FUZZ_CHECK(fclose(file) == 0 && len > 0 && text[len - 1] == '\n');
    file = fmemopen(text, len, "r");
    FUZZ_CHECK(file != NULL);
    FUZZ_CHECK(list_read(&again, file, '\n', on_fault, &faults));
    (void)fclose(file);
    FUZZ_CHECK(faults.count == 0 && again.count == 1);
    FUZZ_CHECK(same(again.items[0].url, item->url) &&
               same(again.items[0].out, item->out) &&
               same(again.items[0].dir, item->dir) &&
               same(again.items[0].mirror, item->mirror) &&
               same(again.items[0].sha256, item->sha256));
    list_free(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, size};
    struct list list = {0};
    struct faults faults = {0};
    char separator = script_u8(&s) % 2 == 0 ? '\n' : '\0';
    size_t len;
    uint8_t *text = script_rest(&s, &len);
    FILE *file = len == 0 ? NULL : fmemopen(text, len, "r");

    if (file != NULL) {
        FUZZ_CHECK(list_read(&list, file, separator, on_fault, &faults));
        (void)fclose(file);
    }
    FUZZ_CHECK(list.count + faults.count <= len);
    for (size_t i = 0; i < list.count; i++) {
        const struct list_item *item = &list.items[i];

        FUZZ_CHECK(item->url != NULL && *item->url != '\0');
        FUZZ_CHECK(strlen(item->url) <= LIST_ENTRY_MAX);
        if (separator == '\n' && plain(item->out) && plain(item->dir) &&
            plain(item->mirror) && i < 8) {
            check_again(item);
        }
    }
    list_free(&list);
    free(text);
    return 0;
}
