#include "client/rate.h"

/* No share is smaller, if there is so much: a read is worth its call. */
#define SHARE_MIN 512u

void rate_init(struct rate *rate, uint64_t per_second, uint64_t now_ms)
{
    *rate = (struct rate){.per_second = per_second, .at = now_ms};
}

static void fill(struct rate *rate, uint64_t now_ms)
{
    uint64_t most = rate->per_second / 10 + 1;

    if (now_ms > rate->at) {
        uint64_t elapsed = now_ms - rate->at;

        /* The bucket is full long before a second is over. */
        rate->part += rate->per_second * (elapsed < 1000 ? elapsed : 1000);
        rate->tokens += rate->part / 1000;
        rate->part %= 1000;
        rate->at = now_ms;
    }
    if (rate->tokens > most) {
        rate->tokens = most;
    }
}

static uint64_t most_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What came into the bucket while it waited would be unfair to count by what
 * those that were faster have left of it. */
static void begin_share(struct rate *rate, struct rate_taker *taker,
                        uint64_t waited_ms)
{
    uint64_t ms = waited_ms < 1000 ? waited_ms : 1000;
    uint64_t came = most_of(rate->tokens, rate->per_second * ms / 1000);

    taker->sharing = true;
    taker->left = most_of(came / (rate->waiting + 1), SHARE_MIN);
}

size_t rate_allowance(struct rate *rate, struct rate_taker *taker,
                      uint64_t now_ms)
{
    uint64_t waited_ms = 0;
    uint64_t allowed;

    if (rate == NULL || rate->per_second == 0) {
        return SIZE_MAX;
    }
    fill(rate, now_ms);
    if (taker->waiting && rate->tokens > 0) {
        waited_ms = now_ms > taker->since ? now_ms - taker->since : 0;
        rate_leave(rate, taker);
    }
    if (rate->waiting == 0) {
        taker->sharing = false;
    } else if (!taker->sharing && !taker->waiting) {
        begin_share(rate, taker, waited_ms);
    }
    allowed = taker->sharing && taker->left < rate->tokens ? taker->left
                                                           : rate->tokens;
    if (allowed == 0 && !taker->waiting) {
        taker->sharing = false;
        taker->waiting = true;
        taker->since = now_ms;
        rate->waiting++;
    }
    return (size_t)allowed;
}

void rate_spend(struct rate *rate, struct rate_taker *taker, size_t bytes)
{
    if (rate != NULL) {
        rate->tokens -= bytes < rate->tokens ? bytes : rate->tokens;
        taker->left -= bytes < taker->left ? bytes : taker->left;
    }
}

void rate_leave(struct rate *rate, struct rate_taker *taker)
{
    if (taker->waiting) {
        rate->waiting--;
    }
    *taker = (struct rate_taker){0};
}
