#include "client/knownhosts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/aide.h"
#include "client/filewrite.h"
#include "proto/data/text.h"

/* "[host]:port", */
#define NAME_MAX_LEN 270
/* ... a space, a pin, a line end. */
#define LINE_MAX_LEN (NAME_MAX_LEN + TLS_PIN_TEXT_LEN + 3)

struct contents {
    char *text;
    size_t len;
};

bool knownhosts_path(char *path, size_t cap)
{
    const char *config = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int len = -1;

    if (config != NULL && config[0] == '/') {
        len = snprintf(path, cap, "%s/belay/known_hosts", config);
    } else if (home != NULL && home[0] == '/') {
        len = snprintf(path, cap, "%s/.config/belay/known_hosts", home);
    }
    return len > 0 && (size_t)len < cap;
}

static int io_error(char why[TLS_TEXT_MAX], const char *path,
                    const char *what)
{
    int error = errno;
    char shown[160];

    (void)text_escape(shown, sizeof shown, path, strlen(path));
    (void)snprintf(why, TLS_TEXT_MAX, "cannot %s %s: %s", what, shown,
                   strerror(error));
    return ERR_IO;
}

/* ---- reading. */

static int read_fd(int fd, struct contents *out)
{
    out->text = malloc(KNOWNHOSTS_BYTES_MAX + 1);
    out->len = 0;
    if (out->text == NULL) {
        return ERR_NOMEM;
    }
    while (out->len <= KNOWNHOSTS_BYTES_MAX) {
        ssize_t n = read(fd, out->text + out->len,
                         KNOWNHOSTS_BYTES_MAX + 1 - out->len);

        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return ERR_IO;
        }
        out->len += n > 0 ? (size_t)n : 0;
    }
    return ERR_LIMIT;
}

/* Missing is empty. A FIFO or a device is no file to wait for. */
static int load(const char *path, struct contents *out,
                char why[TLS_TEXT_MAX])
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int err;

    out->text = NULL;
    out->len = 0;
    if (fd < 0) {
        return errno == ENOENT ? 0 : io_error(why, path, "read");
    }
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        errno = EINVAL;
        (void)io_error(why, path, "read");
        err = ERR_NOT_A_FILE;
    } else {
        err = read_fd(fd, out);
    }
    if (err == ERR_IO) {
        (void)io_error(why, path, "read");
    } else if (err == ERR_LIMIT) {
        errno = EFBIG;
        (void)io_error(why, path, "read");
    } else if (err == ERR_NOMEM) {
        (void)snprintf(why, TLS_TEXT_MAX, "out of memory");
    }
    close(fd);
    if (err != 0) {
        free(out->text);
        out->text = NULL;
    }
    return err;
}

static void make_name(const char *host, uint16_t port,
                      char name[NAME_MAX_LEN])
{
    bool bracket = strchr(host, ':') != NULL;

    (void)snprintf(name, NAME_MAX_LEN, "%s%s%s:%u", bracket ? "[" : "", host,
                   bracket ? "]" : "", port);
}

struct line {
    const char *text; /* without its end */
    size_t len;
    bool entry;       /* else empty, or a comment */
    size_t name_len;
    uint8_t pin[HASH_LEN];
};

static bool is_port(const char *text, size_t len)
{
    unsigned value = 0;

    if (len == 0 || len > 5 || text[0] == '0') {
        return false;
    }
    for (size_t k = 0; k < len; k++) {
        if (text[k] < '0' || text[k] > '9') {
            return false;
        }
        value = value * 10 + (unsigned)(text[k] - '0');
    }
    return value <= UINT16_MAX;
}

/* Lower case, as hosts in parsed URLs are; which characters a host may have
 * is for the URL to say, so here only what could not be compared is wrong. */
static bool is_name(const char *text, size_t len)
{
    size_t colon = len;

    while (colon > 0 && text[colon - 1] != ':') {
        colon--;
    }
    if (colon < 2 || !is_port(text + colon, len - colon)) {
        return false;
    }
    for (size_t k = 0; k < colon - 1; k++) {
        if (text[k] <= ' ' || text[k] >= 0x7f ||
            (text[k] >= 'A' && text[k] <= 'Z')) {
            return false;
        }
    }
    return memchr(text, ':', colon - 1) == NULL ||
           (text[0] == '[' && text[colon - 2] == ']');
}

