#include "tests/netlab/channel.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000

void
channel_init(struct channel *channel, const struct settings *settings,
    enum settings_way way)
{
    *channel = (struct channel){ .settings = settings, .way = way };
    rng_init(&channel->rng, settings->seed, (uint64_t)way + 1);
}

void
channel_clear(struct channel *channel)
{
    while (channel->head != NULL) {
        struct channel_packet *packet = channel->head;
        channel->head = packet->next;
        free(packet);
    }
    channel->tail = NULL;
    channel->waiting = NULL;
    channel->queued_bytes = 0;
    channel->held_bytes = 0;
}

static bool
channel_chance(struct channel *channel, double chance)
{
    if (chance <= 0) {
        return false;
    }
    return (double)(rng_next(&channel->rng) >> 11) * 0x1p-53 < chance;
}

/* Does the wire lose this packet? */
static bool
channel_loses(struct channel *channel)
{
    const struct settings_path *path =
        &channel->settings->path[channel->way];
    bool lost = channel_chance(channel, path->loss);
    if (path->burst_enter > 0) {
        double leave = path->burst_leave;
        double chance = channel->burst_bad ? leave : path->burst_enter;
        if (channel_chance(channel, chance)) {
            channel->burst_bad = !channel->burst_bad;
        }
        if (channel->burst_bad &&
            channel_chance(channel, path->burst_loss)) {
            lost = true;
        }
    }
    return lost;
}

/* The queue at now_ns holds only what the link has not sent by then. */
static void
channel_settle(struct channel *channel, int64_t now_ns)
{
    while (channel->waiting != NULL &&
        channel->waiting->depart_ns <= now_ns) {
        channel->queued_bytes -= channel->waiting->len;
        channel->waiting = channel->waiting->next;
    }
}

static void
channel_schedule(struct channel *channel, struct channel_packet *packet,
    int64_t now_ns)
{
    const struct settings_path *path =
        &channel->settings->path[channel->way];
    int64_t start_ns = channel->free_ns > now_ns ? channel->free_ns : now_ns;
    packet->depart_ns = start_ns;
    if (path->rate_bps > 0) {
        uint64_t bits = (uint64_t)packet->len * 8;
        packet->depart_ns += (int64_t)(bits * NS_PER_S / path->rate_bps);
    }
    channel->free_ns = packet->depart_ns;
    packet->arrive_ns = packet->depart_ns + path->delay_ns;
    if (path->jitter_ns > 0) {
        uint64_t span = 2 * (uint64_t)path->jitter_ns + 1;
        packet->arrive_ns +=
            (int64_t)rng_below(&channel->rng, span) - path->jitter_ns;
    }
    if (packet->arrive_ns < packet->depart_ns) {
        packet->arrive_ns = packet->depart_ns;
    }
    if (packet->arrive_ns < channel->last_arrive_ns) {
        packet->arrive_ns = channel->last_arrive_ns;
    }
    channel->last_arrive_ns = packet->arrive_ns;
}

static void
channel_append(struct channel *channel, struct channel_packet *packet)
{
    if (channel->tail != NULL) {
        channel->tail->next = packet;
    } else {
        channel->head = packet;
    }
    channel->tail = packet;
    if (channel->waiting == NULL) {
        channel->waiting = packet;
    }
    channel->queued_bytes += packet->len;
    channel->held_bytes += packet->len;
    if (channel->queued_bytes > channel->counters.queue_peak) {
        channel->counters.queue_peak = channel->queued_bytes;
    }
}

static void
channel_maybe_corrupt(struct channel *channel, struct channel_packet *packet)
{
    const struct settings_path *path =
        &channel->settings->path[channel->way];
    if (!packet->info.tcp || packet->info.payload_len == 0 ||
        !channel_chance(channel, path->corrupt)) {
        return;
    }
    size_t bit =
        (size_t)rng_below(&channel->rng, 8 * packet->info.payload_len);
    packet_corrupt(&packet->info, packet->data, bit);
    packet->corrupted = true;
}

void
channel_offer(struct channel *channel, const struct channel_offer *offer,
    int64_t now_ns)
{
    struct channel_counters *counters = &channel->counters;
    counters->packets_in++;
    counters->ip_bytes_in += offer->len;
    counters->payload_in += offer->info->payload_len;
    channel_settle(channel, now_ns);
    uint64_t room = settings_queue(channel->settings, channel->way);
    bool limited = channel->settings->path[channel->way].rate_bps > 0;
    /* The packet on the wire counts as queued, so that a queue smaller than
     * one packet still lets one through. */
    if ((limited && channel->queued_bytes > 0 &&
            channel->queued_bytes + offer->len > room) ||
        channel->held_bytes + offer->len > CHANNEL_BYTES_MAX) {
        counters->drop_queue++;
        return;
    }
    struct channel_packet *packet = malloc(sizeof(*packet) + offer->len);
    if (packet == NULL) {
        counters->drop_other++;
        return;
    }
    *packet = (struct channel_packet){
        .ticket = offer->ticket,
        .info = *offer->info,
        .len = offer->len,
    };
    memcpy(packet->data, offer->data, offer->len);
    packet->lost = channel_loses(channel);
    channel_maybe_corrupt(channel, packet);
    channel_schedule(channel, packet, now_ns);
    channel_append(channel, packet);
}

int64_t
channel_next_ns(const struct channel *channel)
{
    return channel->head != NULL ? channel->head->arrive_ns : INT64_MAX;
}

struct channel_packet *
channel_take(struct channel *channel, int64_t now_ns)
{
    while (channel->head != NULL && channel->head->arrive_ns <= now_ns) {
        channel_settle(channel, now_ns);
        struct channel_packet *packet = channel->head;
        channel->head = packet->next;
        if (channel->head == NULL) {
            channel->tail = NULL;
        }
        channel->held_bytes -= packet->len;
        if (!packet->lost) {
            return packet;
        }
        channel->counters.drop_loss++;
        free(packet);
    }
    return NULL;
}
