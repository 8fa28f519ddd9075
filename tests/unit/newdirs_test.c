/* Directories that go again if nothing came into them. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/newdirs.h"

static char top[] = "/tmp/belay-newdirs-XXXXXX";

static bool
is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void
make_file(const char *path)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
}

/* What happens between making and settling, and what is there at the end, of
 * a, a/b, a/b/c in this order. */
static const struct {
    const char *path;
    const char *keep;
    const char *file;
    const char *mine; /* was there before */
    const char *replaced;
    bool left[3];
} cases[] = {
    { .path = "a/b/c" },
    { .path = "a//b/c/" },
    { .path = "./a/b/c" },
    { .path = "a/b/c", .mine = "a", .left = { true } },
    { .path = "a/b/c", .file = "a/b/f", .left = { true, true } },
    { .path = "a/b/c", .keep = "a/b", .left = { true, true } },
    { .path = "a/b/c", .keep = "a/b/c", .left = { true, true, true } },
    { .path = "a/b/c", .keep = "a/b/cd", .left = { true, true } },
    { .path = "a/b/c", .replaced = "a/b/c", .left = { true, true, true } },
};

static void
test_what_stays(void **state)
{
    static const char *const names[] = { "a", "a/b", "a/b/c" };
    (void)state;

    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        struct newdirs dirs = { 0 };

        if (cases[k].mine != NULL) {
            assert_int_equal(mkdir(cases[k].mine, 0700), 0);
        }
        newdirs_make(&dirs, cases[k].path);
        newdirs_make(&dirs, cases[k].path);
        for (size_t n = 0; n < 3; n++) {
            assert_true(is_there(names[n]));
        }
        if (cases[k].keep != NULL) {
            newdirs_keep(&dirs, cases[k].keep);
        }
        if (cases[k].file != NULL) {
            make_file(cases[k].file);
        }
        if (cases[k].replaced != NULL) { /* while the old one is in use */
            assert_int_equal(rename(cases[k].replaced, "old"), 0);
            assert_int_equal(mkdir(cases[k].replaced, 0700), 0);
        }
        newdirs_settle(&dirs);
        assert_int_equal(dirs.count, 0);
        assert_null(dirs.dir);
        for (size_t n = 0; n < 3; n++) {
            if (is_there(names[n]) != cases[k].left[n]) {
                fail_msg("case %zu: %s", k, names[n]);
            }
        }
        (void)remove("a/b/f");
        (void)remove("old");
        for (size_t n = 3; n > 0; n--) {
            (void)rmdir(names[n - 1]);
        }
        assert_false(is_there("a"));
    }
}

static void
test_what_cannot_be_made(void **state)
{
    struct newdirs dirs = { 0 };
    (void)state;

    make_file("f");
    newdirs_make(&dirs, "f/a");
    newdirs_make(&dirs, "");
    newdirs_make(&dirs, "/");
    assert_int_equal(dirs.count, 0);
    newdirs_settle(&dirs);
    assert_true(is_there("f"));
    assert_int_equal(unlink("f"), 0);
}

/* Many, so that the table grows; the order of removal is right. */
static void
test_many(void **state)
{
    struct newdirs dirs = { 0 };
    char path[32];
    (void)state;

    for (unsigned k = 0; k < 100; k++) {
        snprintf(path, sizeof(path), "many/%u/x", k);
        newdirs_make(&dirs, path);
        assert_true(is_there(path));
    }
    assert_int_equal(dirs.count, 201);
    newdirs_settle(&dirs);
    assert_false(is_there("many"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_what_cannot_be_made),
        cmocka_unit_test(test_many),
    };

    if (mkdtemp(top) == NULL || chdir(top) != 0) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(top) != 0 ? 1 : failed;
}
