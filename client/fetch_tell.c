/* Fetch: what the transfer has to tell, in words. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/fetch_internal.h"

static void tell_reused(struct fetch *f, uint64_t chunks)
{
    uint64_t bytes = chunks << transfer_identity(f->transfer)->chunk_log2;
    char shown[32];

    if (chunks == 0) {
        fetch_event(f, BELAY_EVENT_REUSED, 0,
                    "nothing that was received is in the new version");
        return;
    }
    belay_text_bytes(bytes, shown, sizeof shown);
    fetch_event(f, BELAY_EVENT_REUSED, bytes,
                "%s that were received are also in the new version and are "
                "kept", shown);
}

void fetch_source_name(const struct fetch *f, unsigned source, char *out,
                       size_t cap)
{
    const struct uri *uri = fetch_source_uri(f, source);

    (void)snprintf(out, cap, "%s:%u", uri->host, (unsigned)uri->port);
}

void fetch_tell(struct fetch *f, const struct transfer_action *a)
{
    const char *detail = transfer_detail(f->transfer);
    char text[300];

    switch (a->note) {
    case TRANSFER_NOTE_CHANGED:
        fetch_event(f, BELAY_EVENT_CHANGED, 0,
                    "the file on the server changed; comparing, so that no "
                    "two versions are mixed");
        break;
    case TRANSFER_NOTE_REUSED:
        tell_reused(f, a->count);
        break;
    case TRANSFER_NOTE_ASIDE:
        fetch_source_name(f, a->conn, text, sizeof text);
        fetch_note(f, "%s is not asked any more: %s", text, detail);
        break;
    case TRANSFER_NOTE_SLOW:
        fetch_source_name(f, a->conn, text, sizeof text);
        fetch_note(f, "%s is left for a while: it is too slow", text);
        break;
    case TRANSFER_NOTE_DONOR:
        donor_tell(f, a);
        break;
    case TRANSFER_NOTE_NO_LIST:
        if (place_keeps_unseen(f)) {
            break;
        }
        fetch_note(f, "the server does not tell its digests; the whole file "
                      "is fetched");
        break;
    case TRANSFER_NOTE_SHRUNK:
        fetch_note(f, "the link breaks or damages much: chunks are now "
                      "%" PRIu64 " KiB, so that it costs less",
                   ((uint64_t)1 << a->count) / 1024);
        break;
    case TRANSFER_NOTE_BAD_CHUNK:
        fetch_event(f, BELAY_EVENT_DAMAGED, a->first,
                    "chunk %" PRIu64 " arrived damaged (time %" PRIu64
                    "); it is fetched again", a->first, a->count);
        break;
    case TRANSFER_NOTE_LOST:
        fetch_event(f, BELAY_EVENT_RESET, a->conn + 1,
                    "connection %u lost: %s", a->conn + 1, detail);
        break;
    case TRANSFER_NOTE_WAIT:
        fetch_event(f, BELAY_EVENT_STALL, a->count,
                    "no connection; next try in %.1f s, everything received "
                    "is kept", (double)a->count / 1000);
        break;
    case TRANSFER_NOTE_BACK:
        fetch_event(f, BELAY_EVENT_BACK, 0, "connected again");
        break;
    case TRANSFER_NOTE_HINTS_BAD:
        fetch_note(f, "%" PRIu64 " chunks in the partial file were not as "
                      "recorded and are fetched again", a->count);
        break;
    case TRANSFER_NOTE_RECHECK:
        fetch_raise(f, BELAY_EVENT_NOTE, 0, true,
                    "comparing with the server's complete digest list");
        break;
    case TRANSFER_NOTE_SERVER:
        fetch_note(f, "the server says: %s", detail);
        break;
    }
}

enum belay_reason fetch_reason(enum transfer_reason reason)
{
    switch (reason) {
    case TRANSFER_REFUSED:
    case TRANSFER_NOT_A_FILE:
    case TRANSFER_NOT_A_DIRECTORY:
        return BELAY_REFUSED;
    case TRANSFER_ACCESS:
        return BELAY_ACCESS;
    case TRANSFER_DISTRUSTED:
        return BELAY_WRONG_HOST;
    case TRANSFER_UNREACHABLE:
        return BELAY_UNREACHABLE;
    case TRANSFER_SERVER:
        return BELAY_SERVER;
    case TRANSFER_NOT_BELAY:
    case TRANSFER_VERSION:
    case TRANSFER_PROTOCOL:
        return BELAY_NOT_BELAY;
    case TRANSFER_WRONG_CONTENT:
        return BELAY_WRONG_CONTENT;
    case TRANSFER_CHANGED:
        return BELAY_CHANGED;
    case TRANSFER_TOO_LARGE:
        return BELAY_LIMIT;
    case TRANSFER_UNREADABLE:
        return BELAY_DISK;
    case TRANSFER_NOMEM:
    case TRANSFER_OK:
        break;
    }
    return BELAY_INTERNAL;
}

void fetch_failed(struct fetch *f, enum transfer_reason reason)
{
    const char *detail = transfer_detail(f->transfer);

    if (reason == TRANSFER_CHANGED && f->stream != NULL) {
        fetch_over(f, BELAY_CHANGED,
                   "the file on the server changed; what was written out is "
                   "part of the earlier version");
    } else if (reason == TRANSFER_CHANGED) {
        fetch_over(f, BELAY_CHANGED,
                   "the file on the server changed, and --if-changed=stop "
                   "was said; the part of the earlier version is kept");
    } else if (reason == TRANSFER_NOT_A_FILE) {
        fetch_over(f, BELAY_REFUSED, "%s; -r is for directories", detail);
    } else if (reason == TRANSFER_UNREADABLE && f->local_fault != 0) {
        fetch_over(f, BELAY_DISK, "%s: %s; what is there is kept", detail,
                   strerror(f->local_fault));
    } else {
        fetch_over(f, fetch_reason(reason), "%s", detail);
    }
}

/* Compared only: that is all. */
void fetch_compared(struct fetch *f)
{
    const struct transfer_identity *id = transfer_identity(f->transfer);

    place_compared(f);
    if (f->wrong_chunks > 0) {
        fetch_over(f, BELAY_DIFFERS,
                   "%" PRIu64 " of %" PRIu64 " chunks are wrong or missing%s; "
                   "belay repair makes it right",
                   f->wrong_chunks, transfer_chunks(f->transfer),
                   f->local_size > id->size ? ", and it is too long" : "");
    } else if (f->local_size != id->size) {
        fetch_over(f, BELAY_DIFFERS, "%" PRIu64 " bytes are too many at its "
                                     "end; the rest is right",
                   f->local_size - id->size);
    } else {
        fetch_over(f, BELAY_DONE, "verified");
    }
}
