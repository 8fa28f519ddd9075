/* What a remote shell prints before the first bytes of a Belay server (spec
 * B1-W3): it is skipped, and its beginning kept for telling. Pure. */
#ifndef CLIENT_PROLOGUE_H
#define CLIENT_PROLOGUE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/registry.h"
#include "proto/data/text.h"

/* Start-up files of a shell may say something, but not for ever. */
#define PROLOGUE_MAX ((size_t)64 << 10)

/* Room for prologue_text(). */
#define PROLOGUE_TEXT TEXT_ESCAPE_SIZE(LIMIT_TEXT_HINT)

/* Zeroed: nothing came yet. `len` is for reading. */
struct prologue {
    size_t len; /* bytes that were skipped; the first of them: */
    uint8_t first[LIMIT_TEXT_HINT];
};

enum prologue_verdict {
    PROLOGUE_GOES_ON, /* all of it is to be skipped; more is needed */
    PROLOGUE_MAY_END, /* what is left may be a beginning: wait for more */
    PROLOGUE_ENDS,    /* what is left begins with the magic */
    PROLOGUE_ENDLESS, /* more than PROLOGUE_MAX bytes, and no server */
};

/* Takes the bytes that can be read now. Returns how many of them to skip; the
 * rest is looked at again, with what came behind it. */
size_t prologue_take(struct prologue *p, const uint8_t *bytes, size_t len,
                     enum prologue_verdict *verdict);

/* What was skipped, printable, maybe shortened. */
void prologue_text(const struct prologue *p, char out[PROLOGUE_TEXT]);

#endif
