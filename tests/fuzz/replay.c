/* Replays inputs without libFuzzer: any compiler, every normal run.
 *
 * usage: replay FILE...
 *
 * Each file holds one input a line in hexadecimal; `#` begins a comment. A
 * file that does not exist is an error: a corpus that got lost must not look
 * like one that passed. */

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/data/cid.h"
#include "tests/fuzz/fuzz.h"

static const char *current_file = "";
static unsigned long current_line;

/* The failing input is named before the program ends. */
static void on_fault(int number)
{
    char text[600];
    int len = snprintf(text, sizeof text, "%s:%lu: failed\n", current_file,
                       current_line);
    if (len > 0) {
        ssize_t n = write(STDERR_FILENO, text, (size_t)len);
        (void)n;
    }
    signal(number, SIG_DFL);
    raise(number);
}

static int replay_line(char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == ' ')) {
        line[--len] = '\0';
    }
    if (line[0] == '#') {
        return -1;
    }
    /* Of exactly the length, so that a sanitizer sees an overrun. */
    uint8_t *input = malloc(len > 1 ? len / 2 : 1);
    if (input == NULL || len % 2 != 0 ||
        cid_hex_decode(line, len / 2, input) != 0) {
        free(input);
        return 1;
    }
    LLVMFuzzerTestOneInput(input, len / 2);
    free(input);
    return 0;
}

static bool replay_file(const char *name, unsigned long *count)
{
    FILE *file = fopen(name, "r");
    if (file == NULL) {
        perror(name);
        return false;
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    bool ok = true;
    current_file = name;
    current_line = 0;
    while (ok && (len = getline(&line, &room, file)) >= 0) {
        current_line++;
        int result = replay_line(line, (size_t)len);
        ok = result <= 0;
        *count += result == 0;
    }
    if (!ok) {
        fprintf(stderr, "%s:%lu: not hexadecimal\n", name, current_line);
    }
    free(line);
    fclose(file);
    return ok;
}

int main(int argc, char **argv)
{
    unsigned long count = 0;

    signal(SIGABRT, on_fault);
    signal(SIGSEGV, on_fault);
    for (int i = 1; i < argc; i++) {
        if (!replay_file(argv[i], &count)) {
            return 1;
        }
    }
    printf("%lu inputs\n", count);
    return count > 0 ? 0 : 1;
}
