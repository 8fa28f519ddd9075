/* What every fuzz target uses: the entry point, a cursor over the input, and
 * checks that end the program.
 *
 * A target reads its input as a script: small numbers first, then bytes. The
 * cursor gives zeros at the end, so every input is a valid script and no
 * mutation is wasted. Targets check properties, not only crashes. */

#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Inputs longer than this teach nothing new. */
#define FUZZ_INPUT_MAX 65536u

/* One input; 0 is the only result. libFuzzer calls it, and so does
 * replay.c. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the target promises about every input. */
#define FUZZ_CHECK(condition) BELAY_ASSERT(condition)

/* Loops of the target itself, which teach a fuzzer nothing. */
#if defined(__clang__)
#define FUZZ_QUIET __attribute__((no_sanitize("coverage")))
#else
#define FUZZ_QUIET
#endif

struct script {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t script_u8(struct script *s)
{
    if (s->left == 0) {
        return 0;
    }
    s->left--;
    return *s->at++;
}

static inline uint16_t script_u16(struct script *s)
{
    unsigned high = script_u8(s);
    return (uint16_t)(high << 8 | script_u8(s));
}

static inline uint32_t script_u32(struct script *s)
{
    uint32_t high = script_u16(s);
    return high << 16 | script_u16(s);
}

static inline uint64_t script_u64(struct script *s)
{
    uint64_t high = script_u32(s);
    return high << 32 | script_u32(s);
}

/* Up to len bytes as a copy of exactly that size, so that a sanitizer sees
 * the first byte read beyond it. The caller frees. */
static inline uint8_t *script_copy(struct script *s, size_t *len)
{
    if (*len > s->left) {
        *len = s->left;
    }
    uint8_t *copy = calloc(*len > 0 ? *len : 1, 1);
    FUZZ_CHECK(copy != NULL);
    if (*len > 0) {
        memcpy(copy, s->at, *len);
    }
    s->at += *len;
    s->left -= *len;
    return copy;
}

static inline uint8_t *script_rest(struct script *s, size_t *len)
{
    *len = s->left;
    return script_copy(s, len);
}

#endif
