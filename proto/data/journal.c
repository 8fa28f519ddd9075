#include "proto/data/journal.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/base/endian.h"
#include "proto/base/reader.h"
#include "proto/base/registry.h"
#include "proto/base/writer.h"

#define FLAG_SUSPECT 1u
#define FLAG_FINISHED 2u
#define FLAG_STRONG 4u
#define FLAG_CID 8u
#define FLAG_MTIME 16u
#define FLAGS_ALL 31u

#define MAGIC_LEN 8
#define CHECK_LEN 8
#define CHECKED_LEN (JOURNAL_COPY_LEN - CHECK_LEN)
#define FIELDS_LEN 2280
#define NS_PER_S 1000000000u
#define GENERATION_MAX (UINT64_MAX / 2)
#define CHUNKS_MAX (UINT64_C(1) << (64 - LIMIT_CHUNK_LOG2_MIN))

BELAY_STATIC_ASSERT(JOURNAL_VERSION_MAX == LIMIT_VERSION_LEN,
                    "a version token fits in the journal");
BELAY_STATIC_ASSERT(JOURNAL_SLOT_LEN == HASH_LEN + CHECK_LEN,
                    "a slot is a digest and its check");

static const uint8_t magic[MAGIC_LEN] = {
    0x89, 0x42, 0x4C, 0x4A, 0x0D, 0x0A, 0x1A, 0x0A,
};

