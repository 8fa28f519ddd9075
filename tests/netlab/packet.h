/* What the link must know of an IP packet, and the packets it forges.
 *
 * Pure: bytes in, values out. IPv4 and IPv6 without extension headers; TCP
 * is looked into, everything else is only carried. All values are in host
 * byte order. */
#ifndef TESTS_NETLAB_PACKET_H
#define TESTS_NETLAB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACKET_FIN 0x01u
#define PACKET_SYN 0x02u
#define PACKET_RST 0x04u
#define PACKET_ACK 0x10u

/* One end of a TCP flow. IPv4 addresses fill the first 4 bytes. */
struct packet_end {
    uint8_t addr[16];
    uint16_t port;
};

struct packet_info {
    unsigned version;       /* 4 or 6 */
    bool tcp;               /* the fields below are set only for TCP */
    uint8_t flags;
    struct packet_end from;
    struct packet_end to;
    uint32_t seq;
    uint32_t ack;           /* with PACKET_ACK only */
    uint32_t span;          /* sequence numbers used: payload, SYN, FIN */
    size_t tcp_at;          /* where the TCP header starts */
    size_t payload_at;
    size_t payload_len;
};

#define PACKET_RST_MAX 60

/* Read data, len bytes. Returns false for what is no sound IP packet; an IP
 * packet whose TCP header does not fit counts as not TCP. */
bool packet_read(struct packet_info *info, const uint8_t *data, size_t len);

/* Flip one bit of the payload (bit < 8 * payload_len) and make the TCP
 * checksum right again, so that only the application can notice. */
void packet_corrupt(const struct packet_info *info, uint8_t *data,
    size_t bit);

/* A TCP segment to be forged. */
struct packet_reset {
    unsigned version;
    struct packet_end from;
    struct packet_end to;
    uint32_t seq;
    uint32_t ack;
};

/* Write an IP packet with a TCP RST+ACK; returns its length. */
size_t packet_forge_reset(const struct packet_reset *reset,
    uint8_t data[PACKET_RST_MAX]);

#endif
