#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* libcrypto has a type by the name of one of our errors. */
#define ERR_STATE libcrypto_err_state
#include <openssl/evp.h>
#include <openssl/params.h>
#undef ERR_STATE

#include "proto/base/endian.h"
#include "proto/data/journal.h"

/* Offsets of the documented format, typed again on purpose. */
enum {
    AT_FORMAT = 8,
    AT_FLAGS = 12,
    AT_SALT = 16,
    AT_GENERATION = 32,
    AT_SIZE = 40,
    AT_LOG2 = 48,
    AT_VERSION_LEN = 49,
    AT_HOST_LEN = 50,
    AT_URL_LEN = 52,
    AT_RESERVED = 54,
    AT_MTIME_NS = 60,
    AT_PART_MTIME_NS = 92,
    AT_CID = 104,
    AT_VERSION = 136,
    AT_HOST = 168,
    AT_URL = 232,
    AT_PADDING = 2280,
    AT_CHECK = 4088
};

/* SipHash-2-4 of libcrypto: the oracle for our own. */
static uint64_t oracle_siphash(const uint8_t *key, const uint8_t *data,
                               size_t len)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
    size_t size = 8;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t("size", &size),
                           OSSL_PARAM_construct_end()};
    uint8_t out[8];
    uint64_t value = 0;

    assert_int_equal(EVP_MAC_init(ctx, key, 16, params), 1);
    assert_int_equal(EVP_MAC_update(ctx, data, len), 1);
    assert_int_equal(EVP_MAC_final(ctx, out, &size, sizeof out), 1);
    assert_int_equal(size, 8);
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    for (int i = 7; i >= 0; i--) {
        value = value << 8 | out[i];
    }
    return value;
}

static void reseal(uint8_t *block)
{
    endian_store_u64(block + AT_CHECK,
                     oracle_siphash(block + AT_SALT, block, AT_CHECK));
}

static struct journal_head sample(void)
{
    static const char url[] = "belay://example.org/releases/x.iso";
    struct journal_head head;

    memset(&head, 0, sizeof head);
    for (uint8_t i = 0; i < JOURNAL_SALT_LEN; i++) {
        head.salt[i] = i;
    }
    head.generation = 7;
    head.suspect = true;
    head.finished = true;
    head.part_dev = 0x0102030405060708;
    head.part_ino = 0x1112131415161718;
    head.part_mtime_s = -5;
    head.part_mtime_ns = 999999999;
    head.owner_pid = 4242;
    head.owner_host_len = 4;
    memcpy(head.owner_host, "host", 4);
    head.identity.size = (UINT64_C(5) << 30) + 1;
    head.identity.chunk_log2 = 18;
    head.identity.version_len = 16;
    memset(head.identity.version, 0xab, 16);
    head.identity.version_strong = true;
    head.identity.cid_known = true;
    memset(head.identity.cid, 0xcd, HASH_LEN);
    head.identity.mtime_known = true;
    head.identity.mtime_s = -1;
    head.identity.mtime_ns = 500;
    head.identity.mode = 0644;
    head.identity.url_len = sizeof url - 1;
    memcpy(head.identity.url, url, sizeof url - 1);
    return head;
}

/* Same struct: all of it, not one field. Samples are zeroed first, so the
 * padding between fields is equal as well. */
static void assert_same_head(const struct journal_head *a,
                             const struct journal_head *b)
{
    uint8_t left[JOURNAL_COPY_LEN];
    uint8_t right[JOURNAL_COPY_LEN];

    journal_head_encode(a, left);
    journal_head_encode(b, right);
    assert_memory_equal(left, right, sizeof left);
}

