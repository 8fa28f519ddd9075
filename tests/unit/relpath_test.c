/* Tests of proto/data/relpath: which paths and names are acceptable.  The
 * vectors of spec/vectors/path.json are run by vectors_data_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/registry.h"
#include "proto/data/relpath.h"

/* A string constant with its length, so that it may contain NUL. */
#define TEXT(s) s, sizeof(s) - 1

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        size_t len;
        int err;
    } rows[] = {
        {TEXT(""), 0},
        {TEXT("a"), 0},
        {TEXT("a/b/c"), 0},
        {TEXT("a b/\xff\xfe/\x01"), 0},
        {TEXT("..."), 0},
        {TEXT("..a/a..b/.a"), 0},
        {TEXT("a\\..\\b"), 0},
        {TEXT("%2e%2e/%00"), 0},
        {TEXT("/"), ERR_PATH},
        {TEXT("/a"), ERR_PATH},
        {TEXT("a/"), ERR_PATH},
        {TEXT("a//b"), ERR_PATH},
        {TEXT("//"), ERR_PATH},
        {TEXT("."), ERR_PATH},
        {TEXT(".."), ERR_PATH},
        {TEXT("./a"), ERR_PATH},
        {TEXT("a/."), ERR_PATH},
        {TEXT("a/./b"), ERR_PATH},
        {TEXT("../a"), ERR_PATH},
        {TEXT("a/.."), ERR_PATH},
        {TEXT("a/../b"), ERR_PATH},
        {TEXT("\0"), ERR_PATH},
        {TEXT("a\0"), ERR_PATH},
        {TEXT("a/b\0c/d"), ERR_PATH},
        {TEXT("..\0"), ERR_PATH},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(relpath_check(rows[i].path, rows[i].len),
                         rows[i].err);
    }
    assert_int_equal(relpath_check(NULL, 0), 0);
    /* Only `len` bytes are looked at. */
    assert_int_equal(relpath_check("a/../b", 1), 0);
    assert_int_equal(relpath_check("a/../b", 2), ERR_PATH);
    assert_int_equal(relpath_check("a/../b", 3), ERR_PATH);
}

static void test_path_limits(void **state)
{
    (void)state;
    char path[LIMIT_PATH + 2];
    memset(path, 'x', sizeof path);
    assert_int_equal(relpath_check(path, LIMIT_COMPONENT), 0);
    assert_int_equal(relpath_check(path, LIMIT_COMPONENT + 1), ERR_PATH);
    for (size_t i = LIMIT_COMPONENT; i < sizeof path;
         i += LIMIT_COMPONENT + 1) {
        path[i] = '/';
    }
    path[LIMIT_PATH - 1] = 'x';
    path[LIMIT_PATH] = 'x';
    path[LIMIT_PATH - 100] = '/';
    assert_int_equal(relpath_check(path, LIMIT_PATH), 0);
    assert_int_equal(relpath_check(path, LIMIT_PATH + 1), ERR_PATH);
    /* As many components as possible. */
    for (size_t i = 0; i < sizeof path; i++) {
        path[i] = i % 2 == 0 ? 'd' : '/';
    }
    assert_int_equal(relpath_check(path, LIMIT_PATH - 1), 0);
    assert_int_equal(relpath_check(path, LIMIT_PATH), ERR_PATH);
}

static void test_walk(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *parts[4];
    } rows[] = {
        {"", {NULL}},
        {"a", {"a", NULL}},
        {"iso/demo.bin", {"iso", "demo.bin", NULL}},
        {"a/bb/ccc", {"a", "bb", "ccc", NULL}},
        /* Not acceptable, but the walk must still end. */
        {"/", {"", NULL}},
        {"a//b", {"a", "", "b", NULL}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct relpath_part part;
        size_t pos = 0;
        size_t n = 0;
        while (relpath_next(rows[i].path, strlen(rows[i].path), &pos, &part)) {
            assert_non_null(rows[i].parts[n]);
            assert_int_equal(part.len, strlen(rows[i].parts[n]));
            assert_memory_equal(part.name, rows[i].parts[n], part.len);
            n++;
        }
        assert_null(rows[i].parts[n]);
        assert_false(relpath_next(rows[i].path, strlen(rows[i].path), &pos,
                                  &part));
    }
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t len;
        bool posix;
        bool windows;
    } rows[] = {
        {TEXT("demo.bin"), true, true},
        {TEXT(".profile"), true, true},
        {TEXT("\xff\xfe"), true, true},
        {TEXT("com"), true, true},
        {TEXT("com10"), true, true},
        {TEXT("console"), true, true},
        {TEXT("icon.con"), true, true},
        {TEXT("conin"), true, true},
        {TEXT(" con"), true, true},
        {TEXT(""), false, false},
        {TEXT("."), false, false},
        {TEXT(".."), false, false},
        {TEXT("/"), false, false},
        {TEXT("a/b"), false, false},
        {TEXT("a\0b"), false, false},
        {TEXT("a\0"), false, false},
        {TEXT("..."), true, false},
        {TEXT("a\\b"), true, false},
        {TEXT("C:"), true, false},
        {TEXT("a:b"), true, false},
        {TEXT("a."), true, false},
        {TEXT("a "), true, false},
        {TEXT(" "), true, false},
        {TEXT("CON"), true, false},
        {TEXT("con"), true, false},
        {TEXT("Aux.h"), true, false},
        {TEXT("nul.tar.gz"), true, false},
        {TEXT("con .txt"), true, false},
        {TEXT("conin$"), true, false},
        {TEXT("CONOUT$.x"), true, false},
        {TEXT("com0"), true, false},
        {TEXT("lPt9.x"), true, false},
        {TEXT("com\xc2\xb9"), true, false},
        {TEXT("LPT\xc2\xb3.log"), true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(
            relpath_name_ok(rows[i].name, rows[i].len, RELPATH_POSIX),
            rows[i].posix);
        assert_int_equal(
            relpath_name_ok(rows[i].name, rows[i].len, RELPATH_WINDOWS),
            rows[i].windows);
    }
    char name[LIMIT_COMPONENT + 1];
    memset(name, 'n', sizeof name);
    assert_true(relpath_name_ok(name, LIMIT_COMPONENT, RELPATH_WINDOWS));
    assert_false(relpath_name_ok(name, LIMIT_COMPONENT + 1, RELPATH_POSIX));
    assert_false(relpath_name_ok(NULL, 0, RELPATH_POSIX));
}

/* Any bytes: a path is acceptable exactly when the walk shows acceptable
 * names only and these, joined again, are the path. */
static void test_check_agrees_with_walk(void **state)
{
    (void)state;
    static const char alphabet[] = {'.', '/', 'a', '\0', '\\'};
    uint32_t seed = 7;
    size_t good = 0;
    for (int round = 0; round < 100000; round++) {
        char path[8];
        size_t len = (size_t)round % sizeof path;
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525u + 1013904223u;
            path[i] = alphabet[(seed >> 12) % sizeof alphabet];
        }
        bool ok = true;
        size_t pos = 0;
        size_t rebuilt = 0;
        struct relpath_part part;
        while (relpath_next(path, len, &pos, &part)) {
            ok = ok && relpath_name_ok(part.name, part.len, RELPATH_POSIX);
            rebuilt += part.len + (rebuilt > 0 ? 1 : 0);
        }
        ok = ok && rebuilt == len;
        assert_int_equal(relpath_check(path, len), ok ? 0 : ERR_PATH);
        good += ok ? 1 : 0;
    }
    assert_true(good > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_path_limits),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_check_agrees_with_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
