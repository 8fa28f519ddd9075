#include "server/burst.h"

#include "server/limits.h"

static void
log_more(const struct burst *b, struct log *log, unsigned worker)
{
    struct log_line line;

    log_begin(&line, log, LOG_LEVEL_WARN, b->more);
    log_num(&line, "worker", worker);
    log_num(&line, "count", b->count - SERVER_BURST_LINES);
    log_end(&line);
}

bool
burst_allows(struct burst *burst, struct log *log, unsigned worker,
             uint64_t now_ms)
{
    if (burst->count == 0 || now_ms - burst->since_ms >= SERVER_BURST_MS) {
        if (burst->count > SERVER_BURST_LINES) {
            log_more(burst, log, worker);
        }
        burst->since_ms = now_ms;
        burst->count = 0;
    }
    return ++burst->count <= SERVER_BURST_LINES;
}