static void test_layout(void **state)
{
    struct journal_head head = sample();
    uint8_t block[JOURNAL_COPY_LEN];
    static const uint8_t magic[8] = {0x89, 0x42, 0x4C, 0x4A,
                                     0x0D, 0x0A, 0x1A, 0x0A};

    (void)state;
    journal_head_encode(&head, block);
    assert_memory_equal(block, magic, 8);
    assert_int_equal(endian_load_u32(block + AT_FORMAT), 1);
    assert_int_equal(endian_load_u32(block + AT_FLAGS), 31);
    assert_memory_equal(block + AT_SALT, head.salt, 16);
    assert_int_equal(endian_load_u64(block + AT_GENERATION), 7);
    assert_int_equal(endian_load_u64(block + AT_SIZE), (5ll << 30) + 1);
    assert_int_equal(block[AT_LOG2], 18);
    assert_int_equal(block[AT_VERSION_LEN], 16);
    assert_int_equal(endian_load_u16(block + AT_HOST_LEN), 4);
    assert_int_equal(endian_load_u16(block + AT_URL_LEN), 34);
    assert_int_equal(endian_load_u32(block + 56), 0644);
    assert_int_equal(endian_load_u32(block + AT_MTIME_NS), 500);
    assert_int_equal(endian_load_u64(block + 64), UINT64_MAX);
    assert_int_equal(endian_load_u64(block + 72), head.part_dev);
    assert_int_equal(endian_load_u64(block + 80), head.part_ino);
    assert_int_equal(endian_load_u32(block + 88), 4242);
    assert_int_equal(endian_load_u32(block + AT_PART_MTIME_NS), 999999999);
    assert_int_equal((int64_t)endian_load_u64(block + 96), -5);
    assert_int_equal(block[AT_CID], 0xcd);
    assert_int_equal(block[AT_VERSION], 0xab);
    assert_memory_equal(block + AT_HOST, "host\0", 5);
    assert_memory_equal(block + AT_URL, "belay://", 8);
    assert_int_equal(endian_load_u64(block + AT_CHECK),
                     oracle_siphash(head.salt, block, AT_CHECK));
}

/* Published vector: SipHash-2-4, key 00..0f, input 00..27. */
static void test_slot_vector(void **state)
{
    uint8_t salt[JOURNAL_SALT_LEN];
    uint8_t input[40];
    uint8_t slot[JOURNAL_SLOT_LEN];

    (void)state;
    for (uint8_t i = 0; i < sizeof salt; i++) {
        salt[i] = i;
    }
    for (uint8_t i = 0; i < sizeof input; i++) {
        input[i] = i;
    }
    journal_slot_encode(salt, UINT64_C(0x0001020304050607), input + 8, slot);
    assert_memory_equal(slot, input + 8, HASH_LEN);
    assert_int_equal(endian_load_u64(slot + HASH_LEN),
                     oracle_siphash(salt, input, sizeof input));
    assert_int_equal(endian_load_u64(slot + HASH_LEN),
                     UINT64_C(0x0e3ea96b5304a7d0));
}

static void test_round_trip(void **state)
{
    (void)state;
    for (unsigned int bits = 0; bits < 32; bits++) {
        struct journal_head head = sample();
        struct journal_head back;
        uint8_t block[JOURNAL_COPY_LEN];
        uint8_t again[JOURNAL_COPY_LEN];

        head.suspect = bits & 1;
        head.finished = bits & 2;
        head.identity.version_strong = bits & 4;
        head.identity.cid_known = bits & 8;
        head.identity.mtime_known = bits & 16;
        if (!head.finished) {
            head.part_mtime_s = 0;
            head.part_mtime_ns = 0;
        }
        if (!head.identity.mtime_known) {
            head.identity.mtime_s = 0;
            head.identity.mtime_ns = 0;
        }
        journal_head_encode(&head, block);
        assert_int_equal(journal_head_decode(block, &back), JOURNAL_USABLE);
        assert_same_head(&head, &back);
        assert_int_equal(head.suspect, back.suspect);
        assert_int_equal(head.finished, back.finished);
        assert_int_equal(back.identity.size, head.identity.size);
        assert_int_equal(back.identity.cid_known, head.identity.cid_known);
        journal_head_encode(&back, again);
        assert_memory_equal(block, again, sizeof block);
    }
}

static void test_round_trip_largest(void **state)
{
    struct journal_head head = sample();
    struct journal_head back;
    uint8_t block[JOURNAL_COPY_LEN];

    (void)state;
    head.identity.size = INT64_MAX;
    head.identity.chunk_log2 = 12;
    head.identity.version_len = JOURNAL_VERSION_MAX;
    head.identity.url_len = JOURNAL_URL_MAX;
    memset(head.identity.url, 'u', JOURNAL_URL_MAX);
    head.owner_host_len = JOURNAL_HOST_MAX;
    memset(head.owner_host, 'h', JOURNAL_HOST_MAX);
    head.identity.mode = UINT32_MAX;
    journal_head_encode(&head, block);
    assert_int_equal(journal_head_decode(block, &back), JOURNAL_USABLE);
    assert_same_head(&head, &back);
}

