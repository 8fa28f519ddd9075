/* client/cli/config.h: lines of the configuration file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/cli/config.h"

struct seen {
    char text[512];
    bool full; /* no memory from the first on */
};

static bool on_setting(void *arg, unsigned line, const char *name,
                       const char *value)
{
    struct seen *seen = arg;
    size_t len = strlen(seen->text);
    if (seen->full) {
        return false;
    }
    snprintf(seen->text + len, sizeof seen->text - len, "%u:%s=%s;", line,
             name, value != NULL ? value : "(on)");
    return true;
}

static void texts(void **state)
{
    static const struct {
        const char *text;
        const char *seen;
        const char *why; /* part of the reason; NULL: none */
        unsigned line;
    } rows[] = {
        {"", "", NULL, 0},
        {"\n\n", "", NULL, 2},
        {"# comment\n  # another\n\t\n", "", NULL, 3},
        {"jobs=3", "1:jobs=3;", NULL, 1},
        {"jobs = 3\n", "1:jobs=3;", NULL, 1},
        {"  jobs\t=  3 \r\n", "1:jobs=3;", NULL, 1},
        {"log-file = /a b/c = d # e\n", "1:log-file=/a b/c = d # e;", NULL,
         1},
        {"compress = yes\nquiet = no\nverbose=yes\n",
         "1:compress=(on);3:verbose=(on);", NULL, 3},
        {"jobs = 3\njobs = 4\n", "1:jobs=3;2:jobs=4;", NULL, 2},
        {"proxy =\n", "1:proxy=;", NULL, 1},
        {"jobs = 3\nnonsense\n", "1:jobs=3;", "expected NAME", 2},
        {"output = x\n", "", "no such setting", 1},
        {"Jobs = 3\n", "", "no such setting", 1},
        {"--jobs = 3\n", "", "no such setting", 1},
        {"= 3\n", "", "no such setting", 1},
        {"jobs =\n", "", "missing", 1},
        {"jobs = \t \n", "", "missing", 1},
        {"compress = true\n", "", "yes or no", 1},
        {"compress =\n", "", "yes or no", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i].text);
        char *text = malloc(len + 1); /* exact, for the sanitizer */
        struct seen seen = {.full = false};
        unsigned line;
        assert_non_null(text);
        memcpy(text, rows[i].text, len + 1);
        const char *why = config_parse(text, len, on_setting, &seen, &line);
        if (rows[i].why == NULL) {
            assert_null(why);
        } else {
            assert_non_null(why);
            assert_non_null(strstr(why, rows[i].why));
        }
        assert_string_equal(seen.text, rows[i].seen);
        assert_int_equal(line, rows[i].line);
        free(text);
    }
}

static void no_text_no_memory(void **state)
{
    char binary[] = "jobs = 3\n\0jobs = 4\n";
    char good[] = "jobs = 3\n";
    struct seen seen = {.full = false};
    unsigned line;
    (void)state;
    assert_non_null(config_parse(binary, sizeof binary - 1, on_setting, &seen,
                                 &line));
    assert_string_equal(seen.text, "");
    assert_int_equal(line, 0);
    seen.full = true;
    assert_string_equal(config_parse(good, strlen(good), on_setting, &seen,
                                     &line), "out of memory");
}

static void names(void **state)
{
    size_t count = 0;
    bool flag;
    (void)state;
    while (config_name(count) != NULL) {
        assert_true(config_knows(config_name(count), &flag));
        count++;
    }
    assert_true(count > 20);
    assert_false(config_knows("config", &flag));
    assert_false(config_knows("output", &flag));
    assert_false(config_knows("overwrite", &flag));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(no_text_no_memory),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