static int parse_line(struct line *line)
{
    const char *space;

    line->entry = false;
    if (line->len == 0 || line->text[0] == '#') {
        return 0;
    }
    space = memchr(line->text, ' ', line->len);
    if (space == NULL) {
        return ERR_SYNTAX;
    }
    line->name_len = (size_t)(space - line->text);
    line->entry = true;
    return is_name(line->text, line->name_len)
               ? tls_pin_parse(space + 1, line->len - line->name_len - 1,
                               line->pin)
               : ERR_SYNTAX;
}

/* The line at *at; false at the end. A last line without its end counts. */
static bool next_line(const struct contents *c, size_t *at, struct line *line)
{
    const char *start = c->text + *at;
    const char *end;

    if (*at >= c->len) {
        return false;
    }
    end = memchr(start, '\n', c->len - *at);
    line->text = start;
    line->len = end != NULL ? (size_t)(end - start) : c->len - *at;
    *at += line->len + (end != NULL);
    return true;
}

static bool is_about(const struct line *line, const char *name)
{
    return line->entry && line->name_len == strlen(name) &&
           memcmp(line->text, name, line->name_len) == 0;
}

static int complain(const char *path, unsigned number,
                    char why[TLS_TEXT_MAX])
{
    char shown[160];

    (void)text_escape(shown, sizeof shown, path, strlen(path));
    (void)snprintf(why, TLS_TEXT_MAX,
                   "line %u of %s is not of the form HOST:PORT "
                   "sha256:HEX; correct it first, no host is known until "
                   "then", number, shown);
    return ERR_SYNTAX;
}

/* Every line is looked at, also behind those that were sought. */
static int collect(const struct contents *c, const char *path,
                   const char *name,
                   uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN],
                   size_t *count, char why[TLS_TEXT_MAX])
{
    struct line line;
    unsigned number = 0;
    size_t at = 0;

    *count = 0;
    while (next_line(c, &at, &line)) {
        number++;
        if (parse_line(&line) != 0) {
            return complain(path, number, why);
        }
        if (!is_about(&line, name)) {
            continue;
        }
        if (*count == KNOWNHOSTS_KEYS_MAX) {
            (void)snprintf(why, TLS_TEXT_MAX,
                           "%s has more than %u keys in known_hosts", name,
                           KNOWNHOSTS_KEYS_MAX);
            return ERR_LIMIT;
        }
        memcpy(pins[(*count)++], line.pin, HASH_LEN);
    }
    return 0;
}

int knownhosts_find(const char *path, const char *host, uint16_t port,
                    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN],
                    size_t *count, char why[TLS_TEXT_MAX])
{
    struct contents c;
    char name[NAME_MAX_LEN];
    int err = load(path, &c, why);

    *count = 0;
    if (err == 0) {
        make_name(host, port, name);
        err = collect(&c, path, name, pins, count, why);
        free(c.text);
    }
    return err;
}

/* ---- changing. */

static int make_parents(const char *path)
{
    char dir[4096];
    int len = snprintf(dir, sizeof dir, "%s", path);

    if (len < 0 || (size_t)len >= sizeof dir) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    return filewrite_make_parents(dir, 0700) ? 0 : ERR_IO;
}

/* The lock file stays: removing it would let two hold it. */
static int take_lock(const char *path, int *fd_out)
{
    char lock[4096];
    int len = snprintf(lock, sizeof lock, "%s.lock", path);
    int fd;

    if (len < 0 || (size_t)len >= sizeof lock) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return ERR_IO;
    }
    while (flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR) {
            close(fd);
            return ERR_IO;
        }
    }
    *fd_out = fd;
    return 0;
}

static int replace_file(const char *path, const struct contents *c)
{
    char temp[4096];
    int len = snprintf(temp, sizeof temp, "%s.XXXXXX", path);
    int err;
    int fd;

    if (len < 0 || (size_t)len >= sizeof temp) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        return ERR_IO;
    }
    err = filewrite_all(fd, c->text, c->len) && fsync(fd) == 0 ? 0 : ERR_IO;
    if (close(fd) != 0 || err != 0 || rename(temp, path) != 0) {
        int error = errno;

        (void)unlink(temp);
        errno = error;
        return ERR_IO;
    }
    return filewrite_sync_name(path) ? 0 : ERR_IO;
}

struct change {
    const char *path;
    char name[NAME_MAX_LEN];
    const uint8_t *pin; /* to be known; NULL: none */
    bool first;         /* ... if no other one is */
    bool forget;        /* what was known before */
    bool changed;
    size_t forgotten;
};

/* Copies the lines that stay, and counts. */
static int edit(struct change *change, const struct contents *old,
                struct contents *new, char why[TLS_TEXT_MAX])
{
    struct line line;
    unsigned number = 0;
    size_t known = 0;
    size_t at = 0;
    bool there = false;

