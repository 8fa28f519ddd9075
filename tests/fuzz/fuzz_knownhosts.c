/* Known hosts (client/knownhosts.c): a file is used as a whole or not at all,
 * and what is added is found again.
 *
 * Input: the file. */
#include <stdio.h>
#include <unistd.h>

#include "client/knownhosts.h"
#include "tests/fuzz/fuzz.h"

static char path[64];

static void clean_up(void)
{
    char lock[80];

    (void)snprintf(lock, sizeof lock, "%s.lock", path);
    (void)unlink(lock);
    (void)unlink(path);
}

static void put(const uint8_t *data, size_t size)
{
    FILE *file;

    if (path[0] == '\0') {
        (void)snprintf(path, sizeof path, "/tmp/belay-fuzz-hosts.%d",
                       (int)getpid());
        (void)atexit(clean_up);
    }
    file = fopen(path, "wb");
    FUZZ_CHECK(file != NULL);
    FUZZ_CHECK(size == 0 || fwrite(data, 1, size, file) == size);
    FUZZ_CHECK(fclose(file) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t pin[HASH_LEN] = {1, 2, 3};
    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    char why[TLS_TEXT_MAX] = "";
    size_t count = 0;
    size_t more = 0;
    int err;

    put(data, size);
    err = knownhosts_find(path, "host", 7245, pins, &count, why);
    if (err != 0) {
        FUZZ_CHECK(*why != '\0');
        /* What cannot be read is not added to. */
        FUZZ_CHECK(knownhosts_add(path, "host", 7245, pin, why) != 0);
        return 0;
    }
    FUZZ_CHECK(count <= KNOWNHOSTS_KEYS_MAX);
    /* Each change syncs the disk: not for every input. */
    if (size % 16 == 1 &&
        knownhosts_add(path, "host", 7245, pin, why) == 0) {
        FUZZ_CHECK(knownhosts_find(path, "host", 7245, pins, &more, why) ==
                   0);
        FUZZ_CHECK(more == count || more == count + 1);
        FUZZ_CHECK(memcmp(pins[more - 1], pin, HASH_LEN) == 0 ||
                   more == count);
    }
    return 0;
}