/* Any single flipped bit is noticed, wherever it is. */
static void test_every_flip(void **state)
{
    struct journal_head head = sample();
    uint8_t block[JOURNAL_COPY_LEN];

    (void)state;
    journal_head_encode(&head, block);
    for (size_t i = 0; i < sizeof block; i++) {
        for (unsigned int bit = 0; bit < 8; bit++) {
            struct journal_head back;
            struct journal_head zero;
            enum journal_verdict verdict;

            memset(&zero, 0, sizeof zero);
            block[i] ^= (uint8_t)(1u << bit);
            verdict = journal_head_decode(block, &back);
            block[i] ^= (uint8_t)(1u << bit);
            assert_int_equal(verdict, i >= AT_FORMAT && i < AT_FLAGS &&
                                              !(i == 11 && bit == 0)
                                          ? JOURNAL_FUTURE
                                          : JOURNAL_DAMAGED);
            assert_memory_equal(&back, &zero, sizeof back);
        }
    }
}

/* A head cut at any sector border, with an older head or zeros behind. */
static void test_torn(void **state)
{
    struct journal_head head = sample();
    struct journal_head other = sample();
    uint8_t block[JOURNAL_COPY_LEN];
    uint8_t old[JOURNAL_COPY_LEN];

    (void)state;
    other.generation = 6;
    other.identity.size = 77;
    journal_head_encode(&head, block);
    journal_head_encode(&other, old);
    for (size_t cut = 1; cut < sizeof block; cut++) {
        uint8_t torn[JOURNAL_COPY_LEN] = {0};
        struct journal_head back;

        memcpy(torn, block, cut);
        assert_int_equal(journal_head_decode(torn, &back), JOURNAL_DAMAGED);
        memcpy(torn + cut, old + cut, sizeof torn - cut);
        if (memcmp(torn, block, sizeof torn) != 0 &&
            memcmp(torn, old, sizeof torn) != 0) {
            assert_int_equal(journal_head_decode(torn, &back),
                             JOURNAL_DAMAGED);
        }
    }
}

/* Fields out of bounds under a right checksum: refused all the same. */
static void test_bad_fields(void **state)
{
    static const struct {
        size_t at;
        uint8_t byte;
    } bad[] = {
        {AT_FLAGS, 1},          {AT_FLAGS + 3, 0x3f}, {AT_GENERATION, 0x80},
        {AT_SIZE, 0x80},        {AT_LOG2, 11},        {AT_LOG2, 23},
        {AT_VERSION_LEN, 33},   {AT_VERSION_LEN, 15}, {AT_HOST_LEN, 1},
        {AT_HOST_LEN + 1, 65},  {AT_HOST_LEN + 1, 3}, {AT_URL_LEN, 9},
        {AT_URL_LEN + 1, 1},    {AT_RESERVED, 1},     {AT_RESERVED + 1, 1},
        {AT_MTIME_NS, 0x3c},    {AT_PART_MTIME_NS, 0x3c},
        {AT_VERSION + 31, 1},   {AT_HOST + 63, 1},    {AT_URL + 2047, 1},
        {AT_PADDING, 1},        {AT_CHECK - 1, 1},    {AT_FORMAT + 3, 0},
        {AT_FLAGS + 3, 31 - 8}, /* no CID, but bytes where it would be */
        {AT_FLAGS + 3, 31 - 2}, /* not finished, but a time of the commit */
        {AT_FLAGS + 3, 31 - 16}, /* mtime not known, but set */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct journal_head head = sample();
        struct journal_head back;
        uint8_t block[JOURNAL_COPY_LEN];

        journal_head_encode(&head, block);
        block[bad[i].at] = bad[i].byte;
        reseal(block);
        if (journal_head_decode(block, &back) != JOURNAL_DAMAGED) {
            fail_msg("byte %zu = %u was accepted", bad[i].at, bad[i].byte);
        }
    }
}

