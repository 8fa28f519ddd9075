/* SOCKS answers (client/socks.c): the machine asks for a bounded number of
 * bytes, takes them in any pieces, ends, and says why it failed.
 *
 * Input: does it know a password (a byte), how long the pieces are (a byte),
 * then what the proxy says. */
#include "client/socks.h"
#include "tests/fuzz/fuzz.h"

/* Method, password, and the longest reply: 4 + 1 + 255 + 2. */
#define ANSWER_MAX 266u

static int talk(const struct proxy *proxy, const uint8_t *data, size_t len,
                size_t piece, size_t *taken)
{
    struct socks s;
    int err = socks_init(&s, proxy, "files.example", 7245);

    FUZZ_CHECK(err == 0);
    *taken = 0;
    for (err = ERR_AGAIN; err == ERR_AGAIN;) {
        size_t out;
        size_t n = socks_wanted(&s);

        (void)socks_output(&s, &out);
        FUZZ_CHECK(out <= sizeof s.out && n >= 1 && n <= ANSWER_MAX);
        socks_sent(&s, out);
        n = n < piece ? n : piece;
        if (n > len - *taken) {
            return ERR_AGAIN; /* the proxy says no more */
        }
        err = socks_input(&s, data + *taken, n);
        *taken += n;
        FUZZ_CHECK(*taken <= ANSWER_MAX);
    }
    FUZZ_CHECK(err == 0 || (socks_reason(&s) != NULL &&
                            *socks_reason(&s) != '\0'));
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, size};
    struct proxy proxy = {.host = "proxy", .port = 1080};
    bool secret = script_u8(&s) % 2 != 0;
    size_t piece = 1u + script_u8(&s);
    size_t once;
    size_t again;
    size_t len;
    uint8_t *answer = script_rest(&s, &len);
    int err;

    if (secret) {
        memcpy(proxy.user, "user", 5);
        memcpy(proxy.password, "secret", 7);
    }
    /* Whole, and byte by byte: the same result from the same bytes. */
    err = talk(&proxy, answer, len, piece, &once);
    FUZZ_CHECK(err == 0 || err == ERR_AGAIN || err == ERR_CONNECT ||
               err == ERR_AUTH || err == ERR_MALFORMED);
    if (err != ERR_AGAIN) {
        FUZZ_CHECK(talk(&proxy, answer, len, 1, &again) == err);
        FUZZ_CHECK(err != 0 || again == once);
    }
    free(answer);
    return 0;
}
