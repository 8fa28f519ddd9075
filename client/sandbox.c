/* What a process may still do once it talks to servers: belay_sandbox().
 *
 * Landlock confines paths and signals (proto/io/confine.h), a filter denies
 * system calls (client/callfilter.h), and what has to be done nevertheless is
 * left to a process outside (client/aide.h). Implements RELIABILITY (e)
 * "Client too". */
#include "client/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/aide.h"
#include "client/belay-sandbox.h"
#include "client/belay.h"
#include "client/callfilter.h"
#include "client/dirurl.h"
#include "client/filewrite.h"
#include "client/knownhosts.h"
#include "client/report.h"
#include "client/serials.h"
#include "client/ssh.h"
#include "proto/data/text.h"
#include "proto/data/uri.h"
#include "proto/io/confine.h"

/* Before version 2 no rename to another directory is possible at all. */
#define VERSION_MIN 2

/* How long other threads may take to be gone: 200 ms. */
#define ALONE_TRIES 100
#define ALONE_PAUSE_MS 2

/* Commands that differ. */
#define COMMANDS_MAX 4096u

struct sandbox {
    struct belay_sandbox_options o;
    struct confine_rule *rules; /* two for each directory, one of serials */
    size_t rule_count;
    size_t places; /* directories that can be written */
    char **parents; /* of those that were made, as rules borrow them */
    size_t parent_count;
    char *serials;
    struct ssh_command *commands;
    size_t command_count;
    size_t command_room;
    char known_hosts[4096]; /* "": none is to be recorded */
    struct belay_sandbox_state state;
};

/* ---- What was made early. */