/* Nanoseconds of a commit that has not begun. */
static void test_bad_commit_time(void **state)
{
    struct journal_head head = sample();
    struct journal_head back;
    uint8_t block[JOURNAL_COPY_LEN];

    (void)state;
    head.finished = false;
    head.part_mtime_s = 0;
    head.part_mtime_ns = 0;
    journal_head_encode(&head, block);
    assert_int_equal(journal_head_decode(block, &back), JOURNAL_USABLE);
    block[AT_PART_MTIME_NS + 3] = 1;
    reseal(block);
    assert_int_equal(journal_head_decode(block, &back), JOURNAL_DAMAGED);
}

static void test_identity_bounds(void **state)
{
    struct journal_identity id = sample().identity;
    struct journal_identity untimed = id;

    (void)state;
    untimed.mtime_known = false;
    untimed.mtime_s = 0;
    untimed.mtime_ns = 1;
    assert_false(journal_identity_valid(&untimed));
    assert_true(journal_identity_valid(&id));
    id.chunk_log2 = 11;
    assert_false(journal_identity_valid(&id));
    id.chunk_log2 = 12;
    assert_true(journal_identity_valid(&id));
    id.chunk_log2 = 22;
    assert_true(journal_identity_valid(&id));
    id.chunk_log2 = 23;
    assert_false(journal_identity_valid(&id));
    id.chunk_log2 = 18;
    id.size = INT64_MAX;
    assert_true(journal_identity_valid(&id));
    id.size++;
    assert_false(journal_identity_valid(&id));
    id.size = 0;
    id.version_len = JOURNAL_VERSION_MAX + 1;
    assert_false(journal_identity_valid(&id));
    id.version_len = 0;
    id.url_len = JOURNAL_URL_MAX + 1;
    assert_false(journal_identity_valid(&id));
    id.url_len = JOURNAL_URL_MAX;
    id.mtime_ns = 1000000000;
    assert_false(journal_identity_valid(&id));
    id.mtime_ns = 0;
    id.mtime_known = false;
    assert_false(journal_identity_valid(&id));
    id.mtime_s = 0;
    assert_true(journal_identity_valid(&id));
}

static void test_same(void **state)
{
    struct journal_identity a = sample().identity;
    struct journal_identity b = a;

    (void)state;
    b.mode = 0;
    b.mtime_s = 9;
    b.url_len = 3;
    b.version[0] ^= 1;
    assert_true(journal_identity_same(&a, &b)); /* equal CID decides */
    b = a;
    b.cid[31] ^= 1;
    assert_false(journal_identity_same(&a, &b)); /* even over the token */
    b = a;
    b.size++;
    assert_false(journal_identity_same(&a, &b));
    b = a;
    b.chunk_log2++;
    assert_false(journal_identity_same(&a, &b));
    b = a;
    b.cid_known = false;
    assert_true(journal_identity_same(&a, &b));
    b.version_strong = false;
    assert_false(journal_identity_same(&a, &b));
    b.version_strong = true;
    b.version[0] ^= 1;
    assert_false(journal_identity_same(&a, &b));
    b.version[0] ^= 1;
    b.version_len--;
    assert_false(journal_identity_same(&a, &b));
    b = a;
    a.cid_known = false;
    a.version_len = 0;
    b.version_len = 0;
    assert_false(journal_identity_same(&a, &b));
}

static void test_chunks(void **state)
{
    static const struct {
        uint64_t size;
        uint8_t log2;
        uint64_t chunks;
    } rows[] = {
        {0, 12, 0},
        {1, 12, 1},
        {4096, 12, 1},
        {4097, 12, 2},
        {(UINT64_C(4) << 30) - 1, 22, 1024},
        {(UINT64_C(4) << 30) + 1, 22, 1025},
        {INT64_MAX, 12, UINT64_C(1) << 51},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct journal_identity id = {.size = rows[i].size,
                                      .chunk_log2 = rows[i].log2};

        assert_int_equal(journal_chunks(&id), rows[i].chunks);
    }
    assert_int_equal(journal_slot_offset(0), 8192);
    assert_int_equal(journal_slot_offset(3), 8192 + 120);
}

