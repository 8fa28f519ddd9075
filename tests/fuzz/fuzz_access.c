/* Token files and access rules (server/tokens.c, server/access.c): decisions
 * are those of the rule said a second time, word by word, from the file; and a
 * bad file gives no rules at all.
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

/* ---- The rule a second time. */

struct line {
    const char *who;
    size_t who_len;
    const char *path; /* without its '/' */
    size_t path_len;
};

/* The next rule of a good file. */
static bool next_line(struct bytes_view *text, struct line *out)
{
    while (text->len > 0) {
        const char *line = (const char *)text->ptr;
        const char *end = memchr(line, '\n', text->len);
        size_t len = end != NULL ? (size_t)(end - line) : text->len;
        size_t at = 0;

        text->ptr += len + (end != NULL);
        text->len -= len + (end != NULL);
        if (len == 0 || line[0] == '#') {
            continue;
        }
        while (line[at] != ' ' && line[at] != '\t') {
            at++;
        }
        *out = (struct line){.who = line, .who_len = at};
        while (line[at] != '/') {
            at++;
        }
        out->path = line + at + 1;
        out->path_len = len - at - 1;
        return true;
    }
    return false;
}

static bool is_word(const char *word, size_t len, const char *prefix,
                    const char *name)
{
    size_t n = strlen(prefix);

    return name != NULL && len == n + strlen(name) &&
           memcmp(word, prefix, n) == 0 &&
           memcmp(word + n, name, len - n) == 0;
}

static bool admits(const struct line *line, const struct access_who *who)
{
    static const char no_key[] = "0000000000000000000000000000000000000000"
                                 "000000000000000000000000";
    const char *word = line->who;
    const char *end = word + line->who_len;

    while (word <= end) {
        const char *comma = memchr(word, ',', (size_t)(end - word));
        size_t len = (size_t)((comma != NULL ? comma : end) - word);

        if (is_word(word, len, "*", "") ||
            is_word(word, len, "token:", who->token) ||
            is_word(word, len, "cert:", who->cert) ||
            (who->has_key && is_word(word, len, "key:sha256:", no_key))) {
            return true;
        }
        word += len + 1;
    }
    return false;
}

/* From the path itself upwards: the first that a rule is for. */
static bool slow_read(struct bytes_view text, const struct access_who *who,
                      const char *path)
{
    for (size_t len = strlen(path);; len--) {
        struct bytes_view rest = text;
        struct line line;

        while ((path[len] == '\0' || path[len] == '/' || len == 0) &&
               next_line(&rest, &line)) {
            if (line.path_len == len && memcmp(line.path, path, len) == 0) {
                return admits(&line, who);
            }
        }
        if (len == 0) {
            return false;
        }
    }
}

static bool slow_pass(struct bytes_view text, const struct access_who *who,
                      const char *path)
{
    bool pass = slow_read(text, who, path);
    size_t len = strlen(path);
    struct line line;

    while (!pass && next_line(&text, &line)) {
        pass = line.path_len > len && memcmp(line.path, path, len) == 0 &&
               (len == 0 || line.path[len] == '/') && admits(&line, who);
    }
    return pass;
}

/* ---- Questions. */

static void ask(const struct access *access, struct bytes_view text)
{
    struct access_who nobody = {.token = NULL};
    struct access_who alice = {.token = "alice", .cert = "build-7",
                               .has_key = true};
    unsigned count = 0;
    int rc;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        bool read = access_may_read(access, &alice, paths[i]);

        FUZZ_CHECK(!read || access_may_pass(access, &alice, paths[i]));
        FUZZ_CHECK(read == slow_read(text, &alice, paths[i]));
        FUZZ_CHECK(access_may_read(access, &nobody, paths[i]) ==
                   slow_read(text, &nobody, paths[i]));
        FUZZ_CHECK(access_may_pass(access, &nobody, paths[i]) ==
                   slow_pass(text, &nobody, paths[i]));
        FUZZ_CHECK(access_may_pass(access, &alice, paths[i]) ==
                   slow_pass(text, &alice, paths[i]));
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
        ask(access, text);
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
