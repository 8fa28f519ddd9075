#include "tests/netlab/link.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPIRE_EVERY_NS INT64_C(10000000000)

int
link_open(struct link *link, const struct settings *settings,
    const char **step)
{
    *link = (struct link){ .settings = *settings };
    for (int e = 0; e < 2; e++) {
        link->tun[e] = (struct tun){ -1, -1 };
        channel_init(&link->channel[e], &link->settings,
            (enum settings_way)e);
    }
    *step = "flow table";
    int err = flows_init(&link->flows);
    const struct tun_options options = { settings->mtu, settings->ipv6 };
    for (int e = 0; e < 2 && err == 0; e++) {
        err = tun_open(&link->tun[e], &options, step);
    }
    return err;
}

void
link_close(struct link *link)
{
    for (int e = 0; e < 2; e++) {
        channel_clear(&link->channel[e]);
        tun_close(&link->tun[e]);
    }
    flows_clear(&link->flows);
}

static bool
link_dark(const struct link *link, int64_t now_ns)
{
    if (now_ns < link->dark_until_ns) {
        return true;
    }
    if (link->first_flow_ns == 0) {
        return false;
    }
    int64_t at_ns = now_ns - link->first_flow_ns;
    for (unsigned i = 0; i < link->settings.blackout_count; i++) {
        const struct settings_blackout *window = &link->settings.blackout[i];
        if (at_ns >= window->start_ns && at_ns < window->end_ns) {
            return true;
        }
    }
    return false;
}

static bool
link_write(struct link *link, enum flows_end to, const uint8_t *data,
    size_t len)
{
    ssize_t done;
    do {
        done = write(link->tun[to].fd, data, len);
    } while (done < 0 && errno == EINTR);
    return done == (ssize_t)len;
}

static void
link_send_reset(struct link *link, enum flows_end to,
    const struct packet_reset *reset)
{
    uint8_t data[PACKET_RST_MAX];
    size_t len = packet_forge_reset(reset, data);
    if (link_write(link, to, data, len)) {
        link->rsts_sent++;
    }
}

void
link_cut_all(struct link *link)
{
    uint64_t before = link->flows_cut;
    for (uint32_t i = 0; i < link->flows.count; i++) {
        struct packet_reset reset[2];
        unsigned set = flows_cut(&link->flows, i, reset);
        for (int e = 0; e < 2; e++) {
            if ((set & 1u << e) != 0) {
                link_send_reset(link, (enum flows_end)e, &reset[e]);
            }
        }
        link->flows_cut += set != 0;
    }
    link->rst_events += link->flows_cut > before;
}

void
link_mute_all(struct link *link)
{
    for (uint32_t i = 0; i < link->flows.count; i++) {
        link->flows_muted += flows_mute(&link->flows, i);
    }
}

void
link_darken(struct link *link, int64_t now_ns, int64_t len_ns)
{
    link->dark_until_ns = now_ns + len_ns;
}

static void
link_note_flow(struct link *link, int64_t now_ns)
{
    if (link->first_flow_ns == 0 && link->flows.seen > 0) {
        link->first_flow_ns = now_ns;
    }
}

void
link_input(struct link *link, enum flows_end from, const uint8_t *data,
    size_t len, int64_t now_ns)
{
    struct channel *channel = &link->channel[from];
    struct packet_info info;
    if (!packet_read(&info, data, len)) {
        channel->counters.drop_other++;
        return;
    }
    struct flows_verdict verdict =
        flows_enter(&link->flows, &info, from, now_ns);
    link_note_flow(link, now_ns);
    if (verdict.drop) {
        channel->counters.drop_cut++;
        if (verdict.has_answer) {
            link_send_reset(link, from, &verdict.answer);
        }
        return;
    }
    if (link_dark(link, now_ns)) {
        channel->counters.drop_blackout++;
        return;
    }
    const struct channel_offer offer = { data, len, &info, verdict.ticket };
    channel_offer(channel, &offer, now_ns);
}

static void
link_deliver(struct link *link, struct channel *channel,
    struct channel_packet *packet, enum flows_end to)
{
    struct channel_counters *counters = &channel->counters;
    if (flows_stale(&link->flows, packet->ticket)) {
        counters->drop_cut++;
        return;
    }
    if (!link_write(link, to, packet->data, packet->len)) {
        counters->drop_other++;
        return;
    }
    flows_deliver(&link->flows, packet->ticket, &packet->info, to);
    counters->packets_out++;
    counters->ip_bytes_out += packet->len;
    counters->payload_out += packet->info.payload_len;
    counters->corrupted += packet->corrupted;
}

