/* The log: one line per event, `time level event key=value ...`.
 *
 * Times are UTC. Values from outside go through log_bytes(), which escapes,
 * cuts and quotes them (P8); keys and event names are literals of the program.
 * A line is written by one write() in append mode, so that lines of several
 * processes do not mix. A line that cannot be written is lost: logging never
 * blocks or stops the program.
 *
 * One thread at a time per log. */
#ifndef PROTO_IO_LOG_H
#define PROTO_IO_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Longest line; values that do not fit are cut. */
#define LOG_LINE_MAX 1536

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

struct log {
    int fd;
    const char *path; /* borrowed; NULL: standard error */
    enum log_level level;
};

struct log_line {
    struct log *log;
    size_t len;
    bool wanted;
    char text[LOG_LINE_MAX];
};

/* Starts to log to a file (made when missing, mode 0640), or to standard
 * error when path is NULL. Lines above level are not written. ERR_IO with the
 * reason in errno. */
MUST_USE int log_open(struct log *log, const char *path, enum log_level level);

/* Opens the file again, after it was moved away; keeps the old one when that
 * fails. ERR_IO. */
MUST_USE int log_reopen(struct log *log);

void log_close(struct log *log);

/* Begin, add, end: the line is written by log_end(). */
void log_begin(struct log_line *line, struct log *log, enum log_level level,
               const char *event);
void log_num(struct log_line *line, const char *key, uint64_t value);

/* A word of the program: letters, digits, '-', '_', ':', '.', '[', ']'. */
void log_word(struct log_line *line, const char *key, const char *word);

/* Any text or bytes. */
void log_bytes(struct log_line *line, const char *key, const void *bytes,
               size_t len);
void log_text(struct log_line *line, const char *key, const char *text);

/* The sentence of an errno value. */
void log_errno(struct log_line *line, int error);
void log_end(struct log_line *line);

#endif
