#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"
#include "proto/base/limits.h"
#include "proto/data/text.h"

static const char *file_name(const struct store *store, enum store_file file)
{
    switch (file) {
    case STORE_FILE_PART:
        return store->part_name;
    case STORE_FILE_JOURNAL:
        return store->journal_name;
    case STORE_FILE_TARGET:
        return store->name;
    case STORE_FILE_DIR:
        break;
    }
    return NULL;
}

static void file_path(const struct store *store, enum store_file file,
                      char *text, size_t cap)
{
    const char *name = file_name(store, file);
    size_t len = strlen(store->dir_path);
    const char *slash = len > 0 && store->dir_path[len - 1] == '/' ? "" : "/";

    if (name == NULL) {
        snprintf(text, cap, "%s", store->dir_path);
    } else if (strcmp(store->dir_path, ".") == 0) {
        snprintf(text, cap, "%s", name);
    } else {
        snprintf(text, cap, "%s%s%s", store->dir_path, slash, name);
    }
}

static const char *usual_advice(int code)
{
    switch (code) {
    case ERR_NO_SPACE:
        return "free some space, then run the same command again";
    case ERR_EXISTS:
        return "nothing was overwritten; --overwrite replaces it, -o NAME "
               "saves elsewhere";
    case ERR_NOT_A_FILE:
        return "choose another name, or write to standard output";
    case ERR_DENIED:
        return STORE_ADVICE_IN_THE_WAY;
    case ERR_LOCKED:
        return "wait for it to end";
    case ERR_PATH:
        return "choose another name";
    default:
        return "";
    }
}

static const char *errno_advice(int error, bool opening)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return opening ? "check its permissions"
                       : "check the permissions of the directory";
    case EROFS:
        return "choose another directory";
    case EDQUOT:
        return "the disk quota is used up; free some space, then run the "
               "same command again";
    case EFBIG:
        return "the file system or the file-size limit of the process "
               "(ulimit -f) does not allow a file of this size";
    case EMFILE:
    case ENFILE:
        return "too many open files; raise the limit (ulimit -n)";
    case EIO:
        return "the disk reports errors; check it (dmesg), then run the "
               "same command again: everything is read back and verified";
    default:
        return "";
    }
}

static int errno_code(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_NO_SPACE;
    case EEXIST:
        return ERR_EXISTS;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOENT:
        return ERR_NOT_FOUND;
    case ENOTDIR:
        return ERR_NOT_A_DIRECTORY;
    default:
        return ERR_IO;
    }
}

int store_fail(const struct store *store, struct store_error *why, int code,
               const char *operation, enum store_file file)
{
    if (why != NULL) {
        memset(why, 0, sizeof *why);
        why->code = code;
        why->operation = operation;
        why->advice = usual_advice(code);
        why->kept = store->have_head ? STORE_KEPT_PART : STORE_KEPT_UNCHANGED;
        file_path(store, file, why->path, sizeof why->path);
    }
    return code;
}

int store_fail_errno(const struct store *store, struct store_error *why,
                     const char *operation, enum store_file file)
{
    int error = errno;
    int code = errno_code(error);

    store_fail(store, why, code, operation, file);
    if (why != NULL) {
        bool opening = file != STORE_FILE_DIR &&
                       strcmp(operation, "open") == 0;
        const char *advice = errno_advice(error, opening);

        why->sys_errno = error;
        why->advice = advice[0] != '\0' ? advice : why->advice;
    }
    return code;
}

void store_advise(struct store_error *why, const char *advice)
{
    if (why != NULL) {
        why->advice = advice;
    }
}

/* ---- Text. */

struct text {
    char *bytes;
    size_t len;
    size_t cap; /* without the terminator */
};

/* Append whole or not at all, so that nothing is cut in the middle of an
 * escape; after the first piece that does not fit nothing else does. */
static void append(struct text *text, const char *string)
{
    size_t len = strlen(string);

    if (len <= text->cap - text->len) {
        memcpy(text->bytes + text->len, string, len);
        text->len += len;
    } else {
        text->cap = text->len;
    }
}

static void append_escaped(struct text *text, const char *string)
{
    char escaped[TEXT_ESCAPE_SIZE(MAX_SHOWN_TEXT)];

    text_escape(escaped, sizeof escaped, string, strlen(string));
    append(text, escaped);
}

/* To the byte where rounding would hide what is missing. */
static void append_room(struct text *text, const struct store_error *error)
{
    char need[32], have[32];
    char buffer[160];

    text_size(need, sizeof need, error->need_bytes);
    text_size(have, sizeof have, error->have_bytes);
    if (strcmp(need, have) == 0) {
        snprintf(need, sizeof need, "%llu bytes",
                 (unsigned long long)error->need_bytes);
        snprintf(have, sizeof have, "%llu",
                 (unsigned long long)error->have_bytes);
    }
    snprintf(buffer, sizeof buffer, "%s are needed and %s are available "
             "(what is left of the file, and its record)", need, have);
    append(text, buffer);
}

static void append_cause(struct text *text, const struct store_error *error)
{
    char buffer[160];

    append(text, ": ");
    if (error->code == ERR_LOCKED && error->owner_pid != 0) {
        snprintf(buffer, sizeof buffer, "in use by process %u on ",
                 error->owner_pid);
        append(text, buffer);
        append_escaped(text, error->owner_host);
    } else if (error->need_bytes != 0) {
        append_room(text, error);
    } else if (error->sys_errno != 0) {
        append(text, strerror_r(error->sys_errno, buffer, sizeof buffer));
    } else {
        append(text, err_sentence(error->code));
    }
}

size_t store_error_text(const struct store_error *error, char *text,
                        size_t cap)
{
    struct text out = {text, 0, cap - 1};

    BELAY_ASSERT(cap >= 1);
    append(&out, "cannot ");
    append(&out, error->operation != NULL ? error->operation : "go on");
    append(&out, " ");
    append_escaped(&out, error->path);
    if (error->other_path[0] != '\0') {
        append(&out, " to ");
        append_escaped(&out, error->other_path);
    }
    append_cause(&out, error);
    if (error->kept == STORE_KEPT_PART) {
        append(&out, "; the partial file is kept");
    } else if (error->kept == STORE_KEPT_FINAL) {
        append(&out, "; the file is complete but may not survive a power "
                     "loss (not durable)");
    }
    if (error->advice != NULL && error->advice[0] != '\0') {
        append(&out, "; ");
        append(&out, error->advice);
    }
    text[out.len] = '\0';
    return out.len;
}
