/* Fetch: not too fast (--limit-rate), not too slow (--speed-limit). */
#include "client/fetch_internal.h"
#include "client/link.h"
#include "proto/io/clock.h"

/* A rate limit is kept in steps of this length. */
#define RATE_STEP_MS 20u

size_t fetch_allowance(struct link *link)
{
    struct fetch *f = link->fetch;
    size_t bytes = rate_allowance(f->options.rate, &link->taker,
                                  clock_mono_ms());

    if (bytes == 0) {
        loop_timer_start(f->rate_timer, RATE_STEP_MS);
    }
    return bytes;
}

void fetch_spent(struct link *link, size_t bytes)
{
    rate_spend(link->fetch->options.rate, &link->taker, bytes);
}

void fetch_rate_again(void *arg)
{
    struct fetch *f = arg;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX && !f->over; i++) {
        if (f->link[i].throttled) {
            link_resume(&f->link[i]);
        }
    }
    fetch_pump(f);
}

/* Slower than asked for (--speed-limit): the connections are tried anew. */
void fetch_speed_check(void *arg)
{
    struct fetch *f = arg;
    uint64_t now = loop_now_ms(f->loop);
    uint64_t wire = transfer_ledger(f->transfer)->wire;
    uint64_t least = f->options.speed_limit * f->options.speed_ms / 1000;
    bool slow = wire - f->speed_wire < least && !f->verifying;

    f->speed_wire = wire;
    loop_timer_start(f->speed_timer, f->options.speed_ms);
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX && slow; i++) {
        if (f->link[i].channel.fd >= 0) {
            link_close(&f->link[i]);
            transfer_lost(f->transfer, i, "slower than --speed-limit", now);
        }
    }
    fetch_pump(f);
}
