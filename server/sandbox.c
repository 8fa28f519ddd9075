#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/io/confine.h"

#define KINDS \
    (CONFINE_READ | CONFINE_WRITE | CONFINE_EXEC | CONFINE_TCP | CONFINE_IPC)

/* Without these a sandbox is none; the others came with later kernels. */
#define KINDS_NEEDED (CONFINE_READ | CONFINE_WRITE | CONFINE_EXEC)

#define RULES_MAX (SANDBOX_DIRS_MAX + 4)

struct rules {
    struct confine_rule rule[RULES_MAX];
    size_t count;
    size_t first_owned; /* from here on the descriptors are ours */
};

static bool
is_demanding(enum sandbox_mode mode)
{
    return mode == SANDBOX_REQUIRE || mode == SANDBOX_STRICT;
}

int
sandbox_check(enum sandbox_mode mode, const char **missing)
{
    if (!is_demanding(mode)) {
        return 0;
    }
    if (confine_version() == 0) {
        *missing = "this kernel has no Landlock";
        return ERR_UNSUPPORTED;
    }
    if (!filter_possible()) {
        *missing = "this kernel has no seccomp filters";
        return ERR_UNSUPPORTED;
    }
    return 0;
}

/* ---- Rules. */

static int
add_fd(struct rules *rules, int fd, unsigned access)
{
    if (rules->count == RULES_MAX) {
        return ERR_LIMIT;
    }
    rules->rule[rules->count++] = (struct confine_rule){
        .fd = fd,
        .access = access,
    };
    return 0;
}

static int
add_dir(struct rules *rules, const char *path, unsigned access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return ERR_IO;
    }
    int err = add_fd(rules, fd, access);
    if (err != 0) {
        close(fd);
    }
    return err;
}

/* The directory of a file, as its path stands. */
static int
add_dir_of(struct rules *rules, const char *file, unsigned access)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(file, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - file);

    if (len >= sizeof(dir)) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    memcpy(dir, file, len);
    dir[len] = '\0';
    if (slash == NULL) {
        return add_dir(rules, ".", access);
    }
    return add_dir(rules, len == 0 ? "/" : dir, access);
}

static int
add_places(struct rules *rules, const struct sandbox_places *places)
{
    int err = places->root_fd < 0
                  ? 0
                  : add_fd(rules, places->root_fd, CONFINE_READ);

    rules->first_owned = rules->count;
    if (err == 0 && places->cache_dir != NULL) {
        err = add_dir(rules, places->cache_dir, CONFINE_READ | CONFINE_WRITE);
    }
    if (err == 0 && places->log_file != NULL) {
        err = add_dir_of(rules, places->log_file, CONFINE_WRITE);
    }
    for (size_t i = 0; i < places->file_count && err == 0; i++) {
        err = add_dir_of(rules, places->files[i], CONFINE_READ);
    }
#ifdef BELAY_SANITIZED
    /* The leak checker looks at its own process there. */
    if (err == 0) {
        err = add_dir(rules, "/proc", CONFINE_READ);
    }
#endif
    return err;
}

int
sandbox_confine(struct sandbox *sandbox, enum sandbox_mode mode,
                const struct sandbox_places *places)
{
    struct rules rules = { .count = 0 };

    memset(sandbox, 0, sizeof(*sandbox));
    sandbox->mode = mode;
    sandbox->version = confine_version();
    if (mode == SANDBOX_OFF) {
        return 0;
    }
    int err = add_places(&rules, places);
    if (err == 0) {
        err = confine(KINDS, rules.rule, rules.count, &sandbox->kinds);
    }
    int error = errno;
    for (size_t i = rules.first_owned; i < rules.count; i++) {
        close(rules.rule[i].fd);
    }
    errno = error;
    if (err == 0 && (sandbox->kinds & KINDS_NEEDED) != KINDS_NEEDED) {
        err = ERR_UNSUPPORTED;
    }
    return is_demanding(mode) ? err : 0;
}

/* ---- System calls. */

int
sandbox_prepare(enum sandbox_mode mode, struct filter *out)
{
    *out = (struct filter){ .code = NULL };
    if (mode == SANDBOX_OFF || !filter_built()) {
        return 0; /* a build for tests: said in the log */
    }
    return filter_make(mode == SANDBOX_STRICT, out);
}

int
sandbox_filter(struct sandbox *sandbox, const struct filter *filter)
{
    const struct rlimit none = { .rlim_cur = 0, .rlim_max = 0 };

    if (sandbox->mode == SANDBOX_OFF) {
        return 0;
    }
    setrlimit(RLIMIT_NPROC, &none);
    int err = filter_load(filter);
    sandbox->filtered = err == 0;
    if (!filter_built()) {
        return 0;
    }
    return is_demanding(sandbox->mode) ? err : 0;
}

/* ---- Words. */

static const char *
state(const struct sandbox *s, unsigned kind)
{
    return (s->kinds & kind) == kind ? "confined" : "open";
}

static const char *
calls(const struct sandbox *s)
{
    if (s->filtered) {
        return s->mode == SANDBOX_STRICT ? "filtered-deadly" : "filtered";
    }
    return filter_built() ? "open" : "left-out-in-this-build";
}

void
sandbox_log(const struct sandbox *sandbox, struct log *log, const char *kind,
            uint64_t number)
{
    const struct sandbox *s = sandbox;
    struct log_line line;
    bool whole = s->kinds == KINDS && s->filtered;

    log_begin(&line, log, whole ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "sandbox");
    log_num(&line, kind, number);
    log_num(&line, "landlock", (uint64_t)s->version);
    log_word(&line, "files", state(s, KINDS_NEEDED));
    log_word(&line, "tcp", state(s, CONFINE_TCP));
    log_word(&line, "signals", state(s, CONFINE_IPC));
    log_word(&line, "calls", calls(s));
    log_end(&line);
}
