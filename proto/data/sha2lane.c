#include "proto/data/sha2lane.h"

#include "proto/base/check.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/endian.h"

#define BLOCK_LEN 64
/* The target is set per function: the rest of the program must still run on
 * processors without these instructions. */
#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define SHA_INLINE SHA_TARGET static inline __attribute__((always_inline))

/* One message on its way: the whole blocks are read in place, then the padded
 * tail, which is 1 or 2 blocks. */
struct lane {
    uint32_t state[8];
    const uint8_t *at;   /* Next block. */
    size_t blocks;       /* Blocks left at `at`. */
    size_t tail_blocks;  /* Blocks left in `tail` after those. */
    uint8_t tail[2 * BLOCK_LEN];
    uint8_t *out;
};

/* Working registers of one message during the 64 rounds of a block. */
struct rounds {
    __m128i abef;
    __m128i cdgh;
    __m128i w[4];
};

static const uint32_t initial_state[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5,
    0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
    0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

bool sha2lane_available(void)
{
    unsigned int eax;
    unsigned int ebx;
    unsigned int ecx;
    unsigned int edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 ||
        (ecx & bit_SSSE3) == 0 || (ecx & bit_SSE4_1) == 0) {
        return false;
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) {
        return false;
    }
    return (ebx & bit_SHA) != 0;
}

/* Four rounds, and the four message words that are due sixteen rounds later.
 * `group` is a constant in every caller, so nothing is decided at run time. */
SHA_INLINE void four_rounds(struct rounds *r, unsigned int group)
{
    __m128i *w = &r->w[group % 4];
    const __m128i *constants = (const void *)&round_constants[4 * group];
    __m128i wk = _mm_add_epi32(*w, _mm_load_si128(constants));
    r->cdgh = _mm_sha256rnds2_epu32(r->cdgh, r->abef, wk);
    wk = _mm_shuffle_epi32(wk, 0x0e);
    r->abef = _mm_sha256rnds2_epu32(r->abef, r->cdgh, wk);
    if (group < 12) {
        __m128i w1 = r->w[(group + 1) % 4];
        __m128i w2 = r->w[(group + 2) % 4];
        __m128i w3 = r->w[(group + 3) % 4];
        __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(*w, w1),
                                    _mm_alignr_epi8(w3, w2, 4));
        *w = _mm_sha256msg2_epu32(sum, w3);
    }
}

/* The instructions want the words of the state as ABEF and CDGH. */
SHA_INLINE void load_state(struct rounds *r, const uint32_t state[8])
{
    __m128i abcd = _mm_loadu_si128((const void *)&state[0]);
    __m128i efgh = _mm_loadu_si128((const void *)&state[4]);
    __m128i cdab = _mm_shuffle_epi32(abcd, 0xb1);
    __m128i efgh_swapped = _mm_shuffle_epi32(efgh, 0x1b);
    r->abef = _mm_alignr_epi8(cdab, efgh_swapped, 8);
    r->cdgh = _mm_blend_epi16(efgh_swapped, cdab, 0xf0);
}

SHA_INLINE void store_state(const struct rounds *r, uint32_t state[8])
{
    __m128i feba = _mm_shuffle_epi32(r->abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(r->cdgh, 0xb1);
    _mm_storeu_si128((void *)&state[0], _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((void *)&state[4], _mm_alignr_epi8(dchg, feba, 8));
}

SHA_INLINE void load_block(struct rounds *r, const uint8_t *block)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL,
                                        0x0405060700010203LL);
    for (unsigned int i = 0; i < 4; i++) {
        __m128i words = _mm_loadu_si128((const void *)(block + 16 * i));
        r->w[i] = _mm_shuffle_epi8(words, swap);
    }
}

SHA_INLINE void add_state(struct rounds *r, const struct rounds *before)
{
    r->abef = _mm_add_epi32(r->abef, before->abef);
    r->cdgh = _mm_add_epi32(r->cdgh, before->cdgh);
}

/* The same group of both messages side by side is what fills the pipeline. */
#define FOUR_ROUNDS_1(group) four_rounds(&r, group)
#define FOUR_ROUNDS_2(group) four_rounds(&r, group), four_rounds(&s, group)
#define SIXTY_FOUR(FOUR) \
    FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7), \
    FOUR(8), FOUR(9), FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14), \
    FOUR(15)

