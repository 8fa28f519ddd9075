/* Prints how fast one thread hashes buffers of the usual chunk sizes, with
 * libcrypto alone and with two lanes.  Figures of one machine compare with
 * each other only; run it while the machine has nothing else to do.
 *
 *     sha_bench [milliseconds per figure]      (default 300) */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/data/hash.h"
#include "proto/data/sha2lane.h"

#define BUFFERS 8

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* GB/s over at least `seconds`. */
static double measure(struct hasher *hasher, uint8_t *data, size_t len,
                      double seconds)
{
    struct hash_item items[BUFFERS];
    uint8_t digests[BUFFERS][HASH_LEN];
    for (size_t i = 0; i < BUFFERS; i++) {
        items[i] = (struct hash_item){data + i * len, len, digests[i]};
    }
    double bytes = 0;
    double start = now_s();
    double spent;
    do {
        if (hash_sha256_many(hasher, items, BUFFERS) != 0) {
            fputs("hashing failed\n", stderr);
            exit(1);
        }
        bytes += (double)(len * BUFFERS);
        spent = now_s() - start;
    } while (spent < seconds);
    return bytes / spent / 1e9;
}

int main(int argc, char **argv)
{
    static const size_t lens[] = {64 * 1024, 256 * 1024, 1024 * 1024};
    double seconds = argc > 1 ? strtod(argv[1], NULL) / 1000 : 0.3;
    size_t max = lens[2] * BUFFERS;
    uint8_t *data = malloc(max);
    struct hasher *evp = hasher_new_reference();
    struct hasher *two = hasher_new();
    if (data == NULL || evp == NULL || two == NULL) {
        fputs("out of memory\n", stderr);
        return 1;
    }
    memset(data, 0x5a, max);
    printf("%10s %12s %12s %8s\n", "bytes", "EVP GB/s", "lanes GB/s", "ratio");
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        double one = measure(evp, data, lens[i], seconds);
        double both = measure(two, data, lens[i], seconds);
        printf("%10zu %12.2f %12.2f %8.2f\n", lens[i], one, both, both / one);
    }
    if (!sha2lane_available()) {
        puts("no SHA instructions here: both columns are libcrypto");
    }
    hasher_free(evp);
    hasher_free(two);
    free(data);
    return 0;
}
