/* Haul: what became of each load, from stage to stage, and telling it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/haul_internal.h"
#include "proto/base/err.h"

/* ---- telling. */

void haul_free_load(struct load *load)
{
    haul_drop_data(load);
    free(load->path);
    free(load->name);
    free(load->target);
    free(load);
}

static void tell(struct haul *h, struct load *load,
                 const struct haul_result *base)
{
    struct haul_result result = *base;

    result.user = load->file.user;
    result.size = load->identity.size;
    result.cid_known = load->identity.cid_known;
    result.chunk_log2 = load->identity.chunk_log2;
    memcpy(result.cid, load->identity.cid, HASH_LEN);
    h->loads--;
    haul_free_load(load);
    h->observer.done(h->observer.arg, &result);
}

void haul_tell(struct haul *h, struct load *load, enum belay_reason reason,
               const char *text)
{
    struct haul_result result = {.reason = reason, .text = text};

    tell(h, load, &result);
}

void haul_tell_wanted(struct haul *h, struct load *load)
{
    uint64_t size = load->identity.size > 0 ? load->identity.size
                                            : load->file.size;
    char shown[32];
    char text[64];

    if (load->kind == LOAD_LINK) {
        haul_tell(h, load, BELAY_WOULD_FETCH, "would be made");
        return;
    }
    belay_text_bytes(size, shown, sizeof shown);
    (void)snprintf(text, sizeof text, "would be %s: %s",
                   load->taken ? "replaced" : "fetched", shown);
    haul_tell(h, load, BELAY_WOULD_FETCH, text);
}

void haul_hand(struct haul *h, struct load *load)
{
    struct haul_result result = {.handed = true, .text = ""};

    tell(h, load, &result);
}

/* Our own trouble with a target, for people. */
static void tell_local(struct haul *h, struct load *load)
{
    char text[300];

    switch (load->err) {
    case ERR_EXISTS:
        haul_tell(h, load, BELAY_EXISTS,
                  "something that may not be replaced is in its place");
        break;
    case ERR_NOT_A_DIRECTORY:
        haul_tell(h, load, BELAY_EXISTS,
                  "a file is where its directory must be");
        break;
    case ERR_DENIED:
        if (load->sys_errno == ELOOP) {
            haul_tell(h, load, BELAY_EXISTS,
                      "a symbolic link is where its directory must be");
            break;
        }
        (void)snprintf(text, sizeof text, "cannot write here: %s",
                       strerror(load->sys_errno));
        haul_tell(h, load, BELAY_DISK, text);
        break;
    case ERR_PATH:
        haul_tell(h, load, BELAY_DISK,
                  "its name is too long for this file system");
        break;
    case ERR_DIGEST:
        haul_tell(h, load, BELAY_WRONG_CONTENT,
                  "its SHA-256 is not the one asked for");
        break;
    default:
        (void)snprintf(text, sizeof text, "cannot write: %s",
                       load->err == ERR_IO ? strerror(load->sys_errno)
                                           : err_sentence(load->err));
        haul_tell(h, load, BELAY_DISK, text);
        break;
    }
}

/* Trouble that the next file would have, too. */
static bool concerns_all(int err)
{
    return err == ERR_NO_SPACE || err == ERR_LIMIT || err == ERR_NOMEM;
}

void haul_local_failed(struct haul *h, struct load *load)
{
    if (concerns_all(load->err)) {
        haul_stop(h, BELAY_DISK, "cannot write: %s%s",
                  err_sentence(load->err),
                  load->err == ERR_NO_SPACE
                      ? "; free some space, then run the same command again"
                      : "");
    }
    tell_local(h, load);
}

/* ---- stages that ended. */

/* What looking at it left open; false: it has been told. */
static bool looked_alone(struct haul *h, struct load *load)
{
    const struct haul_file *f = &load->file;

    if (h->stopping) {
        h->loads--;
        haul_free_load(load);
    } else if (load->err != 0) {
        haul_local_failed(h, load);
    } else if (load->same) {
        haul_tell(h, load, BELAY_UP_TO_DATE, "is there already");
    } else if (load->taken && !load->there && f->exists == HAUL_REFUSE) {
        haul_tell(h, load, BELAY_EXISTS, "a symbolic link is in its place");
    } else if (load->taken && f->exists == HAUL_KEEP) {
        haul_tell(h, load, BELAY_SKIPPED, "exists, and is left alone");
    } else {
        return true;
    }
    return false;
}

