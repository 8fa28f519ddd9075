/* belay: the command.  The work is in libbelay (client/belay.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/config.h"
#include "client/cli/exitcode.h"
#include "client/cli/get_help.h"
#include "client/cli/usage.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* arguments and purpose, one line */
    bool config;      /* its options have defaults in a file */
};

static const struct command commands[] = {
    {"get", cmd_get, "[OPTION]... URL...      download files, verified",
     true},
    {"repair", cmd_repair, "[OPTION]... FILE URL  fetch what is wrong in FILE",
     false},
    {"verify", cmd_verify, "FILE URL | FILE --receipt RECEIPT   compare only",
     false},
    {"cid", cmd_cid, "[--chunk-size SIZE] FILE...   print content ids",
     false},
    {"manifest", cmd_manifest, "create|keygen|sign|verify   signed lists of "
                               "files", false},
    {"trust", cmd_trust, "HOST[:PORT] sha256:HEX   record a server's key",
     false},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_usage(FILE *out)
{
    for (size_t k = 0; k < COMMANDS; k++) {
        fprintf(out, "%s belay %s %s\n", k == 0 ? "Usage:" : "      ",
                commands[k].name, commands[k].help);
    }
}

static void print_help(void)
{
    print_usage(stdout);
    fputs("       belay --exit-codes | --help | --version\n"
          "\n"
          "URLs are belay://HOST[:PORT]/PATH (TLS) or belay+tcp://HOST[:PORT]"
          "/PATH\n"
          "(plain TCP, only when asked for); #bl1-CC-HEX behind one pins "
          "its\n"
          "content.  What was received before a break or Ctrl-C is kept in\n"
          "FILE.part, and the same command goes on from there.\n"
          "\n"
          , stdout);
    get_help_all();
}

/* A standard descriptor that is closed would be given to the next socket or
 * file, and messages and data would end up there.  Output to it still fails:
 * what stands in for standard output cannot be written. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null",
                 fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            _exit(EXIT_FAULT);
        }
    }
}

static int flush_output(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "belay: cannot write the output: %s\n",
                strerror(errno));
        return EXIT_DISK;
    }
    return code;
}

static int no_command(const char *word)
{
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        print_help();
        return EXIT_DONE;
    }
    if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0) {
        printf("belay %s, protocol version %u\n", belay_version(),
               belay_protocol_version());
        return EXIT_DONE;
    }
    if (strcmp(word, "--exit-codes") == 0) {
        exit_code_print();
        return EXIT_DONE;
    }
    return usage_wrong(word[0] == '-' ? "option" : "unknown command", word,
                       word[0] == '-' ? "there is no such option"
                                      : "'belay --help' lists them");
}

static int run_command(const struct command *command, int argc, char **argv)
{
    int result = command->config ? config_apply(&argc, &argv) : -1;

    return result >= 0 ? result : command->run(argc, argv);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    if (argc < 2) {
        print_usage(stderr);
        fputs("Try 'belay --help'.\n", stderr);
        return EXIT_USAGE;
    }
    for (size_t k = 0; k < COMMANDS; k++) {
        if (strcmp(argv[1], commands[k].name) == 0) {
            return flush_output(run_command(&commands[k], argc - 1,
                                            argv + 1));
        }
    }
    return flush_output(no_command(argv[1]));
}
