#include <stdio.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

#define PART_SUFFIX ".part"
#define JOURNAL_SUFFIX ".part.belay"
#define TAG_LEN 17 /* '.' and 16 hexadecimal digits */

/* FNV-1a. It only keeps apart long names with equal beginnings; two that
 * collide are told apart by the lock and the identity in the journal. */
static uint64_t name_hash(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* The longest beginning of at most max bytes that cuts no UTF-8 sequence:
 * some file systems refuse names with half a character. */
static size_t prefix_len(const char *name, size_t max)
{
    size_t len = max;

    while (len > 0 && ((uint8_t)name[len] & 0xc0) == 0x80) {
        len--;
    }
    return len > 0 ? len : max;
}

int store_names(struct store *store, const char *name, const char *prefix,
                size_t name_max)
{
    size_t len = strlen(name);
    size_t before = prefix != NULL ? strlen(prefix) : 0;
    size_t extra = before + strlen(JOURNAL_SUFFIX);
    char stem[NAME_MAX + 2 - sizeof JOURNAL_SUFFIX];

    if (name_max > NAME_MAX) {
        name_max = NAME_MAX;
    }
    if (len == 0 || len > name_max || strchr(name, '/') != NULL ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        name_max < extra + TAG_LEN + 1) {
        return ERR_PATH;
    }
    if (before > 0) {
        memcpy(stem, prefix, before);
    }
    if (len + extra <= name_max) {
        memcpy(stem + before, name, len + 1);
    } else {
        size_t keep = prefix_len(name, name_max - extra - TAG_LEN);

        memcpy(stem + before, name, keep);
        keep += before;
        snprintf(stem + keep, sizeof stem - keep, ".%016llx",
                 (unsigned long long)name_hash(name));
    }
    memcpy(store->name, name, len + 1);
    snprintf(store->part_name, sizeof store->part_name, "%s" PART_SUFFIX,
             stem);
    snprintf(store->journal_name, sizeof store->journal_name,
             "%s" JOURNAL_SUFFIX, stem);
    return 0;
}
