#include "client/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Weight of the newest second in the smoothed speed. */
#define SMOOTHING 0.3
#define BAR_MAX 30u

void progress_bytes(uint64_t bytes, char *out, size_t cap)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB",
                                        "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    while (value >= 1024 && unit < 6) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, cap, unit == 0 ? "%.0f %s" : "%.2f %s", value,
                   units[unit]);
}

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

void progress_sample(struct progress *p, const struct fetch_stats *stats)
{
    uint64_t elapsed = stats->elapsed_ms - p->at_ms;
    double now;

    if (elapsed < 200 || stats->ledger.fresh < p->fresh) {
        return;
    }
    now = (double)(stats->ledger.fresh - p->fresh) * 1000 / (double)elapsed;
    double weight = SMOOTHING * (double)elapsed / 1000;

    if (weight > 1 || p->rate <= 0) {
        weight = 1;
    }
    p->rate += (now - p->rate) * weight;
    p->at_ms = stats->elapsed_ms;
    p->fresh = stats->ledger.fresh;
}

static double fraction(const struct fetch_stats *stats)
{
    if (stats->ledger.size == 0) {
        return 0;
    }
    return (double)stats->ledger.have / (double)stats->ledger.size;
}

static void put_rest(const struct progress *p,
                     const struct fetch_stats *stats, char *out, size_t cap)
{
    char rate[32];
    char left[32] = "-";

    progress_bytes((uint64_t)(p->rate < 0 ? 0 : p->rate), rate, sizeof rate);
    if (p->rate >= 1 && stats->ledger.size >= stats->ledger.have) {
        progress_time((uint64_t)((double)(stats->ledger.size -
                                          stats->ledger.have) /
                                 p->rate),
                      left, sizeof left);
    }
    if (stats->verifying) {
        (void)snprintf(out, cap, "checking and syncing");
    } else if (stats->conns == 0) {
        (void)snprintf(out, cap, "waiting for a connection");
    } else {
        (void)snprintf(out, cap, "%s/s, %s left", rate, left);
    }
    if (stats->ledger.losses > 0) {
        size_t len = strlen(out);

        (void)snprintf(out + len, cap - len, ", %u breaks",
                       stats->ledger.losses);
    }
}

void progress_bar(const struct progress *p, const struct fetch_stats *stats,
                  unsigned width, char out[PROGRESS_TEXT])
{
    char have[32], size[32], rest[128], bar[BAR_MAX + 1];
    unsigned cells = width > 90 ? BAR_MAX : width > 70 ? 16 : 0;
    unsigned full = (unsigned)(fraction(stats) * cells);

    progress_bytes(stats->ledger.have, have, sizeof have);
    progress_bytes(stats->ledger.size, size, sizeof size);
    put_rest(p, stats, rest, sizeof rest);
    memset(bar, '.', sizeof bar);
    memset(bar, '#', full);
    bar[cells] = '\0';
    (void)snprintf(out, PROGRESS_TEXT, "%s%s%s%3.0f%% %s/%s %s",
                   cells > 0 ? "[" : "", bar, cells > 0 ? "] " : "",
                   fraction(stats) * 100, have, size, rest);
    if (width < PROGRESS_TEXT && strlen(out) > width) {
        out[width] = '\0';
    }
}

void progress_plain(const struct progress *p, const struct fetch_stats *stats,
                    char out[PROGRESS_TEXT])
{
    char have[32], size[32], rest[128];

    progress_bytes(stats->ledger.have, have, sizeof have);
    progress_bytes(stats->ledger.size, size, sizeof size);
    put_rest(p, stats, rest, sizeof rest);
    (void)snprintf(out, PROGRESS_TEXT, "%3.0f%%, %s of %s, %s",
                   fraction(stats) * 100, have, size, rest);
}

void progress_ledger(const struct fetch_stats *stats,
                     char out[PROGRESS_TEXT])
{
    const struct transfer_ledger *l = &stats->ledger;
    char fresh[32], kept[32], reused[32], repeated[32], wasted[32], wire[32];

    progress_bytes(l->fresh, fresh, sizeof fresh);
    progress_bytes(l->kept, kept, sizeof kept);
    progress_bytes(l->reused, reused, sizeof reused);
    progress_bytes(l->repeated, repeated, sizeof repeated);
    progress_bytes(l->wasted, wasted, sizeof wasted);
    progress_bytes(l->wire, wire, sizeof wire);
    (void)snprintf(out, PROGRESS_TEXT,
                   "useful %s, kept %s, reused %s, repeated %s, wasted %s, "
                   "on the wire %s, connections %u, breaks %u, bad chunks "
                   "%u, time %.2f s",
                   fresh, kept, reused, repeated, wasted, wire, l->connects,
                   l->losses, l->bad_chunks,
                   (double)stats->elapsed_ms / 1000);
}
