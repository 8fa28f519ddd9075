/* Blocks that a program has and nothing leads to, when it ends.
 *
 * All blocks that are made are noted.  At the end of a process its memory is
 * searched for pointers to them, beginning with what is no block itself:
 * variables, stacks, the memory of threads.  What is not reached was lost. */

#ifndef TESTS_NTH_LEAKS_H
#define TESTS_NTH_LEAKS_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/nth/plan.h"

/* Before any thread is started.  Without memory for its notes it does
 * nothing from then on. */
void leaks_start(void);

/* A block was made by `caller`, or is given back; NULL is nothing. */
void leaks_add(void *p, size_t size, const void *caller);
void leaks_drop(void *p);

/* This process ends: tell the plan what it leaves behind; its open files only
 * if it has come to its proper end: a child has those of its parent. */
void leaks_end(struct nth_plan *plan, bool proper);

enum leaks_library { LEAKS_CRYPTO, LEAKS_SSL, LEAKS_UV };

/* Is this an address in the code of that library? */
bool leaks_in_library(enum leaks_library which, const void *caller);

#endif
