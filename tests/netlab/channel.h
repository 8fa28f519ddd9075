/* One direction of the link: queue, rate, delay, loss, corruption.
 *
 * A packet that is offered first waits in a queue of finite size, is sent at
 * the link's rate, may be lost on the wire, and arrives after the delay.
 * Order is kept. Everything is computed from arrival times, so a late wake-up
 * of the program delays packets but never changes the rate. Times are
 * CLOCK_MONOTONIC nanoseconds, passed in. Not thread-safe. */
#ifndef TESTS_NETLAB_CHANNEL_H
#define TESTS_NETLAB_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/fault/rng.h"
#include "tests/netlab/flows.h"
#include "tests/netlab/packet.h"
#include "tests/netlab/settings.h"

/* Bytes inside one direction, whatever the settings say. */
#define CHANNEL_BYTES_MAX (UINT64_C(1) << 30)

struct channel_packet {
    struct channel_packet *next;
    int64_t depart_ns;      /* the link has sent it */
    int64_t arrive_ns;
    bool lost;              /* it uses the link but does not arrive */
    bool corrupted;
    struct flows_ticket ticket;
    struct packet_info info;
    size_t len;
    uint8_t data[];
};

struct channel_counters {
    uint64_t packets_in;
    uint64_t ip_bytes_in;
    uint64_t payload_in;    /* TCP payload that entered the link */
    uint64_t packets_out;
    uint64_t ip_bytes_out;
    uint64_t payload_out;   /* TCP payload delivered */
    uint64_t drop_queue;    /* packets, and so are all below */
    uint64_t drop_loss;
    uint64_t drop_blackout;
    uint64_t drop_cut;
    uint64_t drop_other;    /* not IP, no memory, refused by the host */
    uint64_t corrupted;     /* and delivered */
    uint64_t queue_peak;    /* bytes */
};

struct channel {
    const struct settings *settings; /* borrowed, may change */
    enum settings_way way;
    struct rng rng;
    struct channel_packet *head;
    struct channel_packet *tail;
    struct channel_packet *waiting; /* first one that has not departed */
    uint64_t queued_bytes;          /* of those that have not departed */
    uint64_t held_bytes;            /* of all */
    int64_t free_ns;                /* the link has sent all it has */
    int64_t last_arrive_ns;
    bool burst_bad;
    struct channel_counters counters;
};

void channel_init(struct channel *channel, const struct settings *settings,
    enum settings_way way);

/* Free the packets inside. */
void channel_clear(struct channel *channel);

/* Offer a packet at now_ns. It is copied, counted, and perhaps dropped. */
struct channel_offer {
    const uint8_t *data;
    size_t len;
    const struct packet_info *info;
    struct flows_ticket ticket;
};
void channel_offer(struct channel *channel, const struct channel_offer *offer,
    int64_t now_ns);

/* When the next packet arrives; INT64_MAX if none is inside. */
int64_t channel_next_ns(const struct channel *channel);

/* Take out the packet that arrives by now_ns, or NULL. The caller frees it
 * with free(). Lost packets are taken and counted here, never returned. */
struct channel_packet *channel_take(struct channel *channel, int64_t now_ns);

#endif
