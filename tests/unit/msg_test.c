/* proto/wire/msg.h: every message there and back, every truncation, every
 * flipped bit, every full buffer. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/wire/msg.h"
#include "tests/unit/msg_again.h"

static const uint8_t ones[LIMIT_TOKEN] = { 1, 1, 2, 3, 5, 8, 13, 21 };
static const struct tlv no_grease = { 0, { NULL, 0 } };

static struct bytes_view view(const void *ptr, size_t len)
{
    return (struct bytes_view){ ptr, len };
}

/* ---- One full and one bare sample of each message. */

struct sample {
    const char *what;
    uint8_t sender;
    int (*encode)(struct writer *w);
};

static int hello_full(struct writer *w)
{
    const struct msg_hello m = {
        .has = HELLO_HAS_MAX_CHUNK_LOG2 | HELLO_HAS_MAX_REQUESTS |
               HELLO_HAS_MAX_HANDLES | HELLO_HAS_MAX_RANGES |
               HELLO_HAS_IDLE_TIMEOUT | HELLO_HAS_PING_INTERVAL,
        .max_chunk_log2 = 22,
        .max_requests = 1024,
        .max_handles = 512,
        .max_ranges = 64,
        .idle_timeout_s = 120,
        .ping_interval_s = 0,
        .codecs = view("\0\1\2", 3),
        .agent = view("test/1", 6),
        .auth_methods = view("\1\2", 2),
        .features = view("\x0a\x0a\x00\x07", 4),
    };
    return msg_hello_encode(&m, FRAME_FROM_SERVER, w);
}

static int hello_bare(struct writer *w)
{
    return msg_hello_encode(&(struct msg_hello){ 0 }, FRAME_FROM_CLIENT, w);
}

static int ping(struct writer *w)
{
    return msg_ping_encode(&(struct msg_ping){ { 9, 8, 7 } }, FRAME_PING, w);
}

static int pong(struct writer *w)
{
    return msg_ping_encode(&(struct msg_ping){ { 9, 8, 7 } }, FRAME_PONG, w);
}

static int goaway_full(struct writer *w)
{
    const struct msg_goaway m = {
        .last_id = GOAWAY_ANNOUNCE,
        .code = WIRE_SHUTTING_DOWN,
        .message = view("bye", 3),
        .has_retry_after = true,
        .retry_after_ms = 5000,
    };
    return msg_goaway_encode(&m, w);
}

static int goaway_bare(struct writer *w)
{
    return msg_goaway_encode(&(struct msg_goaway){ 0 }, w);
}

static int open_full(struct writer *w)
{
    const struct msg_open m = {
        .handle = 0xFFFFFFFF,
        .want_chunk_log2 = 22,
        .path = view("dir/file.bin", 12),
        .expect_version = view(ones, LIMIT_VERSION_LEN),
        .expect_cid = view(ones, DIGEST_LEN),
    };
    return msg_open_encode(&m, 1, w);
}

static int open_bare(struct writer *w)
{
    const struct msg_open m = { .flags = OPEN_NO_HANDLE };
    return msg_open_encode(&m, 0xFFFFFFFE, w);
}

static int list_full(struct writer *w)
{
    const struct msg_list m = {
        .flags = LIST_WITH_CID,
        .path = view("a", 1),
        .cursor = view(ones, LIMIT_CURSOR),
        .has_max_entries = true,
        .max_entries = 0,
    };
    return msg_list_encode(&m, 2, w);
}

static int list_bare(struct writer *w)
{
    return msg_list_encode(&(struct msg_list){ 0 }, 2, w);
}

static int get_full(struct writer *w)
{
    uint8_t packed[MSG_RANGES_BYTES(3)];
    const struct msg_range ranges[] = {
        { 0, 1 }, { 1, UINT64_MAX - 2 }, { UINT64_MAX - 1, GET_TO_END } };
    struct msg_get m = {
        .handle = 1,
        .urgency = 7,
        .flags = GET_NO_COMPRESSION | GET_CLOSE_AFTER,
    };
    msg_ranges_pack(&m, ranges, 3, packed);
    return msg_get_encode(&m, 3, w);
}

static int digest_full(struct writer *w)
{
    const struct msg_digest m = {
        .handle = 1,
        .block_log2 = 32,
        .flags = DIGEST_WITH_PROOF | DIGEST_NO_WAIT,
        .first_block = UINT64_MAX,
        .block_count = UINT32_MAX,
    };
    return msg_digest_encode(&m, 4, w);
}

static int close_full(struct writer *w)
{
    return msg_close_encode(&(struct msg_close){ .handle = 3 }, 5, w);
}

static int cancel_bare(struct writer *w)
{
    return msg_cancel_encode(&(struct msg_cancel){ no_grease }, 5, w);
}

static int auth_bearer(struct writer *w)
{
    const struct msg_auth m = {
        .method = AUTH_BEARER,
        .token = view(ones, sizeof ones),
    };
    return msg_auth_encode(&m, 6, w);
}

static int auth_external(struct writer *w)
{
    return msg_auth_encode(&(struct msg_auth){ .method = AUTH_EXTERNAL }, 6,
                           w);
}

