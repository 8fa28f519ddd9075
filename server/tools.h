/* What belayd does besides serving: `init` and `token`. */
#ifndef SERVER_TOOLS_H
#define SERVER_TOOLS_H

#include <stdbool.h>

bool tools_know(const char *word);

/* argv[0] is the word. Returns the exit status: 0, 1, or 2 for wrong use. */
int tools_run(int argc, char *argv[]);

#endif
