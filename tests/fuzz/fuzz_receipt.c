/* Receipts (proto/data/receipt.c): one text has one meaning.  What is accepted
 * is written again, byte for byte, and its digests are checked.
 *
 * Input: the text. */
#include "proto/data/receipt.h"
#include "tests/fuzz/fuzz.h"

static size_t plain_name(const struct receipt *r, char *out)
{
    size_t n = 0;

    for (size_t k = 0; k < r->name_len; k++) {
        if (r->name[k] == '%') {
            char hex[3] = {r->name[k + 1], r->name[k + 2], '\0'};

            out[n++] = (char)strtoul(hex, NULL, 16);
            k += 2;
        } else {
            out[n++] = r->name[k];
        }
    }
    return n;
}

static void check_again(const struct receipt *r, const uint8_t *text,
                        size_t len)
{
    char *out = malloc(RECEIPT_HEAD_MAX + r->chunks * RECEIPT_LINE_LEN + 8);
    char name[RECEIPT_NAME_MAX];
    struct receipt named = *r;
    uint8_t digest[HASH_LEN];
    size_t at;

    FUZZ_CHECK(out != NULL && r->name_len <= sizeof name);
    named.name_len = plain_name(r, name);
    named.name = name;
    at = receipt_head(&named, out, RECEIPT_HEAD_MAX);
    for (uint64_t k = 0; k < r->chunks; k++) {
        receipt_digest(r, k, digest);
        receipt_line(digest, out + at);
        at += RECEIPT_LINE_LEN;
    }
    memcpy(out + at, RECEIPT_END, strlen(RECEIPT_END));
    at += strlen(RECEIPT_END);
    FUZZ_CHECK(at == len && memcmp(out, text, len) == 0);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct hasher *hasher;
    struct script s = {data, size};
    struct receipt_error where = {0};
    struct receipt r;
    size_t len;
    uint8_t *text = script_rest(&s, &len);
    int err = receipt_parse((const char *)text, len, &r, &where);

    if (hasher == NULL) {
        hasher = hasher_new();
        FUZZ_CHECK(hasher != NULL);
    }
    FUZZ_CHECK(err == 0 || (err == ERR_SYNTAX && where.line > 0 &&
                            where.reason != NULL));
    if (err == 0) {
        FUZZ_CHECK(r.chunks <= RECEIPT_CHUNKS_MAX && r.chunks <= len);
        check_again(&r, text, len);
        (void)!receipt_check(&r, hasher);
    }
    free(text);
    return 0;
}
