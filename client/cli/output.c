#include "client/cli/output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/exitcode.h"

int output_failed(int error)
{
    clearerr(stdout); /* it is told once */
    if (error == EPIPE) {
        return EXIT_PIPE;
    }
    fprintf(stderr, "belay: cannot write the output: %s\n", strerror(error));
    return EXIT_DISK;
}

int output_finish(int code)
{
    int error = fflush(stdout) != 0 ? errno : ferror(stdout) ? EIO : 0;

    if (error != 0) {
        int result = output_failed(error);

        return code == EXIT_DONE ? result : code;
    }
    return code;
}
