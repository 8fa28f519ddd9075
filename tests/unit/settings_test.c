/* belayd's command line: good ones give the right struct, wrong ones a
 * sentence. Scenario server_life.py runs the program itself. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/limits.h"
#include "server/settings.h"

static int
parse(const char *line, struct settings *out, char message[256])
{
    static char copy[512];
    char *argv[40] = { (char *)"belayd" };
    int argc = 1;
    strcpy(copy, line);
    for (char *word = strtok(copy, " "); word != NULL;
         word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    message[0] = '\0';
    return settings_parse(argc, argv, out, message, 256);
}

static void
test_defaults(void **state)
{
    struct settings s;
    char message[256];
    (void)state;
    assert_int_equal(parse("--root /srv --plain", &s, message), 0);
    assert_int_equal(s.mode, SETTINGS_SERVE);
    assert_string_equal(s.root, "/srv");
    assert_int_equal(s.listen_count, 0);
    assert_null(s.cache);
    assert_null(s.log_file);
    assert_true(s.plain);
    assert_true(s.compression);
    assert_false(s.verbose);
    assert_null(s.metrics);
    assert_int_equal(s.workers, 0);
    assert_int_equal(s.connections, MAX_CONNECTIONS);
    assert_int_equal(s.per_source, MAX_CONNECTIONS_PER_SOURCE);
}

static void
test_everything(void **state)
{
    struct settings s;
    char message[256];
    (void)state;
    assert_int_equal(
        parse("--root=/srv --plain --listen 127.0.0.1:1 --listen [::1]:2 "
              "--cache /c --workers 8 --max-connections 5 "
              "--max-per-address 3 --exempt 10.0.0.0/8 --exempt ::1 "
              "--no-compression --log-file /l --verbose --metrics :9",
              &s, message),
        0);
    assert_int_equal(s.listen_count, 2);
    assert_string_equal(s.listen[0], "127.0.0.1:1");
    assert_string_equal(s.listen[1], "[::1]:2");
    assert_string_equal(s.cache, "/c");
    assert_string_equal(s.log_file, "/l");
    assert_string_equal(s.metrics, ":9");
    assert_false(s.compression);
    assert_true(s.verbose);
    assert_int_equal(s.workers, 8);
    assert_int_equal(s.connections, 5);
    assert_int_equal(s.per_source, 3);
    assert_int_equal(s.exempt_count, 2);
    struct net_addr addr;
    assert_int_equal(net_addr_parse("10.255.0.1:1", &addr), 0);
    assert_true(settings_exempt(&s, &addr));
    assert_int_equal(net_addr_parse("[::1]:1", &addr), 0);
    assert_true(settings_exempt(&s, &addr));
    assert_int_equal(net_addr_parse("[::2]:1", &addr), 0);
    assert_false(settings_exempt(&s, &addr));
    assert_int_equal(parse("--stdio --root /srv", &s, message), 0);
    assert_int_equal(s.mode, SETTINGS_STDIO);
    assert_int_equal(parse("--nonsense --help", &s, message), ERR_USAGE);
    assert_int_equal(parse("--help --nonsense", &s, message), 0);
    assert_int_equal(s.mode, SETTINGS_HELP);
    assert_int_equal(parse("--version", &s, message), 0);
    assert_int_equal(s.mode, SETTINGS_VERSION);
}

static void
test_doors(void **state)
{
    struct settings s;
    char message[256];
    (void)state;
    assert_int_equal(
        parse("--root /srv --tls-cert /c --tls-key /k --client-ca /a "
              "--tokens /t --access /r", &s, message),
        0);
    assert_false(s.plain);
    assert_string_equal(s.tls_cert, "/c");
    assert_string_equal(s.tls_key, "/k");
    assert_string_equal(s.client_ca, "/a");
    assert_string_equal(s.tokens, "/t");
    assert_string_equal(s.access, "/r");
    assert_int_equal(
        parse("--root /srv --plain --tls-cert /c --tls-key /k", &s, message),
        0);
    assert_true(s.plain);
    assert_int_equal(parse("--root /srv --plain --access /r", &s, message),
                     0);
}

static void
test_wrong(void **state)
{
    static const char *const lines[] = {
        "",
        "--plain",
        "--root",
        "--root /srv",
        "--root /srv --stdio --listen 127.0.0.1:1",
        "--root /srv --plain extra",
        "--root /srv --plain --unknown",
        "--root /srv --plain -x",
        "--root /srv --plain --workers",
        "--root /srv --plain --workers 0",
        "--root /srv --plain --workers 9",
        "--root /srv --plain --workers 1x",
        "--root /srv --plain --workers -1",
        "--root /srv --plain --max-connections 0",
        "--root /srv --plain --max-connections 65537",
        "--root /srv --plain --max-connections 99999999999999999999",
        "--root /srv --plain --max-per-address 0x10",
        "--root /srv --plain --max-per-address 0",
        "--root /srv --plain --max-per-address -1",
        "--root /srv --plain --max-per-address 65537",
        "--root /srv --plain --max-per-address 18446744073709551616",
        "--root /srv --plain --max-connections -1",
        "--root /srv --plain --max-connections 18446744073709551617",
        "--root /srv --plain --exempt localhost",
        "--root /srv --plain --exempt=",
        "--root /srv --plain --exempt 10.0.0.0/33",
        "--root /srv --plain --exempt 10.0.0.1/24",
        "--root /srv --tls-cert /c",
        "--root /srv --tls-key /k",
        "--root /srv --plain --tls-cert /c",
        "--root /srv --plain --tokens /t",
        "--root /srv --plain --client-ca /a",
        "--root /srv --stdio --tls-cert /c --tls-key /k",
        "--root /srv --stdio --access /r",
        "--root /srv --stdio --metrics :9",
        "--root /srv --plain --metrics",
        "--root /srv --stdio --tokens /t",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct settings s;
        char message[256];
        if (parse(lines[i], &s, message) != ERR_USAGE || message[0] == '\0') {
            fail_msg("accepted: %s", lines[i]);
        }
    }
}

static void
test_too_many_addresses(void **state)
{
    struct settings s;
    char message[256];
    char line[512] = "--root /srv --plain";
    (void)state;
    for (unsigned i = 0; i < SERVER_LISTEN_MAX; i++) {
        strcat(line, " --listen 1.1.1.1:1");
    }
    assert_int_equal(parse(line, &s, message), 0);
    strcat(line, " --listen 1.1.1.1:1");
    assert_int_equal(parse(line, &s, message), ERR_USAGE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_doors),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_too_many_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
