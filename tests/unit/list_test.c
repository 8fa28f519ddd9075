#include "client/cli/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define URL "belay+tcp://host/dir/name"

struct faults {
    unsigned line[64];
    unsigned count;
};

static void on_fault(void *arg, unsigned line, const char *why)
{
    struct faults *faults = arg;

    assert_true(why != NULL && *why != '\0');
    faults->line[faults->count++] = line;
}

static bool read_text(struct list *list, const char *text, size_t len,
                      char separator, struct faults *faults)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, len, "r");
    bool good;

    assert_non_null(file);
    good = list_read(list, file, separator, on_fault, faults);
    (void)fclose(file);
    return good;
}

static void assert_text(const char *got, const char *want)
{
    if (want == NULL) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, want);
    }
}

static void assert_item(const struct list_item *item, const char *out,
                        const char *dir, unsigned line)
{
    assert_string_equal(item->url, URL);
    assert_text(item->out, out);
    assert_text(item->dir, dir);
    assert_int_equal(item->line, line);
}

static void entries(void **state)
{
    static const char text[] = "\n# " URL "\n" URL "\n"
                               "\t " URL " out=a dir=\"b c\" \r\n"
                               URL "\tout=\"\\\"\\\\\\n\\t\"";
    struct list list = {0};
    struct faults faults = {0};

    (void)state;
    assert_true(read_text(&list, text, sizeof text - 1, '\n', &faults));
    assert_int_equal(faults.count, 0);
    assert_int_equal(list.count, 3);
    assert_item(&list.items[0], NULL, NULL, 3);
    assert_item(&list.items[1], "a", "b c", 4);
    assert_item(&list.items[2], "\"\\\n\t", NULL, 5);
    list_free(&list);
}

static void ended_by_nul(void **state)
{
    static const char text[] = URL "\nout=x\0" URL "\0#\0";
    struct list list = {0};
    struct faults faults = {0};

    (void)state;
    assert_true(read_text(&list, text, sizeof text - 1, '\0', &faults));
    assert_int_equal(list.count, 2);
    assert_item(&list.items[0], "x", NULL, 1);
    assert_item(&list.items[1], NULL, NULL, 2);
    assert_int_equal(faults.count, 1);
    assert_int_equal(faults.line[0], 3);
    list_free(&list);
}

static void bad_entries(void **state)
{
    static const char *const bad[] = {
        "x", URL " a", URL " a=b", URL " out=", URL " out=a out=b",
        URL " out=\"a", URL " out=\"\\q\"", URL " out=\"a\"b",
        URL " sha256=00", "\"\"", "belay+tcp://host/", "=",
    };

    (void)state;
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        struct list list = {0};
        struct faults faults = {0};

        assert_true(read_text(&list, bad[k], strlen(bad[k]), '\n', &faults));
        assert_int_equal(list.count, 0);
        assert_int_equal(faults.count, 1);
        list_free(&list);
    }
}

/* The bound on an entry, from both sides. */
static void long_entries(void **state)
{
    char *text = malloc(LIST_ENTRY_MAX + 8);

    (void)state;
    assert_non_null(text);
    for (unsigned over = 0; over < 2; over++) {
        struct list list = {0};
        struct faults faults = {0};
        size_t len = LIST_ENTRY_MAX + over;

        memset(text, ' ', len);
        memcpy(text, URL, strlen(URL));
        assert_true(read_text(&list, text, len, '\n', &faults));
        assert_int_equal(list.count, 1 - over);
        assert_int_equal(faults.count, over);
        list_free(&list);
    }
    free(text);
}

/* What is written is read as it was. */
static void written_and_read(void **state)
{
    static const struct list_item items[] = {
        {.url = URL, .line = 1},
        {.url = URL, .out = "plain", .dir = "also", .line = 2},
        {.url = URL, .out = "with blank",
         .dir = "\"quotes\" \\ and\nline\tends", .line = 3},
        {.url = URL, .out = "#", .dir = " ", .line = 4,
         .sha256 = "0123456789abcdef0123456789abcdef"
                   "0123456789abcdef0123456789abcdef"},
    };
    struct list list = {0};
    struct faults faults = {0};
    FILE *file = tmpfile();

    (void)state;
    assert_non_null(file);
    for (size_t k = 0; k < 4; k++) {
        list_write(file, &items[k]);
    }
    rewind(file);
    assert_true(list_read(&list, file, '\n', on_fault, &faults));
    assert_int_equal(faults.count, 0);
    assert_int_equal(list.count, 4);
    for (size_t k = 0; k < 4; k++) {
        assert_item(&list.items[k], items[k].out, items[k].dir,
                    items[k].line);
        assert_text(list.items[k].sha256, items[k].sha256);
    }
    list_free(&list);
    (void)fclose(file);
}

static void many(void **state)
{
    struct list list = {0};
    char url[64];

    (void)state;
    for (unsigned k = 0; k < 5000; k++) {
        struct list_item item = {.url = url, .line = k};

        (void)snprintf(url, sizeof url, "belay+tcp://h/%u", k);
        assert_true(list_add(&list, &item));
    }
    for (unsigned k = 0; k < 5000; k++) {
        (void)snprintf(url, sizeof url, "belay+tcp://h/%u", k);
        assert_string_equal(list.items[k].url, url);
        assert_int_equal(list.items[k].line, k);
    }
    list_free(&list);
    list_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries),      cmocka_unit_test(ended_by_nul),
        cmocka_unit_test(bad_entries),  cmocka_unit_test(long_entries),
        cmocka_unit_test(written_and_read), cmocka_unit_test(many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
