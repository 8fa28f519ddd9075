/* Addresses: what is accepted is safe to use and has one written form.
 *
 * Input: the text. */

#include "proto/data/relpath.h"
#include "proto/data/uri.h"
#include "tests/fuzz/fuzz.h"

/* Nothing that a shell, ssh or a resolver could take for something else. */
static void check_word(const char *word, const char *extra)
{
    FUZZ_CHECK(word[0] != '-');
    for (; *word != '\0'; word++) {
        unsigned char c = (unsigned char)*word;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c >= '0' && c <= '9') || strchr("-._", c) != NULL;
        FUZZ_CHECK(plain || strchr(extra, c) != NULL);
    }
}

static void check_uri(const struct uri *uri)
{
    FUZZ_CHECK(uri->path_len == strlen(uri->path));
    FUZZ_CHECK(relpath_check(uri->path, uri->path_len) == 0);
    check_word(uri->user, "");
    check_word(uri->host, uri->host_is_ipv6 ? ":" : "");
    FUZZ_CHECK(uri->scheme == URI_SSH || uri->user[0] == '\0');
    FUZZ_CHECK((uri->scheme == URI_UNIX) == (uri->socket[0] != '\0'));
    FUZZ_CHECK(!uri->pinned || cid_chunk_log2_ok(uri->chunk_log2));
    FUZZ_CHECK((uri_basename(uri) == NULL) == (uri->path_len == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct uri uri;
    static struct uri again;
    static char formatted[URI_TEXT_SIZE];
    static char twice[URI_TEXT_SIZE];
    struct uri_error error = { 0, NULL };
    size_t len = strnlen((const char *)data, size);
    char *text = malloc(len + 1);
    FUZZ_CHECK(text != NULL);
    memcpy(text, data, len);
    text[len] = '\0';
    (void)uri_is_remote(text);
    int err = uri_parse(text, &uri, &error);
    if (err != 0) {
        FUZZ_CHECK(err == ERR_URI && error.pos <= len);
        FUZZ_CHECK(error.reason != NULL && error.reason[0] != '\0');
    } else {
        check_uri(&uri);
        FUZZ_CHECK(uri_is_remote(text));
        FUZZ_CHECK(uri_format(&uri, formatted, sizeof formatted) == 0);
        FUZZ_CHECK(uri_parse(formatted, &again, &error) == 0);
        check_uri(&again);
        FUZZ_CHECK(uri_format(&again, twice, sizeof twice) == 0);
        FUZZ_CHECK(strcmp(formatted, twice) == 0);
        FUZZ_CHECK(strcmp(uri.host, again.host) == 0 &&
                   strcmp(uri.path, again.path) == 0 &&
                   uri.port == again.port && uri.scheme == again.scheme);
        /* One byte less room is an error, never a cut address. */
        FUZZ_CHECK(uri_format(&uri, twice, strlen(formatted)) == ERR_SPACE);
    }
    free(text);
    return 0;
}
