/* Output: the end of standard output.  Who reads a pipe may leave when it has
 * seen enough, as head does: nobody is told then, and the exit code is that of
 * SIGPIPE, as of any program in a pipe. */
#ifndef CLIENT_CLI_OUTPUT_H
#define CLIENT_CLI_OUTPUT_H

/* Standard output takes no more, for `error` of errno; one line tells why,
 * unless its reader has left.  Returns the exit code. */
int output_failed(int error);
/* What is left in the buffer goes out, at the end of a command that ended
 * with `code`.  Returns the exit code: another one only instead of
 * EXIT_DONE. */
int output_finish(int code);

#endif
