/* What shim.c is to do, in a file that driver and program share.  The driver
 * (nth_test.py) knows the layout. */

#ifndef TESTS_NTH_PLAN_H
#define TESTS_NTH_PLAN_H

#include <stdatomic.h>
#include <stdint.h>

enum nth_kind {
    NTH_COUNT = 0, /* only count */
    NTH_ONCE = 1,  /* call number `at` fails */
    NTH_EVER = 2,  /* it and all after it */
};

#define NTH_MEMORY 1u
#define NTH_SYSTEM 2u

struct nth_plan {
    _Atomic uint64_t count; /* calls so far */
    uint64_t at;            /* from 1 */
    uint32_t kind;
    uint32_t set;           /* NTH_MEMORY, NTH_SYSTEM or both */
    char hit[40];           /* name of call number `at` */
};

#endif