static int info_full(struct writer *w)
{
    const struct msg_info m = {
        .handle = 1,
        .file_type = FILE_REGULAR,
        .chunk_log2 = 12,
        .info_flags = INFO_VERSION_STRONG | INFO_CID_PENDING,
        .size = UINT64_MAX,
        .mtime_s = INT64_MIN,
        .mtime_ns = 999999999,
        .mode = 07777,
        .version = view(ones, 1),
        .cid = view(ones, DIGEST_LEN),
        .whole_sha256 = view(ones, DIGEST_LEN),
    };
    return msg_info_encode(&m, 7, w);
}

static int info_bare(struct writer *w)
{
    const struct msg_info m = { .file_type = FILE_DIRECTORY };
    return msg_info_encode(&m, 7, w);
}

static int entries_full(struct writer *w)
{
    struct msg_entries_builder b;
    struct msg_entry e = {
        .file_type = FILE_REGULAR,
        .size = 5,
        .mtime_s = -1,
        .mtime_ns = 1,
        .mode = 0600,
        .name = view("a", 1),
        .cid = view(ones, DIGEST_LEN),
    };
    msg_entries_begin(&b, w);
    int err = msg_entries_add(&b, &e);
    assert_int_equal(err, BELAY_OK);
    e = (struct msg_entry){
        .file_type = FILE_SYMLINK,
        .name = view("ab", 2),
        .link_target = view("../x", 4),
    };
    err = msg_entries_add(&b, &e);
    assert_int_equal(err, BELAY_OK);
    return msg_entries_finish(&b, view("cursor", 6), true, 8, &no_grease);
}

static int entries_bare(struct writer *w)
{
    struct msg_entries_builder b;
    msg_entries_begin(&b, w);
    return msg_entries_finish(&b, view(NULL, 0), true, 8, &no_grease);
}

static int digests_full(struct writer *w)
{
    struct msg_digests_builder b;
    msg_digests_begin(&b, w, UINT64_MAX, 3);
    for (size_t i = 0; i < 5; i++) {
        int err = msg_digests_add(&b, ones + i);
        assert_int_equal(err, BELAY_OK);
    }
    return msg_digests_finish(&b, view(ones, 2 * (size_t)DIGEST_LEN), false,
                              9, &no_grease);
}

static int done_full(struct writer *w)
{
    const struct msg_done m = {
        .chunks = UINT64_MAX,
        .raw_bytes = 1,
        .version = view(ones, 8),
        .cid = view(ones, DIGEST_LEN),
        .whole_sha256 = view(ones, DIGEST_LEN),
    };
    return msg_done_encode(&m, 10, w);
}

static int done_bare(struct writer *w)
{
    return msg_done_encode(&(struct msg_done){ 0 }, 10, w);
}

static int error_full(struct writer *w)
{
    const struct msg_error m = {
        .code = WIRE_IO_ERROR,
        .versions = view("\0\1\0\2", 4),
        .version = view(ones, 3),
        .cid = view(ones, DIGEST_LEN),
        .message = view(ones, LIMIT_MESSAGE),
        .has_retry_after = true,
        .has_offset = true,
        .has_size = true,
        .retry_after_ms = 0,
        .offset = 0,
        .size = UINT64_MAX,
    };
    return msg_error_encode(&m, 0, w);
}

static int error_bare(struct writer *w)
{
    return msg_error_encode(&(struct msg_error){ .code = 0xFFFF }, 11, w);
}

static int progress_full(struct writer *w)
{
    return msg_progress_encode(&(struct msg_progress){ 1, 2, no_grease }, 12,
                               w);
}

static int notice_full(struct writer *w)
{
    return msg_notice_encode(
        &(struct msg_notice){ view(ones, LIMIT_NOTICE) }, w);
}

static int notice_bare(struct writer *w)
{
    return msg_notice_encode(&(struct msg_notice){ view(NULL, 0) }, w);
}

#define C FRAME_FROM_CLIENT
#define S FRAME_FROM_SERVER

static const struct sample samples[] = {
    { "hello, full", S, hello_full },
    { "hello, bare", C, hello_bare },
    { "ping", C, ping },
    { "pong", S, pong },
    { "goaway, full", S, goaway_full },
    { "goaway, bare", C, goaway_bare },
    { "open, full", C, open_full },
    { "open, bare", C, open_bare },
    { "list, full", C, list_full },
    { "list, bare", C, list_bare },
    { "get", C, get_full },
    { "digest", C, digest_full },
    { "close", C, close_full },
    { "cancel", C, cancel_bare },
    { "auth, bearer", C, auth_bearer },
    { "auth, external", C, auth_external },
    { "info, full", S, info_full },
    { "info, bare", S, info_bare },
    { "entries, full", S, entries_full },
    { "entries, bare", S, entries_bare },
    { "digests", S, digests_full },
    { "done, full", S, done_full },
    { "done, bare", S, done_bare },
    { "error, full", S, error_full },
    { "error, bare", S, error_bare },
    { "progress", S, progress_full },
    { "notice, full", S, notice_full },
    { "notice, bare", S, notice_bare },
};

