/* belay: the command.  One file after the other; the work is in fetch.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/filecid.h"
#include "client/options.h"
#include "client/progress.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"

#define BAR_MS 200u
/* In logs one line in so many milliseconds: alive, but no flood. */
#define PLAIN_MS 30000u
/* Hashing and writing on all cores, and one thread for slow syncs. */
#define WORKERS_MIN 4u
/* The loop, the files, the directory, and one connection. */
#define DESCRIPTORS_MIN 12u

struct app {
    struct loop *loop;
    const struct options *options;
    struct loop_timer *timer;
    struct loop_signal *signals[4];
    struct fetch *fetch;
    struct progress progress;
    bool bar;
    bool plain;
    bool drawn;       /* the cursor stands behind a bar */
    int signum;       /* the signal that ended us, or 0 */
    const char *shown; /* name of the current file, printable */
    enum fetch_end end;
    bool ended;
    bool lingers;     /* a name look-up goes on that nobody waits for */
};

/* ---- terminal. */

static unsigned columns(void)
{
    struct winsize size;
    const char *text = getenv("COLUMNS");
    unsigned long given = text != NULL ? strtoul(text, NULL, 10) : 0;

    if (given > 20 && given < 10000) {
        return (unsigned)given;
    }
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) {
        return size.ws_col;
    }
    return 80;
}

static void wipe(struct app *app)
{
    if (app->drawn) {
        fputs("\r\033[K", stderr);
        app->drawn = false;
    }
}

static void draw(struct app *app)
{
    struct fetch_stats stats;
    char line[PROGRESS_TEXT];

    if (app->fetch == NULL || app->ended) {
        return;
    }
    fetch_stats(app->fetch, &stats);
    progress_sample(&app->progress, &stats);
    if (app->bar) {
        progress_bar(&app->progress, &stats, columns() - 1, line);
        fprintf(stderr, "\r\033[K%s", line);
        app->drawn = true;
    } else if (app->plain) {
        progress_plain(&app->progress, &stats, line);
        fprintf(stderr, "belay: %s: %s\n", app->shown, line);
    }
}

static void on_timer(void *arg)
{
    struct app *app = arg;

    draw(app);
    loop_timer_start(app->timer, app->bar ? BAR_MS : PLAIN_MS);
}

static void on_note(void *arg, bool detail, const char *text)
{
    struct app *app = arg;

    if (app->options->quiet || (detail && app->options->verbose == 0)) {
        return;
    }
    wipe(app);
    fprintf(stderr, "belay: %s: %s\n", app->shown, text);
}

/* ---- the end of one file. */

static void tell_success(struct app *app, const char *text)
{
    struct fetch_stats stats;
    char size[32], rate[32], line[PROGRESS_TEXT];
    char cid[CID_TEXT_LEN + 1] = "";

    fetch_stats(app->fetch, &stats);
    if (app->end != FETCH_OK) {
        fprintf(stderr, "belay: %s: %s\n", app->shown, text);
        return;
    }
    progress_bytes(stats.ledger.size, size, sizeof size);
    progress_bytes(stats.elapsed_ms == 0
                       ? stats.ledger.fresh
                       : stats.ledger.fresh * 1000 / stats.elapsed_ms,
                   rate, sizeof rate);
    if (stats.cid_known) {
        cid_encode(stats.chunk_log2, stats.cid, cid);
    }
    if (stats.ledger.losses > 0) {
        (void)snprintf(line, sizeof line, ", %u break%s",
                       stats.ledger.losses,
                       stats.ledger.losses == 1 ? "" : "s");
    } else {
        line[0] = '\0';
    }
    fprintf(stderr, "belay: %s: %s verified in %.1f s (%s/s)%s%s%s\n",
            app->shown, size, (double)stats.elapsed_ms / 1000, rate, line,
            cid[0] != '\0' ? ", " : "", cid);
    if (app->options->verbose > 0 || stats.ledger.losses > 0) {
        progress_ledger(&stats, line);
        fprintf(stderr, "belay: %s: %s\n", app->shown, line);
    }
}

/* Behind a failure that a rerun may heal: what is there already. */
static void tell_failure(struct app *app, const char *text)
{
    struct fetch_stats stats;
    char have[32], size[32];
    char kept[128] = "";
    bool rerun = app->end == FETCH_INTERRUPTED || app->end == FETCH_LIMIT ||
                 app->end == FETCH_UNREACHABLE || app->end == FETCH_SERVER ||
                 app->end == FETCH_NOT_BELAY || app->end == FETCH_ACCESS;

    fetch_stats(app->fetch, &stats);
    if (rerun && stats.partial && stats.ledger.have > 0) {
        progress_bytes(stats.ledger.have, have, sizeof have);
        progress_bytes(stats.ledger.size, size, sizeof size);
        (void)snprintf(kept, sizeof kept, "; %s of %s are kept, the same "
                       "command goes on from there", have, size);
    } else if (rerun && stats.partial) {
        (void)snprintf(kept, sizeof kept, "; the partial file is kept, the "
                       "same command goes on from there");
    }
    fprintf(stderr, "belay: %s: %s%s\n", app->shown, text, kept);
}

