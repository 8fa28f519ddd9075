#include "proto/session/retry.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/text.h"

uint64_t retry_random(uint64_t *state)
{
    /* xorshift64*. */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

uint64_t retry_backoff_ms(uint64_t *state, unsigned k)
{
    uint64_t top = TIMER_BACKOFF_CAP_MS;

    if (k < 16 && ((uint64_t)TIMER_BACKOFF_BASE_MS << k) < top) {
        top = (uint64_t)TIMER_BACKOFF_BASE_MS << k;
    }
    return retry_random(state) % (top + 1);
}

uint64_t retry_after_ms(const struct msg_error *error)
{
    uint64_t wait = error->has_retry_after ? error->retry_after_ms
                                           : TIMER_RETRY_AFTER_MS;

    return wait < RETRY_AFTER_MAX_MS ? wait : RETRY_AFTER_MAX_MS;
}

const char *retry_sentence(const struct msg_error *error, char *out,
                           size_t cap)
{
    size_t len;

    if (error->message.len == 0) {
        return err_wire_sentence(error->code);
    }
    (void)snprintf(out, cap, "%s: \"", err_wire_sentence(error->code));
    len = strlen(out);
    if (cap - len > 2 + TEXT_ESCAPE_MIN) {
        len += text_escape(out + len, cap - len - 2, error->message.ptr,
                           error->message.len);
        (void)snprintf(out + len, cap - len, "\"");
    }
    return out;
}