/* Is the file that is replaced likely to hold much of the new one? */
static bool has_donor(const struct load *load, uint64_t size)
{
    return load->file.exists == HAUL_REPLACE && load->there &&
           load->there_size >= HAUL_DONOR_MIN && size >= HAUL_DONOR_MIN;
}

void haul_looked(struct haul *h, struct load *load)
{
    struct haul_file *f = &load->file;
    struct bulk_file ask = {
        .path = load->path,
        .path_len = f->path_len,
        .size_known = f->known,
        .size = f->size,
        .probe = load->there && (!f->known || f->check ||
                                 f->exists == HAUL_REFUSE),
        .pinned = f->pinned,
        .pin_log2 = f->pin_log2,
    };

    if (!looked_alone(h, load)) {
        return;
    }
    if (h->options.dry_run && !ask.probe) {
        haul_tell_wanted(h, load);
        return;
    }
    if (!ask.probe && f->known && has_donor(load, f->size)) {
        haul_hand(h, load);
        return;
    }
    memcpy(ask.pin_cid, f->pin_cid, HASH_LEN);
    if (bulk_add(h->bulk, &ask, &load->item) != 0) {
        BELAY_UNREACHABLE(); /* it takes as many as there are loads */
    }
    h->by_item[load->item] = load;
}

void haul_compared(struct haul *h, struct load *load)
{
    bool fetch = !load->same && load->file.exists == HAUL_REPLACE &&
                 !h->options.dry_run;

    load->hand = fetch && has_donor(load, load->identity.size);
    fetch = fetch && !load->hand;
    bulk_judge(h->bulk, load->item, fetch, loop_now_ms(h->loop));
}

/* INFO of a file whose target is there: is it the same? */
void haul_judge(struct haul *h, struct load *load)
{
    const struct haul_file *f = &load->file;
    const struct transfer_identity *id = bulk_identity(h->bulk, load->item);
    bool demanding = f->check || f->pinned || f->have_sha256;

    load->identity = *id;
    load->same = !demanding && id->size == load->there_size &&
                 id->mtime_s == load->there_mtime.tv_sec &&
                 (long)id->mtime_ns == load->there_mtime.tv_nsec;
    if (!load->same && id->size == load->there_size &&
        (id->cid_known || f->have_sha256) &&
        id->size <= HAUL_SMALL_MAX) {
        haul_push(&h->comparing, load);
        return;
    }
    if (!load->same && id->size > HAUL_SMALL_MAX) {
        bulk_judge(h->bulk, load->item, true, loop_now_ms(h->loop));
        return; /* BULK_HANDED: who fetches it alone compares it */
    }
    haul_compared(h, load);
}

void haul_written(struct haul *h, struct load *load)
{
    if (load->stored == BULK_STORED) {
        haul_drop_data(load);
        haul_push(&h->settling, load);
        return;
    }
    /* The machine says what follows: BULK_ITEM, or asking again. */
    haul_drop_data(load);
    load->attempt = 0;
    bulk_stored(h->bulk, load->item, load->stored, loop_now_ms(h->loop));
}

void haul_settled(struct haul *h, struct load *load)
{
    if (load->kind == LOAD_FILE) {
        bulk_stored(h->bulk, load->item,
                    load->err == 0 ? BULK_STORED : BULK_LOCAL,
                    loop_now_ms(h->loop));
        /* Told now: after an interrupt the machine is not asked any more. */
        h->by_item[load->item] = NULL;
    }
    if (load->kind == LOAD_LINK && load->err == ERR_EXISTS &&
        load->file.exists == HAUL_KEEP) {
        haul_tell(h, load, BELAY_SKIPPED, "exists, and is left alone");
        return;
    }
    if (load->err != 0) {
        haul_local_failed(h, load);
        return;
    }
    if (load->kind == LOAD_FILE) {
        h->files++;
        h->bytes += load->identity.size;
    }
    haul_tell(h, load, BELAY_DONE, "");
}
