/* Fetch: the partial file and its journal. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/fetch_internal.h"
#include "client/filecid.h"
#include "proto/base/check.h"
#include "proto/base/limits.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"
#include "proto/session/transfer_record.h"

#define HINTS_AT_ONCE 512u
#define MARKS_AT_ONCE 1024u
#define READ_LEN ((size_t)1 << 20)
/* Files of this size are written around the page cache. */
#define BYPASS_SIZE ((uint64_t)512 << 20)

void fetch_store_error(struct fetch *f, const struct store_error *error)
{
    char text[STORE_ERROR_TEXT];
    enum belay_reason end = BELAY_DISK;

    (void)store_error_text(error, text, sizeof text);
    if (error->code == ERR_LOCKED) {
        end = BELAY_BUSY;
    } else if (error->code == ERR_EXISTS) {
        end = BELAY_EXISTS;
    } else if (error->kept == STORE_KEPT_FINAL) {
        end = BELAY_NOT_DURABLE;
    } else if (error->code == ERR_NOMEM || error->code == ERR_STATE) {
        end = BELAY_INTERNAL;
    }
    fetch_over(f, end, "%s", text);
}

/* ---- identities. */

static void to_journal(const struct fetch *f, struct journal_identity *j)
{
    size_t url = strlen(f->options.url_text);

    transfer_record(transfer_identity(f->transfer), j);
    j->url_len = (uint16_t)(url < sizeof j->url ? url : sizeof j->url);
    memcpy(j->url, f->options.url_text, j->url_len);
}

/* False: it cannot be recorded, and the fetch is over. */
static bool to_valid_journal(struct fetch *f, struct journal_identity *j)
{
    to_journal(f, j);
    if (!journal_identity_valid(j)) {
        fetch_over(f, BELAY_REFUSED, "the server's description of the file "
                                     "is out of bounds");
        return false;
    }
    return true;
}

/* ---- opening. */

static bool load_hints(struct fetch *f, const struct journal_identity *j)
{
    struct store_hint hints[HINTS_AT_ONCE];
    struct store_error why;
    uint64_t next = 0;

    while (next < journal_chunks(j)) {
        size_t count = HINTS_AT_ONCE;

        if (store_hints(f->store, &next, hints, &count, &why) != 0) {
            fetch_store_error(f, &why);
            return false;
        }
        for (size_t k = 0; k < count; k++) {
            transfer_hint(f->transfer, hints[k].index, hints[k].digest);
        }
    }
    return true;
}

static void note_other_url(struct fetch *f, const struct journal_identity *j)
{
    char text[300];

    if (j->url_len == strlen(f->options.url_text) &&
        memcmp(j->url, f->options.url_text, j->url_len) == 0) {
        return;
    }
    (void)text_escape(text, sizeof text, j->url, j->url_len);
    fetch_note(f, "the partial file was begun from %s; equal chunks are "
                  "reused", text);
}

/* The whole file is read once more for --sha256: better from the cache. */
static void bypass_cache(struct fetch *f, uint64_t size)
{
    if (size >= BYPASS_SIZE && !f->options.have_sha256) {
        store_bypass_cache(f->store);
    }
}

static bool resume(struct fetch *f, bool suspect)
{
    const struct journal_identity *j = store_identity(f->store);
    struct transfer_identity id;
    enum store_reread reread;
    struct store_error why;

    if (store_resume_prepare(f->store, &reread, &why) != 0) {
        fetch_store_error(f, &why);
        return false;
    }
    if (suspect) {
        fetch_note(f, "the last run met a write error; the partial file is "
                      "read back from the disk");
    }
    if (reread == STORE_REREAD_CACHED) {
        fetch_note(f, "the partial file could not be read past the cache");
    }
    transfer_recorded(j, &id);
    if (transfer_resume(f->transfer, &id) != 0) {
        return true; /* too large for us: begin afresh instead */
    }
    pipeline_chunks(f->pipeline, id.chunk_log2);
    bypass_cache(f, id.size);
    note_other_url(f, j);
    f->resumed = true;
    f->begun = true;
    return load_hints(f, j);
}

