/* Transfer: what the server says about the file (INFO). */
#include <inttypes.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/session/transfer_internal.h"

/* Rule N2, first part: is the answer one to our question at all? */
static bool info_fits(struct transfer *t, unsigned i,
                      const struct msg_info *info)
{
    uint8_t asked = t->grid.state != NULL ? t->grid.log2
                                          : t->config.want_chunk_log2;

    if (info->file_type != FILE_REGULAR) {
        mirror_fail(t, i, TRANSFER_NOT_A_FILE, "%s",
                    info->file_type == FILE_DIRECTORY
                        ? "it is a directory, not a file"
                        : "it is not a regular file");
        return false;
    }
    if ((asked != 0 && info->chunk_log2 != asked) ||
        info->chunk_log2 > t->config.max_chunk_log2) {
        conn_give_up(t, i, "the server's INFO is not what was asked for",
                     false);
        t->protocol_errors++;
        if (t->protocol_errors > 1) {
            mirror_fail(t, i, TRANSFER_PROTOCOL,
                        "the server's INFO is not what was asked for");
        }
        return false;
    }
    if ((t->config.max_size > 0 && info->size > t->config.max_size) ||
        cid_chunk_count(info->size, info->chunk_log2) >
            TRANSFER_CHUNKS_MAX) {
        mirror_fail(t, i, TRANSFER_TOO_LARGE,
                    "the file has %" PRIu64 " bytes, which is more than %s",
                    info->size,
                    t->config.max_size > 0 &&
                            info->size > t->config.max_size
                        ? "--max-size allows"
                        : "this program handles");
        return false;
    }
    return true;
}

/* The second line of defence (N2): compare INFO with what we expect. */
static bool info_same(const struct transfer *t, unsigned i,
                      const struct msg_info *info)
{
    const struct transfer_identity *id = &t->identity;

    if (info->size != id->size) {
        return false;
    }
    if (id->cid_known && info->cid.len != 0) {
        return memcmp(id->cid, info->cid.ptr, HASH_LEN) == 0;
    }
    if (mirror_many(t) && t->expect != NULL && t->expect_final &&
        mirror_version(t, i) == NULL) {
        return true; /* each of its chunks has to prove it */
    }
    return mirror_same_version(t, i, &info->version);
}

/* Another server, and neither it nor we know the content id: which content
 * it has shows when the digest list is there.  Until then it waits, unless
 * it is the only one. */
static bool info_waits(struct transfer *t, unsigned i,
                       const struct msg_info *info)
{
    if (!mirror_many(t) || t->conn[i].source == t->home ||
        info->size != t->identity.size || t->expect != NULL ||
        (t->identity.cid_known && info->cid.len != 0) ||
        mirror_version(t, i) != NULL) {
        return false;
    }
    if (mirror_home_up(t)) {
        conn_give_up(t, i, "its content is not known yet", true);
    } else {
        change_begin(t, i, "another server answers");
    }
    return true;
}

/* The server still has the version we know. */
static void info_confirm(struct transfer *t, unsigned i,
                         const struct msg_info *info)
{
    struct transfer_identity *id = &t->identity;
    bool strong = (info->info_flags & INFO_VERSION_STRONG) != 0;

    if (info->cid.len != 0 && !id->cid_known) {
        id->cid_known = true;
        memcpy(id->cid, info->cid.ptr, HASH_LEN);
        t->need_identity = true;
    }
    t->cid_recorded &= info->cid.len == 0;
    if (mirror_prove(t, i, info) &&
        (id->version_len != info->version.len ||
         memcmp(id->version, info->version.ptr, info->version.len) != 0)) {
        /* Touched, or another server: same CID, so the same bytes. */
        id->version_len = (uint8_t)info->version.len;
        memcpy(id->version, info->version.ptr, info->version.len);
        id->mtime_s = info->mtime_s;
        id->mtime_ns = info->mtime_ns;
        t->need_identity = true;
    }
    if (!strong) {
        t->any_weak = true;
        t->need_identity |= id->strong;
        id->strong = false;
    }
    t->confirmed = true;
}

static bool info_first(struct transfer *t, unsigned i,
                       const struct msg_info *info)
{
    int err = grid_init(&t->grid, info->size, info->chunk_log2);

    if (err != 0) {
        transfer_fail(t, TRANSFER_NOMEM, "%s", err_sentence(err));
        return false;
    }
    identity_adopt(t, info);
    mirror_adopt(t, i);
    (void)mirror_prove(t, i, info);
    t->confirmed = true;
    t->need_begin = true;
    t->ledger.size = info->size;
    t->phase = PHASE_FETCH;
    t->sample_at = t->now;
    t->sample_wire = t->ledger.wire;
    claim_bind_first(t, i);
    list_ask_first(t);
    return true;
}

static bool pin_contradicted(struct transfer *t, unsigned i,
                             const struct msg_info *info)
{
    if (!t->config.pinned || info->cid.len == 0 ||
        info->chunk_log2 != t->config.pin_log2 ||
        memcmp(info->cid.ptr, t->config.pin_cid, HASH_LEN) == 0) {
        return false;
    }
    mirror_fail(t, i, TRANSFER_WRONG_CONTENT,
                "the server's file is not the pinned content");
    return true;
}

void info_arrived(struct transfer *t, unsigned i,
                  const struct receiver_event *event)
{
    struct conn *c = &t->conn[i];
    const struct msg_info *info = &event->info;

    if (event->request != c->open_request) {
        return; /* an OPEN that was given up meanwhile */
    }
    c->open_request = 0;
    c->handle_open = true;
    c->strong = (info->info_flags & INFO_VERSION_STRONG) != 0;
    if (!info_fits(t, i, info) || pin_contradicted(t, i, info)) {
        return;
    }
    mirror_answered(t, i);
    if (t->phase == PHASE_CHANGED || t->phase == PHASE_COMPARE) {
        change_info(t, i, info);
        return;
    }
    if (t->phase == PHASE_NEW) {
        if (!info_first(t, i, info)) {
            return;
        }
        if (t->config.probe) {
            t->phase = PHASE_OVER;
            t->fail_told = true;
            return;
        }
    } else if (info_waits(t, i, info)) {
        return;
    } else if (!info_same(t, i, info)) {
        mirror_differs(t, i, "the file on the server is another version");
        return;
    } else {
        info_confirm(t, i, info);
        check_looked_info(t, c->open_arrivals);
    }
    c->bound = true;
    conn_goal_update(t);
    mirror_pump(t);
    list_pump(t);
    claim_fill(t, i);
}
