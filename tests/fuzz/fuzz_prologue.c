/* What a remote shell prints before the server (client/prologue.c): the magic
 * is found where it is, however the stream is cut, and before a limit.
 *
 * Input: how the stream is cut (a byte), then the stream; a byte 0xfd stands
 * for the magic, 0xfe for its first half, 0xff for much noise. */
#include "client/prologue.h"
#include "tests/fuzz/shown.h"

#define STREAM_MAX ((size_t)256 << 10)
#define NOISE 20000u

static const uint8_t magic[] = PREFACE_MAGIC;

static size_t expand(struct script *s, uint8_t *out)
{
    size_t len = 0;

    while (s->left > 0 && len + NOISE + sizeof magic < STREAM_MAX) {
        uint8_t c = script_u8(s);

        if (c >= 0xfd && c < 0xff) {
            size_t part = c == 0xfd ? sizeof magic : sizeof magic / 2;

            memcpy(out + len, magic, part);
            len += part;
        } else if (c == 0xff) {
            memset(out + len, 'x', NOISE);
            len += NOISE;
        } else {
            out[len++] = c;
        }
    }
    return len;
}

/* As client/tunnel.c reads: at most so much at a time, and again what was not
 * skipped. */
static enum prologue_verdict read_all(const uint8_t *stream, size_t len,
                                      size_t most, struct prologue *p)
{
    enum prologue_verdict verdict = PROLOGUE_GOES_ON;
    size_t at = 0;
    size_t seen = 0;

    while (verdict != PROLOGUE_ENDS && verdict != PROLOGUE_ENDLESS &&
           seen < len) {
        seen = len - seen < most ? len : seen + most;
        /* A copy of exactly what is there, so that a sanitizer sees more. */
        size_t n = seen - at;
        uint8_t *now = malloc(n);
        size_t before = p->len;

        FUZZ_CHECK(now != NULL);
        memcpy(now, stream + at, n);
        size_t skip = prologue_take(p, now, n, &verdict);
        free(now);
        FUZZ_CHECK(skip <= n && p->len == before + skip);
        FUZZ_CHECK((verdict == PROLOGUE_GOES_ON) <= (skip == n));
        at += skip;
        FUZZ_CHECK(verdict != PROLOGUE_MAY_END || seen - at < sizeof magic);
    }
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t stream[STREAM_MAX];
    struct script s = {data, size};
    size_t most = 1u + script_u8(&s);
    size_t len = expand(&s, stream);
    const uint8_t *found = memmem(stream, len, magic, sizeof magic);
    size_t first = found != NULL ? (size_t)(found - stream) : len;
    char text[PROLOGUE_TEXT];

    for (unsigned k = 0; k < 2; k++) {
        struct prologue p = {.len = 0};
        enum prologue_verdict verdict =
            read_all(stream, len, k == 0 ? most : 4096, &p);

        if (found != NULL && first <= PROLOGUE_MAX) {
            FUZZ_CHECK(verdict == PROLOGUE_ENDS && p.len == first);
        } else {
            FUZZ_CHECK(verdict != PROLOGUE_ENDS || p.len == first);
            FUZZ_CHECK(p.len <= PROLOGUE_MAX ||
                       verdict == PROLOGUE_ENDLESS ||
                       verdict == PROLOGUE_ENDS);
        }
        prologue_text(&p, text);
        shown_check(text, strlen(text));
    }
    return 0;
}
