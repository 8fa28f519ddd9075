#include "client/receiptfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/filewrite.h"
#include "proto/base/err.h"

static void set_time(struct receipt *receipt)
{
    time_t now = time(NULL);
    struct tm tm;

    if (gmtime_r(&now, &tm) == NULL ||
        strftime(receipt->time, sizeof receipt->time, "%Y-%m-%dT%H:%M:%SZ",
                 &tm) != RECEIPT_TIME_SIZE - 1) {
        receipt->time[0] = '\0';
    }
}

static int put_all(FILE *file, const struct receipt *receipt,
                   const uint8_t *digests)
{
    struct receipt dated = *receipt;
    char line[RECEIPT_LINE_LEN];
    char *head = malloc(RECEIPT_HEAD_MAX);
    size_t len;

    if (head == NULL) {
        errno = ENOMEM;
        return ERR_IO;
    }
    set_time(&dated);
    len = receipt_head(&dated, head, RECEIPT_HEAD_MAX);
    (void)fwrite(head, 1, len, file);
    free(head);
    for (uint64_t k = 0; k < receipt->chunks; k++) {
        receipt_line(digests + k * HASH_LEN, line);
        (void)fwrite(line, 1, sizeof line, file);
    }
    (void)fputs(RECEIPT_END, file);
    return fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0
               ? 0
               : ERR_IO;
}

int receiptfile_write(const char *path, const struct receipt *receipt,
                      const uint8_t *digests)
{
    int err = ERR_IO;
    int error;
    FILE *file = NULL;
    char *temporary;
    int fd;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        errno = ENOMEM;
        return ERR_IO;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        goto out_free;
    }
    /* Nothing of it is secret: as open to others as new files are. */
    mode_t mask = umask(0);

    (void)umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
    file = fdopen(fd, "w");
    if (file == NULL) {
        close(fd);
        goto out_unlink;
    }
    err = put_all(file, receipt, digests);
    error = errno;
    if (fclose(file) != 0 && err == 0) {
        err = ERR_IO;
    } else {
        errno = error;
    }
    if (err == 0) {
        err = rename(temporary, path) == 0 && filewrite_sync_name(path)
                  ? 0
                  : ERR_IO;
        if (err == 0) {
            goto out_free;
        }
    }
out_unlink:
    error = errno;
    (void)unlink(temporary);
    errno = error;
out_free:
    error = errno;
    free(temporary);
    errno = error;
    return err;
}

static int read_all(int fd, char **text, size_t *len)
{
    struct stat st;
    size_t got = 0;

    if (fstat(fd, &st) != 0) {
        return ERR_IO;
    }
    if (!S_ISREG(st.st_mode)) {
        return ERR_NOT_A_FILE;
    }
    if ((uint64_t)st.st_size > RECEIPT_TEXT_MAX) {
        return ERR_LIMIT;
    }
    *len = (size_t)st.st_size;
    *text = malloc(*len + 1);
    if (*text == NULL) {
        return ERR_NOMEM;
    }
    while (got < *len) {
        ssize_t n = read(fd, *text + got, *len - got);

        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0) {
            *len = got;
        } else if (errno != EINTR) {
            return ERR_IO;
        }
    }
    return 0;
}

int receiptfile_read(const char *path, char **text, struct receipt *out,
                     struct receipt_error *where)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct hasher *hasher;
    size_t len = 0;
    int err;

    *text = NULL;
    if (fd < 0) {
        return ERR_IO;
    }
    err = read_all(fd, text, &len);
    close(fd);
    if (err == 0) {
        err = receipt_parse(*text, len, out, where);
    }
    if (err == 0) {
        hasher = hasher_new();
        err = hasher == NULL ? ERR_NOMEM : receipt_check(out, hasher);
        hasher_free(hasher);
    }
    if (err != 0) {
        free(*text);
        *text = NULL;
    }
    return err;
}
