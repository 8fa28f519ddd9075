/* Transfer: how many connections are dialled once the size is known. */
#include "tests/unit/peer_fixture.h"

#include "proto/data/merkle.h"
#include "proto/session/transfer.h"

#define MIB ((uint64_t)1 << 20)

/* Takes what is to be done; how many connections are dialled. */
static unsigned dials(struct transfer *t)
{
    struct transfer_action a;
    unsigned count = 0;

    while (transfer_next(t, 1000, &a) != TRANSFER_IDLE) {
        count += a.type == TRANSFER_DIAL;
        assert_int_not_equal(a.type, TRANSFER_FAIL);
        if (a.type == TRANSFER_DIAL && a.conn == 0) {
            transfer_connected(t, 0, 1000);
        }
    }
    return count;
}

static void test_goal(void **state)
{
    static const struct {
        unsigned conns; /* 0: chosen */
        unsigned mirrors;
        uint64_t size;
        unsigned goal;
    } rows[] = {
        {1, 0, 40 * MIB, 1},   {3, 0, 40 * MIB, 3},
        {16, 0, 40 * MIB, 16}, {100, 0, 40 * MIB, 16},
        {16, 0, 2 * MIB, 3},   {16, 0, 100, 1},
        {0, 0, 40 * MIB, 4},   {0, 5, 40 * MIB, 6},
        {0, 15, 40 * MIB, 16}, {0, 5, 3 * MIB, 4},
    };
    static uint8_t digest[160][HASH_LEN]; /* of 40 MiB */
    struct hasher *hasher = hasher_new();
    uint8_t root[HASH_LEN], cid[HASH_LEN];

    (void)state;
    assert_non_null(hasher);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct transfer_config config = {.path = (const uint8_t *)"f",
                                         .path_len = 1,
                                         .max_chunk_log2 = 22,
                                         .conns = rows[k].conns,
                                         .mirror_count = rows[k].mirrors,
                                         .agent = "test"};
        struct peer_file f = {.size = rows[k].size,
                              .chunk_log2 = 18,
                              .version = "v",
                              .cid = cid};
        struct transfer_chunk chunk;
        struct transfer *t;
        struct peer p;
        unsigned count;
        size_t used;

        uint64_t chunks = cid_chunk_count(f.size, f.chunk_log2);

        assert_int_equal(merkle_root(hasher, f.size, f.chunk_log2, digest[0],
                                     chunks, root), 0);
        assert_int_equal(cid_from_root(hasher, f.size, f.chunk_log2, root,
                                       cid), 0);
        for (unsigned m = 0; m < rows[k].mirrors; m++) {
            config.mirror[m].path = (const uint8_t *)"m";
            config.mirror[m].path_len = 1;
        }
        t = transfer_new(&config, 1000);
        assert_non_null(t);
        peer_init(&p);
        count = dials(t);
        assert_int_equal(count, 1);
        peer_greeting(&p);
        peer_info(&p, 1, 1, &f);
        transfer_feed(t, 0, p.buf, writer_len(&p.w), &used, &chunk, 1000);
        count += dials(t);
        if (rows[k].mirrors > 0) { /* what they have has to fit a list */
            assert_int_equal(count, 1);
            peer_clear(&p);
            peer_digests(&p, 3, 0, (uint32_t)chunks, LIMIT_BLOCK_LOG2, digest,
                         true);
            transfer_feed(t, 0, p.buf, writer_len(&p.w), &used, &chunk, 1000);
            count += dials(t);
        }
        if (count != rows[k].goal) {
            fail_msg("row %u: %u connections", (unsigned)k, count);
        }
        peer_free(&p);
        transfer_free(t);
    }
    hasher_free(hasher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
