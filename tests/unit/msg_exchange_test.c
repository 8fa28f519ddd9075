/* The worked exchanges of belay-1: both directions of three connections are
 * built with the encoders and compared, as SHA-256 over the complete byte
 * stream, with the values in the text; then they are cut into frames again
 * and decoded. Plus the single frames of the seed vectors. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <openssl/sha.h>

#include "proto/base/err.h"
#include "proto/wire/crc.h"
#include "proto/wire/msg.h"
#include "proto/wire/preface.h"
#include "tests/unit/vectors_util.h"

#define CHUNK_LOG2 12u
#define CHUNK_SIZE (1u << CHUNK_LOG2)

static const uint8_t version_1[] = { 0xA1, 0xB2, 0xC3, 0xD4,
                                     0xE5, 0xF6, 0x07, 0x18 };
static const uint8_t version_2[] = { 0xA1, 0xB2, 0xC3, 0xD4,
                                     0xE5, 0xF6, 0x07, 0x19 };
static const char cid_1[] =
    "cc333f2bf3887f5abe401a776d37f9a8cd2c70c5a5dcc2e48198b553ac64f844";
static const char cid_2[] =
    "45c22b148ff2d78fdf5ffeb0c5d81ca23b4c688353bec7a617692a1369ebe26f";
static const uint8_t path[] = "iso/demo.bin";
static const uint8_t codecs[] = { CODEC_RAW, CODEC_ZLIB, CODEC_ZERO };

/* One version of the demo file. */
struct demo {
    uint8_t bytes[20100];
    size_t size;
    int64_t mtime_s;
    struct bytes_view version;
    uint8_t cid[DIGEST_LEN];
};

struct world {
    struct demo v1;
    struct demo v2;
    uint8_t out[32768];
    struct writer w;
};

static struct bytes_view view(const void *ptr, size_t len)
{
    return (struct bytes_view){ ptr, len };
}

static void demo_init(struct demo *d, size_t size, const char *cid)
{
    size_t len;
    for (size_t i = 0; i < size; i++) {
        d->bytes[i] = (uint8_t)(i % 251);
    }
    d->size = size;
    uint8_t *raw = vectors_unhex(cid, &len);
    assert_int_equal(len, DIGEST_LEN);
    memcpy(d->cid, raw, len);
    free(raw);
}

