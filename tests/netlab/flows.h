/* The TCP flows on the link: enough state to reset them rightly.
 *
 * A flow is named by a ticket that stays valid for as long as packets of it
 * may be inside the link; a cut makes all tickets given before it stale, so
 * that packets which were under way can be told from those of a new
 * connection between the same ports. Not thread-safe. */
#ifndef TESTS_NETLAB_FLOWS_H
#define TESTS_NETLAB_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/netlab/packet.h"

enum flows_end { FLOWS_CLIENT, FLOWS_SERVER };

#define FLOWS_MAX (1u << 16)
#define FLOWS_BUCKETS (1u << 12)
#define FLOWS_IDLE_NS INT64_C(120000000000)
#define FLOWS_NONE UINT32_MAX

/* index FLOWS_NONE: not a TCP flow, or not tracked. */
struct flows_ticket {
    uint32_t index;
    uint32_t generation;
};

/* What the link has seen at one end of a flow. */
struct flows_side {
    bool sent;           /* this end has sent something: snd_next is set */
    bool heard;          /* something was delivered to it: rcv_next is set */
    bool acked;          /* it has acknowledged something: ack is set */
    bool fin_heard;
    uint32_t snd_next;
    uint32_t rcv_next;   /* as far as was delivered in order */
    uint32_t ack;        /* the latest acknowledgement it sent */
};

struct flows_entry {
    struct packet_end end[2];
    unsigned version;
    uint32_t generation;
    uint32_t next;       /* in the bucket or the free list */
    bool live;
    bool cut;
    bool mute;           /* its packets vanish without a word */
    int64_t used_ns;
    struct flows_side side[2];
};

struct flows {
    struct flows_entry *entry; /* FLOWS_MAX of them, reserved not touched */
    uint32_t *bucket;
    uint32_t count;      /* entries ever touched */
    uint32_t free;       /* list of entries given back */
    uint64_t seen;       /* connections, each incarnation counts */
    uint64_t untracked;  /* packets that found the table full */
};

/* Returns 0 or -ENOMEM. flows_clear is harmless on a zeroed struct. */
int flows_init(struct flows *flows);
void flows_clear(struct flows *flows);

/* A packet leaves the host at end from. Returns its ticket. *answer is set
 * if the flow was cut: the packet must go no further, and *answer is the
 * reset that its sender is to get (has_answer false: none). */
struct flows_verdict {
    struct flows_ticket ticket;
    bool drop;
    bool has_answer;
    struct packet_reset answer;
};
struct flows_verdict flows_enter(struct flows *flows,
    const struct packet_info *info, enum flows_end from, int64_t now_ns);

/* Is this the ticket of a packet that a cut has caught inside the link? */
bool flows_stale(const struct flows *flows, struct flows_ticket ticket);

/* A packet with a valid ticket reaches the host at end to. */
void flows_deliver(struct flows *flows, struct flows_ticket ticket,
    const struct packet_info *info, enum flows_end to);

/* Cut the flow at index (< count) if it is live. reset[e] is what end e is
 * to get; returns a bit mask 1 << e of those that are set, 0 if not live. */
unsigned flows_cut(struct flows *flows, uint32_t index,
    struct packet_reset reset[2]);

/* The flow at index (< count) falls silent for good if it is live, as when the
 * peer of both ends had lost its power. Returns whether it was live. */
bool flows_mute(struct flows *flows, uint32_t index);

/* Forget the flows that were silent for FLOWS_IDLE_NS. No packet may stay
 * inside the link that long. */
void flows_expire(struct flows *flows, int64_t now_ns);

#endif
