#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/ssh.h"

struct row {
    const char *url;
    struct ssh_options options;
    const char *want; /* arguments, each followed by '|' */
};

#define SETTINGS \
    "-T|-o|ClearAllForwardings=yes|-o|ForwardAgent=no|-o|ForwardX11=no|-o|" \
    "PermitLocalCommand=no|-o|ConnectTimeout=10|"

static const struct row rows[] = {
    {"h:f", {NULL, NULL, 0, 10},
     "ssh|" SETTINGS "--|h|belayd --stdio --root .|"},
    {"me@h:/srv/f", {NULL, NULL, 0, 10},
     "ssh|" SETTINGS "-l|me|--|h|belayd --stdio --root /|"},
    {"belay+ssh://me@[::1]:2222/f", {NULL, NULL, 6, 10},
     "ssh|" SETTINGS "-6|-l|me|-p|2222|--|::1|belayd --stdio --root .|"},
    {"h:f", {"/opt/bin/ssh -i  key", NULL, 4, 10},
     "/opt/bin/ssh|-i|key|" SETTINGS "-4|--|h|belayd --stdio --root .|"},
    /* Another program gets nothing that only OpenSSH knows. */
    {"h:f", {" plink\t-batch ", NULL, 4, 10},
     "plink|-batch|--|h|belayd --stdio --root .|"},
    /* No shell of ours, and one word for the shell over there. */
    {"h:f", {"x $(a);'b c'", "./my bin/belayd", 0, 10},
     "x|$(a);'b|c'|--|h|'./my bin/belayd' --stdio --root .|"},
    {"h:f", {"x", "it's", 0, 10}, "x|--|h|'it'\\''s' --stdio --root .|"},
    {"h:f", {"x", "", 0, 10}, "x|--|h|'' --stdio --root .|"},
    {"h:f", {"x", "~/b", 0, 10}, "x|--|h|'~/b' --stdio --root .|"},
    {"h:f", {"x", "$(id)`id`\n\\", 0, 10},
     "x|--|h|'$(id)`id`\n\\' --stdio --root .|"},
};

static void parse(const char *url, struct uri *uri)
{
    struct uri_error where;

    assert_int_equal(uri_parse(url, uri, &where), 0);
}

static void arguments_are_as_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ssh_command command;
        struct uri uri;
        char got[1024] = "";

        parse(rows[i].url, &uri);
        assert_int_equal(ssh_command_make(&uri, &rows[i].options, &command),
                         0);
        for (size_t k = 0; k < command.argc; k++) {
            strcat(got, command.argv[k]);
            strcat(got, "|");
        }
        assert_string_equal(got, rows[i].want);
        assert_null(command.argv[command.argc]);
        ssh_command_clear(&command);
        ssh_command_clear(&command); /* twice is harmless */
    }
}

static void words_have_a_limit(void **state)
{
    const struct ssh_options none = {.command = " \t", .connect_s = 1};
    struct ssh_options many = {.connect_s = 1};
    struct ssh_command command;
    struct uri uri;
    char text[2 * SSH_ARGS_MAX + 1];

    (void)state;
    parse("h:f", &uri);
    assert_int_equal(ssh_command_make(&uri, &none, &command), ERR_SYNTAX);
    assert_null(command.text);
    for (size_t words = 1; words <= SSH_ARGS_MAX; words++) {
        for (size_t k = 0; k < words; k++) {
            memcpy(text + 2 * k, "w ", 2);
        }
        text[2 * words] = '\0';
        many.command = text;
        int want = words <= SSH_ARGS_MAX / 2 ? 0 : ERR_SYNTAX;
        assert_int_equal(ssh_command_make(&uri, &many, &command), want);
        ssh_command_clear(&command);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_are_as_told),
        cmocka_unit_test(words_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