static void on_end(void *arg, enum fetch_end end, const char *text)
{
    struct app *app = arg;
    enum exit_code code = exit_code_of(end);

    wipe(app);
    app->ended = true;
    app->end = end;
    if (code != EXIT_DONE) {
        tell_failure(app, text);
    } else if (!app->options->quiet) {
        tell_success(app, text);
    }
    loop_stop(app->loop);
}

/* ---- one file. */

/* Split -o into directory and name; the directory of -d comes before it. */
static bool target_of(const struct options *o, const struct uri *uri,
                      char *dir, size_t cap, const char **name)
{
    const char *output = o->output;
    const char *slash;
    int len;

    if (output != NULL && strcmp(output, "-") == 0) {
        *name = NULL;
        return true;
    }
    if (output == NULL) {
        *name = uri_basename(uri);
        if (*name == NULL) {
            fprintf(stderr, "belay: the URL names no file\n");
            return false;
        }
        output = *name;
    }
    slash = strrchr(output, '/');
    *name = slash == NULL ? output : slash + 1;
    if (**name == '\0') {
        fprintf(stderr, "belay: -o %s: it names a directory; use -d for "
                        "that\n", output);
        return false;
    }
    len = snprintf(dir, cap, "%s%s%.*s", o->dir != NULL ? o->dir : "",
                   o->dir != NULL && slash != NULL && output[0] != '/' ? "/"
                                                                       : "",
                   slash == NULL ? 0 : (int)(slash - output), output);
    if (output[0] == '/') {
        len = snprintf(dir, cap, "%.*s",
                       slash == output ? 1 : (int)(slash - output), output);
    }
    if (len == 0) {
        (void)snprintf(dir, cap, ".");
    }
    return len >= 0 && (size_t)len < cap;
}

static int exit_code_now(const struct app *app, enum exit_code code)
{
    return app->signum != 0 ? EXIT_SIGNAL + app->signum : (int)code;
}

static enum exit_code run_fetch(struct app *app, struct fetch_options *options)
{
    struct fetch_observer observer = {on_note, on_end, app};

    memset(&app->progress, 0, sizeof app->progress);
    app->ended = false;
    if (fetch_start(app->loop, options, &observer, &app->fetch) != 0) {
        fprintf(stderr, "belay: out of memory\n");
        return EXIT_FAULT;
    }
    if (app->bar || app->plain) {
        loop_timer_start(app->timer, app->bar ? BAR_MS : PLAIN_MS);
    }
    while (!app->ended) {
        loop_run(app->loop);
    }
    loop_timer_stop(app->timer);
    if (fetch_stuck(app->fetch)) {
        _exit(exit_code_now(app, exit_code_of(app->end)));
    }
    app->lingers = app->lingers || fetch_lingers(app->fetch);
    fetch_free(app->fetch);
    app->fetch = NULL;
    return exit_code_of(app->end);
}

static enum exit_code get_one(struct app *app, const char *url)
{
    struct fetch_options options = app->options->fetch;
    struct uri_error where;
    struct uri uri;
    char shown[400];
    char dir[4096];

    (void)text_escape(shown, sizeof shown, url, strlen(url));
    app->shown = shown;
    if (uri_parse(url, &uri, &where) != 0) {
        fprintf(stderr, "belay: bad URL %s: %s (at character %zu)\n", shown,
                where.reason, where.pos + 1);
        return EXIT_USAGE;
    }
    if (uri.scheme != URI_TCP) {
        fprintf(stderr, "belay: %s: this build speaks plain TCP only; use "
                        "belay+tcp://\n", shown);
        return EXIT_USAGE;
    }
    if (!target_of(app->options, &uri, dir, sizeof dir, &options.name)) {
        return EXIT_USAGE;
    }
    if (options.name != NULL) {
        (void)text_escape(shown, sizeof shown, options.name,
                          strlen(options.name));
    }
    options.uri = &uri;
    options.url_text = url;
    options.dir = dir;
    return run_fetch(app, &options);
}

/* ---- signals. */

static void on_signal(void *arg, int signum)
{
    struct app *app = arg;

    if (signum == SIGUSR1) {
        struct fetch_stats stats;
        char line[PROGRESS_TEXT];

        if (app->fetch != NULL && !app->ended) {
            wipe(app);
            fetch_stats(app->fetch, &stats);
            progress_sample(&app->progress, &stats);
            progress_plain(&app->progress, &stats, line);
            fprintf(stderr, "belay: %s: %s\n", app->shown, line);
        }
        return;
    }
    if (app->signum != 0) {
        _exit(EXIT_SIGNAL + signum); /* asked twice: what is kept is kept */
    }
    app->signum = signum;
    if (app->fetch != NULL) {
        fetch_interrupt(app->fetch);
    }
}

