/* When to compress: simulated links and compressors of known speed; what is
 * chosen in the end is the faster way, and how far the trials cost is
 * bounded. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/data/zpack.h"
#include "server/packing.h"

#define CHUNK (256u * 1024u)

/* Megabytes a second of the link, and of the compressor at its quickest;
 * tighter levels are slower. */
struct rates {
    double link;
    double quick;
    double ratio;
};

/* Sends `bytes` of a file; returns the milliseconds that it took. *on_share
 * is the part of the chunks that was compressed. */
static double
transfer(struct packing *p, const struct rates *r, uint64_t bytes,
         double *on_share)
{
    double now = 0;
    double link_free = 0; /* when the link has sent what it was given */
    unsigned on = 0;
    unsigned chunks = 0;
    for (uint64_t at = 0; at < bytes; at += CHUNK) {
        bool pack = packing_wanted(p);
        double cost = 0;
        double stored = CHUNK;
        if (pack) {
            cost = CHUNK / (r->quick * 1000 / packing_level(p));
            stored = CHUNK / r->ratio;
        }
        now += cost;
        bool waiting = link_free > now;
        /* The kernel takes a megabyte beyond what is on its way. */
        double room = link_free - (1 << 20) / (r->link * 1000);
        if (room > now) {
            now = room;
        }
        link_free = (link_free > now ? link_free : now) +
                    stored / (r->link * 1000);
        packing_sent(p, (uint64_t)now, CHUNK, waiting ? 1000 : 0);
        on += pack;
        chunks++;
    }
    *on_share = (double)on / chunks;
    return link_free;
}

static void
test_links(void **state)
{
    static const struct {
        struct rates rates;
        bool pack; /* the right choice */
    } cases[] = {
        { { .link = 1, .quick = 200, .ratio = 4 }, true },
        { { .link = 12, .quick = 200, .ratio = 4 }, true },
        { { .link = 100, .quick = 200, .ratio = 4 }, true },
        { { .link = 1000, .quick = 200, .ratio = 4 }, false },
        { { .link = 3000, .quick = 100, .ratio = 10 }, false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct rates *r = &cases[i].rates;
        struct packing p = { .way = PACKING_ON };
        double share = 0;
        uint64_t bytes = (uint64_t)(r->link * 30e6);
        double ms = transfer(&p, r, bytes, &share);
        double raw = (double)bytes / (r->link * 1000);
        double packed = raw / r->ratio;
        double quick = (double)bytes / (r->quick * 1000);
        double best = cases[i].pack ? (packed > quick ? packed : quick) : raw;
        if (cases[i].pack ? share < 0.85 : share > 0.25) {
            fail_msg("link %.0f: %.2f of the chunks compressed", r->link,
                     share);
        }
        if (ms > best * 1.35 + 1500) {
            fail_msg("link %.0f: %.0f ms, the best is %.0f", r->link, ms,
                     best);
        }
    }
}

static void
test_level_follows_the_link(void **state)
{
    struct packing p = { .way = PACKING_ON };
    struct rates slow = { .link = 1, .quick = 500, .ratio = 4 };
    double share = 0;
    (void)state;
    assert_int_equal(packing_level(&p), ZPACK_LEVEL_MIN);
    transfer(&p, &slow, 100000000, &share);
    assert_int_equal(packing_level(&p), ZPACK_LEVEL_MAX);
    assert_true(share > 0.99);
}

/* A link that becomes fast is noticed, and one that becomes slow again. */
static void
test_link_changes(void **state)
{
    struct packing p = { .way = PACKING_ON };
    struct rates slow = { .link = 5, .quick = 200, .ratio = 4 };
    struct rates fast = { .link = 2000, .quick = 200, .ratio = 4 };
    double share = 0;
    (void)state;
    transfer(&p, &slow, 200000000, &share);
    assert_true(share > 0.9);
    p.bytes = 0;
    transfer(&p, &fast, UINT64_C(20000000000), &share);
    assert_true(share < 0.2);
    p.bytes = 0;
    transfer(&p, &slow, 1000000000, &share);
    assert_true(share > 0.7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_level_follows_the_link),
        cmocka_unit_test(test_link_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
