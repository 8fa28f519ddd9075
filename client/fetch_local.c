/* Fetch: local files.  Donors, the file that is repaired or compared in its
 * place, and the receipt. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/fetch_internal.h"
#include "client/filecid.h"
#include "client/receiptfile.h"
#include "proto/base/err.h"
#include "proto/data/cid.h"

/* So many wrong ranges are told one by one. */
#define RANGES_TOLD 1000u
/* Files up to this size are compared in the smallest chunks, as the server
 * can hash them at once: then little is fetched. */
#define FINE_SIZE ((uint64_t)4 << 20)

/* ---- donors. */

/* The file that --copy replaces is compared as one repaired in its place; one
 * that cannot be read is not replaced unseen.  False: the fetch is over. */
bool copy_open(struct fetch *f)
{
    int err = donors_add(&f->donors, f->options.dir, f->options.name, true);

    if (err == 0) {
        f->local_size = f->donors.donor[0].size;
    } else if (!f->options.force && !(err == ERR_IO && errno == ENOENT)) {
        fetch_over(f, donors_reason(err), "cannot read it: %s",
                   donors_problem(err));
        return false;
    }
    return true;
}

/* Also the target that is to be replaced may hold much of its successor. */
void donors_add_target(struct fetch *f)
{
    unsigned number = f->donors.count;

    if (f->options.name == NULL ||
        donors_add(&f->donors, f->options.dir, f->options.name, true) != 0 ||
        !recall_is_of(&f->recall, f->donors.donor[number].fd)) {
        recall_clear(&f->recall);
    } else {
        f->recall_donor = number;
    }
}

/* A seed that cannot be used costs only what it would have saved. */
void donors_open_seeds(struct fetch *f)
{
    char shown[300];

    for (unsigned k = 0; k < f->options.seed_count; k++) {
        const char *seed = f->options.seeds[k];
        int err = donors_add(&f->donors, ".", seed, false);

        if (err != 0) {
            (void)belay_text_escape(shown, sizeof shown, seed);
            fetch_note(f, "--seed %s is not used: %s", shown,
                       err == ERR_IO ? strerror(errno) : err_sentence(err));
        }
    }
}

void donors_config(const struct fetch *f, struct transfer_config *config)
{
    if (f->probing || f->options.name == NULL) {
        return;
    }
    config->donor_count = f->donors.count;
    for (unsigned k = 0; k < f->donors.count; k++) {
        config->donors[k].size = f->donors.donor[k].size;
        config->donors[k].self = f->donors.donor[k].self;
    }
    config->compare_only = f->options.kind == BELAY_KIND_VERIFY;
    if ((f->options.kind != BELAY_KIND_GET || f->local_size > 0) &&
        config->want_chunk_log2 == 0 && !config->pinned &&
        f->local_size <= FINE_SIZE) {
        config->want_chunk_log2 = LIMIT_CHUNK_LOG2_MIN;
    }
}

/* ---- in place. */

/* Open the file that is compared or repaired; false: the fetch is over. */
bool place_open(struct fetch *f)
{
    struct store_opts opts = {.dir_fd = AT_FDCWD,
                              .dir_path = f->options.dir,
                              .name = f->options.name,
                              .policy = STORE_REPLACE};
    struct store_report report;
    struct store_error why;
    int err = donors_add(&f->donors, f->options.dir, f->options.name,
                         f->options.kind == BELAY_KIND_REPAIR);

    if (err != 0) {
        fetch_over(f, donors_reason(err), "cannot read it: %s",
                   donors_problem(err));
        return false;
    }
    f->donors.donor[0].self = true;
    f->local_size = f->donors.donor[0].size;
    donor_refresh(&f->donors.donor[0]);
    donors_open_seeds(f);
    if (f->options.kind == BELAY_KIND_VERIFY) {
        return true;
    }
    if (store_open_in_place(&opts, &f->store, &report, &why) != 0) {
        fetch_store_error(f, &why);
        return false;
    }
    pipeline_to_store(f->pipeline, f->store);
    return true;
}

static void tell_range(struct fetch *f, unsigned *told, uint64_t from,
                       uint64_t end)
{
    if (*told < RANGES_TOLD) {
        fetch_event(f, BELAY_EVENT_WRONG, from,
                    "bytes %" PRIu64 " to %" PRIu64 " are wrong", from,
                    end - 1);
    } else if (*told == RANGES_TOLD) {
        fetch_note(f, "there are more wrong ranges, which are not told");
    }
    (*told)++;
}

/* Chunks that are right in their place are held now: what is wrong? */
void place_compared(struct fetch *f)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    uint64_t count = transfer_chunks(f->transfer);
    unsigned told = 0;

    f->wrong_chunks = 0;
    f->wrong_bytes = 0;
    for (uint64_t at = 0; at < count;) {
        uint64_t first = at;
        uint64_t end;

        while (at < count && !transfer_have(f->transfer, at)) {
            f->wrong_bytes += cid_chunk_len(id->size, id->chunk_log2, at);
            at++;
        }
        f->wrong_chunks += at - first;
        end = at << id->chunk_log2 < id->size ? at << id->chunk_log2
                                              : id->size;
        if (at > first) {
            tell_range(f, &told, first << id->chunk_log2, end);
        }
        at += at == first;
    }
    if (f->local_size > id->size) {
        fetch_event(f, BELAY_EVENT_WRONG, id->size,
                    "%" PRIu64 " bytes are too many at its end",
                    f->local_size - id->size);
    }
}

