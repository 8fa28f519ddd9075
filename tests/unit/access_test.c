/* Rules of who may read what: the longest path decides, and nothing but a
 * good file makes rules. An oracle that looks at each rule by components
 * stands beside the decision. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#include "server/access.h"
#include "server/textfile.h"
#include "server/tokens.h"

#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct bytes_view
view(const char *text)
{
    return (struct bytes_view){ (const uint8_t *)text, strlen(text) };
}

static struct access *
rules(const char *text)
{
    struct access *access = NULL;
    char why[ACCESS_WHY_MAX];
    if (access_new(view(text), &access, why) != 0) {
        fail_msg("%s", why);
    }
    return access;
}

static void
test_decisions(void **state)
{
    static const char text[] = "# a comment\n"
                               "\n"
                               "* /pub\n"
                               "token:alice,cert:build-7 /team\n"
                               "key:sha256:" KEY "\t /team/secret\n"
                               "- /pub/off\n"
                               "token:bob /pub/off/bob here\n";
    static const struct {
        const char *path;
        bool read[5]; /* nobody, alice, bob, build-7, the key */
        bool pass[5];
    } cases[] = {
        { "", { 0, 0, 0, 0, 0 }, { 1, 1, 1, 1, 1 } },
        { "pub", { 1, 1, 1, 1, 1 }, { 1, 1, 1, 1, 1 } },
        { "pub/x/y", { 1, 1, 1, 1, 1 }, { 1, 1, 1, 1, 1 } },
        { "pubx", { 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0 } },
        { "pu", { 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0 } },
        { "pub/off", { 0, 0, 0, 0, 0 }, { 0, 0, 1, 0, 0 } },
        { "pub/off/x", { 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0 } },
        { "pub/off/bob here", { 0, 0, 1, 0, 0 }, { 0, 0, 1, 0, 0 } },
        { "pub/off/bob here/z", { 0, 0, 1, 0, 0 }, { 0, 0, 1, 0, 0 } },
        { "pub/offx", { 1, 1, 1, 1, 1 }, { 1, 1, 1, 1, 1 } },
        { "team", { 0, 1, 0, 1, 0 }, { 0, 1, 0, 1, 1 } },
        { "team/secret", { 0, 0, 0, 0, 1 }, { 0, 0, 0, 0, 1 } },
        { "team/secret/a", { 0, 0, 0, 0, 1 }, { 0, 0, 0, 0, 1 } },
        { "team/secrets", { 0, 1, 0, 1, 0 }, { 0, 1, 0, 1, 0 } },
        { "else", { 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0 } },
    };
    struct access_who who[5] = {
        { .token = NULL },
        { .token = "alice" },
        { .token = "bob" },
        { .cert = "build-7" },
        { .has_key = true },
    };
    (void)state;
    for (size_t i = 0; i < HASH_LEN; i++) {
        who[4].key[i] = (uint8_t)(i % 8 * 0x22 + 0x01);
    }
    struct access *access = rules(text);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t k = 0; k < 5; k++) {
            if (access_may_read(access, &who[k], cases[i].path) !=
                    cases[i].read[k] ||
                access_may_pass(access, &who[k], cases[i].path) !=
                    cases[i].pass[k]) {
                fail_msg("'%s' for %zu", cases[i].path, k);
            }
        }
    }
    /* Names of one kind are not those of another. */
    struct access_who cert_alice = { .cert = "alice" };
    assert_false(access_may_read(access, &cert_alice, "team"));
    assert_true(access_names_certs(access));
    access_free(access);
}

static void
test_empty_lets_nobody(void **state)
{
    static const char *const texts[] = { "", "\n\n", "# * /\n", "- /\n" };
    const struct access_who who = { .token = "alice" };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct access *access = rules(texts[i]);
        assert_false(access_may_read(access, &who, ""));
        assert_false(access_may_read(access, &who, "a"));
        assert_false(access_may_pass(access, &who, ""));
        assert_false(access_names_certs(access));
        access_free(access);
    }
    access_free(NULL);
}

static void
test_wrong_files(void **state)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        { "*", "line 1" }, { "/pub", "line 1" }, { "* pub", "line 1" },
        { "* /pub/", "line 1" }, { "* //pub", "line 1" },
        { "* /a/../b", "line 1" }, { "#\n* /.", "line 2" },
        { "all /a", "line 1" }, { "*,, /a", "line 1" }, { ", /a", "line 1" },
        { "token: /a", "line 1" }, { "token:a b /a", "line 1" },
        { "token:a/b /a", "line 1" }, { "cert:\xc3\xa4 /a", "line 1" },
        { "key:" KEY " /a", "line 1" },
        { "key:sha256:" KEY "0 /a", "line 1" },
        { "-,* /a", "line 1" }, { " * /a", "line 1" },
        { "* /a\n\n- /a", "same path" }, { "* /a\x1b[2J", "line 1" },
        { "* /a\r\n", "line 1" }, { "* /\x7f", "line 1" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct access *access = NULL;
        char why[ACCESS_WHY_MAX];
        if (access_new(view(cases[i].text), &access, why) != ERR_SYNTAX ||
            access != NULL || strstr(why, cases[i].why) == NULL) {
            fail_msg("case %zu: %s", i, why);
        }
    }
    /* A NUL is a control character like others. */
    struct access *access = NULL;
    char why[ACCESS_WHY_MAX];
    assert_int_equal(access_new((struct bytes_view){
                                    (const uint8_t *)"* /a\0b", 6 },
                                &access, why), ERR_SYNTAX);
}

