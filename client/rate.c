#include "client/rate.h"

void rate_init(struct rate *rate, uint64_t per_second, uint64_t now_ms)
{
    *rate = (struct rate){.per_second = per_second, .at = now_ms};
}

size_t rate_allowance(struct rate *rate, uint64_t now_ms)
{
    if (rate == NULL || rate->per_second == 0) {
        return SIZE_MAX;
    }
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
    return (size_t)rate->tokens;
}

void rate_spend(struct rate *rate, size_t bytes)
{
    if (rate != NULL) {
        rate->tokens -= bytes < rate->tokens ? bytes : rate->tokens;
    }
}
