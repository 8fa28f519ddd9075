#include "tests/netlab/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/numbers.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

#define RATE_MIN 1000u
#define RATE_MAX UINT64_C(100000000000)
#define DELAY_MAX_NS (10 * NS_PER_S)
#define QUEUE_MIN (UINT64_C(64) << 10)
#define QUEUE_MAX (UINT64_C(1) << 30)
#define MTU_MIN 576
#define MTU_MAX 9000

void
settings_init(struct settings *settings)
{
    *settings = (struct settings){
        .rst_max = UINT64_MAX,
        .seed = 1,
        .mtu = 1500,
        .realtime = true,
    };
}

/* A probability: 0.01 or 1%. */
static bool
settings_chance(const char *text, const char **rest, double *out)
{
    char *end;
    if ((*text < '0' || *text > '9') && *text != '.') {
        return false;
    }
    double value = strtod(text, &end);
    if (*end == '%') {
        value /= 100;
        end++;
    }
    if (!(value >= 0 && value <= 1)) {
        return false;
    }
    *rest = end;
    *out = value;
    return true;
}

static const char *
settings_set_chance(double *place, const char *value)
{
    const char *rest;
    double chance;
    if (!settings_chance(value, &rest, &chance) || *rest != '\0') {
        return "a probability is 0 to 1 or 0% to 100%";
    }
    *place = chance;
    return NULL;
}

/* ENTER,LEAVE[,LOSS] */
static const char *
settings_set_burst(struct settings_path *path, const char *value)
{
    double chance[3] = { 0, 0, 1 };
    const char *rest = value;
    int count = 0;
    for (;;) {
        if (count == 3 || !settings_chance(rest, &rest, &chance[count++])) {
            return "a burst is ENTER,LEAVE or ENTER,LEAVE,LOSS";
        }
        if (*rest == '\0') {
            break;
        }
        if (*rest++ != ',') {
            return "a burst is ENTER,LEAVE or ENTER,LEAVE,LOSS";
        }
    }
    if (count < 2) {
        return "a burst is ENTER,LEAVE or ENTER,LEAVE,LOSS";
    }
    path->burst_enter = chance[0];
    path->burst_leave = chance[1];
    path->burst_loss = chance[2];
    return NULL;
}

/* Bits per second with a decimal k, M or G. */
static const char *
settings_set_rate(uint64_t *place, const char *value)
{
    static const char wrong[] = "a rate is 1k to 100G bits a second, or 0";
    char *end;
    if (*value < '0' || *value > '9') {
        return wrong;
    }
    double rate = strtod(value, &end);
    switch (*end) {
    case 'k': case 'K': rate *= 1e3; end++; break;
    case 'M': rate *= 1e6; end++; break;
    case 'G': rate *= 1e9; end++; break;
    default: break;
    }
    if (*end != '\0' || !(rate == 0 || rate >= RATE_MIN) ||
        !(rate <= (double)RATE_MAX)) {
        return wrong;
    }
    *place = (uint64_t)rate;
    return NULL;
}

static const char *
settings_set_ms(int64_t *place, const char *value)
{
    int64_t time_ns;
    if (numbers_time(value, NS_PER_MS, &time_ns) != 0 ||
        time_ns > DELAY_MAX_NS) {
        return "a delay is 0 to 10000 milliseconds";
    }
    *place = time_ns;
    return NULL;
}

static const char *
settings_set_queue(uint64_t *place, const char *value)
{
    uint64_t bytes;
    if (numbers_bytes(value, &bytes) != 0 || bytes > QUEUE_MAX) {
        return "a queue is at most 1G bytes";
    }
    *place = bytes;
    return NULL;
}

/* Set a key of one direction. *known tells whether there is such a key. */
static const char *
settings_apply_path(struct settings_path *path, const char *key,
    const char *value, bool *known)
{
    *known = true;
    if (strcmp(key, "rate") == 0) {
        return settings_set_rate(&path->rate_bps, value);
    }
    if (strcmp(key, "delay") == 0) {
        return settings_set_ms(&path->delay_ns, value);
    }
    if (strcmp(key, "jitter") == 0) {
        return settings_set_ms(&path->jitter_ns, value);
    }
    if (strcmp(key, "loss") == 0) {
        return settings_set_chance(&path->loss, value);
    }
    if (strcmp(key, "burst") == 0) {
        return settings_set_burst(path, value);
    }
    if (strcmp(key, "corrupt") == 0) {
        return settings_set_chance(&path->corrupt, value);
    }
    if (strcmp(key, "queue") == 0) {
        return settings_set_queue(&path->queue_bytes, value);
    }
    *known = false;
    return NULL;
}