static struct store_opts opts_of(const struct fetch *f,
                                 enum store_policy policy)
{
    return (struct store_opts){
        .dir_fd = AT_FDCWD,
        .dir_path = f->options.dir,
        .name = f->options.name,
        .prefix = f->options.part_prefix,
        .shown_dir = f->options.shown_dir,
        .policy = policy,
    };
}

static bool open_store(struct fetch *f, struct store_report *report)
{
    struct store_opts opts =
        opts_of(f, f->options.overwrite ? STORE_REPLACE : STORE_KEEP);
    struct store_error why;

    if (store_open(&opts, &f->store, report, &why) != 0) {
        fetch_store_error(f, &why);
        return false;
    }
    return true;
}

/* The target is there already: is something left of the run that made it? */
static void settle_leftovers(struct fetch *f)
{
    struct store_opts opts = opts_of(f, STORE_REPLACE);
    struct store_report report;
    struct store_error why;
    struct store *store;
    unsigned warnings = 0;

    if (store_open(&opts, &store, &report, &why) != 0) {
        return; /* none of our business now */
    }
    if (report.found == STORE_FOUND_DONE) {
        (void)!store_settle(store, &warnings, &why);
    }
    (void)store_close(store, &why);
}

/* Decide what to do with what is there.  False: the fetch is over. */
bool fetch_store_open(struct fetch *f)
{
    struct store_report report;
    struct stat st;
    int error;

    if (f->options.dry_run) {
        f->probing = true;
    }
    if (f->options.name == NULL || f->options.kind != BELAY_KIND_GET) {
        return true; /* place_open() has done it */
    }
    error = fetch_target_stat(f, &st);
    if (fetch_target_hides(f, error)) {
        return false;
    }
    if (f->options.no_clobber && error == 0 && !S_ISDIR(st.st_mode)) {
        fetch_over(f, BELAY_SKIPPED, "skipped, since it exists");
        return false;
    }
    if (f->options.dry_run) {
        return true;
    }
    if (!f->probing && !f->probed && !f->options.anew && error == 0 &&
        S_ISREG(st.st_mode)) {
        settle_leftovers(f);
        f->probing = true;
        return true;
    }
    if (!open_store(f, &report)) {
        return false;
    }
    pipeline_to_store(f->pipeline, f->store);
    if (report.unlocked) {
        fetch_note(f, "this file system has no locks: take care that no "
                      "other process writes the same target");
    }
    if (report.found == STORE_FOUND_UNUSABLE) {
        fetch_note(f, "the record of the partial file cannot be used; "
                      "starting again");
    }
    if (report.found == STORE_FOUND_PARTIAL) {
        return resume(f, report.suspect);
    }
    return true;
}

/* ---- recording. */

void fetch_store_begin(struct fetch *f)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    struct journal_identity j;
    struct store_error why;

    if (f->probing) {
        fetch_target_judge(f);
        return;
    }
    if (f->options.kind == BELAY_KIND_VERIFY || place_keeps_from_empty(f)) {
        return;
    }
    pipeline_chunks(f->pipeline, id->chunk_log2);
    if (f->stream != NULL) {
        if (stream_begin(f->stream, id->size, id->chunk_log2) != 0) {
            fetch_over(f, BELAY_INTERNAL, "out of memory");
        }
        f->begun = true;
        return;
    }
    if (!to_valid_journal(f, &j)) {
        return;
    }
    if (store_space(f->store, id->size, &why) != 0 ||
        store_begin(f->store, &j, &why) != 0) {
        fetch_store_error(f, &why);
        return;
    }
    f->begun = true;
    bypass_cache(f, id->size);
    f->synced_at = loop_now_ms(f->loop);
}

