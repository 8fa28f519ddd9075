/* The identity of a transfer as the journal beside a partial file records it
 * (proto/data/journal.h), and back.  Any thread. */
#ifndef PROTO_SESSION_TRANSFER_RECORD_H
#define PROTO_SESSION_TRANSFER_RECORD_H

#include "proto/data/journal.h"
#include "proto/session/transfer.h"

/* Fills in all of `out`; its URL is empty.  The result may be out of the
 * journal's bounds: see journal_identity_valid(). */
void transfer_record(const struct transfer_identity *id,
                     struct journal_identity *out);

/* What transfer_resume() takes. */
void transfer_recorded(const struct journal_identity *j,
                       struct transfer_identity *out);

#endif
