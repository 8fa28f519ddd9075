/* The buffer pool: bounded, reused, given back. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "server/bufpool.h"

static void
test_bound(void **state)
{
    struct bufpool *pool = bufpool_new(100000, 0);
    (void)state;
    uint8_t *a = bufpool_take(pool, 65536);
    assert_non_null(a);
    memset(a, 1, 65536);
    assert_int_equal(bufpool_used(pool), 65536);
    assert_null(bufpool_take(pool, 65536));
    uint8_t *b = bufpool_take(pool, 1);
    assert_non_null(b);
    assert_int_equal(bufpool_used(pool), 65536 + 4096);
    bufpool_give(pool, a, 65536);
    uint8_t *c = bufpool_take(pool, 32769);
    assert_non_null(c);
    memset(c, 2, 65536);
    bufpool_give(pool, b, 1);
    bufpool_give(pool, c, 32769);
    bufpool_give(pool, NULL, 5);
    assert_int_equal(bufpool_used(pool), 0);
    bufpool_free(pool);
    bufpool_free(NULL);
}

/* However small the bound, one buffer of any size can be had. */
static void
test_one_always_fits(void **state)
{
    struct bufpool *pool = bufpool_new(1, 1 << 20);
    (void)state;
    uint8_t *a = bufpool_take(pool, 4194304);
    assert_non_null(a);
    assert_null(bufpool_take(pool, 1));
    bufpool_give(pool, a, 4194304);
    a = bufpool_take(pool, 1);
    assert_non_null(a);
    bufpool_give(pool, a, 1);
    bufpool_free(pool);
}

static void
test_reuse(void **state)
{
    struct bufpool *pool = bufpool_new(1 << 20, 200000);
    (void)state;
    uint8_t *a = bufpool_take(pool, 131072);
    bufpool_give(pool, a, 131072);
    assert_ptr_equal(bufpool_take(pool, 100000), a);
    uint8_t *b = bufpool_take(pool, 131072);
    bufpool_give(pool, a, 100000);
    bufpool_give(pool, b, 131072); /* beyond what is kept */
    bufpool_trim(pool);
    uint8_t *c = bufpool_take(pool, 131072);
    assert_non_null(c);
    bufpool_give(pool, c, 131072);
    bufpool_free(pool);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_one_always_fits),
        cmocka_unit_test(test_reuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