#define SAMPLE_COUNT (sizeof samples / sizeof samples[0])

struct encoded {
    uint8_t raw[8192];
    size_t len;
    struct frame f;
};

static void encode_sample(const struct sample *s, struct encoded *e)
{
    struct writer w;
    size_t need;
    enum frame_verdict verdict;
    writer_init(&w, e->raw, sizeof e->raw);
    assert_int_equal(s->encode(&w), BELAY_OK);
    e->len = writer_len(&w);
    assert_int_equal(frame_scan(e->raw, e->len, &e->f, &need), BELAY_OK);
    assert_int_equal(need, e->len);
    assert_int_equal(frame_classify(&e->f, s->sender, &verdict), BELAY_OK);
    assert_int_equal(verdict, FRAME_ACCEPT);
}

/* Decode a payload of len bytes as the sample's type, from a copy of exactly
 * that size, and encode the result. Returns the error of decoding. */
static int there_and_back(const struct sample *s, const struct encoded *e,
                          const uint8_t *payload, size_t len,
                          struct encoded *again)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, payload, len);
    struct msg m;
    struct frame f = e->f;
    f.length = (uint32_t)len;
    f.covered = (uint32_t)len;
    int err = msg_decode(&f, copy, s->sender, LIMIT_RANGES_DEFAULT, &m);
    if (err == BELAY_OK) {
        struct writer w;
        writer_init(&w, again->raw, sizeof again->raw);
        assert_int_equal(msg_again(&m, &f, s->sender, &w), BELAY_OK);
        again->len = writer_len(&w);
    }
    free(copy);
    return err;
}

static void every_message_there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        struct encoded e;
        struct encoded again;
        encode_sample(&samples[i], &e);
        int err = there_and_back(&samples[i], &e, e.raw + FRAME_HEADER_LEN,
                                 e.f.length, &again);
        if (err != BELAY_OK || again.len != e.len ||
            memcmp(again.raw, e.raw, e.len) != 0) {
            fail_msg("%s: %s", samples[i].what, err_name(err));
        }
    }
}

static bool is_decode_error(int err)
{
    return err == ERR_TRUNCATED || err == ERR_TRAILING ||
           err == ERR_MALFORMED || err == ERR_BAD_REQUEST ||
           err == ERR_UNSUPPORTED;
}

/* A shorter payload is an error, or a shorter message: then its bytes are
 * canonical, which says that nothing beyond them was read. */
static void every_truncation(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        struct encoded e;
        encode_sample(&samples[i], &e);
        const uint8_t *payload = e.raw + FRAME_HEADER_LEN;
        for (size_t len = 0; len < e.f.length; len++) {
            struct encoded again;
            int err = there_and_back(&samples[i], &e, payload, len, &again);
            if (err != BELAY_OK) {
                assert_true(is_decode_error(err));
                continue;
            }
            assert_int_equal(again.len, FRAME_HEADER_LEN + len);
            assert_memory_equal(again.raw + FRAME_HEADER_LEN, payload, len);
        }
    }
}

/* Any flipped bit is an error, or another message whose encoding is a fixed
 * point: decoded again, it gives the same bytes. */
static void every_flipped_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        struct encoded e;
        encode_sample(&samples[i], &e);
        uint8_t *payload = e.raw + FRAME_HEADER_LEN;
        size_t bits = e.f.length * (size_t)8;
        for (size_t bit = 0; bit < bits && bit < 2400; bit++) {
            struct encoded once;
            struct encoded twice;
            payload[bit / 8] = (uint8_t)(payload[bit / 8] ^ 1u << bit % 8);
            int err = there_and_back(&samples[i], &e, payload, e.f.length,
                                     &once);
            payload[bit / 8] = (uint8_t)(payload[bit / 8] ^ 1u << bit % 8);
            if (err != BELAY_OK) {
                assert_true(is_decode_error(err));
                continue;
            }
            err = there_and_back(&samples[i], &e,
                                 once.raw + FRAME_HEADER_LEN,
                                 once.len - FRAME_HEADER_LEN, &twice);
            assert_int_equal(err, BELAY_OK);
            assert_int_equal(twice.len, once.len);
            assert_memory_equal(twice.raw, once.raw, once.len);
        }
    }
}

/* In a buffer of any smaller size an encoder leaves nothing behind. */
static void every_full_buffer(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        struct encoded e;
        encode_sample(&samples[i], &e);
        /* Builders report a full buffer when they add: msg_builders_test.c. */
        if (e.f.type == FRAME_ENTRIES || e.f.type == FRAME_DIGESTS) {
            continue;
        }
        for (size_t cap = 0; cap < e.len; cap++) {
            uint8_t *raw = malloc(cap + 1);
            struct writer w;
            writer_init(&w, raw, cap);
            assert_int_equal(samples[i].encode(&w), ERR_SPACE);
            assert_int_equal(writer_len(&w), 0);
            assert_int_equal(writer_err(&w), BELAY_OK);
            free(raw);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_there_and_back),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(every_flipped_bit),
        cmocka_unit_test(every_full_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
