/* Origins: what is told apart and what is not; ranges as operators write
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/origin.h"

static struct net_addr
addr_of(const char *host)
{
    struct net_addr addr;
    char text[NET_TEXT_MAX];

    snprintf(text, sizeof(text), strchr(host, ':') != NULL ? "[%s]:7" : "%s:7",
             host);
    assert_int_equal(net_addr_parse(text, &addr), 0);
    return addr;
}

static void
test_what_is_one(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        bool same;
        const char *text; /* of a */
    } cases[] = {
        { "192.0.2.1", "192.0.2.1", true, "192.0.2.1" },
        { "192.0.2.1", "192.0.2.2", false, "192.0.2.1" },
        { "::ffff:192.0.2.1", "192.0.2.1", true, "192.0.2.1" },
        { "::ffff:192.0.2.1", "::ffff:192.0.2.2", false, "192.0.2.1" },
        { "2001:db8:1:2::1", "2001:db8:1:2:f:f:f:f", true,
          "2001:db8:1:2::/64" },
        { "2001:db8:1:2::1", "2001:db8:1:3::1", false, "2001:db8:1:2::/64" },
        { "::1", "0.0.0.0", false, "::/64" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_addr a = addr_of(cases[i].a);
        struct net_addr b = addr_of(cases[i].b);
        struct origin one = origin_of(&a);
        struct origin two = origin_of(&b);
        char text[ORIGIN_TEXT_MAX];
        assert_int_equal(origin_equal(&one, &two), cases[i].same);
        assert_int_equal(origin_hash(&one, 3) == origin_hash(&two, 3),
                         cases[i].same);
        origin_text(&one, text);
        assert_string_equal(text, cases[i].text);
    }
    struct net_addr none = { .len = 0 };
    struct origin nobody = origin_of(&none);
    char text[ORIGIN_TEXT_MAX];
    assert_int_equal(nobody.family, 0);
    origin_text(&nobody, text);
    assert_string_equal(text, "-");
}

static void
test_ranges(void **state)
{
    static const struct {
        const char *range;
        const char *in;  /* NULL: the range is none */
        const char *out; /* NULL: there is none */
    } cases[] = {
        { "127.0.0.0/8", "127.255.0.1", "128.0.0.1" },
        { "192.0.2.7", "192.0.2.7", "192.0.2.6" },
        { "192.0.2.6/31", "192.0.2.7", "192.0.2.8" },
        { "192.0.2.0/25", "::ffff:192.0.2.127", "192.0.2.128" },
        { "0.0.0.0/0", "203.0.113.9", "::1" },
        { "::/0", "2001:db8::1", "203.0.113.9" },
        { "::1", "::1", "::2" },
        { "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::" },
        { "2001:db8::/128", "2001:db8::", "2001:db8::1" },
        { "", NULL, NULL },
        { "/8", NULL, NULL },
        { "localhost", NULL, NULL },
        { "10.0.0.0/", NULL, NULL },
        { "10.0.0.0/33", NULL, NULL },
        { "10.0.0.0/-1", NULL, NULL },
        { "10.0.0.0/ 8", NULL, NULL },
        { "10.0.0.0/8 ", NULL, NULL },
        { "10.0.0.0/18446744073709551624", NULL, NULL },
        { "10.0.0.1/8", NULL, NULL },
        { "10/8", NULL, NULL },
        { "010.0.0.0/8", NULL, NULL },
        { "2001:db8::/129", NULL, NULL },
        { "2001:db8::1/64", NULL, NULL },
        { "[::1]", NULL, NULL },
        { "fe80::1%eth0", NULL, NULL },
        { "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", NULL, NULL },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct origin_range range;
        int err = origin_range_parse(cases[i].range, &range);
        assert_int_equal(err, cases[i].in == NULL ? ERR_SYNTAX : 0);
        if (err != 0) {
            continue;
        }
        struct net_addr in = addr_of(cases[i].in);
        struct net_addr out = addr_of(cases[i].out);
        struct net_addr none = { .len = 0 };
        assert_true(origin_range_has(&range, &in));
        assert_false(origin_range_has(&range, &out));
        assert_false(origin_range_has(&range, &none));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_one),
        cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