    while (next_line(old, &at, &line)) {
        number++;
        if (parse_line(&line) != 0) {
            return complain(change->path, number, why);
        }
        if (is_about(&line, change->name)) {
            if (change->forget) {
                change->forgotten++;
                change->changed = true;
                continue;
            }
            there = there || memcmp(line.pin, change->pin, HASH_LEN) == 0;
            known++;
        }
        memcpy(new->text + new->len, line.text, line.len);
        new->len += line.len;
        new->text[new->len++] = '\n';
    }
    if (change->pin == NULL || there) {
        return 0;
    }
    if (change->first && known > 0) {
        (void)snprintf(why, TLS_TEXT_MAX, "%s is known with another key",
                       change->name);
        return ERR_EXISTS;
    }
    if (known >= KNOWNHOSTS_KEYS_MAX) {
        (void)snprintf(why, TLS_TEXT_MAX, "%s has %u keys already",
                       change->name, KNOWNHOSTS_KEYS_MAX);
        return ERR_LIMIT;
    }
    char pin[TLS_PIN_TEXT_LEN + 1];
    tls_pin_format(change->pin, pin);
    new->len += (size_t)snprintf(new->text + new->len, LINE_MAX_LEN,
                                 "%s %s\n", change->name, pin);
    change->changed = true;
    return 0;
}

static int apply(struct change *change, char why[TLS_TEXT_MAX])
{
    struct contents old, new = {.len = 0};
    int err = load(change->path, &old, why);

    if (err != 0) {
        return err;
    }
    new.text = malloc(old.len + LINE_MAX_LEN + 2);
    if (new.text == NULL) {
        (void)snprintf(why, TLS_TEXT_MAX, "out of memory");
        err = ERR_NOMEM;
    } else {
        err = edit(change, &old, &new, why);
    }
    if (err == 0 && new.len > KNOWNHOSTS_BYTES_MAX) {
        errno = EFBIG;
        err = io_error(why, change->path, "extend");
    }
    /* What stands there already may be from a process that was killed before
     * its name was synced. */
    if (err == 0 && (change->changed
                         ? replace_file(change->path, &new) != 0
                         : !filewrite_sync_name(change->path))) {
        err = io_error(why, change->path, "write");
    }
    free(old.text);
    free(new.text);
    return err;
}

/* What is written has to be read again: a line that is not of the form would
 * make all hosts unknown, and one that is a comment this one. */
static int check_name(const char *name, char why[TLS_TEXT_MAX])
{
    char shown[160];

    if (name[0] != '#' && is_name(name, strlen(name))) {
        return 0;
    }
    (void)text_escape(shown, sizeof shown, name, strlen(name));
    (void)snprintf(why, TLS_TEXT_MAX, "%s is no host that can be recorded",
                   shown);
    return ERR_SYNTAX;
}

static int apply_locked(struct change *change, char why[TLS_TEXT_MAX])
{
    int lock = -1;
    int err = change->pin != NULL ? check_name(change->name, why) : 0;

    if (err != 0) {
        return err;
    }
    if (make_parents(change->path) != 0 ||
        take_lock(change->path, &lock) != 0) {
        return io_error(why, change->path, "change");
    }
    err = apply(change, why);
    close(lock);
    return err;
}

int knownhosts_add(const char *path, const char *host, uint16_t port,
                   const uint8_t pin[HASH_LEN], char why[TLS_TEXT_MAX])
{
    struct change change = {.path = path, .pin = pin};

    if (aide_records(path)) {
        return aide_record(host, port, pin, why);
    }
    make_name(host, port, change.name);
    return apply_locked(&change, why);
}

int knownhosts_add_first(const char *path, const char *host, uint16_t port,
                         const uint8_t pin[HASH_LEN], char why[TLS_TEXT_MAX])
{
    struct change change = {.path = path, .pin = pin, .first = true};

    if (aide_records(path)) {
        return aide_record(host, port, pin, why);
    }
    make_name(host, port, change.name);
    return apply_locked(&change, why);
}

int knownhosts_replace(const char *path, const char *host, uint16_t port,
                       const uint8_t *pin, size_t *forgotten,
                       char why[TLS_TEXT_MAX])
{
    struct change change = {.path = path, .pin = pin, .forget = true};
    int err;

    make_name(host, port, change.name);
    err = apply_locked(&change, why);
    *forgotten = err == 0 ? change.forgotten : 0;
    return err;
}
