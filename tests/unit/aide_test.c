/* The aide starts the commands that it was made for, and no others. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/aide.h"
#include "client/ssh.h"

#define WORD(text) ((char *)(uintptr_t)(text))

/* A command as ssh_command_make() would leave it: one text, words with their
 * ends. */
static char echo_text[] = "sh\0-c\0cat; echo over >&2; exit 7";
static char *echo_argv[] = { WORD("sh"), WORD("-c"),
                             WORD("cat; echo over >&2; exit 7"), NULL };
static char stay_text[] = "sleep\0" "1000";
static char *stay_argv[] = { WORD("sleep"), WORD("1000"), NULL };
static char lost_text[] = "/nonexistent/program";
static char *lost_argv[] = { WORD("/nonexistent/program"), NULL };

static const struct ssh_command commands[] = {
    { .argv = { echo_text, echo_text + 3, echo_text + 6, NULL },
      .argc = 3, .text = echo_text, .text_len = sizeof(echo_text) },
    { .argv = { stay_text, stay_text + 6, NULL },
      .argc = 2, .text = stay_text, .text_len = sizeof(stay_text) },
    { .argv = { lost_text, NULL },
      .argc = 1, .text = lost_text, .text_len = sizeof(lost_text) },
};

static void
wait_for(int fd)
{
    struct pollfd watch = { .fd = fd, .events = POLLIN };
    assert_int_equal(poll(&watch, 1, 20000), 1);
}

static void
read_all(int fd, char *text, size_t cap)
{
    size_t len = 0;
    ssize_t n = -1;

    while (n != 0 && len + 1 < cap) {
        wait_for(fd);
        n = read(fd, text + len, cap - 1 - len);
        assert_true(n >= 0);
        len += (size_t)n;
    }
    text[len] = '\0';
}

static void
talks_and_ends(void **state)
{
    struct aide_program program;
    char text[40];

    (void)state;
    assert_int_equal(aide_start(echo_argv, &program), 0);
    assert_true(program.far);
    assert_int_equal(program.child.pid, 0);
    assert_int_equal(write(program.child.fd, "hello", 5), 5);
    assert_int_equal(shutdown(program.child.fd, SHUT_WR), 0);
    read_all(program.child.fd, text, sizeof(text));
    assert_string_equal(text, "hello");
    read_all(program.child.err_fd, text, sizeof(text));
    assert_string_equal(text, "over\n");
    wait_for(program.child.pidfd);
    assert_true(aide_ended(&program));
    assert_true(WIFEXITED(program.child.status));
    assert_int_equal(WEXITSTATUS(program.child.status), 7);
    assert_true(aide_ended(&program));
    aide_finish(&program);
    assert_false(program.far);
}

static void
is_ended(void **state)
{
    struct aide_program program;
    int watched;

    (void)state;
    assert_int_equal(aide_start(stay_argv, &program), 0);
    assert_false(aide_ended(&program));
    watched = dup(program.child.pidfd);
    aide_finish(&program);
    wait_for(watched); /* it is gone */
    close(watched);
    aide_finish(&program);
}

static void
others_are_refused(void **state)
{
    char *const other[][4] = {
        { WORD("sh"), WORD("-c"), WORD("cat; echo over >&2; exit 8"), NULL },
        { WORD("sh"), WORD("-c"), NULL },
        { WORD("sleep"), WORD("1000"), WORD(""), NULL },
        { WORD("sleep"), WORD("100"), NULL },
        { WORD("sh -c"), WORD("cat; echo over >&2; exit 7"), NULL },
        { NULL },
    };
    struct aide_program program;
    static char large[AIDE_WORDS_MAX + 2];
    char *const too_long[] = { large, NULL };

    (void)state;
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        errno = 0;
        assert_int_equal(aide_start(other[i], &program), ERR_DENIED);
        assert_int_equal(errno, EPERM);
        aide_finish(&program);
    }
    memset(large, 'x', sizeof(large) - 1);
    assert_int_equal(aide_start(too_long, &program), ERR_DENIED);
    assert_int_equal(aide_start(lost_argv, &program), ERR_NOT_FOUND);
    assert_int_equal(errno, ENOENT);
}

/* As many as there may be, and one more. */
static void
has_a_limit(void **state)
{
    static struct aide_program program[AIDE_PROGRAMS_MAX + 1];
    unsigned count = 0;

    (void)state;
    while (count <= AIDE_PROGRAMS_MAX &&
           aide_start(stay_argv, &program[count]) == 0) {
        count++;
    }
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(count, AIDE_PROGRAMS_MAX);
    while (count > 0) {
        aide_finish(&program[--count]);
    }
    assert_int_equal(aide_start(stay_argv, &program[0]), 0);
    aide_finish(&program[0]);
}

static void
records_nothing_unasked(void **state)
{
    const uint8_t pin[HASH_LEN] = { 1 };
    char why[TLS_TEXT_MAX] = "";

    (void)state;
    assert_false(aide_records("/some/file"));
    assert_int_equal(aide_record("host", 1, pin, why), ERR_DENIED);
    assert_string_not_equal(why, "");
}

static int
set_up(void **state)
{
    const struct aide_duties duties = { .commands = commands, .count = 3 };
    struct ssh_command large = { .text_len = AIDE_WORDS_MAX + 1 };
    const struct aide_duties wrong = { .commands = &large, .count = 1 };

    (void)state;
    if (aide_prepare(&wrong) != ERR_LIMIT || aide_prepare(&duties) != 0) {
        return 1;
    }
    return aide_prepare(&duties) == ERR_STATE ? 0 : 1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talks_and_ends),
        cmocka_unit_test(is_ended),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(has_a_limit),
        cmocka_unit_test(records_nothing_unasked),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
