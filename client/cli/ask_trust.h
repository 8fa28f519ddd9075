/* Asking the person at the terminal about a server that is not known. */
#ifndef CLIENT_CLI_ASK_TRUST_H
#define CLIENT_CLI_ASK_TRUST_H

#include <stdbool.h>

#include "client/cli/security_options.h"

/* What was answered, so that nobody is asked twice about the same. */
struct ask_trust {
    bool refused;
    char host[300]; /* accepted last, "" before */
    char pin[BELAY_PIN_SIZE];
};

/* Is there somebody to ask, and may he decide? */
bool ask_trust_possible(const struct ask_trust *ask,
                        const struct security_options *security);

/* Shows the key of the server of `url`; after a yes it is recorded. False
 * after anything but a whole "yes", or when it cannot be recorded. */
bool ask_trust(struct ask_trust *ask, const char *url, const char *pin,
               const struct security_options *security);

#endif