/* nohup and shells start programs with some signals ignored, and mean it. */
static bool is_ignored(int signum)
{
    struct sigaction action;

    return sigaction(signum, NULL, &action) == 0 &&
           (action.sa_flags & SA_SIGINFO) == 0 &&
           action.sa_handler == SIG_IGN;
}

static bool catch_signals(struct app *app)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGXFSZ, &ignore, NULL);
    for (unsigned k = 0; k < 4; k++) {
        if (!is_ignored(signals[k]) &&
            loop_signal_new(app->loop, signals[k], on_signal, app,
                            &app->signals[k]) != 0) {
            return false;
        }
    }
    return true;
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

/* ---- commands. */

static void choose_progress(struct app *app)
{
    const char *term = getenv("TERM");
    enum progress_mode mode = app->options->progress;
    bool terminal = isatty(STDERR_FILENO) &&
                    (term == NULL || strcmp(term, "dumb") != 0);

    if (mode == PROGRESS_AUTO) {
        mode = terminal ? PROGRESS_BAR : PROGRESS_PLAIN;
    }
    app->bar = mode == PROGRESS_BAR && !app->options->quiet;
    app->plain = mode == PROGRESS_PLAIN && !app->options->quiet;
}

/* The event library ends the program when it gets none: ask beforehand. */
static bool enough_descriptors(void)
{
    int fds[DESCRIPTORS_MIN];
    unsigned count = 0;

    while (count < DESCRIPTORS_MIN &&
           (fds[count] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0) {
        count++;
    }
    for (unsigned k = 0; k < count; k++) {
        close(fds[k]);
    }
    return count == DESCRIPTORS_MIN;
}

static int command_get(const struct options *options)
{
    struct app app = {.options = options};
    enum exit_code worst = EXIT_DONE;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (!enough_descriptors()) {
        fprintf(stderr, "belay: too few file descriptors; raise the limit "
                        "(ulimit -n)\n");
        return EXIT_FAULT;
    }
    loop_set_workers(cores + 2 > (long)WORKERS_MIN ? (unsigned)cores + 2
                                                   : WORKERS_MIN);
    if (loop_new(&app.loop) != 0 ||
        loop_timer_new(app.loop, on_timer, &app, &app.timer) != 0 ||
        !catch_signals(&app)) {
        fprintf(stderr, "belay: out of memory\n");
        return EXIT_FAULT;
    }
    choose_progress(&app);
    for (int k = 0; k < options->operand_count && app.signum == 0; k++) {
        worst = exit_code_worse(get_one(&app, options->operands[k]), worst);
    }
    for (unsigned k = 0; k < 4; k++) {
        loop_signal_free(app.signals[k]);
    }
    loop_timer_free(app.timer);
    if (app.lingers) {
        _exit(exit_code_now(&app, worst));
    }
    loop_run(app.loop); /* lets freed objects go */
    loop_free(app.loop);
    return exit_code_now(&app, worst);
}

static int flush_output(int code)
{
    if (fflush(stdout) != 0) {
        fprintf(stderr, "belay: cannot write the output: %s\n",
                strerror(errno));
        return EXIT_DISK;
    }
    return code;
}

static int cid_one(const struct options *options, const char *path)
{
    char text[CID_TEXT_LEN + 1];
    char shown[400];
    uint8_t cid[HASH_LEN];
    struct stat st;
    uint8_t log2;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int err = ERR_IO;

    errno = fd < 0 ? errno : 0;
    (void)text_escape(shown, sizeof shown, path, strlen(path));
    if (fd >= 0 && fstat(fd, &st) == 0) {
        if (!S_ISREG(st.st_mode)) {
            fprintf(stderr, "belay: %s: not a regular file\n", shown);
            close(fd);
            return EXIT_USAGE;
        }
        log2 = options->cid_log2 != 0
                   ? (uint8_t)options->cid_log2
                   : cid_recommended_chunk_log2((uint64_t)st.st_size);
        err = file_cid(fd, (uint64_t)st.st_size, log2, cid);
    }
    if (err != 0) {
        fprintf(stderr, "belay: %s: %s\n", shown,
                errno != 0 ? strerror(errno) : "it became shorter");
        if (fd >= 0) {
            close(fd);
        }
        return EXIT_DISK;
    }
    close(fd);
    cid_encode(log2, cid, text);
    printf("%s  %s\n", text, shown);
    return EXIT_DONE;
}

static int command_cid(const struct options *options)
{
    int worst = EXIT_DONE;

    for (int k = 0; k < options->operand_count; k++) {
        int code = cid_one(options, options->operands[k]);

        worst = code != EXIT_DONE ? code : worst;
    }
    return flush_output(worst);
}

int main(int argc, char **argv)
{
    struct options options;
    int result;

    fill_standard_descriptors();
    result = options_parse(argc, argv, &options);
    if (result >= 0) {
        return flush_output(result);
    }
    return options.command == COMMAND_CID ? command_cid(&options)
                                          : command_get(&options);
}