/* START:LENGTH[,START:LENGTH...] in seconds; an empty list clears it. */
static const char *
settings_set_blackout(struct settings *settings, const char *value)
{
    static const char wrong[] =
        "a blackout is START:SECONDS,... with at most 32 windows";
    struct settings_blackout list[SETTINGS_BLACKOUTS_MAX];
    unsigned count = 0;
    char copy[1024];
    if (strlen(value) >= sizeof(copy)) {
        return wrong;
    }
    snprintf(copy, sizeof(copy), "%s", value);
    char *rest = copy;
    for (char *item = strsep(&rest, ","); item != NULL && *item != '\0';
        item = strsep(&rest, ",")) {
        char *start = strsep(&item, ":");
        int64_t len_ns;
        if (count == SETTINGS_BLACKOUTS_MAX || item == NULL ||
            numbers_time(start, NS_PER_S, &list[count].start_ns) != 0 ||
            numbers_time(item, NS_PER_S, &len_ns) != 0) {
            return wrong;
        }
        list[count].end_ns = list[count].start_ns + len_ns;
        count++;
    }
    memcpy(settings->blackout, list, count * sizeof(list[0]));
    settings->blackout_count = count;
    return NULL;
}

static const char *
settings_apply_global(struct settings *settings, const char *key,
    const char *value)
{
    uint64_t count = 0;
    if (strcmp(key, "blackout") == 0) {
        return settings_set_blackout(settings, value);
    }
    if (strcmp(key, "rst-every") == 0) {
        return numbers_time(value, NS_PER_S, &settings->rst_every_ns) == 0
            ? NULL : "rst-every takes seconds";
    }
    if (numbers_count(value, &count) != 0) {
        return "unknown key, or its value is not a number";
    }
    if (strcmp(key, "rst-max") == 0) {
        settings->rst_max = count;
    } else if (strcmp(key, "seed") == 0) {
        settings->seed = count;
    } else if (strcmp(key, "realtime") == 0) {
        settings->realtime = count != 0;
    } else if (strcmp(key, "ipv6") == 0) {
        settings->ipv6 = count != 0;
    } else if (strcmp(key, "mtu") == 0) {
        if (count < MTU_MIN || count > MTU_MAX) {
            return "mtu is 576 to 9000";
        }
        settings->mtu = (unsigned)count;
    } else {
        return "unknown key";
    }
    return NULL;
}

const char *
settings_apply(struct settings *settings, const char *key, const char *value)
{
    char base[32];
    if (strlen(key) >= sizeof(base)) {
        return "unknown key";
    }
    snprintf(base, sizeof(base), "%s", key);
    bool up = true;
    bool down = true;
    char *dash = strrchr(base, '-');
    if (dash != NULL && strcmp(dash, "-up") == 0) {
        *dash = '\0';
        down = false;
    } else if (dash != NULL && strcmp(dash, "-down") == 0) {
        *dash = '\0';
        up = false;
    }
    const char *wrong = NULL;
    bool known = false;
    if (up) {
        wrong = settings_apply_path(&settings->path[SETTINGS_UP], base,
            value, &known);
    }
    if (down && wrong == NULL) {
        wrong = settings_apply_path(&settings->path[SETTINGS_DOWN], base,
            value, &known);
    }
    return known ? wrong : settings_apply_global(settings, key, value);
}

uint64_t
settings_queue(const struct settings *settings, enum settings_way way)
{
    const struct settings_path *path = &settings->path[way];
    if (path->queue_bytes > 0) {
        return path->queue_bytes;
    }
    double round_ns = (double)settings->path[SETTINGS_UP].delay_ns +
        (double)settings->path[SETTINGS_DOWN].delay_ns;
    double product = (double)path->rate_bps / 8 * round_ns / 1e9;
    uint64_t bytes = product < (double)QUEUE_MAX ? (uint64_t)product
        : QUEUE_MAX;
    return bytes > QUEUE_MIN ? bytes : QUEUE_MIN;
}
