#include "client/prologue.h"

#include <string.h>

static const uint8_t magic[] = PREFACE_MAGIC;

/* Where the magic begins in the bytes, or where a beginning of it does at
 * their end, or len. */
static size_t find_magic(const uint8_t *bytes, size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t left = len - at < sizeof magic ? len - at : sizeof magic;

        if (memcmp(bytes + at, magic, left) == 0) {
            break;
        }
        at++;
    }
    return at;
}

size_t prologue_take(struct prologue *p, const uint8_t *bytes, size_t len,
                     enum prologue_verdict *verdict)
{
    size_t skip = find_magic(bytes, len);

    if (p->len < sizeof p->first) {
        size_t room = sizeof p->first - p->len;

        memcpy(p->first + p->len, bytes, skip < room ? skip : room);
    }
    p->len += skip;
    *verdict = len - skip >= sizeof magic ? PROLOGUE_ENDS
               : p->len > PROLOGUE_MAX    ? PROLOGUE_ENDLESS
               : len > skip               ? PROLOGUE_MAY_END
                                          : PROLOGUE_GOES_ON;
    return skip;
}

void prologue_text(const struct prologue *p, char out[PROLOGUE_TEXT])
{
    size_t len = p->len < sizeof p->first ? p->len : sizeof p->first;

    (void)text_escape(out, PROLOGUE_TEXT, p->first, len);
}
