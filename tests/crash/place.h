/* Directories for the tests that run on a real file system, and the starting
 * points of their downloads. */
#ifndef TESTS_CRASH_PLACE_H
#define TESTS_CRASH_PLACE_H

#include "tests/crash/scenario.h"

#define PLACE_NAME "file.bin"
#define PLACE_SIZE (5 * SCENARIO_CHUNK + 100)
#define PLACE_SEED 7u

enum place_start {
    PLACE_FRESH, /* nothing there */
    PLACE_RESUME, /* a partial of the wanted version with three chunks */
    PLACE_REPLACE, /* an older file under the final name */
    PLACE_REBASE, /* a partial of version 1, version 2 is wanted */
    PLACE_STARTS
};

struct place {
    char path[256];
    struct scenario scenario; /* ready to run on the real system */
    uint8_t *content; /* what is wanted */
    enum place_start start;
};

/* Make a directory with this starting point. Aborts where that fails. */
void place_make(struct place *place, enum place_start start);

/* Remove all of it. */
void place_remove(struct place *place);

enum place_final {
    PLACE_ABSENT,
    PLACE_RIGHT,
    PLACE_OLD, /* the older file of PLACE_REPLACE */
    PLACE_WRONG
};

/* What is under the final name? */
enum place_final place_final(const struct place *place);

/* Entries of the directory. */
unsigned int place_names(const struct place *place);

/* Open descriptors of this process. */
unsigned int place_descriptors(void);

#endif
