/* Paths and names against rules N1 and N3 written down a second time.
 *
 * Input: the text. */

#include "proto/base/registry.h"
#include "proto/data/relpath.h"
#include "tests/fuzz/fuzz.h"

/* A component of a path, looked at byte by byte. */
static bool slow_part(const char *name, size_t len)
{
    bool dots = true;
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '\0' || name[i] == '/') {
            return false;
        }
        dots = dots && name[i] == '.';
    }
    return len >= 1 && len <= LIMIT_COMPONENT && !(dots && len <= 2);
}

static bool slow_path(const char *path, size_t len)
{
    size_t start = 0;
    if (len == 0) {
        return true;
    }
    for (size_t i = 0; i <= len; i++) {
        if (i == len || path[i] == '/') {
            if (!slow_part(path + start, i - start)) {
                return false;
            }
            start = i + 1;
        }
    }
    return len <= LIMIT_PATH;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    size_t len;
    char *text = (char *)script_rest(&s, &len);
    bool ok = relpath_check(text, len) == 0;
    FUZZ_CHECK(ok == slow_path(text, len));
    struct relpath_part part;
    size_t pos = 0;
    size_t sum = 0;
    size_t parts = 0;
    while (relpath_next(text, len, &pos, &part)) {
        FUZZ_CHECK(part.name >= text && part.name + part.len <= text + len);
        FUZZ_CHECK(!ok || relpath_name_ok(part.name, part.len,
                                          RELPATH_POSIX));
        sum += part.len;
        parts++;
    }
    FUZZ_CHECK(!ok || len == 0 || sum + parts == len + 1);
    bool posix = relpath_name_ok(text, len, RELPATH_POSIX);
    bool windows = relpath_name_ok(text, len, RELPATH_WINDOWS);
    FUZZ_CHECK(posix == slow_part(text, len));
    FUZZ_CHECK(posix || !windows);
    FUZZ_CHECK(!windows || (memchr(text, '\\', len) == NULL &&
                            memchr(text, ':', len) == NULL));
    free(text);
    return 0;
}
