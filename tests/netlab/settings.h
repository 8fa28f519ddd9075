/* What the link is like: "key value" pairs from the command line or, while
 * it runs, from standard input.
 *
 * Pure. Keys of a direction take the suffix -up (client to server) or -down;
 * without one they set both. */
#ifndef TESTS_NETLAB_SETTINGS_H
#define TESTS_NETLAB_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum settings_way { SETTINGS_UP, SETTINGS_DOWN };

struct settings_path {
    uint64_t rate_bps;      /* IP bits per second; 0 = no limit */
    int64_t delay_ns;       /* one way */
    int64_t jitter_ns;      /* delay varies by up to this, order is kept */
    double loss;            /* probability per packet */
    double burst_enter;     /* Gilbert-Elliott: good to bad, per packet */
    double burst_leave;     /* bad to good */
    double burst_loss;      /* probability in the bad state */
    double corrupt;         /* probability per packet with TCP payload */
    uint64_t queue_bytes;   /* 0 = choose: see settings_queue() */
};

#define SETTINGS_BLACKOUTS_MAX 32

/* Nothing passes from start to end, counted from the first connection. */
struct settings_blackout {
    int64_t start_ns;
    int64_t end_ns;
};

struct settings {
    struct settings_path path[2];
    struct settings_blackout blackout[SETTINGS_BLACKOUTS_MAX];
    unsigned blackout_count;
    int64_t rst_every_ns;   /* 0 = off */
    uint64_t rst_max;       /* UINT64_MAX = no end */
    uint64_t seed;
    unsigned mtu;
    bool realtime;          /* run with real-time priority if allowed */
    bool ipv6;              /* off: the kernel's own chatter stays away */
};

void settings_init(struct settings *settings);

/* Set one key. Returns NULL, or a sentence (static storage) that says what
 * is wrong, with the settings unchanged. */
const char *settings_apply(struct settings *settings, const char *key,
    const char *value);

/* The queue in bytes: as set, else one bandwidth-delay product of the round
 * trip, at least 64 KiB. */
uint64_t settings_queue(const struct settings *settings,
    enum settings_way way);

#endif
