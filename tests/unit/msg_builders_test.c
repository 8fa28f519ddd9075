/* proto/wire/msg.h: frames that are built item by item, up to the limits of the
 * frame and of the buffer. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/wire/msg.h"

#define S FRAME_FROM_SERVER

static const uint8_t ones[LIMIT_TOKEN] = { 1, 1, 2, 3, 5, 8, 13, 21 };
static const struct tlv no_grease = { 0, { NULL, 0 } };

static struct bytes_view view(const void *ptr, size_t len)
{
    return (struct bytes_view){ ptr, len };
}

static void digests_until_full(void **state)
{
    (void)state;
    static uint8_t raw[FRAME_HEADER_LEN + LIMIT_CONTROL_PAYLOAD];
    static uint8_t path[LIMIT_PROOF * DIGEST_LEN];
    struct msg_digests_builder b;
    struct writer w;
    struct frame f;
    struct msg m;
    size_t need;
    size_t count = 0;
    const struct tlv grease = tlv_grease(7, view(ones, TLV_GREASE_MAX));
    writer_init(&w, raw, sizeof raw);
    msg_digests_begin(&b, &w, 5, 0);
    while (msg_digests_add(&b, ones + count % 100) == BELAY_OK) {
        count++;
    }
    assert_int_equal(msg_digests_add(&b, ones), ERR_LIMIT);
    /* The longest path and the longest grease still fit. */
    assert_int_equal(msg_digests_finish(&b, view(path, sizeof path), true, 1,
                                        &grease),
                     BELAY_OK);
    assert_int_equal(frame_scan(raw, writer_len(&w), &f, &need), BELAY_OK);
    assert_true(f.length <= LIMIT_CONTROL_PAYLOAD);
    assert_true(f.length + DIGEST_LEN > LIMIT_CONTROL_PAYLOAD);
    assert_int_equal(msg_decode(&f, raw + FRAME_HEADER_LEN, S, 64, &m),
                     BELAY_OK);
    assert_int_equal(m.digests.count, count);
    assert_int_equal(m.digests.proof_len, LIMIT_PROOF);
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(msg_digest_at(m.digests.digests, i),
                            ones + i % 100, DIGEST_LEN);
    }
}

static void digests_in_a_small_buffer(void **state)
{
    (void)state;
    for (size_t cap = 0; cap < 120; cap++) {
        uint8_t raw[120];
        struct msg_digests_builder b;
        struct writer w;
        size_t count = 0;
        writer_init(&w, raw, cap);
        msg_digests_begin(&b, &w, 0, 0);
        int err;
        while ((err = msg_digests_add(&b, ones)) == BELAY_OK) {
            count++;
        }
        assert_int_equal(err, ERR_SPACE);
        assert_int_equal(count, cap < 32 ? 0 : (cap - 32) / 32);
        if (count > 0) {
            assert_int_equal(msg_digests_finish(&b, view(NULL, 0), true, 1,
                                                &no_grease),
                             BELAY_OK);
            assert_int_equal(writer_len(&w), 32 + count * 32);
        }
    }
}

static void entries_until_full(void **state)
{
    (void)state;
    static uint8_t raw[FRAME_HEADER_LEN + LIMIT_CONTROL_PAYLOAD];
    struct msg_entries_builder b;
    struct writer w;
    struct frame f;
    struct msg m;
    size_t need;
    uint16_t count = 0;
    char name[8];
    struct msg_entry e = {
        .file_type = FILE_SYMLINK,
        .link_target = view(ones, 20),
    };
    const struct tlv grease = tlv_grease(7, view(ones, TLV_GREASE_MAX));
    writer_init(&w, raw, sizeof raw);
    msg_entries_begin(&b, &w);
    for (;;) {
        snprintf(name, sizeof name, "%05u", count);
        e.name = view(name, 5);
        if (msg_entries_add(&b, &e) != BELAY_OK) {
            break;
        }
        count++;
    }
    assert_int_equal(msg_entries_add(&b, &e), ERR_LIMIT);
    assert_int_equal(msg_entries_finish(&b, view(ones, LIMIT_CURSOR), false,
                                        1, &grease),
                     BELAY_OK);
    assert_int_equal(frame_scan(raw, writer_len(&w), &f, &need), BELAY_OK);
    assert_true(f.length <= LIMIT_CONTROL_PAYLOAD);
    assert_true(f.length + 30 + 5 + 24 > LIMIT_CONTROL_PAYLOAD);
    assert_int_equal(msg_decode(&f, raw + FRAME_HEADER_LEN, S, 64, &m),
                     BELAY_OK);
    assert_int_equal(m.entries.count, count);
    assert_int_equal(m.entries.cursor.len, LIMIT_CURSOR);

    struct reader at;
    struct msg_entry out;
    uint16_t seen = 0;
    reader_init(&at, m.entries.entries.ptr, m.entries.entries.len);
    while (msg_entries_next(&at, &out)) {
        snprintf(name, sizeof name, "%05u", seen++);
        assert_int_equal(out.name.len, 5);
        assert_memory_equal(out.name.ptr, name, 5);
        assert_int_equal(out.link_target.len, 20);
    }
    assert_int_equal(seen, count);
}

static void entries_in_a_small_buffer(void **state)
{
    (void)state;
    const struct msg_entry e = {
        .file_type = FILE_REGULAR,
        .name = view("n", 1),
    };
    for (size_t cap = 0; cap < 60; cap++) {
        uint8_t raw[60];
        struct msg_entries_builder b;
        struct writer w;
        writer_init(&w, raw, cap);
        msg_entries_begin(&b, &w);
        assert_int_equal(msg_entries_add(&b, &e),
                         cap >= 20 + 31 ? BELAY_OK : ERR_SPACE);
        assert_int_equal(msg_entries_finish(&b, view(NULL, 0), true, 1,
                                            &no_grease),
                         cap >= 20 ? BELAY_OK : ERR_SPACE);
        assert_int_equal(writer_err(&w), BELAY_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_until_full),
        cmocka_unit_test(digests_in_a_small_buffer),
        cmocka_unit_test(entries_until_full),
        cmocka_unit_test(entries_in_a_small_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
