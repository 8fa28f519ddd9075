#include "client/cli/security_options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/exitcode.h"
#include "client/cli/usage.h"

const char security_help[] =
    "Whom to believe, and who you are\n"
    "      --cacert FILE        authorities of servers, PEM (default: those\n"
    "                           of the system)\n"
    "      --pin sha256:HEX     the server's key; nothing else counts then\n"
    "      --accept-new         record the key of a host that is not known\n"
    "      --known-hosts FILE   where such keys are kept (default:\n"
    "                           ~/.config/belay/known_hosts)\n"
    "      --cert FILE, --cert-key FILE\n"
    "                           your certificate and its key, PEM\n"
    "      --token-file FILE    your token; - is standard input (default: the\n"
    "                           variable BELAY_TOKEN, if it is set)\n"
    "      --sandbox MODE       what this process may do while it talks to\n"
    "                           servers: auto (default) confines it as far\n"
    "                           as the kernel can, require insists, off\n";

bool security_option(struct security_options *o, int opt, const char *value)
{
    struct belay_security *s = &o->options;

    switch (opt) {
    case OPT_CACERT:
        s->ca_file = value;
        return true;
    case OPT_PIN:
        s->pin = value;
        return true;
    case OPT_CERT:
        s->cert_file = value;
        return true;
    case OPT_CERT_KEY:
        s->key_file = value;
        return true;
    case OPT_KNOWN_HOSTS:
        s->known_hosts = value;
        return true;
    case OPT_ACCEPT_NEW:
        s->accept_new = true;
        return true;
    case OPT_TOKEN_FILE:
        o->token_file = value;
        return true;
    case OPT_SANDBOX:
        o->sandbox_word = value;
        return true;
    default:
        return false;
    }
}

/* ---- the token. */

static int bad_file(const char *path, const char *why)
{
    char shown[2049];

    (void)belay_text_escape(shown, sizeof shown, path);
    fprintf(stderr, "belay: the token file %s: %s\n", shown, why);
    return EXIT_USAGE;
}

static int unreadable(const char *path)
{
    int error = errno;

    (void)bad_file(path, strerror(error));
    return (int)exit_code_of_file(error);
}

/* A token that others can read is theirs, too. */
static bool is_private(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 &&
           (!S_ISREG(st.st_mode) || (st.st_mode & 0077) == 0);
}

static int read_token(int fd, const char *path, char *token)
{
    size_t len = 0;

    for (;;) {
        ssize_t n = read(fd, token + len, SECURITY_TOKEN_MAX + 1 - len);

        if (n < 0 && errno != EINTR) {
            return unreadable(path);
        }
        if (n == 0) {
            break;
        }
        len += n > 0 ? (size_t)n : 0;
        if (len > SECURITY_TOKEN_MAX) {
            return bad_file(path, "longer than any token");
        }
    }
    while (len > 0 && (token[len - 1] == '\n' || token[len - 1] == '\r')) {
        len--;
    }
    token[len] = '\0';
    if (len == 0 || strlen(token) != len || strpbrk(token, "\r\n") != NULL) {
        return bad_file(path, "it must hold one line, the token");
    }
    return -1;
}

static int read_token_file(struct security_options *o)
{
    bool input = strcmp(o->token_file, "-") == 0;
    int fd = input ? STDIN_FILENO
                   : open(o->token_file, O_RDONLY | O_CLOEXEC);
    int result;

    if (fd < 0) {
        return unreadable(o->token_file);
    }
    result = input || is_private(fd)
                 ? read_token(fd, o->token_file, o->token)
                 : bad_file(o->token_file, "others can read it: chmod 600");
    if (!input) {
        close(fd);
    }
    return result;
}

/* try is what belayd calls it. */
static int parse_sandbox(struct security_options *o)
{
    static const struct {
        const char *word;
        enum sandbox_mode mode;
    } modes[] = {
        {"auto", SANDBOX_AUTO},
        {"try", SANDBOX_AUTO},
        {"require", SANDBOX_REQUIRE},
        {"off", SANDBOX_OFF},
    };

    for (size_t k = 0; k < sizeof modes / sizeof modes[0]; k++) {
        if (o->sandbox_word == NULL ||
            strcmp(o->sandbox_word, modes[k].word) == 0) {
            o->sandbox = modes[k].mode;
            return -1;
        }
    }
    return usage_wrong("bad sandbox mode", o->sandbox_word,
                       "expected auto, require or off");
}

int security_finish(struct security_options *o)
{
    const char *given = getenv("BELAY_TOKEN");
    int result = parse_sandbox(o);

    if (result >= 0) {
        return result;
    }

    o->options.struct_size = sizeof o->options;
    if (o->token_file != NULL) {
        result = read_token_file(o);
        o->options.token = o->token;
    } else if (given != NULL && *given != '\0') {
        o->options.token = given;
    }
    return result;
}
