/* proto/data/sign.h: the examples of RFC 8032, 7.1, and the PEM form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/data/cid.h"
#include "proto/data/sign.h"

static const struct {
    const char *seed;
    const char *public_key;
    const char *message;
    const char *signature;
} examples[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb88215"
     "90a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
     "\x72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e4"
     "3e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
};

static void known_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        uint8_t seed[SIGN_SEED_LEN], expected[SIGN_PUBLIC_LEN];
        uint8_t public_key[SIGN_PUBLIC_LEN];
        uint8_t signature[SIGN_LEN], expected_sig[SIGN_LEN];
        const char *message = examples[i].message;
        size_t len = strlen(message);
        assert_int_equal(cid_hex_decode(examples[i].seed, 32, seed), 0);
        assert_int_equal(
            cid_hex_decode(examples[i].public_key, 32, expected), 0);
        assert_int_equal(
            cid_hex_decode(examples[i].signature, 64, expected_sig), 0);
        assert_int_equal(sign_public(seed, public_key), 0);
        assert_memory_equal(public_key, expected, sizeof expected);
        assert_int_equal(sign_make(seed, message, len, signature), 0);
        assert_memory_equal(signature, expected_sig, sizeof expected_sig);
        assert_int_equal(sign_check(public_key, message, len, signature), 0);
    }
}

/* Every bit of the signature and of the message counts. */
static void flipped_bits(void **state)
{
    uint8_t seed[SIGN_SEED_LEN] = {7}, public_key[SIGN_PUBLIC_LEN];
    uint8_t signature[SIGN_LEN];
    char message[] = "the message";
    size_t len = strlen(message);
    (void)state;
    assert_int_equal(sign_public(seed, public_key), 0);
    assert_int_equal(sign_make(seed, message, len, signature), 0);
    for (size_t bit = 0; bit < 8 * SIGN_LEN; bit++) {
        signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(sign_check(public_key, message, len, signature),
                         ERR_SIGNATURE);
        signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * len; bit++) {
        message[bit / 8] = (char)(message[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(sign_check(public_key, message, len, signature),
                         ERR_SIGNATURE);
        message[bit / 8] = (char)(message[bit / 8] ^ (1 << bit % 8));
    }
    assert_int_equal(sign_check(public_key, message, len - 1, signature),
                     ERR_SIGNATURE);
    assert_int_equal(sign_check(public_key, message, len, signature), 0);
}

static void pem_there_and_back(void **state)
{
    uint8_t seed[SIGN_SEED_LEN], back[SIGN_SEED_LEN];
    char pem[SIGN_PEM_MAX];
    char noted[SIGN_PEM_MAX + 32] = "a line before it\n";
    (void)state;
    for (size_t i = 0; i < sizeof seed; i++) {
        seed[i] = (uint8_t)(i * 5 + 1);
    }
    assert_int_equal(sign_pem_encode(seed, pem), 0);
    assert_int_equal(strncmp(pem, "-----BEGIN PRIVATE KEY-----\n", 28), 0);
    assert_int_equal(sign_pem_decode(pem, strlen(pem), back), 0);
    assert_memory_equal(back, seed, sizeof seed);
    memcpy(noted + 17, pem, strlen(pem) + 1);
    memset(back, 0, sizeof back);
    assert_int_equal(sign_pem_decode(noted, strlen(noted), back), 0);
    assert_memory_equal(back, seed, sizeof seed);
    for (size_t len = 0; len + 2 < strlen(pem); len++) {
        assert_int_equal(sign_pem_decode(pem, len, back), ERR_SYNTAX);
    }
    sign_forget(back, sizeof back);
    assert_true(back[0] == 0 && memcmp(back, back + 1, sizeof back - 1) == 0);
}

static void other_keys(void **state)
{
    /* X25519, and an encrypted key of Ed25519 (password "x"). */
    static const char other[] =
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VuBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
        "-----END PRIVATE KEY-----\n";
    static const char encrypted[] =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
        "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg9aYOyEl971AICCAAw\n"
        "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDK3mNuIiEFhFR5rTgdgUCAEQAC5\n"
        "/acfFWg5dHk3WyAF356Di26EYifHl/6srNQVeRV5VUEVuwHbViAQEa6PenvmplHq\n"
        "igqh3OoQc5JuoZn12UI=\n"
        "-----END ENCRYPTED PRIVATE KEY-----\n";
    uint8_t seed[SIGN_SEED_LEN];
    (void)state;
    assert_int_equal(sign_pem_decode(other, strlen(other), seed),
                     ERR_UNSUPPORTED);
    assert_int_equal(sign_pem_decode(encrypted, strlen(encrypted), seed),
                     ERR_SYNTAX);
    assert_int_equal(sign_pem_decode("", 0, seed), ERR_SYNTAX);
    assert_int_equal(sign_pem_decode("text\n", 5, seed), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(pem_there_and_back),
        cmocka_unit_test(other_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
