/* The file of known hosts: strict reading, changes that leave the rest as it
 * is, several writers, and what is no good. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/knownhosts.h"

#define A "sha256:" \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:" \
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char dir[] = "/tmp/belay-known-XXXXXX";
static char path[200];

static void
put(const char *text, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    fclose(file);
}

static void
holds(const char *text)
{
    static char buf[65536];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    buf[fread(buf, 1, sizeof(buf) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(buf, text);
}

static size_t
count_of(const char *host, uint16_t port)
{
    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    char why[TLS_TEXT_MAX];
    size_t count = 99;
    if (knownhosts_find(path, host, port, pins, &count, why) != 0) {
        fail_msg("%s", why);
    }
    return count;
}

static int
add(const char *host, uint16_t port, uint8_t fill)
{
    uint8_t pin[HASH_LEN];
    char why[TLS_TEXT_MAX] = "";
    memset(pin, fill, sizeof(pin));
    int err = knownhosts_add(path, host, port, pin, why);
    assert_int_equal(why[0] != '\0', err != 0);
    return err;
}

static void
test_reading(void **state)
{
    static const char text[] = "# who is known\n"
                               "\n"
                               "host:7245 " A "\n"
                               "host:7246 " B "\n"
                               "host:7245 " B "\n"
                               "[::1]:7245 " A; /* without a line end */
    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    char why[TLS_TEXT_MAX];
    size_t count = 0;
    (void)state;
    unlink(path);
    assert_int_equal(count_of("host", 7245), 0); /* missing: knows nobody */
    put(text, strlen(text));
    assert_int_equal(knownhosts_find(path, "host", 7245, pins, &count, why),
                     0);
    assert_int_equal(count, 2);
    assert_int_equal(pins[0][0], 0xaa);
    assert_int_equal(pins[1][31], 0xbb);
    assert_int_equal(count_of("host", 7246), 1);
    assert_int_equal(count_of("::1", 7245), 1);
    assert_int_equal(count_of("hos", 7245), 0);
    assert_int_equal(count_of("host", 724), 0);
    assert_int_equal(count_of("xhost", 7245), 0);
}

static void
test_wrong_lines(void **state)
{
    static const char *const lines[] = {
        "x", "host " A, "host: " A, "host:0 " A, "host:07245 " A,
        "host:65536 " A, "host:99999999999 " A, ":1 " A, "host:1",
        "host:1 ", "host:1  " A, " host:1 " A, "host:1 " A " ",
        "host:1 " A "0", "host:1 sha512:00", "HOST:1 " A, "ho\tst:1 " A,
        "h\x1bst:1 " A, "::1:1 " A, "[::1]x:1 " A, "host:1 " A "\r",
        "h\xc3\xb6st:1 " A,
    };
    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[600], why[TLS_TEXT_MAX] = "";
        size_t count = 99, gone = 0;
        snprintf(text, sizeof(text), "good:1 " A "\n%s\ngood:2 " A "\n",
                 lines[i]);
        put(text, strlen(text));
        int err = knownhosts_find(path, "good", 1, pins, &count, why);
        if (err != ERR_SYNTAX || count != 0 ||
            strstr(why, "line 2") == NULL || strchr(why, '\x1b') != NULL) {
            if (err != ERR_SYNTAX) {
                fail_msg("accepted: %s", lines[i]);
            }
            assert_non_null(strstr(why, "line 2"));
        }
        assert_int_equal(add("other", 1, 1), ERR_SYNTAX);
        assert_int_equal(knownhosts_replace(path, "good", 1, NULL, &gone,
                                            why), ERR_SYNTAX);
        holds(text);
    }
    put("host:1 \0" A "\n", 80);
    size_t count;
    char why[TLS_TEXT_MAX];
    assert_int_equal(knownhosts_find(path, "host", 1, pins, &count, why),
                     ERR_SYNTAX);
}

