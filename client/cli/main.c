/* belay: the command.  The work is in libbelay (client/belay.h). */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/config.h"
#include "client/cli/exitcode.h"
#include "client/cli/habits.h"
#include "client/cli/output.h"
#include "client/cli/usage.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* arguments and purpose, one line */
    const struct option *config; /* have defaults in a file; NULL: none */
};

static const struct command commands[] = {
    {"get", cmd_get, "[OPTION]... URL...      download files, verified",
     cmd_get_options},
    {"repair", cmd_repair, "[OPTION]... FILE URL  fetch what is wrong in FILE",
     cmd_repair_options},
    {"verify", cmd_verify, "FILE URL | FILE --receipt RECEIPT   compare only",
     cmd_verify_options},
    {"ls", cmd_ls, "[-lr] [--json] URL...      list directories",
     cmd_ls_options},
    {"cid", cmd_cid, "[--chunk-size SIZE] FILE...   print content ids",
     NULL},
    {"manifest", cmd_manifest, "create|keygen|sign|verify   signed lists of "
                               "files", NULL},
    {"trust", cmd_trust, "HOST[:PORT] sha256:HEX   record a server's key",
     cmd_trust_options},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_usage(FILE *out)
{
    for (size_t k = 0; k < COMMANDS; k++) {
        fprintf(out, "%s belay %s %s\n", k == 0 ? "Usage:" : "      ",
                commands[k].name, commands[k].help);
    }
}

/* Fits on a screen. */
static void print_help(void)
{
    print_usage(stdout);
    fputs("       belay --help [all] | --version | --exit-codes\n"
          "\n"
          "URLs are belay://HOST[:PORT]/PATH (TLS), or belay+tcp:// without "
          "encryption.\n"
          "Downloads survive broken links and are verified to the last byte.\n"
          "What was received before a break or Ctrl-C is kept in FILE.part, "
          "and the\nsame command goes on from there.\n"
          "\n"
          "Most used options of `belay get`\n"
          "  -o FILE, -d DIR      where to; -o - is standard output\n"
          "  -i LIST, -j N        many URLs; N files at once\n"
          "  --sha256 HEX         what must be in it; #bl1-CC-HEX behind a "
          "URL, too\n"
          "  --limit-rate RATE    such as 500k or 2M, bytes per second\n"
          "  --deadline S         end after S seconds, keeping what is "
          "there\n"
          "  -q, -v, --json       tell less, more, or to programs\n"
          "\n"
          "All of them: `belay COMMAND --help`, `belay --help all`, "
          "belay(1).\n", stdout);
}

/* What every command tells about itself. */
static void print_all(void)
{
    static char option[] = "--help";

    for (size_t k = 0; k < COMMANDS; k++) {
        char name[16];
        char *argv[] = {name, option, NULL};

        (void)snprintf(name, sizeof name, "%s", commands[k].name);
        printf("%s", k > 0 ? "\n" : "");
        optind = 0; /* anew; 0 also forgets where the last one was */
        (void)commands[k].run(2, argv);
    }
    fputs("\nExit codes\n", stdout);
    exit_code_print();
}

static void print_version(void)
{
    char libraries[200];

    belay_libraries(libraries, sizeof libraries);
    printf("belay %s, protocol version %u\n%s\n", belay_version(),
           belay_protocol_version(), libraries);
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

static int no_command(const char *word, const char *more)
{
    const char *what = word[0] == '-' ? "option" : "command";
    const char *hint;
    char why[100];

    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        if (more != NULL && strcmp(more, "all") == 0) {
            print_all();
        } else {
            print_help();
        }
        return EXIT_DONE;
    }
    if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0) {
        print_version();
        return EXIT_DONE;
    }
    if (strcmp(word, "--exit-codes") == 0) {
        exit_code_print();
        return EXIT_DONE;
    }
    hint = habits_command(word);
    (void)snprintf(why, sizeof why, "there is no such %s%s%s", what,
                   hint != NULL ? "; " : "", hint != NULL ? hint : "");
    return usage_wrong(what, word, why);
}

static int run_command(const struct command *command, int argc, char **argv)
{
    int result = command->config != NULL
                     ? config_apply(command->config, &argc, &argv)
                     : -1;

    if (result < 0) {
        result = command->run(argc, argv);
    }
    config_release();
    return result;
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    /* A reader who leaves is no reason to stop a download (output.h). */
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN},
                    NULL);
    if (argc < 2) {
        print_usage(stderr);
        fputs("Try 'belay --help'.\n", stderr);
        return EXIT_USAGE;
    }
    for (size_t k = 0; k < COMMANDS; k++) {
        if (strcmp(argv[1], commands[k].name) == 0) {
            return output_finish(run_command(&commands[k], argc - 1,
                                             argv + 1));
        }
    }
    return output_finish(no_command(argv[1], argv[2]));
}