/* SipHash-2-4 (Aumasson, Bernstein), for inputs of whole 8-byte words: both
 * inputs of this format are, so the last block holds only the length. */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t load_le64(const uint8_t *bytes)
{
    uint64_t value = 0;

    for (unsigned int i = 0; i < 8; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static uint64_t rotate(uint64_t value, unsigned int bits)
{
    return value << bits | value >> (64 - bits);
}

static void sip_round(struct sip *sip)
{
    sip->v0 += sip->v1;
    sip->v1 = rotate(sip->v1, 13) ^ sip->v0;
    sip->v0 = rotate(sip->v0, 32);
    sip->v2 += sip->v3;
    sip->v3 = rotate(sip->v3, 16) ^ sip->v2;
    sip->v0 += sip->v3;
    sip->v3 = rotate(sip->v3, 21) ^ sip->v0;
    sip->v2 += sip->v1;
    sip->v1 = rotate(sip->v1, 17) ^ sip->v2;
    sip->v2 = rotate(sip->v2, 32);
}

static void sip_word(struct sip *sip, uint64_t word)
{
    sip->v3 ^= word;
    sip_round(sip);
    sip_round(sip);
    sip->v0 ^= word;
}

static uint64_t siphash(const uint8_t key[JOURNAL_SALT_LEN],
                        const uint8_t *data, size_t len)
{
    uint64_t k0 = load_le64(key);
    uint64_t k1 = load_le64(key + 8);
    struct sip sip = {
        .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
        .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = k1 ^ UINT64_C(0x7465646279746573),
    };

    BELAY_ASSERT(len % 8 == 0);
    for (size_t at = 0; at < len; at += 8) {
        sip_word(&sip, load_le64(data + at));
    }
    sip_word(&sip, (uint64_t)len << 56);
    sip.v2 ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(&sip);
    }
    return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

bool journal_identity_valid(const struct journal_identity *identity)
{
    return identity->chunk_log2 >= LIMIT_CHUNK_LOG2_MIN &&
           identity->chunk_log2 <= LIMIT_CHUNK_LOG2_MAX &&
           identity->size <= INT64_MAX &&
           identity->version_len <= JOURNAL_VERSION_MAX &&
           identity->url_len <= JOURNAL_URL_MAX &&
           identity->mtime_ns < NS_PER_S &&
           (identity->mtime_known ||
            (identity->mtime_s == 0 && identity->mtime_ns == 0));
}

bool journal_identity_same(const struct journal_identity *a,
                           const struct journal_identity *b)
{
    if (a->size != b->size || a->chunk_log2 != b->chunk_log2) {
        return false;
    }
    if (a->cid_known && b->cid_known) {
        return memcmp(a->cid, b->cid, HASH_LEN) == 0;
    }
    return a->version_strong && b->version_strong && a->version_len > 0 &&
           a->version_len == b->version_len &&
           memcmp(a->version, b->version, a->version_len) == 0;
}

uint64_t journal_chunks(const struct journal_identity *identity)
{
    uint64_t chunk = UINT64_C(1) << identity->chunk_log2;

    return identity->size / chunk + (identity->size % chunk != 0);
}

uint64_t journal_slot_offset(uint64_t index)
{
    BELAY_ASSERT(index <= CHUNKS_MAX);
    return JOURNAL_HEAD_LEN + index * JOURNAL_SLOT_LEN;
}

static bool head_valid(const struct journal_head *head)
{
    return journal_identity_valid(&head->identity) &&
           head->owner_host_len <= JOURNAL_HOST_MAX &&
           head->part_mtime_ns < NS_PER_S &&
           head->generation <= GENERATION_MAX &&
           (head->finished ||
            (head->part_mtime_s == 0 && head->part_mtime_ns == 0));
}

static uint32_t flags_of(const struct journal_head *head)
{
    const struct journal_identity *id = &head->identity;

    return (head->suspect ? FLAG_SUSPECT : 0) |
           (head->finished ? FLAG_FINISHED : 0) |
           (id->version_strong ? FLAG_STRONG : 0) |
           (id->cid_known ? FLAG_CID : 0) |
           (id->mtime_known ? FLAG_MTIME : 0);
}

/* A field of max bytes of which the first len are used. */
static void put_padded(struct writer *w, const void *data, size_t len,
                       size_t max)
{
    writer_bytes(w, data, len);
    writer_zeros(w, max - len);
}

void journal_head_encode(const struct journal_head *head,
                         uint8_t block[JOURNAL_COPY_LEN])
{
    const struct journal_identity *id = &head->identity;
    struct writer w;

    BELAY_ASSERT(head_valid(head));
    writer_init(&w, block, JOURNAL_COPY_LEN);
    writer_bytes(&w, magic, MAGIC_LEN);
    writer_u32(&w, JOURNAL_FORMAT);
    writer_u32(&w, flags_of(head));
    writer_bytes(&w, head->salt, JOURNAL_SALT_LEN);
    writer_u64(&w, head->generation);
    writer_u64(&w, id->size);
    writer_u8(&w, id->chunk_log2);
    writer_u8(&w, id->version_len);
    writer_u16(&w, head->owner_host_len);
    writer_u16(&w, id->url_len);
    writer_u16(&w, 0);
    writer_u32(&w, id->mode);
    writer_u32(&w, id->mtime_ns);
    writer_i64(&w, id->mtime_s);
    writer_u64(&w, head->part_dev);
    writer_u64(&w, head->part_ino);
    writer_u32(&w, head->owner_pid);
    writer_u32(&w, head->part_mtime_ns);
    writer_i64(&w, head->part_mtime_s);
    put_padded(&w, id->cid, id->cid_known ? HASH_LEN : 0, HASH_LEN);
    put_padded(&w, id->version, id->version_len, JOURNAL_VERSION_MAX);
    put_padded(&w, head->owner_host, head->owner_host_len, JOURNAL_HOST_MAX);
    put_padded(&w, id->url, id->url_len, JOURNAL_URL_MAX);
    BELAY_ASSERT(writer_len(&w) == FIELDS_LEN);
    writer_zeros(&w, CHECKED_LEN - FIELDS_LEN);
    writer_u64(&w, siphash(head->salt, block, CHECKED_LEN));
    BELAY_ASSERT(writer_ok(&w));
}

/* Copy a padded field; false where its padding is not zero. */
static bool get_padded(struct reader *r, void *out, size_t len, size_t max)
{
    struct bytes_view field = reader_view(r, max);

    if (field.len != max || len > max) {
        return false;
    }
    memcpy(out, field.ptr, len);
    return all_zero(field.ptr + len, max - len);
}

static bool get_texts(struct reader *r, struct journal_head *head)
{
    struct journal_identity *id = &head->identity;

    return get_padded(r, id->cid, id->cid_known ? HASH_LEN : 0, HASH_LEN) &&
           get_padded(r, id->version, id->version_len,
                      JOURNAL_VERSION_MAX) &&
           get_padded(r, head->owner_host, head->owner_host_len,
                      JOURNAL_HOST_MAX) &&
           get_padded(r, id->url, id->url_len, JOURNAL_URL_MAX);
}

/* Read the fields after magic and format; false where one is not canonical. */
static bool get_fields(struct reader *r, struct journal_head *head)
{
    struct journal_identity *id = &head->identity;
    uint32_t flags = reader_u32(r);
    uint16_t reserved;

    head->suspect = (flags & FLAG_SUSPECT) != 0;
    head->finished = (flags & FLAG_FINISHED) != 0;
    id->version_strong = (flags & FLAG_STRONG) != 0;
    id->cid_known = (flags & FLAG_CID) != 0;
    id->mtime_known = (flags & FLAG_MTIME) != 0;
    reader_copy(r, head->salt, JOURNAL_SALT_LEN);
    head->generation = reader_u64(r);
    id->size = reader_u64(r);
    id->chunk_log2 = reader_u8(r);
    id->version_len = reader_u8(r);
    head->owner_host_len = reader_u16(r);
    id->url_len = reader_u16(r);
    reserved = reader_u16(r);
    id->mode = reader_u32(r);
    id->mtime_ns = reader_u32(r);
    id->mtime_s = reader_i64(r);
    head->part_dev = reader_u64(r);
    head->part_ino = reader_u64(r);
    head->owner_pid = reader_u32(r);
    head->part_mtime_ns = reader_u32(r);
    head->part_mtime_s = reader_i64(r);
    return (flags & ~FLAGS_ALL) == 0 && reserved == 0 && get_texts(r, head) &&
           all_zero(reader_view(r, CHECKED_LEN - FIELDS_LEN).ptr,
                    CHECKED_LEN - FIELDS_LEN) &&
           head_valid(head);
}

enum journal_verdict
journal_head_decode(const uint8_t block[JOURNAL_COPY_LEN],
                    struct journal_head *head)
{
    struct reader r;
    struct bytes_view mark;
    uint32_t format;

    memset(head, 0, sizeof *head);
    if (all_zero(block, JOURNAL_COPY_LEN)) {
        return JOURNAL_EMPTY;
    }
    reader_init(&r, block, JOURNAL_COPY_LEN);
    mark = reader_view(&r, MAGIC_LEN);
    if (memcmp(mark.ptr, magic, MAGIC_LEN) != 0) {
        return JOURNAL_DAMAGED;
    }
    format = reader_u32(&r);
    if (format > JOURNAL_FORMAT) {
        return JOURNAL_FUTURE;
    }
    if (format != JOURNAL_FORMAT || !get_fields(&r, head) ||
        reader_u64(&r) != siphash(head->salt, block, CHECKED_LEN)) {
        memset(head, 0, sizeof *head);
        return JOURNAL_DAMAGED;
    }
    return JOURNAL_USABLE;
}

enum journal_verdict journal_choose(const uint8_t *bytes, size_t len,
                                    struct journal_head *head,
                                    unsigned int *copy)
{
    enum journal_verdict verdict = JOURNAL_EMPTY;

    memset(head, 0, sizeof *head);
    for (unsigned int i = 0; i < 2; i++) {
        uint8_t block[JOURNAL_COPY_LEN] = {0};
        size_t start = (size_t)i * JOURNAL_COPY_LEN;
        struct journal_head found;
        enum journal_verdict one;

        if (len > start) {
            size_t have = len - start;

            memcpy(block, bytes + start,
                   have < JOURNAL_COPY_LEN ? have : JOURNAL_COPY_LEN);
        }
        one = journal_head_decode(block, &found);
        if (one == JOURNAL_FUTURE) {
            memset(head, 0, sizeof *head);
            return JOURNAL_FUTURE;
        }
        if (one == JOURNAL_USABLE &&
            (verdict != JOURNAL_USABLE ||
             found.generation > head->generation)) {
            *head = found;
            *copy = i;
            verdict = JOURNAL_USABLE;
        } else if (one == JOURNAL_DAMAGED && verdict == JOURNAL_EMPTY) {
            verdict = JOURNAL_DAMAGED;
        }
    }
    return verdict;
}

static uint64_t slot_check(const uint8_t salt[JOURNAL_SALT_LEN],
                           uint64_t index, const uint8_t digest[HASH_LEN])
{
    uint8_t input[8 + HASH_LEN];

    endian_store_u64(input, index);
    memcpy(input + 8, digest, HASH_LEN);
    return siphash(salt, input, sizeof input);
}

void journal_slot_encode(const uint8_t salt[JOURNAL_SALT_LEN], uint64_t index,
                         const uint8_t digest[HASH_LEN],
                         uint8_t slot[JOURNAL_SLOT_LEN])
{
    memcpy(slot, digest, HASH_LEN);
    endian_store_u64(slot + HASH_LEN, slot_check(salt, index, digest));
}

bool journal_slot_decode(const uint8_t salt[JOURNAL_SALT_LEN], uint64_t index,
                         const uint8_t slot[JOURNAL_SLOT_LEN],
                         uint8_t digest[HASH_LEN])
{
    if (endian_load_u64(slot + HASH_LEN) != slot_check(salt, index, slot)) {
        return false;
    }
    memcpy(digest, slot, HASH_LEN);
    return true;
}
