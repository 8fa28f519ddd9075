/* The texts of --help. */
#ifndef CLIENT_CLI_GET_HELP_H
#define CLIENT_CLI_GET_HELP_H

/* Every option of `belay get`. */
void get_help_all(void);

#endif
