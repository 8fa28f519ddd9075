/* Token files and access rules (server/tokens.c, server/access.c): who reads
 * nothing else may not read more, and a bad file gives no rules at all.
 *
 * Input: which file (a byte), then its text. */
#include "server/access.h"
#include "server/tokens.h"
#include "tests/fuzz/fuzz.h"

static const char *const paths[] = {"", "pub", "pub/a", "pub/a/b", "builds",
                                    "builds/secret", "builds/secret/off",
                                    "x y", "pubb"};

static int on_name(void *arg, const char *name)
{
    unsigned *count = arg;
    size_t len = strlen(name);

    FUZZ_CHECK(len > 0 && len <= ACCESS_NAME_MAX);
    return ++*count > 3 ? 7 : 0;
}

static void ask(const struct access *access)
{
    struct access_who nobody = {.token = NULL};
    struct access_who alice = {.token = "alice", .cert = "build-7",
                               .has_key = true};
    unsigned count = 0;
    int rc;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        bool read = access_may_read(access, &alice, paths[i]);

        FUZZ_CHECK(!read || access_may_pass(access, &alice, paths[i]));
        FUZZ_CHECK(read || !access_may_read(access, &nobody, paths[i]));
    }
    rc = access_each_token(access, on_name, &count);
    FUZZ_CHECK(rc == (count > 3 ? 7 : 0));
    (void)access_names_certs(access);
}

static void access_rules(struct bytes_view text)
{
    char why[ACCESS_WHY_MAX] = "";
    struct access *access = NULL;
    int err = access_new(text, &access, why);

    FUZZ_CHECK(err == 0 || err == ERR_SYNTAX || err == ERR_LIMIT);
    FUZZ_CHECK((access != NULL) == (err == 0));
    if (err == 0) {
        ask(access);
    } else {
        FUZZ_CHECK(*why != '\0' && memchr(why, '\0', sizeof why) != NULL);
    }
    access_free(access);
}

static void token_file(struct bytes_view text)
{
    char why[TOKENS_WHY_MAX] = "";
    struct tokens tokens;
    int err = tokens_parse(text, &tokens, why);

    FUZZ_CHECK(err == 0 || err == ERR_SYNTAX);
    if (err == 0) {
        FUZZ_CHECK(tokens.count <= TOKENS_MAX && tokens.count <= text.len);
        for (uint32_t i = 0; i < tokens.count; i++) {
            size_t len = strlen(tokens.name[i]);

            FUZZ_CHECK(len > 0 && len <= TOKENS_NAME_MAX);
        }
        tokens_clear(&tokens);
    } else {
        FUZZ_CHECK(*why != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, size};
    bool rules = script_u8(&s) % 2 == 0;
    struct bytes_view text;
    uint8_t *copy = script_rest(&s, &text.len);

    text.ptr = copy;
    if (rules) {
        access_rules(text);
    } else {
        token_file(text);
    }
    free(copy);
    return 0;
}
