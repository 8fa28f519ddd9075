/* The command line for ssh (client/ssh.c): nothing in an address becomes an
 * option, and the shell on the other side sees the words that were meant.
 *
 * Input: family and seconds (a byte), the address behind "belay+ssh://", a NUL,
 * the user's command, a NUL, the program over there. */
#include "client/ssh.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX 8u

/* A POSIX shell, as far as it is needed: blanks, '...', and \x; anything that
 * means more to it is a fault. Returns the number of words. */
static size_t shell(const char *text, char *out, const char *words[WORDS_MAX])
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "_-./+,:@";
    size_t count = 0;

    while (*text != '\0') {
        FUZZ_CHECK(count < WORDS_MAX);
        words[count++] = out;
        for (; *text != '\0' && *text != ' '; text++) {
            if (*text == '\'') {
                const char *end = strchr(text + 1, '\'');

                FUZZ_CHECK(end != NULL);
                memcpy(out, text + 1, (size_t)(end - text) - 1);
                out += end - text - 1;
                text = end;
            } else if (*text == '\\') {
                *out++ = *++text;
                FUZZ_CHECK(*text != '\0');
            } else {
                FUZZ_CHECK(strchr(plain, *text) != NULL);
                *out++ = *text;
            }
        }
        *out++ = '\0';
        text += *text == ' ';
    }
    return count;
}

static void check_command(const struct ssh_command *c, const struct uri *uri,
                          const char *server)
{
    const char *words[WORDS_MAX];
    char *text = malloc(c->text_len + 1);
    size_t last = c->argc - 1;
    size_t user = 0;

    FUZZ_CHECK(text != NULL);
    FUZZ_CHECK(c->argc >= 4 && c->argc <= SSH_ARGS_MAX);
    FUZZ_CHECK(c->argv[c->argc] == NULL && c->text_len <= c->text_cap);
    FUZZ_CHECK(strcmp(c->argv[last - 2], "--") == 0);
    FUZZ_CHECK(strcmp(c->argv[last - 1], uri->host) == 0);
    FUZZ_CHECK(uri->host[0] != '-' && uri->user[0] != '-');
    for (size_t k = 1; k + 3 < c->argc && uri->user[0] != '\0'; k++) {
        if (strcmp(c->argv[k], "-l") == 0) {
            user = k + 1;
        }
    }
    FUZZ_CHECK(uri->user[0] == '\0' ||
               strcmp(c->argv[user], uri->user) == 0);
    FUZZ_CHECK(shell(c->argv[last], text, words) == 4);
    FUZZ_CHECK(strcmp(words[0], server) == 0);
    FUZZ_CHECK(strcmp(words[1], "--stdio") == 0 &&
               strcmp(words[2], "--root") == 0);
    FUZZ_CHECK(strcmp(words[3], uri->absolute ? "/" : ".") == 0);
    free(text);
}

/* The next text of the input; "" when it is over. */
static const char *next(char **at, const char *end)
{
    char *text = *at;

    *at += strlen(text) + (*at + strlen(text) < end ? 1 : 0);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct uri uri;
    static const char scheme[] = "belay+ssh://";
    struct script s = {data, size};
    uint8_t bits = script_u8(&s);
    struct uri_error error;
    struct ssh_command c;
    size_t left = s.left;
    char *text = calloc(1, sizeof scheme + left);
    char *at = text;

    FUZZ_CHECK(text != NULL);
    memcpy(text, scheme, sizeof scheme - 1);
    if (left > 0) {
        memcpy(text + sizeof scheme - 1, s.at, left);
    }
    const char *end = text + sizeof scheme - 1 + left;
    const char *address = next(&at, end);
    const char *command = next(&at, end);
    const char *server = next(&at, end);
    struct ssh_options options = {
        .command = *command != '\0' ? command : NULL,
        .server = *server != '\0' ? server : NULL,
        .family = bits % 3u == 0 ? 0 : 2u + 2u * (bits % 3u),
        .connect_s = ssh_connect_seconds(bits * 1000u),
    };
    if (uri_parse(address, &uri, &error) == 0 && uri.scheme == URI_SSH) {
        int err = ssh_command_make(&uri, &options, &c);

        FUZZ_CHECK(err == 0 || err == ERR_SYNTAX);
        if (err == 0) {
            check_command(&c, &uri, *server != '\0' ? server : "belayd");
            ssh_command_clear(&c);
        }
    }
    free(text);
    return 0;
}
