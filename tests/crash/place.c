#include "tests/crash/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/store_sys.h"
#include "proto/base/check.h"

#define OLD_TEXT "the older file"

static unsigned int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned int count = 0;

    BELAY_ASSERT(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count - 2;
}

unsigned int place_names(const struct place *place)
{
    return count_entries(place->path);
}

unsigned int place_descriptors(void)
{
    return count_entries("/proc/self/fd");
}

static void final_path(const struct place *place, char *path, size_t cap)
{
    snprintf(path, cap, "%s/%s", place->path, PLACE_NAME);
}

static void put_old(const struct place *place)
{
    char path[512];
    FILE *file;

    final_path(place, path, sizeof path);
    file = fopen(path, "we");
    BELAY_ASSERT(file != NULL);
    fputs(OLD_TEXT, file);
    BELAY_ASSERT(fclose(file) == 0);
}

/* Three chunks of a version, as a run that was cut off leaves them. */
static void put_partial(const struct place *place, uint8_t version)
{
    uint8_t *bytes = scenario_content(PLACE_SIZE, PLACE_SEED, version);
    struct store_opts opts = {AT_FDCWD, place->path, PLACE_NAME, STORE_KEEP,
                              NULL, NULL, NULL};
    struct journal_identity id = {
        .size = PLACE_SIZE,
        .chunk_log2 = SCENARIO_LOG2,
        .version_len = 1,
        .version = {version},
        .version_strong = true,
    };
    struct store_report report;
    struct store *store;

    BELAY_ASSERT(store_open(&opts, &store, &report, NULL) == 0);
    BELAY_ASSERT(store_begin(store, &id, NULL) == 0);
    for (uint64_t i = 0; i < 3; i++) {
        struct iovec iov = {bytes + i * SCENARIO_CHUNK, SCENARIO_CHUNK};
        uint8_t digest[1][HASH_LEN];
        struct hasher *hasher = hasher_new();

        BELAY_ASSERT(hasher != NULL);
        BELAY_ASSERT(hash_sha256(hasher, iov.iov_base, iov.iov_len,
                                 digest[0]) == 0);
        hasher_free(hasher);
        BELAY_ASSERT(store_pwrite(store, i * SCENARIO_CHUNK, &iov, 1, NULL) ==
                     0);
        BELAY_ASSERT(store_mark(store, i, 1,
                                (const uint8_t(*)[HASH_LEN])digest,
                                NULL) == 0);
    }
    BELAY_ASSERT(store_close(store, NULL) == 0);
    free(bytes);
}

void place_make(struct place *place, enum place_start start)
{
    const char *base = getenv("TMPDIR");
    uint8_t version = start == PLACE_REBASE ? 2 : 1;

    memset(place, 0, sizeof *place);
    place->start = start;
    snprintf(place->path, sizeof place->path, "%s/belay-crash-XXXXXX",
             base != NULL ? base : "/tmp");
    BELAY_ASSERT(mkdtemp(place->path) != NULL);
    place->content = scenario_content(PLACE_SIZE, PLACE_SEED, version);
    place->scenario = (struct scenario){
        .sys = &store_sys_real,
        .dir_fd = AT_FDCWD,
        .dir_path = place->path,
        .name = PLACE_NAME,
        .policy = start == PLACE_REPLACE ? STORE_REPLACE : STORE_KEEP,
        .content = place->content,
        .size = PLACE_SIZE,
        .version = version,
        .sync_every = 2,
    };
    if (start == PLACE_REPLACE) {
        put_old(place);
    } else if (start != PLACE_FRESH) {
        put_partial(place, 1);
    }
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void place_remove(struct place *place)
{
    nftw(place->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(place->content);
}

enum place_final place_final(const struct place *place)
{
    char path[512];
    uint8_t *bytes = malloc(PLACE_SIZE + 1);
    enum place_final result = PLACE_WRONG;
    size_t len;
    FILE *file;

    BELAY_ASSERT(bytes != NULL);
    final_path(place, path, sizeof path);
    file = fopen(path, "re");
    if (file == NULL) {
        free(bytes);
        return PLACE_ABSENT;
    }
    len = fread(bytes, 1, PLACE_SIZE + 1, file);
    fclose(file);
    if (len == PLACE_SIZE && memcmp(bytes, place->content, len) == 0) {
        result = PLACE_RIGHT;
    } else if (len == strlen(OLD_TEXT) && memcmp(bytes, OLD_TEXT, len) == 0) {
        result = PLACE_OLD;
    }
    free(bytes);
    return result;
}
