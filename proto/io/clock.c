#include "proto/io/clock.h"

#include <time.h>

#include "proto/base/check.h"

#define NS_PER_S 1000000000
#define NS_PER_MS 1000000

static int64_t
read_ns(clockid_t id)
{
    struct timespec ts;

    int rc = clock_gettime(id, &ts);
    BELAY_ASSERT(rc == 0);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

uint64_t
clock_mono_ms(void)
{
    return clock_mono_ns() / NS_PER_MS;
}

uint64_t
clock_mono_ns(void)
{
    return (uint64_t)read_ns(CLOCK_MONOTONIC);
}

int64_t
clock_file_ns(void)
{
    return read_ns(CLOCK_REALTIME_COARSE);
}

int64_t
clock_wall_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}
