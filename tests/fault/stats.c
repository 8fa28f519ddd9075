#include "tests/fault/stats.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

size_t
stats_format(const struct stats *stats, int64_t now_ns,
    char line[STATS_LINE_MAX])
{
    int len = snprintf(line, STATS_LINE_MAX,
        "{\"connections\":%" PRIu64 ",\"active\":%" PRIu64
        ",\"refused\":%" PRIu64 ",\"blackholed\":%" PRIu64
        ",\"connect_failed\":%" PRIu64 ",\"faults\":%" PRIu64
        ",\"resets\":%" PRIu64 ",\"peer_resets\":%" PRIu64
        ",\"fins\":%" PRIu64 ",\"stalls\":%" PRIu64
        ",\"half_opens\":%" PRIu64 ",\"truncations\":%" PRIu64
        ",\"flips\":%" PRIu64 ",\"bytes_up\":%" PRIu64
        ",\"bytes_down\":%" PRIu64 ",\"bytes_dropped\":%" PRIu64
        ",\"seed\":%" PRIu64 ",\"seconds\":%.3f}\n",
        stats->connections, stats->active, stats->refused,
        stats->blackholed, stats->connect_failed, stats->faults,
        stats->resets, stats->peer_resets, stats->fins, stats->stalls,
        stats->half_opens, stats->truncations, stats->flips,
        stats->bytes_up, stats->bytes_down, stats->bytes_dropped,
        stats->seed, (double)(now_ns - stats->started_ns) / 1e9);
    assert(len > 0 && len < STATS_LINE_MAX);
    return (size_t)len;
}

static int
stats_replace(const char *path, const char *line, size_t len)
{
    char fresh[PATH_MAX];
    int need = snprintf(fresh, sizeof(fresh), "%s.new", path);
    if (need < 0 || (size_t)need >= sizeof(fresh)) {
        return -ENAMETOOLONG;
    }
    FILE *file = fopen(fresh, "we");
    if (file == NULL) {
        return -errno;
    }
    int err = 0;
    if (fwrite(line, 1, len, file) != len) {
        err = -errno;
    }
    if (fclose(file) != 0 && err == 0) {
        err = -errno;
    }
    if (err == 0 && rename(fresh, path) != 0) {
        err = -errno;
    }
    if (err != 0) {
        unlink(fresh);
    }
    return err;
}

int
stats_publish(const struct stats *stats, int64_t now_ns, const char *path)
{
    char line[STATS_LINE_MAX];
    size_t len = stats_format(stats, now_ns, line);
    /* The file first: who has read the line finds the file up to date. */
    int file_err = path != NULL ? stats_replace(path, line, len) : 0;
    errno = 0;
    if (fwrite(line, 1, len, stdout) != len || fflush(stdout) != 0) {
        return errno != 0 ? -errno : -EIO;
    }
    return file_err;
}