SHA_TARGET static void compress_one(struct lane *lane, size_t blocks)
{
    struct rounds r;
    load_state(&r, lane->state);
    const uint8_t *at = lane->at;
    for (size_t i = 0; i < blocks; i++, at += BLOCK_LEN) {
        struct rounds r_before = r;
        load_block(&r, at);
        SIXTY_FOUR(FOUR_ROUNDS_1);
        add_state(&r, &r_before);
    }
    store_state(&r, lane->state);
}

SHA_TARGET static void compress_two(struct lane *lane, struct lane *other,
                                    size_t blocks)
{
    struct rounds r;
    struct rounds s;
    load_state(&r, lane->state);
    load_state(&s, other->state);
    const uint8_t *r_at = lane->at;
    const uint8_t *s_at = other->at;
    for (size_t i = 0; i < blocks; i++) {
        struct rounds r_before = r;
        struct rounds s_before = s;
        load_block(&r, r_at);
        load_block(&s, s_at);
        SIXTY_FOUR(FOUR_ROUNDS_2);
        add_state(&r, &r_before);
        add_state(&s, &s_before);
        r_at += BLOCK_LEN;
        s_at += BLOCK_LEN;
    }
    store_state(&r, lane->state);
    store_state(&s, other->state);
}

static void lane_start(struct lane *lane, const struct hash_item *item)
{
    memcpy(lane->state, initial_state, sizeof initial_state);
    lane->at = item->data;
    lane->blocks = item->len / BLOCK_LEN;
    lane->out = item->out;
    size_t rest = item->len % BLOCK_LEN;
    /* One byte 0x80 and eight bytes of length have to fit behind the rest. */
    lane->tail_blocks = rest + 9 <= BLOCK_LEN ? 1 : 2;
    memset(lane->tail, 0, sizeof lane->tail);
    if (rest > 0) {
        memcpy(lane->tail, lane->at + item->len - rest, rest);
    }
    lane->tail[rest] = 0x80;
    endian_store_u64(lane->tail + lane->tail_blocks * BLOCK_LEN - 8,
               (uint64_t)item->len * 8);
    if (lane->blocks == 0) {
        lane->at = lane->tail;
        lane->blocks = lane->tail_blocks;
        lane->tail_blocks = 0;
    }
}

/* Notes that `blocks` blocks are done.  Returns true and writes the digest
 * when the message is complete. */
static bool lane_advance(struct lane *lane, size_t blocks)
{
    BELAY_ASSERT(blocks <= lane->blocks);
    lane->blocks -= blocks;
    lane->at += blocks * BLOCK_LEN;
    if (lane->blocks > 0) {
        return false;
    }
    if (lane->tail_blocks > 0) {
        lane->at = lane->tail;
        lane->blocks = lane->tail_blocks;
        lane->tail_blocks = 0;
        return false;
    }
    for (unsigned int i = 0; i < 8; i++) {
        endian_store_u32(lane->out + 4 * i, lane->state[i]);
    }
    return true;
}

void sha2lane_hash(const struct hash_item *items, size_t count)
{
    struct lane lanes[2];
    struct lane *active[2] = {&lanes[0], &lanes[1]};
    size_t next = 0;
    size_t busy = 0;
    while (busy < 2 && next < count) {
        lane_start(active[busy++], &items[next++]);
    }
    while (busy == 2) {
        size_t blocks = active[0]->blocks;
        if (blocks > active[1]->blocks) {
            blocks = active[1]->blocks;
        }
        compress_two(active[0], active[1], blocks);
        /* The second one first, so that it can move up if both end here. */
        for (size_t i = 2; i-- > 0;) {
            if (!lane_advance(active[i], blocks)) {
                continue;
            }
            if (next < count) {
                lane_start(active[i], &items[next++]);
            } else {
                busy--;
                active[i] = active[busy];
            }
        }
    }
    while (busy == 1) {
        size_t blocks = active[0]->blocks;
        compress_one(active[0], blocks);
        if (lane_advance(active[0], blocks)) {
            busy--;
        }
    }
}

#else

bool sha2lane_available(void)
{
    return false;
}

void sha2lane_hash(const struct hash_item *items, size_t count)
{
    (void)items;
    (void)count;
    BELAY_UNREACHABLE();
}

#endif