/* Record chunks of [first, first + count) that are held. */
void fetch_store_remark(struct fetch *f, uint64_t first, uint64_t count)
{
    uint8_t digests[MARKS_AT_ONCE][HASH_LEN];
    struct store_error why;
    uint64_t end = first + count;

    for (uint64_t at = first; at < end;) {
        size_t n = 0;

        while (at + n < end && n < MARKS_AT_ONCE &&
               transfer_have(f->transfer, at + n)) {
            memcpy(digests[n], transfer_digest(f->transfer, at + n),
                   HASH_LEN);
            n++;
        }
        if (n > 0 && store_mark(f->store, at, n,
                                (const uint8_t (*)[HASH_LEN])digests,
                                &why) != 0) {
            fetch_store_error(f, &why);
            return;
        }
        at += n > 0 ? n : 1;
    }
}

void fetch_store_rebase(struct fetch *f)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    struct journal_identity j;
    struct store_error why;

    BELAY_ASSERT(!loop_work_pending(f->sync_work));
    if (f->stream != NULL) {
        if (stream_begin(f->stream, id->size, id->chunk_log2) != 0) {
            fetch_over(f, BELAY_INTERNAL, "out of memory");
        }
        return;
    }
    if (f->options.kind == BELAY_KIND_GET && place_keeps_from_empty(f)) {
        return; /* in its place something was changed already */
    }
    if (!to_valid_journal(f, &j)) {
        return;
    }
    if (store_space(f->store, id->size, &why) != 0 ||
        store_rebase(f->store, &j, &why) != 0) {
        fetch_store_error(f, &why);
        return;
    }
    f->rebased = true;
    fetch_store_remark(f, 0, transfer_chunks(f->transfer));
}

void fetch_store_identity(struct fetch *f)
{
    struct journal_identity j;
    struct store_error why;

    if (f->store == NULL || !f->begun) {
        return;
    }
    to_journal(f, &j);
    if (store_update_identity(f->store, &j, &why) != 0) {
        fetch_store_error(f, &why);
    }
}

/* ---- workers. */

void fetch_sync_work(void *arg)
{
    struct fetch *f = arg;

    f->sync_failed = store_sync(f->store, &f->sync_error) != 0;
}

void fetch_sync_done(void *arg)
{
    struct fetch *f = arg;

    if (f->over) {
        fetch_settle(f);
        return;
    }
    if (f->sync_failed) {
        fetch_store_error(f, &f->sync_error);
        fetch_settle(f);
        return;
    }
    fetch_pump_later(f); /* a step may have waited for this */
}

/* Bound what a power cut can take: sync now and then, off this thread. */
void fetch_store_sync(struct fetch *f)
{
    const struct transfer_ledger *ledger = transfer_ledger(f->transfer);
    uint64_t now = loop_now_ms(f->loop);
    uint64_t bytes = ledger->fresh - f->synced_bytes;

    if (f->store == NULL || !f->begun || bytes == 0 || f->verifying ||
        f->store_step != TRANSFER_IDLE ||
        loop_work_pending(f->sync_work) ||
        (bytes < SYNC_INTERVAL_BYTES &&
         now < f->synced_at + SYNC_INTERVAL_MS)) {
        return;
    }
    f->synced_bytes = ledger->fresh;
    f->synced_at = now;
    loop_work_submit(f->sync_work);
}

/* Plain SHA-256 of `size` bytes, by whichever way they are read. */
int fetch_hash_whole(struct fetch *f, int fd, uint64_t size)
{
    struct hasher *hasher = hasher_new();
    uint8_t *buffer = malloc(READ_LEN);
    int err = hasher == NULL || buffer == NULL ? ERR_NOMEM
                                               : hasher_begin(hasher);

    for (uint64_t at = 0; err == 0 && at < size;) {
        size_t n = size - at < READ_LEN ? (size_t)(size - at) : READ_LEN;

        if (fd < 0) {
            err = store_pread(f->store, at, buffer, n, &f->finish_error);
        } else {
            ssize_t got = pread(fd, buffer, n, (off_t)at);

            err = got > 0 ? 0 : ERR_IO;
            n = got > 0 ? (size_t)got : 0;
        }
        if (err == 0) {
            err = hasher_update(hasher, buffer, n);
        }
        at += n;
    }
    if (err == 0) {
        err = hasher_final(hasher, f->whole);
    }
    free(buffer);
    hasher_free(hasher);
    return err;
}