static int setup(void **state)
{
    struct world *x = calloc(1, sizeof *x);
    assert_non_null(x);
    demo_init(&x->v1, 20000, cid_1);
    x->v1.mtime_s = 0x6955B900;
    x->v1.version = view(version_1, sizeof version_1);
    demo_init(&x->v2, 20100, cid_2);
    x->v2.bytes[9000] ^= 0xFF;
    x->v2.mtime_s = 0x6955B93C;
    x->v2.version = view(version_2, sizeof version_2);
    writer_init(&x->w, x->out, sizeof x->out);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void ok(int err)
{
    assert_string_equal(err_name(err), "BELAY_OK");
}

/* ---- The messages of the exchanges. */

static void put_preface(struct world *x, uint8_t role)
{
    struct preface p = { .version = PROTO_VERSION, .role = role };
    uint8_t raw[PREFACE_LEN];
    preface_encode(&p, raw);
    writer_bytes(&x->w, raw, sizeof raw);
}

static void put_client_greeting(struct world *x)
{
    const struct msg_hello hello = {
        .has = HELLO_HAS_MAX_CHUNK_LOG2,
        .max_chunk_log2 = 20,
        .codecs = view(codecs, sizeof codecs),
        .agent = view("demo/1", 6),
        .grease = tlv_grease(1, view("\xde\xad\xbe", 3)),
    };
    put_preface(x, ROLE_CLIENT);
    ok(msg_hello_encode(&hello, FRAME_FROM_CLIENT, &x->w));
}

static void put_server_greeting(struct world *x)
{
    const struct msg_hello hello = {
        .has = HELLO_HAS_MAX_CHUNK_LOG2 | HELLO_HAS_MAX_REQUESTS |
               HELLO_HAS_IDLE_TIMEOUT,
        .max_chunk_log2 = 22,
        .max_requests = 64,
        .idle_timeout_s = 120,
        .codecs = view(codecs, sizeof codecs),
        .agent = view("belayd/1", 8),
    };
    put_preface(x, ROLE_SERVER);
    ok(msg_hello_encode(&hello, FRAME_FROM_SERVER, &x->w));
}

static void put_open(struct world *x, uint32_t id, uint32_t handle,
                     uint8_t want, const struct demo *expected)
{
    struct msg_open m = {
        .handle = handle,
        .want_chunk_log2 = want,
        .path = view(path, sizeof path - 1),
    };
    if (expected != NULL) {
        m.expect_version = expected->version;
        m.expect_cid = view(expected->cid, DIGEST_LEN);
    }
    ok(msg_open_encode(&m, id, &x->w));
}

static void put_get(struct world *x, uint32_t id, uint32_t handle,
                    const struct msg_range *ranges, uint16_t count)
{
    uint8_t packed[MSG_RANGES_BYTES(2)];
    struct msg_get m = {
        .handle = handle,
        .urgency = LIMIT_URGENCY_DEFAULT,
        .flags = GET_CLOSE_AFTER,
    };
    msg_ranges_pack(&m, ranges, count, packed);
    ok(msg_get_encode(&m, id, &x->w));
}

static void put_info(struct world *x, uint32_t id, uint32_t handle,
                     const struct demo *d, bool with_cid)
{
    struct msg_info m = {
        .handle = handle,
        .file_type = FILE_REGULAR,
        .chunk_log2 = CHUNK_LOG2,
        .info_flags = INFO_VERSION_STRONG,
        .size = d->size,
        .mtime_s = d->mtime_s,
        .mode = 0644,
        .version = d->version,
    };
    if (with_cid) {
        m.cid = view(d->cid, DIGEST_LEN);
    } else {
        m.info_flags |= INFO_CID_PENDING;
    }
    ok(msg_info_encode(&m, id, &x->w));
}

static uint32_t chunk_len(const struct demo *d, size_t index)
{
    size_t left = d->size - index * CHUNK_SIZE;
    return (uint32_t)(left < CHUNK_SIZE ? left : CHUNK_SIZE);
}

static void put_chunk(struct world *x, uint32_t id, uint32_t handle,
                      const struct demo *d, size_t index)
{
    const uint8_t *data = d->bytes + index * CHUNK_SIZE;
    struct msg_chunk m = {
        .offset = index * CHUNK_SIZE,
        .raw_len = chunk_len(d, index),
        .stored_len = chunk_len(d, index),
        .handle = handle,
        .codec = CODEC_RAW,
    };
    SHA256(data, m.raw_len, m.digest);
    ok(msg_chunk_encode(&m, id, &x->w));
    writer_bytes(&x->w, data, m.raw_len);
}

static void put_done(struct world *x, uint32_t id, const struct demo *d,
                     uint64_t chunks, uint64_t raw_bytes)
{
    const struct msg_done m = {
        .chunks = chunks,
        .raw_bytes = raw_bytes,
        .version = d->version,
        .cid = view(d->cid, DIGEST_LEN),
    };
    ok(msg_done_encode(&m, id, &x->w));
}

/* The stream is len bytes long and hashes to sha256; cut into frames it
 * passes every check. Starts a new stream. */
static void expect_stream(struct world *x, uint8_t sender, size_t len,
                          const char *sha256)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    assert_true(writer_ok(&x->w));
    assert_int_equal(writer_len(&x->w), len);
    SHA256(x->out, len, digest);
    json_t *hex = vectors_hex(view(digest, sizeof digest));
    assert_string_equal(json_string_value(hex), sha256);
    json_decref(hex);

    size_t at = PREFACE_LEN;
    while (at < len) {
        struct frame f;
        struct msg m;
        enum frame_verdict verdict;
        size_t need;
        ok(frame_scan(x->out + at, len - at, &f, &need));
        ok(frame_classify(&f, sender, &verdict));
        ok(msg_decode(&f, x->out + at + FRAME_HEADER_LEN, sender,
                      LIMIT_RANGES_DEFAULT, &m));
        at += FRAME_HEADER_LEN + f.length;
    }
    assert_int_equal(at, len);
    writer_rewind(&x->w, 0);
}

static void fresh_download(void **state)
{
    struct world *x = *state;
    const struct msg_range all = { 0, GET_TO_END };
    put_client_greeting(x);
    put_open(x, 1, 1, 0, NULL);
    put_get(x, 2, 1, &all, 1);
    ok(msg_goaway_encode(&(struct msg_goaway){ 0 }, &x->w));
    expect_stream(
        x, FRAME_FROM_CLIENT, 161,
        "09c9e5c7e44bdc1f7141ea37b97b9b6e60db746f8174a65cde4c5b76e0983f81");

    put_server_greeting(x);
    put_info(x, 1, 1, &x->v1, false);
    for (size_t i = 0; i < 5; i++) {
        put_chunk(x, 2, 1, &x->v1, i);
    }
    put_done(x, 2, &x->v1, 5, 20000);
    expect_stream(
        x, FRAME_FROM_SERVER, 20568,
        "da70d281eb2f28e7386d1c918b8431e34ceecec734466897213c39dcaf9ee94b");
}