static void
test_changes(void **state)
{
    static const char text[] = "# mine\nhost:1 " A "\nelse:1 " A;
    uint8_t pin[HASH_LEN];
    char why[TLS_TEXT_MAX];
    size_t gone = 0;
    struct stat st;
    (void)state;
    put(text, strlen(text));
    assert_int_equal(add("host", 1, 0xaa), 0); /* is there */
    holds(text);
    assert_int_equal(add("host", 1, 0xbb), 0);
    holds("# mine\nhost:1 " A "\nelse:1 " A "\nhost:1 " B "\n");
    assert_int_equal(add("::1", 2, 0xaa), 0);
    assert_int_equal(count_of("::1", 2), 1);
    memset(pin, 0xaa, sizeof(pin));
    assert_int_equal(knownhosts_replace(path, "host", 1, pin, &gone, why), 0);
    assert_int_equal(gone, 2);
    holds("# mine\nelse:1 " A "\n[::1]:2 " A "\nhost:1 " A "\n");
    assert_int_equal(knownhosts_replace(path, "host", 1, NULL, &gone, why),
                     0);
    assert_int_equal(gone, 1);
    assert_int_equal(knownhosts_replace(path, "host", 1, NULL, &gone, why),
                     0);
    assert_int_equal(gone, 0);
    holds("# mine\nelse:1 " A "\n[::1]:2 " A "\n");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void
test_limits(void **state)
{
    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    char why[TLS_TEXT_MAX];
    size_t count;
    (void)state;
    unlink(path);
    for (uint8_t i = 0; i < KNOWNHOSTS_KEYS_MAX; i++) {
        assert_int_equal(add("host", 1, i), 0);
    }
    assert_int_equal(count_of("host", 1), KNOWNHOSTS_KEYS_MAX);
    assert_int_equal(add("host", 1, 100), ERR_LIMIT);
    assert_int_equal(add("host", 1, 3), 0);
    assert_int_equal(add("host", 2, 100), 0);
    FILE *file = fopen(path, "a");
    fputs("host:1 " A "\n", file);
    fclose(file);
    assert_int_equal(knownhosts_find(path, "host", 1, pins, &count, why),
                     ERR_LIMIT);
    char *big = malloc(KNOWNHOSTS_BYTES_MAX + 1);
    memset(big, '#', KNOWNHOSTS_BYTES_MAX + 1);
    put(big, KNOWNHOSTS_BYTES_MAX);
    assert_int_equal(knownhosts_find(path, "host", 1, pins, &count, why), 0);
    assert_int_equal(add("host", 1, 1), ERR_IO); /* no room for a line */
    put(big, KNOWNHOSTS_BYTES_MAX + 1);
    assert_int_equal(knownhosts_find(path, "host", 1, pins, &count, why),
                     ERR_LIMIT);
    free(big);
}

static int
add_first(const char *host, uint16_t port, uint8_t fill)
{
    uint8_t pin[HASH_LEN];
    char why[TLS_TEXT_MAX] = "";
    memset(pin, fill, sizeof(pin));
    int err = knownhosts_add_first(path, host, port, pin, why);
    assert_int_equal(why[0] != '\0', err != 0);
    return err;
}

static void
test_first(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(add_first("host", 1, 0xaa), 0);
    assert_int_equal(add_first("host", 1, 0xaa), 0);
    holds("host:1 " A "\n");
    assert_int_equal(add_first("host", 1, 0xbb), ERR_EXISTS);
    holds("host:1 " A "\n");
    assert_int_equal(add_first("host", 2, 0xbb), 0);
    assert_int_equal(add("host", 1, 0xbb), 0);
    assert_int_equal(add_first("host", 1, 0xbb), 0);
    holds("host:1 " A "\nhost:2 " B "\nhost:1 " B "\n");
}

/* Who cannot be read again is not written: one such line would make all hosts
 * unknown. */
static void
test_wrong_hosts(void **state)
{
    static const struct {
        const char *host;
        uint16_t port;
    } wrong[] = {
        { "new", 0 }, { "", 1 }, { "New", 1 }, { "ne\x01w", 1 },
        { "n\xc3\xa4w", 1 }, { "ne w", 1 }, { "new\n", 1 }, { "#new", 1 },
    };
    static const char text[] = "host:1 " A "\n";
    uint8_t pin[HASH_LEN] = { 1 };
    char why[TLS_TEXT_MAX];
    size_t forgotten = 7;
    (void)state;

    put(text, strlen(text));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *host = wrong[i].host;
        uint16_t port = wrong[i].port;
        assert_int_equal(add(host, port, 1), ERR_SYNTAX);
        assert_int_equal(knownhosts_add_first(path, host, port, pin, why),
                         ERR_SYNTAX);
        assert_int_equal(knownhosts_replace(path, host, port, pin, &forgotten,
                                            why), ERR_SYNTAX);
        assert_int_equal(forgotten, 0);
        assert_null(strpbrk(why, "\n\x01"));
        holds(text);
    }
}

