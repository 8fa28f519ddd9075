/* proto/data/note.h: names, keys and their text, signature lines.  Which
 * signatures count is in vectors_manifest_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/limits.h"
#include "proto/data/note.h"

static struct hasher *hasher;

static int setup(void **state)
{
    (void)state;
    hasher = hasher_new();
    return hasher != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    hasher_free(hasher);
    return 0;
}

static void names(void **state)
{
    static const struct {
        const char *name;
        bool ok;
    } rows[] = {
        {"a", true},         {"example.org/releases", true},
        {"sch\xc3\xb6n", true}, {"", false},
        {"a b", false},      {"a+b", false},
        {"a\n", false},      {"a\x7f", false},
        {"a\xff", false},    {"\xed\xa0\x80", false},
    };
    char longest[LIMIT_COMPONENT + 2];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(note_name_ok(rows[i].name, strlen(rows[i].name)),
                         rows[i].ok);
    }
    memset(longest, 'x', sizeof longest);
    assert_true(note_name_ok(longest, LIMIT_COMPONENT));
    assert_false(note_name_ok(longest, LIMIT_COMPONENT + 1));
    assert_false(note_name_ok("a\0b", 3));
}

static void key_text(void **state)
{
    /* The key of the vectors; its id was computed by the oracle. */
    static const char text[] = "example.org/releases+92811c43+"
                               "AQJpCjHRyp/jUdK01pQUbk9b0Z3iqBG1LQfhaS+lpUeU";
    char back[NOTE_KEY_MAX];
    struct note_key key;
    (void)state;
    assert_int_equal(note_key_parse(hasher, text, strlen(text), &key), 0);
    assert_int_equal(key.name_len, 20);
    assert_memory_equal(key.name, "example.org/releases", 20);
    assert_memory_equal(key.id, "\x92\x81\x1c\x43", 4);
    note_key_encode(&key, back);
    assert_string_equal(back, text);
    /* Any other character at any place is another text or none. */
    for (size_t i = 0; i < strlen(text); i++) {
        char spoiled[sizeof text];
        memcpy(spoiled, text, sizeof text);
        spoiled[i] = text[i] == 'A' ? 'B' : 'A';
        assert_int_equal(
            note_key_parse(hasher, spoiled, strlen(text), &key), ERR_SYNTAX);
        assert_int_equal(note_key_parse(hasher, text, i, &key), ERR_SYNTAX);
    }
    assert_int_equal(note_key_parse(hasher, "", 0, &key), ERR_SYNTAX);
}

static struct bytes_view view(const char *text)
{
    return (struct bytes_view){(const uint8_t *)text, strlen(text)};
}

static void make_key(uint8_t first, const char *name,
                     uint8_t seed[SIGN_SEED_LEN], struct note_key *key)
{
    uint8_t public_key[SIGN_PUBLIC_LEN];
    memset(seed, first, SIGN_SEED_LEN);
    assert_int_equal(sign_public(seed, public_key), 0);
    assert_int_equal(
        note_key_init(hasher, name, strlen(name), public_key, key), 0);
}

static void lines_and_limits(void **state)
{
    static const char text[] = "a text\nof lines\n";
    uint8_t seed[SIGN_SEED_LEN], signature[SIGN_LEN];
    struct note_key keys[2];
    struct note_fault fault;
    char line[NOTE_LINE_MAX];
    char longest[LIMIT_COMPONENT + 1];
    bool verified[2] = {true, true};
    (void)state;
    memset(longest, 'x', LIMIT_COMPONENT);
    longest[LIMIT_COMPONENT] = '\0';
    make_key(2, "other", seed, &keys[0]);
    make_key(1, longest, seed, &keys[1]);
    assert_int_equal(sign_make(seed, text, strlen(text), signature), 0);
    note_line_encode(&keys[1], signature, line);
    assert_int_equal(strlen(line), NOTE_LINE_MAX - 1);

    assert_int_equal(note_check(view(text), view(line), keys, 2, verified,
                                &fault), 0);
    assert_false(verified[0]);
    assert_true(verified[1]);
    assert_int_equal(note_check(view(text), view(line), keys, 1, verified,
                                &fault), ERR_NO_KEY);
    assert_int_equal(note_check(view("a text\nof linez\n"), view(line), keys,
                                2, verified, &fault), ERR_SIGNATURE);
    assert_int_equal(fault.line, 1);

    size_t len = strlen(line);
    char *many = malloc((MAX_NOTE_LINES + 1) * len + 1);
    assert_non_null(many);
    for (size_t i = 0; i <= MAX_NOTE_LINES; i++) {
        memcpy(many + i * len, line, len + 1);
    }
    assert_int_equal(note_check(view(text), view(many), keys, 2, verified,
                                &fault), ERR_LIMIT);
    assert_int_equal(fault.line, MAX_NOTE_LINES + 1);
    many[MAX_NOTE_LINES * len] = '\0';
    assert_int_equal(note_check(view(text), view(many), keys, 2, verified,
                                &fault), 0);
    free(many);
}

static void malformed_lines(void **state)
{
    static const char *const rows[] = {
        "\xe2\x80\x94 name\n",       "\xe2\x80\x94 name \n",
        "\xe2\x80\x94 name AAA\n",   "\xe2\x80\x94 na+me AAAA\n",
        "\xe2\x80\x94  AAAA\n",      "\xe2\x80\x94 name AA==AAAA\n",
        "- name AAAA\n",             "\n",
        "\xe2\x80\x94 name AAAA",    "\xe2\x80\x94 name AAAA AAAA\n",
    };
    struct note_fault fault;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(note_check(view("x\n"), view(rows[i]), NULL, 0, NULL,
                                    &fault), ERR_MANIFEST);
    }
    /* Long base64 is no error, but padding inside of it is. */
    char line[5000] = "\xe2\x80\x94 name ";
    size_t head = strlen(line);
    memset(line + head, 'A', 4000);
    memcpy(line + head + 4000, "\n", 2);
    assert_int_equal(note_check(view("x\n"), view(line), NULL, 0, NULL,
                                &fault), ERR_NO_KEY);
    line[head + 1023] = '=';
    assert_int_equal(note_check(view("x\n"), view(line), NULL, 0, NULL,
                                &fault), ERR_MANIFEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(key_text),
        cmocka_unit_test(lines_and_limits),
        cmocka_unit_test(malformed_lines),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
