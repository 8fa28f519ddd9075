#include "proto/session/transfer_record.h"

#include <string.h>

void transfer_record(const struct transfer_identity *id,
                     struct journal_identity *out)
{
    memset(out, 0, sizeof *out);
    out->size = id->size;
    out->chunk_log2 = id->chunk_log2;
    out->version_len = id->version_len;
    out->version_strong = id->strong;
    memcpy(out->version, id->version, id->version_len);
    out->cid_known = id->cid_known;
    memcpy(out->cid, id->cid, HASH_LEN);
    out->mtime_known = true;
    out->mtime_s = id->mtime_s;
    out->mtime_ns = id->mtime_ns;
    out->mode = id->mode & 0777;
}

void transfer_recorded(const struct journal_identity *j,
                       struct transfer_identity *out)
{
    memset(out, 0, sizeof *out);
    out->size = j->size;
    out->chunk_log2 = j->chunk_log2;
    out->version_len = j->version_len;
    out->strong = j->version_strong;
    memcpy(out->version, j->version, j->version_len);
    out->cid_known = j->cid_known;
    memcpy(out->cid, j->cid, HASH_LEN);
    out->mtime_s = j->mtime_s;
    out->mtime_ns = j->mtime_ns;
    out->mode = j->mode;
}