static void
test_no_file(void **state)
{
    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    char why[TLS_TEXT_MAX] = "", deep[300];
    uint8_t pin[HASH_LEN] = { 0 };
    size_t count;
    (void)state;
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(knownhosts_find(path, "host", 1, pins, &count, why),
                     ERR_NOT_A_FILE);
    unlink(path);
    assert_int_equal(knownhosts_find(dir, "host", 1, pins, &count, why),
                     ERR_NOT_A_FILE);
    snprintf(deep, sizeof(deep), "%s/x/y/known", dir);
    assert_int_equal(knownhosts_add(deep, "host", 1, pin, why), 0);
    assert_int_equal(access(deep, R_OK), 0);
    snprintf(deep, sizeof(deep), "/dev/null/known");
    assert_int_equal(knownhosts_add(deep, "host", 1, pin, why), ERR_IO);
}

/* Each of several processes adds hosts of its own: none is lost. */
static void
test_together(void **state)
{
    enum { PROCESSES = 4, HOSTS = 15 };
    pid_t child[PROCESSES];
    (void)state;
    unlink(path);
    for (int p = 0; p < PROCESSES; p++) {
        child[p] = fork();
        assert_true(child[p] >= 0);
        if (child[p] == 0) {
            int bad = 0;
            for (int h = 0; h < HOSTS; h++) {
                char name[20], why[TLS_TEXT_MAX];
                uint8_t pin[HASH_LEN] = { (uint8_t)h };
                snprintf(name, sizeof(name), "h%d-%d", p, h);
                bad |= knownhosts_add(path, name, 1, pin, why) != 0;
            }
            _exit(bad);
        }
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status = 1;
        assert_int_equal(waitpid(child[p], &status, 0), child[p]);
        assert_int_equal(status, 0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        for (int h = 0; h < HOSTS; h++) {
            char name[20];
            snprintf(name, sizeof(name), "h%d-%d", p, h);
            assert_int_equal(count_of(name, 1), 1);
        }
    }
}

static void
test_path(void **state)
{
    char out[100];
    (void)state;
    setenv("HOME", "/h", 1);
    setenv("XDG_CONFIG_HOME", "/x", 1);
    assert_true(knownhosts_path(out, sizeof(out)));
    assert_string_equal(out, "/x/belay/known_hosts");
    setenv("XDG_CONFIG_HOME", "relative", 1);
    assert_true(knownhosts_path(out, sizeof(out)));
    assert_string_equal(out, "/h/.config/belay/known_hosts");
    assert_false(knownhosts_path(out, 10));
    unsetenv("HOME");
    assert_false(knownhosts_path(out, sizeof(out)));
}

static int
set_up(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/known", dir);
    return 0;
}

static int
tear_down(void **state)
{
    char name[300];
    static const char *const left[] = { "known", "known.lock", "x/y/known",
                                        "x/y/known.lock", "x/y", "x" };
    (void)state;
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        snprintf(name, sizeof(name), "%s/%s", dir, left[i]);
        (void)remove(name);
    }
    /* Nothing else is left, no temporary file either. */
    return rmdir(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_wrong_lines),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_wrong_hosts),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_path),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
