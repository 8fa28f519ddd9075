#include "tests/netlab/flows.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
flows_init(struct flows *flows)
{
    *flows = (struct flows){ .free = FLOWS_NONE };
    flows->entry = calloc(FLOWS_MAX, sizeof(flows->entry[0]));
    flows->bucket = malloc(FLOWS_BUCKETS * sizeof(flows->bucket[0]));
    if (flows->entry == NULL || flows->bucket == NULL) {
        flows_clear(flows);
        return -ENOMEM;
    }
    memset(flows->bucket, 0xff, FLOWS_BUCKETS * sizeof(flows->bucket[0]));
    return 0;
}

void
flows_clear(struct flows *flows)
{
    free(flows->entry);
    free(flows->bucket);
    *flows = (struct flows){ .free = FLOWS_NONE };
}

/* Is sequence number a after b? */
static bool
seq_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

static uint32_t
flows_hash(const struct packet_end *client, const struct packet_end *server)
{
    uint32_t hash = 2166136261u;
    const struct packet_end *ends[2] = { client, server };
    for (int e = 0; e < 2; e++) {
        for (int i = 0; i < 16; i++) {
            hash = (hash ^ ends[e]->addr[i]) * 16777619u;
        }
        hash = (hash ^ ends[e]->port) * 16777619u;
    }
    return (hash ^ hash >> 15) % FLOWS_BUCKETS;
}

static bool
end_equal(const struct packet_end *a, const struct packet_end *b)
{
    return a->port == b->port && memcmp(a->addr, b->addr, 16) == 0;
}

/* Find the entry or make one; FLOWS_NONE if the table is full. */
static uint32_t
flows_find(struct flows *flows, const struct packet_end *client,
    const struct packet_end *server, unsigned version)
{
    uint32_t *bucket = &flows->bucket[flows_hash(client, server)];
    for (uint32_t i = *bucket; i != FLOWS_NONE; i = flows->entry[i].next) {
        if (flows->entry[i].version == version &&
            end_equal(&flows->entry[i].end[FLOWS_CLIENT], client) &&
            end_equal(&flows->entry[i].end[FLOWS_SERVER], server)) {
            return i;
        }
    }
    uint32_t index = flows->free;
    if (index != FLOWS_NONE) {
        flows->free = flows->entry[index].next;
    } else if (flows->count < FLOWS_MAX) {
        index = flows->count++;
    } else {
        flows->untracked++;
        return FLOWS_NONE;
    }
    struct flows_entry *entry = &flows->entry[index];
    uint32_t generation = entry->generation + 1;
    *entry = (struct flows_entry){
        .end = { *client, *server },
        .version = version,
        .generation = generation,
        .next = *bucket,
    };
    *bucket = index;
    return index;
}

/* A connection begins, maybe between ports that were used before. */
static void
flows_begin(struct flows *flows, struct flows_entry *entry)
{
    entry->generation++;
    entry->cut = false;
    entry->mute = false;
    entry->live = true;
    memset(entry->side, 0, sizeof(entry->side));
    flows->seen++;
}

static struct packet_reset
flows_reset_to(const struct flows_entry *entry, enum flows_end to)
{
    enum flows_end from = to == FLOWS_CLIENT ? FLOWS_SERVER : FLOWS_CLIENT;
    return (struct packet_reset){
        .version = entry->version,
        .from = entry->end[from],
        .to = entry->end[to],
    };
}

