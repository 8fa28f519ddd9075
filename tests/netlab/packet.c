#include "tests/netlab/packet.h"

#include <assert.h>
#include <string.h>

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define TCP_HEADER 20
#define TCP_CHECKSUM_AT 16
#define PROTOCOL_TCP 6
#define HOP_LIMIT 64

static uint16_t
load16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
load32(const uint8_t *p)
{
    return (uint32_t)load16(p) << 16 | load16(p + 2);
}

static void
store16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static void
store32(uint8_t *p, uint32_t value)
{
    store16(p, value >> 16);
    store16(p + 2, value & 0xffff);
}

static void
packet_read_tcp(struct packet_info *info, const uint8_t *data, size_t len)
{
    if (len < info->tcp_at + TCP_HEADER) {
        return;
    }
    const uint8_t *tcp = data + info->tcp_at;
    size_t header = (size_t)(tcp[12] >> 4) * 4;
    if (header < TCP_HEADER || info->tcp_at + header > len) {
        return;
    }
    info->tcp = true;
    info->from.port = load16(tcp);
    info->to.port = load16(tcp + 2);
    info->seq = load32(tcp + 4);
    info->ack = load32(tcp + 8);
    info->flags = tcp[13];
    info->payload_at = info->tcp_at + header;
    info->payload_len = len - info->payload_at;
    info->span = (uint32_t)info->payload_len +
        ((info->flags & PACKET_SYN) != 0) + ((info->flags & PACKET_FIN) != 0);
}

bool
packet_read(struct packet_info *info, const uint8_t *data, size_t len)
{
    *info = (struct packet_info){ 0 };
    if (len < IPV4_HEADER) {
        return false;
    }
    info->version = data[0] >> 4;
    unsigned protocol;
    if (info->version == 4) {
        info->tcp_at = (size_t)(data[0] & 15) * 4;
        bool fragment = (load16(data + 6) & 0x3fff) != 0;
        if (info->tcp_at < IPV4_HEADER || load16(data + 2) != len) {
            return false;
        }
        protocol = fragment ? 0 : data[9];
        memcpy(info->from.addr, data + 12, 4);
        memcpy(info->to.addr, data + 16, 4);
    } else if (info->version == 6) {
        info->tcp_at = IPV6_HEADER;
        if (len < IPV6_HEADER || load16(data + 4) != len - IPV6_HEADER) {
            return false;
        }
        protocol = data[6];
        memcpy(info->from.addr, data + 8, 16);
        memcpy(info->to.addr, data + 24, 16);
    } else {
        return false;
    }
    if (protocol == PROTOCOL_TCP) {
        packet_read_tcp(info, data, len);
    }
    return true;
}

void
packet_corrupt(const struct packet_info *info, uint8_t *data, size_t bit)
{
    assert(bit / 8 < info->payload_len);
    size_t at = info->payload_at + bit / 8;
    /* RFC 1624: new sum = ~(~sum + ~old + new), over the 16-bit word that
     * holds the byte. The other byte of the word cancels out, so only the
     * changed one is looked at, shifted to its place in the word. */
    unsigned shift = (at - info->tcp_at) % 2 == 0 ? 8 : 0;
    uint32_t old_word = (uint32_t)data[at] << shift;
    data[at] ^= (uint8_t)(1u << bit % 8);
    uint32_t new_word = (uint32_t)data[at] << shift;
    uint8_t *field = data + info->tcp_at + TCP_CHECKSUM_AT;
    uint32_t sum = (uint32_t)(uint16_t)~load16(field) +
        (uint32_t)(uint16_t)~old_word + new_word;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    store16(field, ~sum & 0xffff);
}

static uint32_t
packet_sum(uint32_t sum, const uint8_t *data, size_t len)
{
    assert(len % 2 == 0);
    for (size_t i = 0; i < len; i += 2) {
        sum += load16(data + i);
    }
    return sum;
}

static uint32_t
packet_sum_end(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/* Write the IP header of a bare TCP segment. Returns its length. */
static size_t
packet_forge_ip(const struct packet_reset *reset, uint8_t *data)
{
    if (reset->version == 4) {
        data[0] = 0x45;
        store16(data + 2, IPV4_HEADER + TCP_HEADER);
        store16(data + 6, 0x4000);
        data[8] = HOP_LIMIT;
        data[9] = PROTOCOL_TCP;
        memcpy(data + 12, reset->from.addr, 4);
        memcpy(data + 16, reset->to.addr, 4);
        store16(data + 10, packet_sum_end(packet_sum(0, data, IPV4_HEADER)));
        return IPV4_HEADER;
    }
    data[0] = 0x60;
    store16(data + 4, TCP_HEADER);
    data[6] = PROTOCOL_TCP;
    data[7] = HOP_LIMIT;
    memcpy(data + 8, reset->from.addr, 16);
    memcpy(data + 24, reset->to.addr, 16);
    return IPV6_HEADER;
}

size_t
packet_forge_reset(const struct packet_reset *reset,
    uint8_t data[PACKET_RST_MAX])
{
    memset(data, 0, PACKET_RST_MAX);
    size_t at = packet_forge_ip(reset, data);
    uint8_t *tcp = data + at;
    store16(tcp, reset->from.port);
    store16(tcp + 2, reset->to.port);
    store32(tcp + 4, reset->seq);
    store32(tcp + 8, reset->ack);
    tcp[12] = TCP_HEADER / 4 << 4;
    tcp[13] = PACKET_RST | PACKET_ACK;
    size_t addr_len = reset->version == 4 ? 4 : 16;
    uint32_t sum = PROTOCOL_TCP + TCP_HEADER;
    sum = packet_sum(sum, reset->from.addr, addr_len);
    sum = packet_sum(sum, reset->to.addr, addr_len);
    sum = packet_sum(sum, tcp, TCP_HEADER);
    store16(tcp + TCP_CHECKSUM_AT, packet_sum_end(sum));
    return at + TCP_HEADER;
}
