#include "client/cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Weight of the newest second in the smoothed speed. */
#define SMOOTHING 0.3
#define BAR_MAX 30u

void progress_time(uint64_t seconds, char *out, size_t cap)
{
    if (seconds >= 3600) {
        (void)snprintf(out, cap, "%" PRIu64 "h%02" PRIu64 "m",
                       seconds / 3600, seconds / 60 % 60);
    } else if (seconds >= 60) {
        (void)snprintf(out, cap, "%" PRIu64 "m%02" PRIu64 "s", seconds / 60,
                       seconds % 60);
    } else {
        (void)snprintf(out, cap, "%" PRIu64 "s", seconds);
    }
}

void progress_sample(struct progress *p, const struct belay_job_stats *stats)
{
    uint64_t elapsed = stats->elapsed_ms - p->at_ms;
    double now;

    if (elapsed < 200 || stats->fresh < p->fresh) {
        return;
    }
    now = (double)(stats->fresh - p->fresh) * 1000 / (double)elapsed;
    double weight = SMOOTHING * (double)elapsed / 1000;

    if (weight > 1 || p->rate <= 0) {
        weight = 1;
    }
    p->rate += (now - p->rate) * weight;
    p->at_ms = stats->elapsed_ms;
    p->fresh = stats->fresh;
}

static double fraction(const struct belay_job_stats *stats)
{
    if (stats->size == 0) {
        return 0;
    }
    return stats->have >= stats->size
               ? 1
               : (double)stats->have / (double)stats->size;
}

bool progress_left_ms(const struct progress *p,
                      const struct belay_job_stats *stats, uint64_t *ms)
{
    double left;

    if (p->rate < 1 || stats->size == 0 || stats->size < stats->have) {
        return false;
    }
    left = (double)(stats->size - stats->have) * 1000 / p->rate;
    *ms = left < 1e15 ? (uint64_t)left : 0;
    return left < 1e15;
}

static void put_rest(const struct progress *p,
                     const struct belay_job_stats *stats, char *out,
                     size_t cap)
{
    char rate[32];
    char left[32] = "-";
    uint64_t ms;

    belay_text_bytes((uint64_t)(p->rate < 0 ? 0 : p->rate), rate,
                     sizeof rate);
    if (progress_left_ms(p, stats, &ms)) {
        progress_time(ms / 1000, left, sizeof left);
    }
    if (stats->verifying) {
        (void)snprintf(out, cap, "checking and syncing");
    } else if (stats->connections == 0) {
        (void)snprintf(out, cap, "waiting for a connection");
    } else {
        (void)snprintf(out, cap, "%s/s, %s left", rate, left);
    }
    if (stats->losses > 0) {
        size_t len = strlen(out);

        (void)snprintf(out + len, cap - len, ", %u break%s", stats->losses,
                       stats->losses == 1 ? "" : "s");
    }
}

/* A directory of which not all is known. */
static bool is_listing(const struct belay_job_stats *stats)
{
    return stats->files_found > 0 && stats->size == 0;
}

/* Bytes that are here, and how many there will be; for a directory its files
 * before that, and nothing that its listing has not told yet. */
static void put_amount(const struct belay_job_stats *stats,
                       const char *between, const char *behind, char *out,
                       size_t cap)
{
    char have[32], size[32], files[80] = "";
    bool listing = is_listing(stats);

    belay_text_bytes(stats->have, have, sizeof have);
    belay_text_bytes(stats->size, size, sizeof size);
    if (stats->files_found > 0) {
        (void)snprintf(files, sizeof files,
                       "%" PRIu64 "%s%" PRIu64 "%s files%s",
                       stats->files_have, between, stats->files_found,
                       listing ? "+" : "", behind);
    }
    (void)snprintf(out, cap, "%s%s%s%s", files, have, listing ? "" : between,
                   listing ? "" : size);
}

/* Columns of the character that begins here, and its bytes.  East Asian wide
 * characters and emoji take two; those that take none are counted as one,
 * which errs on the safe side. */
static unsigned character(const char *text, size_t *len)
{
    unsigned char c = (unsigned char)*text;
    bool wide;

    *len = c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    /* From U+1100 on three bytes may be wide; all of four bytes count so. */
    wide = c == 0xE1 ? (unsigned char)text[1] == 0x84 ||
                           (unsigned char)text[1] == 0x85
                     : c > 0xE2;
    return wide ? 2 : 1;
}

static unsigned columns_of(const char *text)
{
    unsigned columns = 0;
    size_t len;

    for (; *text != '\0'; text += len) {
        columns += character(text, &len);
    }
    return columns;
}

/* "[###...]  42% " as far as there is room for it; nothing while it is not
 * known how much there will be in a directory. */
