/* The journal: bytes that anything may have left on the disk.
 *
 * A whole head is longer than what a fuzzer changes with sense, so the input
 * is a script: for each of the two copies a byte of options, then edits of an
 * honest copy (place, value) or raw bytes; then slots.
 *
 *   option 0x01  start from an honest head, else from zeros
 *   option 0x02  the checksum is put right after the edits
 *   option 0x04  the journal ends somewhere within this copy
 *   bits 4..7    so many edits, three bytes each */

#include "proto/base/endian.h"
#include "proto/data/journal.h"
#include "tests/fuzz/fuzz.h"

#define COPY_HONEST 0x01u
#define COPY_SEALED 0x02u
#define COPY_CUT 0x04u

#define SLOTS 4u

static struct journal_head honest_head(struct script *s)
{
    static const char url[] = "belay://h/iso/demo.bin";
    uint8_t bits = script_u8(s);
    struct journal_head head = {
        .generation = script_u8(s),
        .suspect = bits & 1u,
        .finished = bits & 2u,
        .part_dev = 7,
        .part_ino = 8,
        .owner_pid = 9,
    };
    struct journal_identity *id = &head.identity;
    head.salt[0] = script_u8(s);
    if (head.finished) {
        head.part_mtime_s = -1;
        head.part_mtime_ns = 999999999;
    }
    id->size = script_u32(s);
    id->chunk_log2 = (uint8_t)(12u + script_u8(s) % 11u);
    id->version_len = bits & 4u ? 8 : 0;
    id->version_strong = bits & 8u;
    id->cid_known = bits & 16u;
    id->mtime_known = bits & 32u;
    memset(id->version, 0x5a, id->version_len);
    if (id->cid_known) {
        memset(id->cid, 0xc1, sizeof id->cid);
    }
    if (id->mtime_known) {
        id->mtime_s = -5;
        id->mtime_ns = 5;
    }
    id->url_len = sizeof url - 1;
    memcpy(id->url, url, id->url_len);
    return head;
}

/* SipHash-2-4 a second time, written from its paper: the fuzzer needs it to
 * reach behind the checksum, and compares it on the way. */
static uint64_t turn(uint64_t v, unsigned n)
{
    return v << n | v >> (64 - n);
}

static void rounds(uint64_t v[4], unsigned count)
{
    while (count-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = turn(v[1], 13) ^ v[0];
        v[3] = turn(v[3], 16) ^ v[2];
        v[0] = turn(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = turn(v[1], 17) ^ v[2];
        v[3] = turn(v[3], 21) ^ v[0];
        v[2] = turn(v[2], 32);
    }
}

static uint64_t load(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 8; i-- > 0;) {
        v = v << 8 | p[i];
    }
    return v;
}

/* Make the checksum of a copy right. */
static void seal(uint8_t copy[JOURNAL_COPY_LEN])
{
    uint64_t k0 = load(copy + 16);
    uint64_t k1 = load(copy + 24);
    uint64_t v[4] = { k0 ^ UINT64_C(0x736f6d6570736575),
                      k1 ^ UINT64_C(0x646f72616e646f6d),
                      k0 ^ UINT64_C(0x6c7967656e657261),
                      k1 ^ UINT64_C(0x7465646279746573) };
    size_t len = JOURNAL_COPY_LEN - 8;
    for (size_t at = 0; at <= len; at += 8) {
        uint64_t word = at < len ? load(copy + at) : (uint64_t)len << 56;
        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    rounds(v, 4);
    endian_store_u64(copy + len, v[0] ^ v[1] ^ v[2] ^ v[3]);
}

static size_t build_copy(struct script *s, uint8_t *copy)
{
    uint8_t options = script_u8(s);
    memset(copy, 0, JOURNAL_COPY_LEN);
    if (options & COPY_HONEST) {
        struct journal_head head = honest_head(s);
        if (!journal_identity_valid(&head.identity)) {
            return JOURNAL_COPY_LEN;
        }
        journal_head_encode(&head, copy);
    }
    for (unsigned i = 0; i < options >> 4; i++) {
        size_t at = script_u16(s) % JOURNAL_COPY_LEN;
        copy[at] ^= script_u8(s);
    }
    if (options & COPY_SEALED) {
        seal(copy);
    }
    return options & COPY_CUT ? script_u16(s) % JOURNAL_COPY_LEN
                              : JOURNAL_COPY_LEN;
}

static void check_head(const uint8_t *copy, const struct journal_head *head)
{
    uint8_t again[JOURNAL_COPY_LEN];
    FUZZ_CHECK(journal_identity_valid(&head->identity));
    journal_head_encode(head, again);
    FUZZ_CHECK(memcmp(again, copy, sizeof again) == 0);
    uint64_t chunks = journal_chunks(&head->identity);
    FUZZ_CHECK(journal_slot_offset(chunks) >= JOURNAL_HEAD_LEN);
    FUZZ_CHECK(!journal_identity_same(&head->identity, &head->identity) ||
               head->identity.cid_known || head->identity.version_strong);
}

static void try_slots(struct script *s, const struct journal_head *head)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        uint8_t slot[JOURNAL_SLOT_LEN];
        uint8_t digest[HASH_LEN];
        uint8_t again[JOURNAL_SLOT_LEN];
        uint64_t index = script_u8(s);
        memset(digest, script_u8(s), sizeof digest);
        journal_slot_encode(head->salt, index, digest, slot);
        uint8_t flip = script_u8(s);
        slot[script_u8(s) % JOURNAL_SLOT_LEN] ^= flip;
        bool hint = journal_slot_decode(head->salt, index, slot, digest);
        FUZZ_CHECK(hint == (flip == 0));
        if (hint) {
            journal_slot_encode(head->salt, index, digest, again);
            FUZZ_CHECK(memcmp(slot, again, sizeof again) == 0);
            FUZZ_CHECK(!journal_slot_decode(head->salt, index + 1, slot,
                                            digest));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[JOURNAL_HEAD_LEN];
    struct script s = { data, size };
    struct journal_head head;
    struct journal_head one;
    unsigned int copy = 2;
    size_t len = build_copy(&s, bytes);
    size_t more = build_copy(&s, bytes + JOURNAL_COPY_LEN);
    if (len == JOURNAL_COPY_LEN) {
        len += more;
    }
    uint8_t *exact = malloc(len + 1);
    FUZZ_CHECK(exact != NULL);
    memcpy(exact, bytes, len);
    enum journal_verdict verdict = journal_choose(exact, len, &head, &copy);
    if (verdict == JOURNAL_USABLE) {
        FUZZ_CHECK(copy < 2);
        const uint8_t *chosen = bytes + copy * JOURNAL_COPY_LEN;
        const uint8_t *other = bytes + (1 - copy) * JOURNAL_COPY_LEN;
        check_head(chosen, &head);
        if (len == JOURNAL_HEAD_LEN) {
            verdict = journal_head_decode(other, &one);
            FUZZ_CHECK(verdict != JOURNAL_FUTURE);
            FUZZ_CHECK(verdict != JOURNAL_USABLE ||
                       one.generation <= head.generation);
        }
        try_slots(&s, &head);
    }
    free(exact);
    return 0;
}
