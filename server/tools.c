#include "server/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/registry.h"
#include "proto/io/tls.h"
#include "server/tokens.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2

static int
fail(int status, const char *what, const char *arg, const char *why)
{
    fprintf(stderr, "belayd: %s%s%s%s%s\n", what, arg != NULL ? " " : "",
            arg != NULL ? arg : "", why != NULL ? ": " : "",
            why != NULL ? why : "");
    return status;
}

static int
write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR) {
            return ERR_IO;
        }
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0 ? 0 : ERR_IO;
}

/* ---- init. */

/* A key that is there stays: clients know it. */
static int
write_new(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", dir, name);

    if (len < 0 || (size_t)len >= sizeof(path)) {
        return fail(EXIT_FAILED, "path too long:", dir, NULL);
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                  mode);
    if (fd < 0) {
        return fail(EXIT_FAILED, "cannot make", path,
                    errno == EEXIST ? "it is there already, and stays"
                                    : strerror(errno));
    }
    int err = write_all(fd, text, strlen(text));
    if (close(fd) != 0 || err != 0) {
        int error = errno;
        (void)unlink(path);
        return fail(EXIT_FAILED, "cannot write", path, strerror(error));
    }
    return 0;
}

static void
print_identity(const char *dir, const char *name, const char *pin)
{
    bool root = geteuid() == 0;

    printf("key          %s/key.pem (keep it secret)\n"
           "certificate  %s/cert.pem\n"
           "pin          %s\n"
           "\n", dir, dir, pin);
    if (root) {
        printf("let USER, which belayd is to become, read them (the systemd "
               "unit does without):\n"
               "             chown -R USER %s\n", dir);
    }
    printf("serve with:  belayd --root DIR%s --tls-cert %s/cert.pem "
           "--tls-key %s/key.pem\n"
           "clients:     belay trust %s:%u %s\n"
           "             once, or --pin %s each time\n",
           root ? " --user USER" : "", dir, dir, name, (unsigned)PROTO_PORT,
           pin, pin);
}

static int
make_identity(const char *dir, const char *name)
{
    char key[TLS_PEM_MAX];
    char cert[TLS_PEM_MAX];
    char text[TLS_PIN_TEXT_LEN + 1];
    uint8_t pin[HASH_LEN];

    if (tls_make_identity(name, key, cert) != 0 ||
        tls_cert_pin((struct bytes_view){ (const uint8_t *)cert,
                                          strlen(cert) }, pin) != 0) {
        return fail(EXIT_FAILED, "cannot make a certificate for", name, NULL);
    }
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        return fail(EXIT_FAILED, "cannot make", dir, strerror(errno));
    }
    int status = write_new(dir, "key.pem", key, 0600);
    explicit_bzero(key, sizeof(key));
    if (status == 0) {
        status = write_new(dir, "cert.pem", cert, 0644);
    }
    if (status == 0) {
        tls_pin_format(pin, text);
        print_identity(dir, name, text);
    }
    return status;
}

static int
run_init(int argc, char *argv[])
{
    char host[HOST_NAME_MAX + 1] = "localhost";

    if (argc < 2 || argc > 3 || argv[1][0] == '-' || argv[1][0] == '\0') {
        return fail(EXIT_USAGE, "usage: belayd init DIR [NAME]", NULL, NULL);
    }
    if (argc == 2) {
        (void)gethostname(host, sizeof(host) - 1);
    }
    const char *name = argc == 3 ? argv[2] : host;
    for (const char *c = name; *c != '\0'; c++) {
        if (*c <= ' ' || *c >= 0x7f) {
            return fail(EXIT_USAGE, "the name of a server has letters, "
                                    "digits, '.' and '-' only", NULL, NULL);
        }
    }
    if (name[0] == '\0' || strlen(name) > 64) {
        return fail(EXIT_USAGE, "the name of a server has 1 to 64 characters",
                    NULL, NULL);
    }
    return make_identity(argv[1], name);
}

/* ---- token. */

static int
append_token(const char *path, const char *line)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int status = 0;

    if (fd < 0 || flock(fd, LOCK_EX) != 0 || fstat(fd, &st) != 0) {
        status = fail(EXIT_FAILED, "cannot open", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode) || (st.st_mode & 0027) != 0) {
        status = fail(EXIT_FAILED, "will not use", path,
                      "it must be a file that is not readable for all, nor "
                      "writable for others than its owner");
    } else {
        char last = '\n';
        if (st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 &&
            last != '\n' && write_all(fd, "\n", 1) != 0) {
            status = fail(EXIT_FAILED, "cannot write", path, strerror(errno));
        }
        if (status == 0 && write_all(fd, line, strlen(line)) != 0) {
            status = fail(EXIT_FAILED, "cannot write", path, strerror(errno));
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

static int
run_token(int argc, char *argv[])
{
    char token[TOKENS_TEXT_LEN + 1];
    char line[TOKENS_LINE_MAX];

    if (argc != 4 || strcmp(argv[1], "add") != 0) {
        return fail(EXIT_USAGE, "usage: belayd token add FILE NAME", NULL,
                    NULL);
    }
    int err = tokens_make(argv[3], token, line);
    if (err == ERR_SYNTAX) {
        return fail(EXIT_USAGE, "a name has 1 to 128 letters, digits, '.', "
                                "'-', '_', '@'", NULL, NULL);
    }
    if (err != 0) {
        return fail(EXIT_FAILED, "cannot make a token", NULL,
                    err_sentence(err));
    }
    int status = append_token(argv[2], line);
    if (status == 0 && printf("%s\n", token) < 0) {
        status = EXIT_FAILED;
    }
    explicit_bzero(token, sizeof(token));
    return status;
}

bool
tools_know(const char *word)
{
    return strcmp(word, "init") == 0 || strcmp(word, "token") == 0;
}

int
tools_run(int argc, char *argv[])
{
    int status = strcmp(argv[0], "init") == 0 ? run_init(argc, argv)
                                              : run_token(argc, argv);

    if (fflush(stdout) != 0) {
        return fail(EXIT_FAILED, "cannot write the output", NULL,
                    strerror(errno));
    }
    return status;
}
