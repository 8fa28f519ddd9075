/* Progress: numbers to text.  Pure formatting; the caller prints.
 *
 * Speed and remaining time come from bytes newly received, never from those
 * that were there before, so that a resumed download does not boast. */
#ifndef CLIENT_CLI_PROGRESS_H
#define CLIENT_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/belay.h"

#define PROGRESS_TEXT 512

enum progress_mode {
    PROGRESS_AUTO,
    PROGRESS_BAR,
    PROGRESS_PLAIN,
    PROGRESS_JSON,
    PROGRESS_NONE,
};

/* The word of --progress; NULL: a bar. False: it is none. */
bool progress_mode_parse(const char *text, enum progress_mode *mode);

struct progress {
    uint64_t at_ms;    /* last sample */
    uint64_t fresh;
    double rate;       /* smoothed, bytes per second */
};

/* "1h02m", "3m20s", "12s". */
void progress_time(uint64_t seconds, char *out, size_t cap);

/* Take a sample of the speed. */
void progress_sample(struct progress *p, const struct belay_job_stats *stats);
/* Time until the file is complete, at the present speed; false: unknown. */
bool progress_left_ms(const struct progress *p,
                      const struct belay_job_stats *stats, uint64_t *ms);
/* One line of at most `width` columns with a bar, without a line end. */
void progress_bar(const struct progress *p,
                  const struct belay_job_stats *stats, unsigned width,
                  char out[PROGRESS_TEXT]);
/* The same for one file of several, with the beginning of its name. */
void progress_row(const struct progress *p, const char *name,
                  const struct belay_job_stats *stats, unsigned width,
                  char out[PROGRESS_TEXT]);
/* Cuts a text (UTF-8) to `width` columns. */
void progress_cut(char *text, unsigned width);
/* One line for logs. */
void progress_plain(const struct progress *p,
                    const struct belay_job_stats *stats,
                    char out[PROGRESS_TEXT]);
/* What the link cost: useful, repeated, wasted, resets, time. */
void progress_ledger(const struct belay_job_stats *stats,
                     char out[PROGRESS_TEXT]);

#endif
