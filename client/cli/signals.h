/* Signals of a run: INT, TERM and HUP end it, keeping everything; a second
 * one ends the process at once.  USR1 asks for a status.  Signals that were
 * ignored at the start stay so, as nohup means it.  PIPE and XFSZ are ignored:
 * the write that meets them fails. */
#ifndef CLIENT_CLI_SIGNALS_H
#define CLIENT_CLI_SIGNALS_H

#include "client/belay.h"

void signals_catch(struct belay_engine *engine);
/* Before the engine goes. */
void signals_release(void);
/* The signal that ended the run, or 0. */
int signals_seen(void);

#endif