void fetch_finish_work(void *arg)
{
    struct fetch *f = arg;
    const struct transfer_identity *id = transfer_identity(f->transfer);
    struct store_attrs attrs = {.mode = id->mode,
                                .mtime_known = f->options.remote_time,
                                .mtime_s = id->mtime_s,
                                .mtime_ns = id->mtime_ns};

    if (f->check_target) {
        fetch_target_check(f);
        return;
    }
    f->finish_result = 0;
    f->digest_wrong = false;
    if (f->options.have_sha256) {
        f->finish_result = fetch_hash_whole(f, -1, id->size);
        if (f->finish_result == 0 &&
            memcmp(f->whole, f->options.sha256, HASH_LEN) != 0) {
            f->digest_wrong = true;
        }
        if (f->finish_result != 0 || f->digest_wrong) {
            return;
        }
    }
    f->finish_result = store_finish(f->store, &attrs, &f->warnings,
                                    &f->finish_error);
    if (f->finish_result == 0) {
        fetch_write_receipt(f);
    }
}

/* The end, unless the receipt that was asked for is missing. */
static void told_receipt(struct fetch *f, enum belay_reason reason,
                         const char *text)
{
    if (f->receipt_failed) {
        fetch_over(f, BELAY_DISK, "the file is there and verified, but its "
                                  "receipt cannot be written: %s",
                   strerror(f->receipt_errno));
    } else {
        fetch_over(f, reason, "%s", text);
    }
}

static void target_checked(struct fetch *f)
{
    f->check_target = false;
    f->verifying = false;
    if (!f->digest_wrong) {
        told_receipt(f, BELAY_UP_TO_DATE, "already there, and verified");
    } else {
        fetch_target_differs(f);
    }
}

static void tell_digest(struct fetch *f)
{
    char got[2 * HASH_LEN + 1];
    char want[2 * HASH_LEN + 1];

    cid_hex_encode(f->whole, HASH_LEN, got);
    cid_hex_encode(f->options.sha256, HASH_LEN, want);
    fetch_over(f, BELAY_WRONG_CONTENT,
               "SHA-256 is %s, not %s as asked; %s", got, want,
               f->stream != NULL ? "what was written out is not to be trusted"
                                 : "the partial file is kept and has no "
                                   "final name");
}

void fetch_finish_done(void *arg)
{
    struct fetch *f = arg;

    if (f->check_target) {
        if (!f->over) {
            target_checked(f);
        }
    } else if (f->digest_wrong) {
        tell_digest(f);
    } else if (f->finish_result != 0) {
        fetch_store_error(f, &f->finish_error);
    } else {
        if ((f->warnings & STORE_WARN_MODE) != 0) {
            fetch_note(f, "the file system refused the file mode");
        }
        if ((f->warnings & STORE_WARN_MTIME) != 0) {
            fetch_note(f, "the file system refused the file time");
        }
        f->finished = true;
        f->over = false; /* the file is there, whatever came meanwhile */
        told_receipt(f, BELAY_DONE, "verified");
    }
    fetch_settle(f);
}

/* All chunks are verified. */
void fetch_store_finish(struct fetch *f)
{
    BELAY_ASSERT(!loop_work_pending(f->sync_work));
    f->verifying = true;
    fetch_event(f, BELAY_EVENT_VERIFY, 0, "%s", "");
    if (f->stream == NULL) {
        loop_work_submit(f->finish_work);
        return;
    }
    if (f->digest_wrong) {
        tell_digest(f);
    } else {
        fetch_over(f, BELAY_DONE, "verified");
    }
}

void fetch_store_close(struct fetch *f)
{
    struct store_error why;

    if (f->store != NULL) {
        (void)(f->discard ? store_discard(f->store, &why)
                          : store_close(f->store, &why));
        f->store = NULL;
    }
}
