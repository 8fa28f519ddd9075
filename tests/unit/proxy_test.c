/* client/proxy.h: addresses of proxies, and exceptions from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/proxy.h"

static void addresses(void **state)
{
    static const struct {
        const char *text;
        struct proxy proxy;
    } rows[] = {
        {"socks5h://host", {"host", 1080, "", ""}},
        {"SOCKS5H://host/", {"host", 1080, "", ""}},
        {"socks5h://10.0.0.1:9050", {"10.0.0.1", 9050, "", ""}},
        {"socks5h://[::1]:65535", {"::1", 65535, "", ""}},
        {"socks5h://[fe80::1]", {"fe80::1", 1080, "", ""}},
        {"socks5h://me:secret@host:1", {"host", 1, "me", "secret"}},
        {"socks5h://me@host", {"host", 1080, "me", ""}},
        {"socks5h://m%3Ae:a%40%25@host", {"host", 1080, "m:e", "a@%"}},
        {"socks5h://a:b@c@host", {"host", 1080, "a", "b@c"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct proxy proxy;

        memset(&proxy, 0xee, sizeof proxy);
        assert_int_equal(proxy_parse(rows[i].text, &proxy), 0);
        assert_string_equal(proxy.host, rows[i].proxy.host);
        assert_int_equal(proxy.port, rows[i].proxy.port);
        assert_string_equal(proxy.user, rows[i].proxy.user);
        assert_string_equal(proxy.password, rows[i].proxy.password);
    }
}

static void refusals(void **state)
{
    static const struct {
        const char *text;
        int err;
    } rows[] = {
        {"", ERR_URI},
        {"host:1080", ERR_URI},
        {"http://host:3128", ERR_UNSUPPORTED},
        {"socks5://host", ERR_UNSUPPORTED},
        {"socks4a://host", ERR_UNSUPPORTED},
        {"socks5h://", ERR_URI},
        {"socks5h://:1080", ERR_URI},
        {"socks5h://host:", ERR_URI},
        {"socks5h://host:0", ERR_URI},
        {"socks5h://host:65536", ERR_URI},
        {"socks5h://host:99999999999", ERR_URI},
        {"socks5h://host:1x", ERR_URI},
        {"socks5h://::1", ERR_URI},
        {"socks5h://@host", ERR_URI},
        {"socks5h://:pass@host", ERR_URI},
        {"socks5h://a%0@host", ERR_URI},
        {"socks5h://a%00b@host", ERR_URI},
        {"socks5h://a%zz@host", ERR_URI},
        {"socks5h://ho st", ERR_URI},
        {"socks5h://host/path", ERR_URI},
    };
    struct proxy proxy;
    char text[600] = "socks5h://";
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(proxy_parse(rows[i].text, &proxy), rows[i].err);
    }
    memset(text + 10, 'h', 255);
    assert_int_equal(proxy_parse(text, &proxy), 0);
    memset(text + 10, 'h', 256);
    assert_int_equal(proxy_parse(text, &proxy), ERR_URI);
    snprintf(text + 266, sizeof text - 266, "@host");
    assert_int_equal(proxy_parse(text, &proxy), ERR_URI);
}

static void exceptions(void **state)
{
    static const struct {
        const char *list;
        const char *host;
        bool excepted;
    } rows[] = {
        {NULL, "host", false},
        {"", "host", false},
        {" , ,", "host", false},
        {"*", "host", true},
        {"host", "host", true},
        {"HOST", "host", true},
        {"other,host", "host", true},
        {"other host", "host", true},
        {"example.org", "example.org", true},
        {"example.org", "www.example.org", true},
        {".example.org", "www.example.org", true},
        {".example.org", "example.org", true},
        {"example.org", "badexample.org", false},
        {"www.example.org", "example.org", false},
        {"10.0.0.1", "10.0.0.1", true},
        {"0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.10", false},
        {"[::1]", "::1", true},
        {"::1", "::1", true},
        {".", "host", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(proxy_excepts(rows[i].list, rows[i].host),
                         rows[i].excepted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(refusals),
        cmocka_unit_test(exceptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
