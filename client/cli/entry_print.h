/* One entry of a listing as a line for people, or as a JSON object of one line.
 *
 * Everything in an entry comes from a server: what is printed holds no byte
 * that a terminal acts on, but the line's end. Any thread. */
#ifndef CLIENT_CLI_ENTRY_PRINT_H
#define CLIENT_CLI_ENTRY_PRINT_H

#include <stdbool.h>
#include <stdio.h>

#include "client/belay.h"

/* False: `to` takes no more. `details`: mode, size, time and link target;
 * `cid`: the content id, or "-". */
bool entry_print_line(FILE *to, bool details, bool cid,
                      const struct belay_entry *e);

/* False: `to` takes no more, or memory is out. */
bool entry_print_json(FILE *to, const struct belay_entry *e);

#endif
