/* Addresses of proxies and lists of exceptions (client/proxy.c): what is taken
 * has one meaning, and can be written again.
 *
 * Input: the address, a NUL, the list, a NUL, the host. */
#include <stdio.h>
#include <strings.h>

#include "client/proxy.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_MAX 2048u

static void write_login(char *out, const char *text)
{
    for (; *text != '\0'; text++) {
        out += sprintf(out, "%%%02x", (unsigned)(unsigned char)*text);
    }
    *out = '\0';
}

/* With every byte of user and password escaped it means the same. */
static void check_again(const struct proxy *p)
{
    char user[3 * sizeof p->user];
    char password[3 * sizeof p->password];
    char text[sizeof user + sizeof password + sizeof p->host + 32];
    struct proxy again;

    write_login(user, p->user);
    write_login(password, p->password);
    (void)snprintf(text, sizeof text, "SOCKS5H://%s%s%s%s[%s]:%u", user,
                   *password != '\0' ? ":" : "", password,
                   *user != '\0' ? "@" : "", p->host, p->port);
    FUZZ_CHECK(proxy_parse(text, &again) == 0);
    FUZZ_CHECK(memcmp(&again, p, sizeof again) == 0);
}

static void check_address(const char *text)
{
    struct proxy p;
    int err = proxy_parse(text, &p);

    FUZZ_CHECK(err == 0 || err == ERR_UNSUPPORTED || err == ERR_URI);
    if (err != 0) {
        return;
    }
    FUZZ_CHECK(strncasecmp(text, "socks5h://", 10) == 0);
    FUZZ_CHECK(p.port > 0 && p.host[0] != '\0');
    FUZZ_CHECK(p.user[0] != '\0' || p.password[0] == '\0');
    for (const char *c = p.host; *c != '\0'; c++) {
        FUZZ_CHECK((unsigned char)*c > 0x20 && *c != 0x7f && *c != '/');
    }
    check_again(&p);
}

/* The rule a second time, word by word. */
static bool slow_excepts(const char *list, const char *host)
{
    char copy[TEXT_MAX];
    char *rest = copy;
    char *word;

    (void)snprintf(copy, sizeof copy, "%s", list);
    while ((word = strsep(&rest, ", \t\r\n")) != NULL) {
        size_t len = strlen(word);

        if (strcmp(word, "*") == 0) {
            return true;
        }
        if (len > 1 && word[0] == '[' && word[len - 1] == ']') {
            word[len - 1] = '\0';
            word++;
        }
        word += *word == '.';
        len = strlen(word);
        if (len > 0 && len <= strlen(host)) {
            const char *end = host + strlen(host) - len;

            if (strcasecmp(end, word) == 0 &&
                (end == host || end[-1] == '.')) {
                return true;
            }
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 3);
    const char *list;
    const char *host;

    FUZZ_CHECK(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    list = text + strlen(text) + 1;
    list = list > text + size ? "" : list;
    host = *list != '\0' ? list + strlen(list) + 1 : "";
    host = *list == '\0' || host > text + size ? "" : host;
    check_address(text);
    if (strlen(list) < TEXT_MAX) {
        FUZZ_CHECK(proxy_excepts(list, host) == slow_excepts(list, host));
    }
    FUZZ_CHECK(!proxy_excepts(NULL, host));
    free(text);
    return 0;
}
