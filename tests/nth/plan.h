/* What shim.c is to do and what it saw, in a file that driver and programs
 * share.  The driver (nth_test.py) knows the layout. */

#ifndef TESTS_NTH_PLAN_H
#define TESTS_NTH_PLAN_H

#include <stdatomic.h>
#include <stdint.h>

enum nth_kind {
    NTH_COUNT = 0, /* only count */
    NTH_ONCE = 1,  /* call number `at` fails */
    NTH_EVER = 2,  /* it and all after it; memory: for everyone */
};

/* Most allocations are those with which OpenSSL begins; they are a set of
 * their own, so that a sample of the others says something. */
#define NTH_MEMORY 1u /* of all but OpenSSL */
#define NTH_SYSTEM 2u
#define NTH_CRYPTO 4u /* allocations of OpenSSL */

struct nth_plan {
    _Atomic uint64_t count; /* calls so far */
    uint64_t at;            /* from 1 */
    uint32_t kind;
    uint32_t set;           /* one of NTH_MEMORY... */
    char hit[40];           /* name of call number `at` */
    _Atomic uint32_t down;  /* memory fails for everyone now */
    _Atomic uint32_t ends;  /* processes that were looked at as they ended */
    /* Blocks that nothing led to any more, and where the first one of them
     * was made. */
    _Atomic uint32_t leaks;
    _Atomic uint32_t crypto_leaks; /* of these, made in OpenSSL */
    _Atomic uint32_t files;        /* most descriptors open at an end */
    _Atomic uint32_t crypto_hit;   /* an allocation of OpenSSL failed */
    char leak[120];
};

#endif
