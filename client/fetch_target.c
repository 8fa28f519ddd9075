/* Fetch: the target that is there already.  What is it, and does it hold what
 * the server has? */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/fetch_internal.h"
#include "client/filecid.h"

/* What is at the final name?  0 with *st; ENOENT; or another errno, when that
 * cannot be known. */
int fetch_target_stat(const struct fetch *f, struct stat *st)
{
    int dir = open(f->options.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = 0;

    if (dir < 0) {
        return errno;
    }
    if (fstatat(dir, f->options.name, st, AT_SYMLINK_NOFOLLOW) != 0) {
        error = errno;
    }
    close(dir);
    return error;
}

/* Not knowing what is there is no reason to say that it is another file. */
bool fetch_target_hides(struct fetch *f, int error)
{
    char shown[300];

    if (error == ENOENT) {
        error = f->options.dir_errno;
    }
    if (error == 0) {
        return false;
    }
    (void)belay_text_escape(shown, sizeof shown,
                            f->options.shown_dir != NULL
                                ? f->options.shown_dir
                                : f->options.dir);
    fetch_over(f, BELAY_DISK, "cannot %s the directory %s: %s",
               f->options.dir_errno != 0 ? "make" : "look into", shown,
               strerror(error));
    return true;
}

static void would_fetch(struct fetch *f, const char *how)
{
    char size[32];

    belay_text_bytes(transfer_identity(f->transfer)->size, size, sizeof size);
    fetch_over(f, BELAY_WOULD_FETCH, "would be fetched%s: %s", how, size);
}

void fetch_target_differs(struct fetch *f)
{
    if (f->options.overwrite && f->options.dry_run) {
        would_fetch(f, ", replacing the file that is there");
        return;
    }
    if (f->options.overwrite) {
        f->restart = true;
        fetch_pump_later(f);
        return;
    }
    fetch_over(f, BELAY_EXISTS,
               "the target exists and is not the server's current file%s; "
               "--overwrite replaces it, -o NAME saves elsewhere",
               f->options.have_sha256 || f->options.uri->pinned
                   ? " with the content asked for"
                   : "");
}

/* Size and time decide where nobody named the content; another time alone
 * means nothing where the server can tell the content. */
void fetch_target_judge(struct fetch *f)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    bool named = f->options.have_sha256 || f->options.uri->pinned;
    struct stat st;
    bool same_time;
    int error;

    if (f->options.dry_run &&
        (f->options.name == NULL || fetch_target_stat(f, &st) != 0)) {
        would_fetch(f, "");
        return;
    }
    error = fetch_target_stat(f, &st);
    if (fetch_target_hides(f, error)) {
        return;
    }
    if (error != 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size != id->size) {
        fetch_target_differs(f);
        return;
    }
    same_time = st.st_mtim.tv_sec == id->mtime_s &&
                st.st_mtim.tv_nsec == (long)id->mtime_ns;
    if (same_time && !named && !f->options.check &&
        f->options.receipt == NULL) {
        fetch_over(f, BELAY_UP_TO_DATE,
                   "already there, with the server's size and time");
    } else if (named || id->cid_known) {
        f->check_target = true;
        f->verifying = true;
        loop_work_submit(f->finish_work);
    } else {
        fetch_target_differs(f);
    }
}

/* ---- on a worker thread. */

static int target_open(const struct fetch *f)
{
    int dir = open(f->options.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd;

    if (dir < 0) {
        return -1;
    }
    fd = openat(dir, f->options.name,
                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    close(dir);
    return fd;
}

/* What is going to be replaced may hold much of its successor: it is read
 * once for both questions. */
static bool has_cid(struct fetch *f, int fd, uint8_t chunk_log2,
                    const uint8_t want[HASH_LEN])
{
    uint64_t size = transfer_identity(f->transfer)->size;
    uint8_t cid[HASH_LEN];
    int err = f->options.overwrite && !f->options.dry_run
                  ? recall_cid(&f->recall, fd, size, chunk_log2, cid)
                  : file_cid(fd, size, chunk_log2, cid);

    return err == 0 && memcmp(cid, want, HASH_LEN) == 0;
}

/* All that is known about the content against the file that is there. */
static bool target_holds(struct fetch *f, int fd)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    const struct uri *uri = f->options.uri;

    if (f->options.have_sha256 &&
        (fetch_hash_whole(f, fd, id->size) != 0 ||
         memcmp(f->whole, f->options.sha256, HASH_LEN) != 0)) {
        return false;
    }
    if (uri->pinned) {
        return has_cid(f, fd, uri->chunk_log2, uri->cid);
    }
    return f->options.have_sha256 ||
           has_cid(f, fd, id->chunk_log2, id->cid);
}

/* The file has the server's content: with the server's time it need not be
 * read again the next time.  Not if somebody wrote to it meanwhile, nor if
 * what it was compared with is not what the server has. */
static void take_time(const struct fetch *f, int fd, const struct stat *before)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = (time_t)id->mtime_s, .tv_nsec = (long)id->mtime_ns},
    };
    struct stat now;

    if (f->options.remote_time && !f->options.dry_run &&
        !f->options.have_sha256 && !f->options.uri->pinned &&
        (int64_t)times[1].tv_sec == id->mtime_s && fstat(fd, &now) == 0 &&
        file_is_as_before(before, &now)) {
        (void)futimens(fd, times); /* else it is read again, no more */
    }
}

void fetch_target_check(struct fetch *f)
{
    int fd = target_open(f);
    struct stat before;

    f->digest_wrong =
        fd < 0 || fstat(fd, &before) != 0 || !target_holds(f, fd);
    if (!f->digest_wrong) {
        take_time(f, fd, &before);
    }
    if (!f->digest_wrong && f->options.receipt != NULL) {
        fetch_receipt_of_target(f, fd);
    }
    if (fd >= 0) {
        close(fd);
    }
}
