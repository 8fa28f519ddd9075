/* Which state of which file: what a stat tells that changes with content.
 *
 * Two equal values name the same bytes unless the file was written twice
 * within one step of its clock; fileid_is_settled() says when that can be
 * ruled out (rule I1). Pure, but for fileid_check(). */
#ifndef SERVER_FILEID_H
#define SERVER_FILEID_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

struct fileid {
    uint64_t dev;
    uint64_t ino;
    uint64_t size;
    int64_t mtime_ns;
    int64_t ctime_ns;
};

struct fileid fileid_of(const struct stat *st);
bool fileid_equal(const struct fileid *a, const struct fileid *b);

/* The fstat that rule G5 asks for before each read. 0, ERR_CHANGED, or
 * ERR_IO. Any thread. */
MUST_USE int fileid_check(const struct fileid *id, int fd);

/* Was the last change long enough before now_ns (clock_file_ns()) that a
 * further one would show in the time stamps? */
bool fileid_is_settled(const struct fileid *id, int64_t now_ns);

/* Milliseconds until then, if it is not written again; 0: it is settled. At
 * most FILEID_REST_MAX_MS, because a file from the future never is. */
#define FILEID_REST_MAX_MS 5000u
uint64_t fileid_rest_ms(const struct fileid *id, int64_t now_ns);

#endif
