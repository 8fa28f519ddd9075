/* Vault: the operator's certificate, key, authorities, tokens and rules as
 * texts in memory, read by the parent process and seen by its workers.
 *
 * The parent reads the files, at the start and at each reload, checks them
 * together, and publishes them only if all are good. Workers, which may open
 * no such file, read what was published last. They cannot write to it: their
 * mapping is of a sealed memory file, and that of the parent is not theirs.
 *
 * One thread in each process. */
#ifndef SERVER_VAULT_H
#define SERVER_VAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "server/gate.h"

struct settings;
struct vault;

/* Before workers are started. ERR_IO, ERR_NOMEM. */
MUST_USE int vault_new(struct vault **out);
/* NULL is allowed. */
void vault_free(struct vault *vault);

/* Reads the files that the settings name. On error, with a sentence in why,
 * what was published before stays. */
MUST_USE int vault_load(struct vault *vault, const struct settings *settings,
                        char why[GATE_WHY_MAX]);

/* Was anything published since the last vault_gate()? */
bool vault_changed(const struct vault *vault);

/* A gate from what was published last. *admission (may be NULL) is set when
 * tokens, authorities or rules differ from those of the call before, rather
 * than only the certificate: then nobody who came in by the old ones may stay.
 * ERR_NOMEM and others, with a sentence. */
MUST_USE int vault_gate(struct vault *vault, struct gate **out,
                        bool *admission, char why[GATE_WHY_MAX]);

#endif
