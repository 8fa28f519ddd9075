/* The real system calls of the store, with a fault at the n-th one. */
#ifndef TESTS_CRASH_FAULT_SYS_H
#define TESTS_CRASH_FAULT_SYS_H

#include "client/store_sys.h"

enum fault_kind {
    FAULT_NONE, /* only count */
    FAULT_ERRNO, /* the call is not made and fails with fault_errno */
    FAULT_LATE, /* the call is made and fails all the same */
    FAULT_SHORT, /* reads and writes do one byte only; others as NONE */
    FAULT_KILL_BEFORE, /* SIGKILL for this process instead of the call */
    FAULT_KILL_AFTER
};

struct fault_plan {
    enum fault_kind kind;
    unsigned int at; /* from 1 */
    unsigned int times; /* how many calls in a row; 0 counts as 1 */
    int error;
};

/* Make a plan and set the counter to 0. */
void fault_arm(const struct fault_plan *plan);

/* Calls counted since fault_arm. */
unsigned int fault_calls(void);

/* The name of the call that met the fault, or NULL. */
const char *fault_hit(void);

extern const struct store_sys fault_sys;

#endif
