/* Options that say whom to trust: --key, --origin, --no-state. */
#ifndef CLIENT_CLI_TRUST_H
#define CLIENT_CLI_TRUST_H

#include "client/belay.h"

#define TRUST_KEYS_MAX 16

/* Zeroed by the caller; `trust` gets origin and no_state from it. */
struct trust_options {
    struct belay_trust trust;
    const char *keys[TRUST_KEYS_MAX];
};

/* Adds what was given with --key; borrowed.  -1 to go on, else the exit
 * code. */
int trust_add_key(struct trust_options *options, const char *key);

/* For the library; borrowed from the options. */
const struct belay_trust *trust_of(struct trust_options *options);

#endif
