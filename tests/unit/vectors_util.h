/* Shared by the tests that read spec/vectors: loading a file, counting its
 * entries, and hex. Failures end the test through cmocka. */

#ifndef TESTS_UNIT_VECTORS_UTIL_H
#define TESTS_UNIT_VECTORS_UTIL_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>

#include "proto/base/err.h"
#include "proto/base/reader.h"

/* Load spec/vectors/NAME.json; its "count" and the length of "vectors" are
 * equal and not 0, so that an unread file cannot pass. Caller decrefs. */
static inline json_t *vectors_load(const char *name)
{
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s/spec/vectors/%s.json", TEST_SOURCE_DIR,
             name);
    json_t *file = json_load_file(path, 0, &error);
    if (file == NULL) {
        fail_msg("%s: %s", path, error.text);
    }
    json_int_t count = json_integer_value(json_object_get(file, "count"));
    size_t found = json_array_size(json_object_get(file, "vectors"));
    assert_true(count > 0);
    assert_int_equal((size_t)count, found);
    return file;
}

static inline uint8_t vectors_nibble(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    if (at == NULL) {
        fail_msg("not a hexadecimal digit: %d", c);
    }
    return (uint8_t)(at - digits);
}

/* Bytes of a hex string, in an allocation of exactly that size (so that a
 * sanitizer sees every read beyond it). Caller frees. */
static inline uint8_t *vectors_unhex(const char *hex, size_t *len)
{
    *len = strlen(hex) / 2;
    assert_int_equal(strlen(hex) % 2, 0);
    uint8_t *out = malloc(*len > 0 ? *len : 1);
    assert_non_null(out);
    for (size_t i = 0; i < *len; i++) {
        out[i] = (uint8_t)(vectors_nibble(hex[2 * i]) << 4 |
                           vectors_nibble(hex[2 * i + 1]));
    }
    return out;
}

/* A JSON string with the hex of a view. */
static inline json_t *vectors_hex(struct bytes_view view)
{
    char *text = malloc(2 * view.len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < view.len; i++) {
        snprintf(text + 2 * i, 3, "%02x", view.ptr[i]);
    }
    text[2 * view.len] = '\0';
    json_t *string = json_string(text);
    free(text);
    return string;
}

static inline const char *vectors_string(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL) {
        fail_msg("no string %s", key);
    }
    return text;
}

static inline const char *vectors_id(json_t *vector)
{
    return vectors_string(vector, "id");
}

/* A general code may stand for a specific one of the same class, so classes
 * are compared; how far the error reaches must agree, too. */
static inline void vectors_check_error(json_t *vector, int err)
{
    json_t *error = json_object_get(vector, "error");
    const char *result = vectors_string(vector, "result");
    if (err == BELAY_OK && strcmp(result, "acceptable") == 0) {
        return;
    }
    if (err == BELAY_OK || !json_is_object(error)) {
        fail_msg("%s: %s", vectors_id(vector), err_name(err));
    }
    json_int_t class = json_integer_value(json_object_get(error, "class"));
    if (err_wire_class(err_wire(err)) != class) {
        fail_msg("%s: %s is not of class %d", vectors_id(vector),
                 err_name(err), (int)class);
    }
    bool request = strcmp(vectors_string(error, "scope"), "request") == 0;
    bool ours = err == ERR_BAD_REQUEST || err == ERR_UNSUPPORTED ||
                err == ERR_PATH;
    if (request != ours) {
        fail_msg("%s: %s has another reach", vectors_id(vector),
                 err_name(err));
    }
}

/* Compare what was decoded with what the vector expects. Takes ours. */
static inline void vectors_check_equal(json_t *vector, const char *key,
                                       json_t *ours)
{
    json_t *theirs =
        json_object_get(json_object_get(vector, "expected"), key);
    if (theirs == NULL || !json_equal(ours, theirs)) {
        char *a = json_dumps(ours, JSON_SORT_KEYS | JSON_ENCODE_ANY);
        char *b = theirs == NULL
                      ? NULL
                      : json_dumps(theirs, JSON_SORT_KEYS | JSON_ENCODE_ANY);
        fail_msg("%s: %s is %s, expected %s", vectors_id(vector), key, a,
                 b != NULL ? b : "nothing");
    }
    json_decref(ours);
}

#endif
