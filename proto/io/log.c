#include "proto/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/limits.h"
#include "proto/data/text.h"
#include "proto/io/clock.h"

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

static int
open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY,
                0640);
}

int
log_open(struct log *log, const char *path, enum log_level level)
{
    log->fd = path == NULL ? STDERR_FILENO : open_file(path);
    log->path = path;
    log->level = level;
    return log->fd < 0 ? ERR_IO : 0;
}

int
log_reopen(struct log *log)
{
    if (log->path == NULL) {
        return 0;
    }
    int fd = open_file(log->path);
    if (fd < 0) {
        return ERR_IO;
    }
    close(log->fd);
    log->fd = fd;
    return 0;
}

void
log_close(struct log *log)
{
    if (log->path != NULL && log->fd >= 0) {
        close(log->fd);
    }
    log->fd = -1;
}

/* Appends; what is beyond the end of the line is cut. One byte stays free
 * for the newline. */
static void __attribute__((format(printf, 2, 3)))
add(struct log_line *line, const char *format, ...)
{
    size_t room = sizeof(line->text) - 1 - line->len;
    va_list args;

    va_start(args, format);
    int len = vsnprintf(line->text + line->len, room, format, args);
    va_end(args);
    if (len > 0) {
        line->len += (size_t)len < room ? (size_t)len : room - 1;
    }
}

void
log_begin(struct log_line *line, struct log *log, enum log_level level,
          const char *event)
{
    line->log = log;
    line->len = 0;
    line->wanted = level <= log->level && log->fd >= 0;
    if (!line->wanted) {
        return;
    }
    int64_t now = clock_wall_ns();
    time_t seconds = (time_t)(now / 1000000000);
    struct tm tm;
    char stamp[32];
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        stamp[0] = '\0';
    }
    add(line, "%s.%03dZ %s %s", stamp, (int)(now % 1000000000 / 1000000),
        level_names[level], event);
}

void
log_num(struct log_line *line, const char *key, uint64_t value)
{
    if (line->wanted) {
        add(line, " %s=%" PRIu64, key, value);
    }
}

void
log_word(struct log_line *line, const char *key, const char *word)
{
    if (line->wanted) {
        add(line, " %s=%s", key, word);
    }
}

void
log_bytes(struct log_line *line, const char *key, const void *bytes,
          size_t len)
{
    char text[MAX_SHOWN_TEXT + TEXT_ESCAPE_MIN];

    if (!line->wanted) {
        return;
    }
    text_escape(text, sizeof(text), bytes, len);
    /* The escaped text may still hold spaces and quotes. */
    add(line, " %s=\"", key);
    for (const char *c = text; *c != '\0'; c++) {
        add(line, *c == '"' ? "\\x22" : "%c", *c);
    }
    add(line, "\"");
}

void
log_text(struct log_line *line, const char *key, const char *text)
{
    log_bytes(line, key, text, strlen(text));
}

void
log_errno(struct log_line *line, int error)
{
    char text[128];
    log_text(line, "error", strerror_r(error, text, sizeof(text)));
}

void
log_end(struct log_line *line)
{
    if (!line->wanted) {
        return;
    }
    int saved = errno;
    line->text[line->len++] = '\n';
    ssize_t rc = write(line->log->fd, line->text, line->len);
    (void)rc; /* there is nowhere left to complain */
    errno = saved;
    line->wanted = false;
}