static void put_share(const struct belay_job_stats *stats, unsigned width,
                      char *out, size_t cap)
{
    unsigned cells = width > 90 ? BAR_MAX : width > 70 ? 16 : 0;
    unsigned full = (unsigned)(fraction(stats) * cells);
    char bar[BAR_MAX + 1];

    memset(bar, '.', sizeof bar);
    memset(bar, '#', full);
    bar[cells] = '\0';
    *out = '\0';
    if (!is_listing(stats)) {
        (void)snprintf(out, cap, "%s%s%s%3.0f%% ", cells > 0 ? "[" : "", bar,
                       cells > 0 ? "] " : "", fraction(stats) * 100);
    }
}

/* What does not fit is left out: half a number would be another one. */
void progress_bar(const struct progress *p,
                  const struct belay_job_stats *stats, unsigned width,
                  char out[PROGRESS_TEXT])
{
    char amount[160], rest[128], share[BAR_MAX + 16];

    put_amount(stats, "/", " ", amount, sizeof amount);
    put_rest(p, stats, rest, sizeof rest);
    put_share(stats, width, share, sizeof share);
    (void)snprintf(out, PROGRESS_TEXT, "%s%s %s", share, amount, rest);
    if (columns_of(out) > width) {
        put_share(stats, 0, share, sizeof share);
        (void)snprintf(out, PROGRESS_TEXT, "%s%s %s", share, amount, rest);
    }
    if (columns_of(out) > width) {
        (void)snprintf(out, PROGRESS_TEXT, "%s%s", share, rest);
    }
    if (columns_of(out) > width) {
        (void)snprintf(out, PROGRESS_TEXT, "%s", share);
    }
    progress_cut(out, width);
}

void progress_cut(char *text, unsigned width)
{
    unsigned used = 0;
    size_t len;

    for (char *at = text; *at != '\0'; at += len) {
        used += character(at, &len);
        if (used > width) {
            *at = '\0';
            return;
        }
    }
}

void progress_row(const struct progress *p, const char *name,
                  const struct belay_job_stats *stats, unsigned width,
                  char out[PROGRESS_TEXT])
{
    char head[PROGRESS_TEXT / 2], bar[PROGRESS_TEXT];
    unsigned columns;

    (void)snprintf(head, sizeof head, "%s", name);
    progress_cut(head, width > 80 ? width / 3 : 24);
    columns = columns_of(head);
    progress_bar(p, stats, width > columns + 1 ? width - columns - 1 : 0,
                 bar);
    (void)snprintf(out, PROGRESS_TEXT, "%s %.250s", head, bar);
}

void progress_plain(const struct progress *p,
                    const struct belay_job_stats *stats,
                    char out[PROGRESS_TEXT])
{
    char amount[160], rest[128];

    put_amount(stats, " of ", ", ", amount, sizeof amount);
    put_rest(p, stats, rest, sizeof rest);
    if (is_listing(stats)) {
        (void)snprintf(out, PROGRESS_TEXT, "%s, %s", amount, rest);
    } else {
        (void)snprintf(out, PROGRESS_TEXT, "%3.0f%%, %s, %s",
                       fraction(stats) * 100, amount, rest);
    }
}

void progress_ledger(const struct belay_job_stats *stats,
                     char out[PROGRESS_TEXT])
{
    char fresh[32], kept[32], reused[32], repeated[32], wasted[32], wire[32];

    belay_text_bytes(stats->fresh, fresh, sizeof fresh);
    belay_text_bytes(stats->kept, kept, sizeof kept);
    belay_text_bytes(stats->reused, reused, sizeof reused);
    belay_text_bytes(stats->repeated, repeated, sizeof repeated);
    belay_text_bytes(stats->wasted, wasted, sizeof wasted);
    belay_text_bytes(stats->wire, wire, sizeof wire);
    (void)snprintf(out, PROGRESS_TEXT,
                   "useful %s, kept %s, reused %s, repeated %s, wasted %s, "
                   "on the wire %s, connections %u, breaks %u, bad chunks "
                   "%u, time %.2f s",
                   fresh, kept, reused, repeated, wasted, wire, stats->connects,
                   stats->losses, stats->bad_chunks,
                   (double)stats->elapsed_ms / 1000);
}

bool progress_mode_parse(const char *text, enum progress_mode *mode)
{
    static const char *const names[] = {"auto", "bar", "plain", "json", "none"};

    if (text == NULL) {
        *mode = PROGRESS_BAR;
        return true;
    }
    for (unsigned k = 0; k < 5; k++) {
        if (strcmp(text, names[k]) == 0) {
            *mode = (enum progress_mode)k;
            return true;
        }
    }
    return false;
}