static void
link_run_channel(struct link *link, enum flows_end from, int64_t now_ns)
{
    struct channel *channel = &link->channel[from];
    enum flows_end to = from == FLOWS_CLIENT ? FLOWS_SERVER : FLOWS_CLIENT;
    struct channel_packet *packet;
    while ((packet = channel_take(channel, now_ns)) != NULL) {
        if (link_dark(link, now_ns)) {
            channel->counters.drop_blackout++;
        } else {
            link_deliver(link, channel, packet, to);
        }
        free(packet);
    }
}

/* The periodic cut. Its clock starts with the first connection. */
static void
link_run_resets(struct link *link, int64_t now_ns)
{
    int64_t every_ns = link->settings.rst_every_ns;
    if (every_ns == 0 || link->first_flow_ns == 0 ||
        link->rst_events >= link->settings.rst_max) {
        link->rst_next_ns = 0;
        return;
    }
    if (link->rst_next_ns == 0) {
        link->rst_next_ns = now_ns + every_ns;
    } else if (now_ns >= link->rst_next_ns) {
        link_cut_all(link);
        link->rst_next_ns += every_ns;
        if (link->rst_next_ns <= now_ns) {
            link->rst_next_ns = now_ns + every_ns;
        }
    }
}

int64_t
link_tick(struct link *link, int64_t now_ns)
{
    link_run_resets(link, now_ns);
    link_run_channel(link, FLOWS_CLIENT, now_ns);
    link_run_channel(link, FLOWS_SERVER, now_ns);
    if (now_ns >= link->expire_ns) {
        flows_expire(&link->flows, now_ns);
        link->expire_ns = now_ns + EXPIRE_EVERY_NS;
    }
    int64_t next_ns = channel_next_ns(&link->channel[FLOWS_CLIENT]);
    int64_t down_ns = channel_next_ns(&link->channel[FLOWS_SERVER]);
    if (down_ns < next_ns) {
        next_ns = down_ns;
    }
    if (link->rst_next_ns != 0 && link->rst_next_ns < next_ns) {
        next_ns = link->rst_next_ns;
    }
    return next_ns;
}

static size_t
link_report_way(const struct channel *channel, char *text, size_t room)
{
    const struct channel_counters *c = &channel->counters;
    int len = snprintf(text, room,
        "{\"packets_in\":%" PRIu64 ",\"ip_bytes_in\":%" PRIu64
        ",\"payload_in\":%" PRIu64 ",\"packets_out\":%" PRIu64
        ",\"ip_bytes_out\":%" PRIu64 ",\"payload_out\":%" PRIu64
        ",\"drop_queue\":%" PRIu64 ",\"drop_loss\":%" PRIu64
        ",\"drop_blackout\":%" PRIu64 ",\"drop_cut\":%" PRIu64
        ",\"drop_other\":%" PRIu64 ",\"corrupted\":%" PRIu64
        ",\"queue_peak\":%" PRIu64 "}",
        c->packets_in, c->ip_bytes_in, c->payload_in, c->packets_out,
        c->ip_bytes_out, c->payload_out, c->drop_queue, c->drop_loss,
        c->drop_blackout, c->drop_cut, c->drop_other, c->corrupted,
        c->queue_peak);
    assert(len > 0 && (size_t)len < room);
    return (size_t)len;
}

size_t
link_report(const struct link *link, int64_t now_ns,
    char line[LINK_REPORT_MAX])
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < link->flows.count; i++) {
        live += link->flows.entry[i].live;
    }
    char up[LINK_REPORT_MAX / 3];
    char down[LINK_REPORT_MAX / 3];
    link_report_way(&link->channel[SETTINGS_UP], up, sizeof(up));
    link_report_way(&link->channel[SETTINGS_DOWN], down, sizeof(down));
    int len = snprintf(line, LINK_REPORT_MAX,
        "{\"seconds\":%.3f,\"flows\":%" PRIu64 ",\"live\":%" PRIu32
        ",\"untracked\":%" PRIu64 ",\"rst_events\":%" PRIu64
        ",\"flows_cut\":%" PRIu64 ",\"flows_muted\":%" PRIu64
        ",\"rsts_sent\":%" PRIu64
        ",\"up\":%s,\"down\":%s}\n",
        (double)(now_ns - link->started_ns) / 1e9, link->flows.seen, live,
        link->flows.untracked, link->rst_events, link->flows_cut,
        link->flows_muted, link->rsts_sent, up, down);
    assert(len > 0 && len < LINK_REPORT_MAX);
    return (size_t)len;
}