struct flows_verdict
flows_enter(struct flows *flows, const struct packet_info *info,
    enum flows_end from, int64_t now_ns)
{
    struct flows_verdict verdict = { .ticket = { FLOWS_NONE, 0 } };
    if (!info->tcp) {
        return verdict;
    }
    bool up = from == FLOWS_CLIENT;
    uint32_t index = flows_find(flows, up ? &info->from : &info->to,
        up ? &info->to : &info->from, info->version);
    if (index == FLOWS_NONE) {
        return verdict;
    }
    struct flows_entry *entry = &flows->entry[index];
    struct flows_side *side = &entry->side[from];
    entry->used_ns = now_ns;
    bool syn = (info->flags & (PACKET_SYN | PACKET_ACK)) == PACKET_SYN;
    bool again = side->sent && info->seq + info->span == side->snd_next;
    if (syn && !(entry->live && again)) {
        flows_begin(flows, entry);
    }
    if (entry->mute) {
        verdict.drop = true;
        return verdict;
    }
    if (entry->cut) {
        /* Who goes on talking has not believed the reset; its own packet
         * says which number it will believe. */
        verdict.drop = true;
        verdict.has_answer = (info->flags & PACKET_RST) == 0;
        verdict.answer = flows_reset_to(entry, from);
        verdict.answer.seq = info->ack;
        verdict.answer.ack = info->seq + info->span;
        return verdict;
    }
    uint32_t end = info->seq + info->span;
    if (!side->sent || seq_after(end, side->snd_next)) {
        side->snd_next = end;
        side->sent = true;
    }
    if ((info->flags & PACKET_ACK) != 0 &&
        (!side->acked || seq_after(info->ack, side->ack))) {
        side->ack = info->ack;
        side->acked = true;
    }
    verdict.ticket = (struct flows_ticket){ index, entry->generation };
    return verdict;
}

bool
flows_stale(const struct flows *flows, struct flows_ticket ticket)
{
    return ticket.index != FLOWS_NONE &&
        flows->entry[ticket.index].generation != ticket.generation;
}

void
flows_deliver(struct flows *flows, struct flows_ticket ticket,
    const struct packet_info *info, enum flows_end to)
{
    if (ticket.index == FLOWS_NONE) {
        return;
    }
    assert(!flows_stale(flows, ticket));
    struct flows_entry *entry = &flows->entry[ticket.index];
    struct flows_side *side = &entry->side[to];
    uint32_t end = info->seq + info->span;
    if (!side->heard) {
        side->heard = true;
        side->rcv_next = end;
    } else if (!seq_after(info->seq, side->rcv_next) &&
        seq_after(end, side->rcv_next)) {
        side->rcv_next = end;
    }
    if ((info->flags & PACKET_FIN) != 0) {
        side->fin_heard = true;
    }
    if ((info->flags & PACKET_RST) != 0 ||
        (entry->side[0].fin_heard && entry->side[1].fin_heard)) {
        entry->live = false;
    }
}

unsigned
flows_cut(struct flows *flows, uint32_t index, struct packet_reset reset[2])
{
    assert(index < flows->count);
    struct flows_entry *entry = &flows->entry[index];
    if (!entry->live) {
        return 0;
    }
    entry->live = false;
    entry->cut = true;
    entry->generation++;
    unsigned set = 0;
    for (int e = 0; e < 2; e++) {
        const struct flows_side *side = &entry->side[e];
        if (!side->sent && !side->heard) {
            continue; /* this end knows nothing of the connection yet */
        }
        reset[e] = flows_reset_to(entry, (enum flows_end)e);
        /* The receiver believes only the exact next number. What it has
         * acknowledged and what it was handed in order are both lower
         * bounds of it. */
        reset[e].seq = side->heard ? side->rcv_next : side->ack;
        if (side->acked && seq_after(side->ack, reset[e].seq)) {
            reset[e].seq = side->ack;
        }
        reset[e].ack = side->sent ? side->snd_next : 0;
        set |= 1u << e;
    }
    return set;
}

bool
flows_mute(struct flows *flows, uint32_t index)
{
    assert(index < flows->count);
    struct flows_entry *entry = &flows->entry[index];
    if (!entry->live) {
        return false;
    }
    entry->live = false;
    entry->mute = true;
    entry->generation++;
    return true;
}

void
flows_expire(struct flows *flows, int64_t now_ns)
{
    for (uint32_t b = 0; b < FLOWS_BUCKETS; b++) {
        uint32_t *link = &flows->bucket[b];
        while (*link != FLOWS_NONE) {
            struct flows_entry *entry = &flows->entry[*link];
            if (entry->live || now_ns - entry->used_ns < FLOWS_IDLE_NS) {
                link = &entry->next;
                continue;
            }
            uint32_t index = *link;
            *link = entry->next;
            entry->next = flows->free;
            flows->free = index;
        }
    }
}