struct made {
    struct made *next;
    dev_t dev;
    ino_t ino;
    char path[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct made *made;

/* Makes one directory, unless it is there. */
static void make_one(const char *path)
{
    size_t size = strlen(path) + 1;
    struct made *m;
    struct stat st;

    if (filewrite_mkdir(path, 0777) != 0 || lstat(path, &st) != 0) {
        return;
    }
    m = malloc(sizeof *m + size);
    if (m == NULL) {
        return; /* then it stays, even if it remains empty */
    }
    m->dev = st.st_dev;
    m->ino = st.st_ino;
    memcpy(m->path, path, size);
    pthread_mutex_lock(&lock);
    m->next = made;
    made = m;
    pthread_mutex_unlock(&lock);
}

bool sandbox_made(const struct stat *st)
{
    struct made **at = &made;
    struct made *found;

    pthread_mutex_lock(&lock);
    while (*at != NULL &&
           ((*at)->dev != st->st_dev || (*at)->ino != st->st_ino)) {
        at = &(*at)->next;
    }
    found = *at;
    if (found != NULL) {
        *at = found->next;
    }
    pthread_mutex_unlock(&lock);
    free(found);
    return found != NULL;
}

void belay_sandbox_tidy(void)
{
    pthread_mutex_lock(&lock);
    while (made != NULL) { /* what is in a directory was made after it */
        struct made *m = made;
        struct stat st;

        made = m->next;
        if (lstat(m->path, &st) == 0 && st.st_dev == m->dev &&
            st.st_ino == m->ino) {
            (void)rmdir(m->path); /* it refuses what is not empty */
        }
        free(m);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- Threads. */

/* Landlock binds the calling thread only. 0: nobody can tell. Sanitizers have
 * threads of their own from the start. */
static unsigned count_threads(void)
{
    unsigned count = 0;
#ifndef BELAY_SANITIZED
    DIR *dir = opendir("/proc/self/task");

    for (struct dirent *e = NULL;
         dir != NULL && (e = readdir(dir)) != NULL;) {
        count += e->d_name[0] != '.';
    }
    if (dir != NULL) {
        closedir(dir);
    }
#endif
    return count;
}

/* A thread that was joined may be seen for a moment longer. */
static bool is_alone(void)
{
    for (int tries = 0; tries < ALONE_TRIES; tries++) {
        if (count_threads() <= 1) {
            return true;
        }
        (void)poll(NULL, 0, ALONE_PAUSE_MS);
    }
    return false;
}

/* ---- Directories. */

static bool is_directory(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static void add_rule(struct sandbox *s, const char *path, unsigned access)
{
    s->rules[s->rule_count++] = (struct confine_rule){.path = path,
                                                      .access = access};
}

/* Takes the last component away; "" is the current directory. */
static void to_parent(char *path)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    while (len > 0 && path[len - 1] != '/') {
        len--;
    }
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    path[len] = '\0';
}

static const char *or_here(const char *path)
{
    return *path != '\0' ? path : ".";
}

/* The directory in which the first missing one of `path` is to be made, as a
 * new text; NULL when none is missing or memory is out. */
static char *parent_of_missing(const char *path)
{
    char *copy = is_directory(or_here(path)) ? NULL : strdup(path);

    /* Even the current directory may be out of reach. */
    while (copy != NULL && *copy != '\0' && strcmp(copy, "/") != 0 &&
           !is_directory(copy)) {
        to_parent(copy);
    }
    return copy;
}

/* Makes what is missing, and says where it may be removed again. */
static void make_directory(struct sandbox *s, const char *path)
{
    char *parent = parent_of_missing(path);
    char *copy = parent != NULL ? strdup(path) : NULL;

    for (char *at = copy; copy != NULL && *at != '\0';) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char end = *at;
        *at = '\0';
        make_one(copy);
        *at = end;
    }
    if (copy != NULL) {
        s->parents[s->parent_count++] = parent;
        parent = NULL;
    }
    free(copy);
    free(parent);
}

static void add_directory(struct sandbox *s, const char *path)
{
    if (s->o.make_directories) {
        make_directory(s, path);
    }
    if (is_directory(or_here(path))) {
        add_rule(s, or_here(path), CONFINE_WRITE);
        s->places++;
    }
}

static void add_serials(struct sandbox *s)
{
    struct belay_trust trust;

    if (s->o.trust == NULL) {
        return;
    }
    report_take(&trust, sizeof trust, s->o.trust);
    if (!trust.no_state) {
        s->serials = serials_path(trust.state_directory);
    }
    if (s->serials != NULL && filewrite_make_path(s->serials, 0700)) {
        add_rule(s, s->serials, CONFINE_WRITE);
    } /* else it is told when a serial is to be stored */
}

static bool add_directories(struct sandbox *s)
{
    size_t count = s->o.directory_count;

    s->rules = calloc(2 * count + 1, sizeof *s->rules);
    s->parents = calloc(count + 1, sizeof *s->parents);
    if (s->rules == NULL || s->parents == NULL) {
        return false;
    }
    for (size_t k = 0; k < count; k++) {
        add_directory(s, s->o.directories[k]);
    }
    for (size_t k = 0; k < s->parent_count; k++) {
        add_rule(s, or_here(s->parents[k]), CONFINE_RMDIR);
    }
    add_serials(s);
    return true;
}

/* ---- What is left to the aide. */

static bool is_known(const struct sandbox *s, const struct ssh_command *c)
{
    for (size_t k = 0; k < s->command_count; k++) {
        if (s->commands[k].text_len == c->text_len &&
            memcmp(s->commands[k].text, c->text, c->text_len) == 0) {
            return true;
        }
    }
    return false;
}

static int add_command(struct sandbox *s, const struct uri *uri,
                       const struct ssh_options *how)
{
    struct ssh_command command;
    int err = ssh_command_make(uri, how, &command);

    if (err != 0) {
        return err == ERR_SYNTAX ? 0 : err; /* its job tells it */
    }
    if (is_known(s, &command)) {
        ssh_command_clear(&command);
        return 0;
    }
    err = s->command_count == COMMANDS_MAX ? ERR_LIMIT : 0;
    if (err == 0 && s->command_count == s->command_room) {
        size_t room = 2 * s->command_room + 4;
        struct ssh_command *more =
            reallocarray(s->commands, room, sizeof *more);

        err = more == NULL ? ERR_NOMEM : 0;
        s->commands = more != NULL ? more : s->commands;
        s->command_room = more != NULL ? room : s->command_room;
    }
    if (err != 0) {
        ssh_command_clear(&command);
        return err;
    }
    s->commands[s->command_count++] = command;
    return 0;
}

static int add_commands(struct sandbox *s)
{
    struct belay_get_options job = {0};
    struct uri *uri = malloc(sizeof *uri);
    struct uri_error where;
    int err = uri == NULL ? ERR_NOMEM : 0;

    if (s->o.job != NULL) {
        report_take(&job, sizeof job, s->o.job);
    }
    const struct ssh_options how = {
        .command = job.ssh,
        .server = job.remote_belayd,
        .family = job.family,
        .connect_s = ssh_connect_seconds(job.connect_timeout_ms),
    };
    for (size_t k = 0; k < s->o.url_count && err == 0; k++) {
        char *plain = dirurl_plain(s->o.urls[k]); /* maybe a directory's */

        err = plain == NULL ? ERR_NOMEM : 0;
        if (err == 0 && uri_parse(plain, uri, &where) == 0 &&
            uri->scheme == URI_SSH) {
            err = add_command(s, uri, &how);
        }
        free(plain);
    }
    free(uri);
    return err;
}

static void find_known_hosts(struct sandbox *s)
{
    struct belay_security security;

    if (s->o.security == NULL) {
        return;
    }
    report_take(&security, sizeof security, s->o.security);
    if (security.known_hosts != NULL) {
        int len = snprintf(s->known_hosts, sizeof s->known_hosts, "%s",
                           security.known_hosts);
        if (len < 0 || (size_t)len >= sizeof s->known_hosts) {
            s->known_hosts[0] = '\0';
        }
    } else if (!knownhosts_path(s->known_hosts, sizeof s->known_hosts)) {
        s->known_hosts[0] = '\0';
    }
}

static int call_aide(struct sandbox *s)
{
    const struct aide_duties duties = {
        .commands = s->commands,
        .count = s->command_count,
        .known_hosts = s->known_hosts[0] != '\0' ? s->known_hosts : NULL,
    };
    int err = duties.count > 0 || duties.known_hosts != NULL
                  ? aide_prepare(&duties)
                  : 0;

    return err == ERR_STATE ? 0 : err; /* the one there is stays */
}

/* ---- Rights. */

/* Returns what is missing, or NULL; errno says why, where not 0. */
static const char *confine_files(struct sandbox *s)
{
    const unsigned kinds = CONFINE_WRITE | CONFINE_EXEC | CONFINE_IPC;
    unsigned in_force = 0;

    s->state.landlock = confine_version();
    errno = 0;
    if (s->state.landlock == 0) {
        return "this kernel has no Landlock";
    }
    if (s->state.landlock < VERSION_MIN) {
        return "the Landlock of this kernel is too old";
    }
    if (confine(kinds, s->rules, s->rule_count, &in_force) != 0) {
        return "writing cannot be confined";
    }
    s->state.files = true;
    s->state.signals = (in_force & CONFINE_IPC) != 0;
    return NULL;
}

static const char *deny_calls(struct sandbox *s)
{
    int err = callfilter_load();

    if (err != 0 && !callfilter_built()) {
        return NULL; /* a build for tests: the text says so */
    }
    s->state.calls = err == 0;
    return err == 0 ? NULL : "system calls cannot be denied";
}

static void describe(struct sandbox *s)
{
    char where[200] = "";
    const char *calls = s->state.calls      ? "starts no programs"
                        : callfilter_built() ? "system calls are open"
                                             : "system calls are open in "
                                               "this build";

    if (s->state.files && s->places == 1) {
        char shown[150];
        const char *path = s->rules[0].path;

        (void)text_escape(shown, sizeof shown, path, strlen(path));
        (void)snprintf(where, sizeof where, "writes below %s only",
                       strcmp(shown, ".") == 0 ? "the current directory"
                                               : shown);
    } else if (s->state.files && s->places > 1) {
        (void)snprintf(where, sizeof where, "writes below %zu directories "
                       "only", s->places);
    } else {
        (void)snprintf(where, sizeof where, "%s",
                       s->state.files ? "writes no files"
                                      : "files are open");
    }
    (void)snprintf(s->state.text, sizeof s->state.text,
                   "%s (Landlock %d), %s%s", where, s->state.landlock, calls,
                   s->command_count > 0 ? " but ssh, by an aide" : "");
}

/* ---- The call. */

static void clear(struct sandbox *s)
{
    for (size_t k = 0; k < s->command_count; k++) {
        ssh_command_clear(&s->commands[k]);
    }
    for (size_t k = 0; k < s->parent_count; k++) {
        free(s->parents[k]);
    }
    free(s->commands);
    free(s->parents);
    free(s->rules);
    free(s->serials);
    free(s);
}

static enum belay_reason incomplete(struct belay_error *error,
                                    const char *what, int code)
{
    return report(error, BELAY_INTERNAL, "the sandbox is not complete: "
                  "%s%s%s", what, code != 0 ? ": " : "",
                  code != 0 ? strerror(code) : "");
}

static enum belay_reason enter(struct sandbox *s, struct belay_error *error)
{
    int err = add_directories(s) ? add_commands(s) : ERR_NOMEM;

    if (err == 0) {
        find_known_hosts(s);
        err = call_aide(s);
    }
    if (err == ERR_NOMEM) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    if (err == ERR_LIMIT) {
        return report(error, BELAY_USAGE, "too many hosts are to be reached "
                                          "through ssh");
    }
    if (err != 0) {
        return incomplete(error, "no process can be started", errno);
    }
    const char *missing = confine_files(s);
    int code = errno;
    const char *also = deny_calls(s);

    describe(s);
    if (missing == NULL) {
        missing = also;
        code = errno;
    }
    return missing == NULL ? BELAY_DONE : incomplete(error, missing, code);
}

enum belay_reason belay_sandbox(const struct belay_sandbox_options *options,
                                struct belay_sandbox_state *state,
                                struct belay_error *error)
{
    struct sandbox *s = calloc(1, sizeof *s);
    enum belay_reason reason;

    if (s == NULL) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    report_take(&s->o, sizeof s->o, options);
    if (!is_alone()) {
        reason = report(error, BELAY_USAGE, "the sandbox has to be entered "
                                            "before there are other threads");
    } else {
        reason = enter(s, error);
    }
    if (state != NULL) {
        report_give(state, &s->state, sizeof s->state);
    }
    clear(s);
    return reason;
}
