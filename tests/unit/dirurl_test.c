/* Addresses of directories. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "client/dirurl.h"

static void
test_plain(void **state)
{
    static const struct {
        const char *url;
        const char *plain;
    } cases[] = {
        { "belay://h/a/", "belay://h/a" },
        { "belay://h/a", "belay://h/a" },
        { "belay://h/a//", "belay://h/a/" },
        { "belay://h/", "belay://h/" },
        { "belay://h", "belay://h" },
        { "belay+ssh://u@h:22/a/b/", "belay+ssh://u@h:22/a/b" },
        { "h:a/", "h:a" },
        { "h:/a/", "h:/a" },
        { "h:/", "h:/" },
        { "h:", "h:" },
        { "u@h:a:/", "u@h:a:" },
        { "a/", "a/" },
        { "/", "/" },
        { "", "" },
    };
    (void)state;

    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        char *plain = dirurl_plain(cases[k].url);
        assert_string_equal(plain, cases[k].plain);
        free(plain);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