static void resume_after_a_reset(void **state)
{
    struct world *x = *state;
    const struct msg_range missing[] = { { 0x1000, 0x1000 },
                                         { 0x3000, GET_TO_END } };
    put_client_greeting(x);
    put_open(x, 1, 1, CHUNK_LOG2, &x->v1);
    put_get(x, 2, 1, missing, 2);
    expect_stream(
        x, FRAME_FROM_CLIENT, 201,
        "0edc5ed7a062411a1500cd5776434472e806081d0a73a5b1b5016b77a06663ee");

    put_server_greeting(x);
    put_info(x, 1, 1, &x->v1, true);
    put_chunk(x, 2, 1, &x->v1, 1);
    put_chunk(x, 2, 1, &x->v1, 3);
    put_chunk(x, 2, 1, &x->v1, 4);
    put_done(x, 2, &x->v1, 3, 0x2E20);
    expect_stream(
        x, FRAME_FROM_SERVER, 12268,
        "4fe0afb1b14fd04017ea258e9065f5effdd5fbd05ecbcc75555a76840431fb29");
}

static void put_digests(struct world *x, uint32_t id, const struct demo *d)
{
    struct msg_digests_builder b;
    uint8_t digest[DIGEST_LEN];
    const struct tlv none = { 0, { NULL, 0 } };
    msg_digests_begin(&b, &x->w, 0, 32);
    for (size_t i = 0; i < 5; i++) {
        SHA256(d->bytes + i * CHUNK_SIZE, chunk_len(d, i), digest);
        ok(msg_digests_add(&b, digest));
    }
    ok(msg_digests_finish(&b, view(NULL, 0), true, id, &none));
}

static void the_file_changed_meanwhile(void **state)
{
    struct world *x = *state;
    const struct msg_range missing[] = { { 0x2000, 0x1000 },
                                         { 0x4000, GET_TO_END } };
    const struct msg_digest whole_list = {
        .handle = 2,
        .block_log2 = 32,
        .block_count = 1,
    };
    put_client_greeting(x);
    put_open(x, 1, 1, CHUNK_LOG2, &x->v1);
    put_get(x, 2, 1, missing, 2);
    put_open(x, 3, 2, CHUNK_LOG2, NULL);
    ok(msg_digest_encode(&whole_list, 4, &x->w));
    put_get(x, 5, 2, missing, 2);
    expect_stream(
        x, FRAME_FROM_CLIENT, 333,
        "0943223b3ee88033618b81790d93ee9a1f3bba4f0641f240c9e2b207f75f1a5c");

    const struct msg_error changed = {
        .code = WIRE_CHANGED,
        .version = x->v2.version,
        .cid = view(x->v2.cid, DIGEST_LEN),
        .has_size = true,
        .size = x->v2.size,
    };
    const struct msg_error bad_handle = { .code = WIRE_BAD_HANDLE };
    put_server_greeting(x);
    ok(msg_error_encode(&changed, 1, &x->w));
    ok(msg_error_encode(&bad_handle, 2, &x->w));
    put_info(x, 3, 2, &x->v2, true);
    put_digests(x, 4, &x->v2);
    put_chunk(x, 5, 2, &x->v2, 2);
    put_chunk(x, 5, 2, &x->v2, 4);
    put_done(x, 5, &x->v2, 2, 0x1E84);
    expect_stream(
        x, FRAME_FROM_SERVER, 8492,
        "88cb2a5766d5c36aa21ec4e02fcc55b8329bfc2385b9e88713559fbee1d1028f");
}

/* ---- Single frames. */

static void expect_hex(struct world *x, size_t len, const char *hex)
{
    json_t *ours = vectors_hex(view(x->out, len));
    assert_string_equal(json_string_value(ours), hex);
    json_decref(ours);
    writer_rewind(&x->w, 0);
}

static void seed_frames(void **state)
{
    struct world *x = *state;
    const struct msg_ping ping = { { 0, 1, 2, 3, 4, 5, 6, 7 } };
    ok(msg_ping_encode(&ping, FRAME_PING, &x->w));
    expect_hex(x, FRAME_HEADER_LEN, "0000000803000000000000002d85d717");

    static const uint8_t zeros[4096];
    struct msg_chunk zero = {
        .raw_len = sizeof zeros,
        .handle = 1,
        .codec = CODEC_ZERO,
    };
    SHA256(zeros, sizeof zeros, zero.digest);
    ok(msg_chunk_encode(&zero, 2, &x->w));
    assert_int_equal(writer_len(&x->w), FRAME_CHUNK_HEAD_LEN);
    expect_hex(x, FRAME_HEADER_LEN, "000000384200000000000002815c6b85");

    const uint8_t check[] = "123456789";
    assert_int_equal(crc_update(CRC_START, check, 9), 0xCBF43926);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fresh_download, setup, teardown),
        cmocka_unit_test_setup_teardown(resume_after_a_reset, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_file_changed_meanwhile, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(seed_frames, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
