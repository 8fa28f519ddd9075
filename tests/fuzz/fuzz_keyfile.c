/* Files of keys (client/keyfile.c): each line of public keys is used or the
 * whole is refused; a private key signs as the one that it says it is.
 *
 * Input: a byte of options, then the file.
 *   1  of a private key
 *   2  the file twice, with more empty lines between than a file may have */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/keyfile.h"
#include "proto/base/limits.h"
#include "tests/fuzz/shown.h"

#define LINES_MANY 65536u

static struct hasher *hasher;

/* A file in memory, by a name that can be opened. */
static int put(const uint8_t *data, size_t size, char path[32])
{
    int fd = memfd_create("keys", MFD_CLOEXEC);

    FUZZ_CHECK(fd >= 0 && fchmod(fd, 0600) == 0);
    FUZZ_CHECK(size == 0 || write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

static void check_text(const struct belay_error *error)
{
    FUZZ_CHECK(*error->text != '\0');
    shown_check(error->text, strlen(error->text));
}

static void public_keys(const char *path, const uint8_t *data, size_t size)
{
    static struct note_key keys[MAX_NOTE_KEYS];
    struct belay_error error;
    size_t count = 0;
    size_t lines = 0;

    if (keyfile_load_public(hasher, path, keys, &count, &error) !=
        BELAY_DONE) {
        check_text(&error);
        return;
    }
    for (size_t at = 0; at < size; at++) {
        bool first = at == 0 || data[at - 1] == '\n';

        lines += first && data[at] != '\n' && data[at] != '#';
    }
    FUZZ_CHECK(count >= 1 && count == lines && count <= MAX_NOTE_KEYS);
    for (size_t k = 0; k < count; k++) {
        FUZZ_CHECK(note_name_ok(keys[k].name, keys[k].name_len));
    }
}

static void private_key(const char *path)
{
    struct keyfile pair;
    struct belay_error error;
    uint8_t again[SIGN_PUBLIC_LEN];

    for (unsigned k = 0; k < 2; k++) {
        if (keyfile_load(hasher, path, k == 0 ? NULL : "name", &pair,
                         &error) != BELAY_DONE) {
            check_text(&error);
            continue;
        }
        FUZZ_CHECK(note_name_ok(pair.key.name, pair.key.name_len));
        FUZZ_CHECK(sign_public(pair.seed, again) == 0);
        FUZZ_CHECK(memcmp(again, pair.key.public_key, sizeof again) == 0);
        FUZZ_CHECK(k == 0 || (pair.key.name_len == 4 &&
                              memcmp(pair.key.name, "name", 4) == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, size};
    uint8_t options = script_u8(&s);
    size_t gap = options & 2u ? LINES_MANY : 0;
    size_t len = s.left + gap + (gap > 0 ? s.left : 0);
    uint8_t *file = malloc(len + 1);
    char path[32];

    FUZZ_CHECK(file != NULL);
    memset(file, '\n', len + 1);
    if (s.left > 0) {
        memcpy(file, s.at, s.left);
        memcpy(file + len - s.left, s.at, s.left);
    }
    int fd = put(file, len, path);

    if (hasher == NULL) {
        hasher = hasher_new();
        FUZZ_CHECK(hasher != NULL);
    }
    if (options & 1u) {
        private_key(path);
    } else {
        public_keys(path, file, len);
    }
    close(fd);
    free(file);
    return 0;
}