/* ---- a wrong name or URL must not cost a file. */

static bool asks_first(const struct fetch *f)
{
    return f->local_size > 0 && !f->options.force &&
           f->options.kind != BELAY_KIND_VERIFY;
}

/* What this run made for a copy is of no use. Whether a file that cannot be
 * read is a stranger, nobody knows. */
static void refuse_stranger(struct fetch *f, const char *why)
{
    f->discard = f->options.kind == BELAY_KIND_GET && !f->resumed;
    if (f->local_fault != 0) {
        fetch_over(f, BELAY_DISK,
                   "cannot read it: %s; nothing was changed; --force makes "
                   "it the server's file all the same",
                   strerror(f->local_fault));
        return;
    }
    fetch_over(f, BELAY_EXISTS,
               "%s; nothing was changed; --force makes it the server's file "
               "all the same", why);
}

/* Nothing of an empty file is ever compared. */
bool place_keeps_from_empty(struct fetch *f)
{
    if (!asks_first(f) || transfer_identity(f->transfer)->size > 0) {
        return false;
    }
    refuse_stranger(f, "no chunk of it is in the server's file, which is "
                       "empty");
    return true;
}

/* Without digests every file is a stranger; true: so the fetch is over. */
bool place_keeps_unseen(struct fetch *f)
{
    if (!asks_first(f)) {
        return false;
    }
    refuse_stranger(f, "the server does not tell its digests, so it cannot "
                       "be compared");
    return true;
}

/* Chunks that an earlier run took into the copy are not counted again. */
static bool is_stranger(const struct fetch *f,
                        const struct transfer_action *action)
{
    uint64_t count = transfer_chunks(f->transfer);

    if (action->first > 0 || action->count > 0 || !asks_first(f)) {
        return false;
    }
    for (uint64_t k = 0; k < count; k++) {
        if (transfer_have(f->transfer, k)) {
            return false;
        }
    }
    return true;
}

static bool keeps_stranger(struct fetch *f, const struct transfer_action *a)
{
    if (!is_stranger(f, a)) {
        return false;
    }
    refuse_stranger(f, "no chunk of it is in the server's file, so it seems "
                       "to be another one");
    return true;
}

static void repair_told(struct fetch *f, const struct transfer_action *a)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    char bytes[32];

    place_compared(f);
    if (keeps_stranger(f, a)) {
        return;
    }
    if (f->wrong_chunks == 0 && f->local_size == id->size) {
        fetch_note(f, "all of its %" PRIu64 " chunks are right",
                   transfer_chunks(f->transfer));
        return;
    }
    belay_text_bytes(f->wrong_bytes, bytes, sizeof bytes);
    fetch_note(f, "%" PRIu64 " of %" PRIu64 " chunks are wrong or missing "
                  "(%s)%s", f->wrong_chunks, transfer_chunks(f->transfer),
               bytes, f->local_size > id->size ? ", and it is too long" : "");
}

/* A donor was compared with the digest list. */
void donor_tell(struct fetch *f, const struct transfer_action *a)
{
    uint64_t bytes = a->count << transfer_identity(f->transfer)->chunk_log2;
    char shown[32];

    if (f->donors.donor[a->conn].self) {
        repair_told(f, a);
    } else if (a->conn == 0 && keeps_stranger(f, a)) {
        return; /* of --copy, which comes before all seeds */
    } else if (a->count > 0) {
        belay_text_bytes(bytes, shown, sizeof shown);
        fetch_event(f, BELAY_EVENT_REUSED, bytes,
                    "%s are taken from a local file", shown);
    }
}

/* ---- the receipt. */

static void write_receipt(struct fetch *f, uint64_t chunks,
                          const uint8_t *digests)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    struct receipt r = {.size = id->size,
                        .chunks = chunks,
                        .chunk_log2 = id->chunk_log2,
                        .has_sha256 = f->options.have_sha256,
                        .url = f->options.url_text,
                        .name = f->options.name,
                        .name_len = strlen(f->options.name)};

    /* A pin says no more than the content id does. */
    r.url_len = strcspn(r.url, "#?");
    memcpy(r.cid, id->cid, HASH_LEN);
    memcpy(r.sha256, f->options.sha256, HASH_LEN);
    f->receipt_failed =
        receiptfile_write(f->options.receipt, &r, digests) != 0;
    f->receipt_errno = errno;
}

void fetch_write_receipt(struct fetch *f)
{
    uint64_t chunks = transfer_chunks(f->transfer);

    if (f->options.receipt != NULL) {
        write_receipt(f, chunks,
                      chunks > 0 ? transfer_digest(f->transfer, 0) : NULL);
    }
}

/* Only for what the server's content id proves. */
void fetch_receipt_of_target(struct fetch *f, int fd)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);
    uint64_t count = cid_chunk_count(id->size, id->chunk_log2);
    uint8_t (*digest)[HASH_LEN] = calloc(count + 1, HASH_LEN);
    uint8_t cid[HASH_LEN];

    if (digest != NULL && id->cid_known &&
        file_digests(fd, id->size, id->chunk_log2, digest, cid) == 0 &&
        memcmp(cid, id->cid, HASH_LEN) == 0) {
        write_receipt(f, count, digest[0]);
    } else {
        f->receipt_failed = true;
        f->receipt_errno = id->cid_known ? EIO : ENODATA;
    }
    free(digest);
}