static void test_slots(void **state)
{
    uint8_t salt[JOURNAL_SALT_LEN] = {1};
    uint8_t other[JOURNAL_SALT_LEN] = {2};
    uint8_t digest[HASH_LEN];
    uint8_t got[HASH_LEN];
    uint8_t slot[JOURNAL_SLOT_LEN];

    (void)state;
    memset(digest, 0x5a, sizeof digest);
    journal_slot_encode(salt, 9, digest, slot);
    assert_true(journal_slot_decode(salt, 9, slot, got));
    assert_memory_equal(got, digest, HASH_LEN);
    assert_false(journal_slot_decode(salt, 8, slot, got));
    assert_false(journal_slot_decode(other, 9, slot, got));
    for (size_t i = 0; i < sizeof slot; i++) {
        for (unsigned int bit = 0; bit < 8; bit++) {
            slot[i] ^= (uint8_t)(1u << bit);
            assert_false(journal_slot_decode(salt, 9, slot, got));
            slot[i] ^= (uint8_t)(1u << bit);
        }
    }
    memset(slot, 0, sizeof slot);
    assert_false(journal_slot_decode(salt, 9, slot, got));
    memset(slot, 0xff, sizeof slot);
    assert_false(journal_slot_decode(salt, 9, slot, got));
}

enum block_kind { ZERO, JUNK, GEN3, GEN4, NEXT_FORMAT };

static void fill(uint8_t *block, enum block_kind kind)
{
    struct journal_head head = sample();

    head.generation = kind == GEN4 ? 4 : 3;
    memset(block, kind == JUNK ? 'x' : 0, JOURNAL_COPY_LEN);
    if (kind >= GEN3) {
        journal_head_encode(&head, block);
    }
    if (kind == NEXT_FORMAT) {
        endian_store_u32(block + AT_FORMAT, JOURNAL_FORMAT + 1);
    }
}

static void test_choose(void **state)
{
    static const struct {
        enum block_kind a, b;
        enum journal_verdict verdict;
        unsigned int copy;
        uint64_t generation;
    } rows[] = {
        {ZERO, ZERO, JOURNAL_EMPTY, 9, 0},
        {ZERO, JUNK, JOURNAL_DAMAGED, 9, 0},
        {JUNK, ZERO, JOURNAL_DAMAGED, 9, 0},
        {GEN3, ZERO, JOURNAL_USABLE, 0, 3},
        {ZERO, GEN3, JOURNAL_USABLE, 1, 3},
        {GEN3, JUNK, JOURNAL_USABLE, 0, 3},
        {JUNK, GEN3, JOURNAL_USABLE, 1, 3},
        {GEN3, GEN4, JOURNAL_USABLE, 1, 4},
        {GEN4, GEN3, JOURNAL_USABLE, 0, 4},
        {GEN3, GEN3, JOURNAL_USABLE, 0, 3},
        {NEXT_FORMAT, GEN4, JOURNAL_FUTURE, 9, 0},
        {GEN4, NEXT_FORMAT, JOURNAL_FUTURE, 9, 0},
        {NEXT_FORMAT, JUNK, JOURNAL_FUTURE, 9, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t bytes[JOURNAL_HEAD_LEN];
        struct journal_head head;
        unsigned int copy = 9;

        fill(bytes, rows[i].a);
        fill(bytes + JOURNAL_COPY_LEN, rows[i].b);
        assert_int_equal(journal_choose(bytes, sizeof bytes, &head, &copy),
                         rows[i].verdict);
        if (rows[i].verdict == JOURNAL_USABLE) {
            assert_int_equal(copy, rows[i].copy);
        }
        assert_int_equal(head.generation, rows[i].generation);
    }
}

/* A journal cut short counts as filled up with zeros. */
static void test_choose_short(void **state)
{
    uint8_t bytes[JOURNAL_HEAD_LEN];
    struct journal_head head;
    unsigned int copy;

    (void)state;
    fill(bytes, GEN3);
    fill(bytes + JOURNAL_COPY_LEN, GEN4);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        enum journal_verdict want = len == 0 ? JOURNAL_EMPTY
                                    : len < JOURNAL_COPY_LEN
                                        ? JOURNAL_DAMAGED
                                        : JOURNAL_USABLE;

        assert_int_equal(journal_choose(bytes, len, &head, &copy), want);
        if (want == JOURNAL_USABLE) {
            assert_int_equal(copy, len == sizeof bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_slot_vector),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_round_trip_largest),
        cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_torn),
        cmocka_unit_test(test_bad_fields),
        cmocka_unit_test(test_bad_commit_time),
        cmocka_unit_test(test_identity_bounds),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_choose),
        cmocka_unit_test(test_choose_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