static void
test_limits(void **state)
{
    static char text[ACCESS_RULES_MAX * 16 + 64];
    struct access *access = NULL;
    char why[ACCESS_WHY_MAX];
    size_t at = 0;
    (void)state;
    for (unsigned i = 0; i < ACCESS_RULES_MAX; i++) {
        at += (size_t)sprintf(text + at, "* /d%u\n", i);
    }
    access = rules(text);
    const struct access_who who = { .token = NULL };
    assert_true(access_may_read(access, &who, "d4095/x"));
    assert_false(access_may_read(access, &who, "d4096"));
    access_free(access);
    sprintf(text + at, "* /more\n");
    access = NULL;
    assert_int_equal(access_new(view(text), &access, why), ERR_SYNTAX);
    assert_non_null(strstr(why, "line 4097"));
    at = 0;
    for (unsigned i = 0; i < ACCESS_WHO_MAX; i++) {
        at += (size_t)sprintf(text + at, "%stoken:t%u", i > 0 ? "," : "", i);
    }
    sprintf(text + at, " /a\n");
    access_free(rules(text));
    sprintf(text + at, ",token:last /a\n");
    assert_int_equal(access_new(view(text), &access, why), ERR_SYNTAX);
}

/* ---- The oracle: components one by one, over all rules. */

static bool
is_above(const char *rule, const char *path)
{
    size_t n = strlen(rule);
    return n == 0 || (strncmp(rule, path, n) == 0 &&
                      (path[n] == '/' || path[n] == '\0'));
}

static void
test_against_oracle(void **state)
{
    static const char *const paths[] = { "", "a", "a/b", "a/b/c", "a-b",
                                         "a/bc", "b", "b/a", "b/a/b" };
    enum { N = sizeof(paths) / sizeof(paths[0]) };
    const struct access_who who = { .token = NULL };
    (void)state;
    /* Each rule is missing, open or closed: 3^9 files. */
    for (unsigned code = 0; code < 19683; code += 7) {
        char text[400] = "";
        int mark[N];
        unsigned rest = code;
        for (unsigned i = 0; i < N; i++, rest /= 3) {
            mark[i] = (int)(rest % 3);
            if (mark[i] != 0) {
                sprintf(text + strlen(text), "%c /%s\n",
                        mark[i] == 1 ? '*' : '-', paths[i]);
            }
        }
        struct access *access = rules(text);
        for (unsigned p = 0; p < N; p++) {
            size_t best = 0;
            bool open = false, pass = false;
            for (unsigned i = 0; i < N; i++) {
                size_t n = strlen(paths[i]) + 1;
                if (mark[i] != 0 && is_above(paths[i], paths[p]) &&
                    n > best) {
                    best = n;
                    open = mark[i] == 1;
                }
                pass = pass || (mark[i] == 1 &&
                                is_above(paths[p], paths[i]) && i != p);
            }
            if (access_may_read(access, &who, paths[p]) != open ||
                access_may_pass(access, &who, paths[p]) != (open || pass)) {
                fail_msg("'%s' under\n%s", paths[p], text);
            }
        }
        access_free(access);
    }
}

/* ---- Tokens. */

static void
test_tokens(void **state)
{
    static const struct {
        const char *text;
        int err;
        uint32_t count;
        const char *why;
    } cases[] = {
        { "", 0, 0, "" },
        { "# x\nalice sha256:" KEY "\n", 0, 1, "" },
        { "alice\t  sha256:" KEY, 0, 1, "" },
        { "alice sha256:" KEY "\nbob sha256:" KEY "\n", ERR_SYNTAX, 0,
          "line 2" },
        { "alice", ERR_SYNTAX, 0, "line 1" },
        { "alice " KEY, ERR_SYNTAX, 0, "line 1" },
        { "alice sha256:" KEY " ", ERR_SYNTAX, 0, "line 1" },
        { "al ice sha256:" KEY, ERR_SYNTAX, 0, "line 1" },
        { " sha256:" KEY, ERR_SYNTAX, 0, "line 1" },
        { "\na\x01 sha256:" KEY, ERR_SYNTAX, 0, "line 2" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tokens tokens;
        char why[TOKENS_WHY_MAX] = "";
        int err = tokens_parse(view(cases[i].text), &tokens, why);
        if (err != cases[i].err || tokens.count != cases[i].count ||
            strstr(why, cases[i].why) == NULL) {
            fail_msg("case %zu: %s", i, why);
        }
        tokens_clear(&tokens);
        tokens_clear(&tokens);
    }
}

static void
test_new_tokens(void **state)
{
    char token[2][TOKENS_TEXT_LEN + 1];
    char line[2][TOKENS_LINE_MAX];
    char text[2 * TOKENS_LINE_MAX];
    struct hasher *hasher = hasher_new();
    struct tokens tokens;
    char why[TOKENS_WHY_MAX];
    uint8_t digest[HASH_LEN];
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tokens_make("alice", token[i], line[i]), 0);
        assert_int_equal(strlen(token[i]), TOKENS_TEXT_LEN);
        assert_null(strstr(line[i], token[i]));
    }
    assert_string_not_equal(token[0], token[1]);
    snprintf(text, sizeof(text), "%s%s", line[0], line[1]);
    assert_int_equal(tokens_parse(view(text), &tokens, why), 0);
    assert_int_equal(tokens.count, 2);
    assert_string_equal(tokens.name[1], "alice");
    assert_int_equal(hash_sha256(hasher, token[1], TOKENS_TEXT_LEN, digest),
                     0);
    assert_memory_equal(tokens.digest[1], digest, HASH_LEN);
    tokens_clear(&tokens);
    hasher_free(hasher);
    static const char *const names[] = { "", "a b", "a\n", "a:b", "\xff" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(tokens_make(names[i], token[0], line[0]),
                         ERR_SYNTAX);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_empty_lets_nobody),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_against_oracle),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_new_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
