#include "client/cli/get_release.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/exitcode.h"
#include "client/cli/usage.h"

/* Jobs in the engine's hands at a time. */
#define IN_HAND_MAX 256u
/* The longest URL: each byte of a path may need three characters. */
#define URL_MAX 16384u
#define MANIFEST_SIZE_MAX UINT64_C(1073741824)

struct release {
    const struct get_options *options;
    const char *base; /* URL of the directory, with its slash */
    struct belay_release *files;
    struct run run;
    size_t in_hand;
    size_t given;
    bool all_given;
    int trouble; /* an exit code of our own, or 0 */
};

static int failed(const struct belay_error *error)
{
    fprintf(stderr, "belay: %s\n", error->text);
    return (int)exit_code_of(error->reason);
}

/* ---- URLs. */

/* What may stand in a URL's path as it is. */
static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || strchr("/-._~", c) != NULL;
}

/* BASE + path + # + pin; false when it is too long.  In host:path nothing is
 * an escape. */
static bool make_url(const char *base, const char *path, const char *cid,
                     char url[URL_MAX])
{
    size_t len = strlen(base);
    bool literal = strstr(base, "://") == NULL;

    if (len + 3 * strlen(path) + strlen(cid) + 2 > URL_MAX) {
        return false;
    }
    memcpy(url, base, len);
    for (; *path != '\0'; path++) {
        unsigned char c = (unsigned char)*path;

        if (literal || is_plain(c)) {
            url[len++] = (char)c;
        } else {
            len += (size_t)snprintf(url + len, 4, "%%%02X", c);
        }
    }
    (void)snprintf(url + len, URL_MAX - len, "#%s", cid);
    return true;
}

/* People write a directory with a slash behind it; a path has none, but that
 * of the root. */
static bool parse_base(const char *from, struct belay_error *error)
{
    size_t len = strlen(from);
    char *plain = strndup(from, len > 1 && from[len - 1] == '/' ? len - 1
                                                                : len);
    bool good = plain != NULL &&
                (belay_url_parse(plain, NULL, NULL) == BELAY_DONE ||
                 belay_url_parse(from, NULL, error) == BELAY_DONE);

    if (plain == NULL) {
        error->reason = BELAY_INTERNAL;
        (void)snprintf(error->text, sizeof error->text, "out of memory");
    }
    free(plain);
    return good;
}

/* As rsync and scp have it: a colon before the first slash makes it a host's,
 * and ./ before a name keeps it here. */
bool get_release_remote(const char *manifest)
{
    return strstr(manifest, "://") != NULL ||
           manifest[strcspn(manifest, ":/")] == ':';
}

/* The base: the operand, or where the manifest came from; to be freed. */
static char *find_base(const struct get_options *o, int *code)
{
    const char *from = o->url_count == 1 ? o->urls[0] : o->manifest;
    struct belay_error error;
    size_t len = strlen(from);
    char *base = NULL;

    *code = EXIT_FAULT;
    if (!parse_base(from, &error)) {
        *code = failed(&error);
        return NULL;
    }
    if (strcspn(from, "#?") != len) {
        *code = usage_wrong("the URL", from,
                            "expected that of a directory, without # and ?");
        return NULL;
    }
    if (o->url_count == 0) {
        const char *slash = strrchr(from, '/');

        /* host:manifest lies in the login directory. */
        len = slash != NULL ? (size_t)(slash - from)
                            : strcspn(from, ":") + 1;
    }
    while (len > 0 && from[len - 1] == '/') {
        len--;
    }
    /* host: is the login directory, and host:/ is another one. */
    bool login = len > 0 && from[len - 1] == ':' && from[len] != '/';

    if (asprintf(&base, "%.*s%s", (int)len, from, login ? "" : "/") < 0) {
        fputs("belay: out of memory\n", stderr);
        return NULL;
    }
    return base;
}

/* ---- the manifest itself. */

static int fetch_manifest(const struct get_options *o, int fd)
{
    struct run_options options = o->run;
    struct belay_get_options get = o->get;
    struct run run;
    int code;

    options.json = false;
    options.quiet = true;
    options.progress = PROGRESS_NONE;
    options.error_on_nothing = false;
    get.url = o->manifest;
    get.to_fd = true;
    get.fd = fd;
    get.directory = NULL;
    get.seed_count = 0;
    get.receipt = NULL;
    get.dry_run = false;
    get.overwrite = false;
    get.no_clobber = false;
    get.max_size = MANIFEST_SIZE_MAX;
    code = run_open(&run, &options, 1);
    if (code >= 0) {
        return code;
    }
    (void)run_get(&run, &get, 0); /* told, and counted */
    return run_close(&run);
}

static int open_manifest(struct get_options *o, const char *path,
                         struct belay_manifest **out)
{
    struct belay_error error;

    return belay_manifest_open(path, trust_of(&o->trust), out, &error) ==
                   BELAY_DONE
               ? EXIT_DONE
               : failed(&error);
}

/* A file without a name: in the directory for temporary files, or else in
 * memory. */
static int open_nameless(void)
{
    const char *dir = getenv("TMPDIR");
    int fd = open(dir != NULL && dir[0] == '/' ? dir : "/tmp",
                  O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    return fd >= 0 ? fd : memfd_create("belay-manifest", MFD_CLOEXEC);
}

/* A manifest of a URL is a file only while it is read. */
static int load_manifest(struct get_options *o, struct belay_manifest **out)
{
    char path[64];
    int code;
    int fd;

    if (!get_release_remote(o->manifest)) {
        return open_manifest(o, o->manifest, out);
    }
    fd = open_nameless();
    if (fd < 0) {
        fprintf(stderr, "belay: no place for the manifest: %s\n",
                strerror(errno));
        return EXIT_DISK;
    }
    code = fetch_manifest(o, fd);
    if (code == EXIT_DONE) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        code = open_manifest(o, path, out);
    }
    close(fd);
    return code;
}

/* ---- its files. */

/* Gives one file to the engine.  The version that stands there has most of
 * its bytes, perhaps.  False: it was told why not. */
static bool give(struct release *r, struct belay_manifest_file *file,
                 const char *output, const char *url)
{
    const char *dir = r->options->get.directory;
    struct belay_get_options get = r->options->get;
    const char *seeds[BELAY_SEEDS_MAX];
    struct stat st;
    char *old;
    bool given;

    if (asprintf(&old, "%s/%s", dir != NULL ? dir : ".", file->path) < 0) {
        old = NULL;
    }
    if (old != NULL && get.seed_count < BELAY_SEEDS_MAX &&
        lstat(old, &st) == 0 && S_ISREG(st.st_mode) &&
        access(old, R_OK) == 0) {
        for (unsigned k = 0; k < get.seed_count; k++) {
            seeds[k] = get.seeds[k];
        }
        seeds[get.seed_count++] = old;
        get.seeds = seeds;
    }
    get.url = url;
    get.output = output; /* in a directory that only we know */
    r->run.hidden = strlen(output) - strlen(file->path);
    get.directory = NULL;
    given = run_get(&r->run, &get, r->given);
    free(old);
    return given;
}

static void feed(struct release *r)
{
    struct belay_manifest_file file = {.struct_size = sizeof file};
    char *url = malloc(URL_MAX);
    struct belay_error error;
    const char *output;

    while (url != NULL && !r->all_given && r->in_hand < IN_HAND_MAX &&
           !run_interrupted()) {
        if (!belay_release_next(r->files, &file, &output, &error)) {
            r->all_given = true;
            r->trouble = error.reason != BELAY_DONE ? failed(&error) : 0;
            break;
        }
        if (!make_url(r->base, file.path, file.cid, url)) {
            r->trouble = usage_wrong("URL", r->base, "too long");
            r->all_given = true;
        } else if (give(r, &file, output, url)) {
            r->in_hand++;
        }
        r->given++;
    }
    r->trouble = url == NULL ? EXIT_FAULT : r->trouble;
    free(url);
}

static void on_end(void *arg, size_t id, const struct belay_event *event)
{
    struct release *r = arg;

    (void)id;
    r->in_hand--;
    /* What is wrong for good stays wrong: the release cannot be completed. */
    if (belay_reason_class(event->reason) == BELAY_CLASS_PERMANENT) {
        r->all_given = true;
    }
    if (2 * r->in_hand <= IN_HAND_MAX) {
        feed(r);
    }
}

static int download(struct release *r, uint64_t missing)
{
    int code = run_open(&r->run, &r->options->run, (size_t)missing);

    if (code >= 0) {
        return code;
    }
    r->run.on_end = on_end;
    r->run.arg = r;
    feed(r);
    code = run_close(&r->run);
    return r->trouble != 0 ? r->trouble : code;
}

static void say(const struct get_options *o, const char *what,
                const struct belay_manifest_info *info, uint64_t fetched)
{
    if (!o->run.quiet) {
        fprintf(stderr, "belay: %s serial %" PRIu64 ", signed by %s: %s, %"
                PRIu64 " of %" PRIu64 " files fetched\n", info->origin,
                info->serial, info->signers, what, fetched, info->count);
    }
}

static int install(struct release *r, const struct belay_manifest_info *info)
{
    uint64_t present, missing, bytes;
    struct belay_error error;
    int code;

    belay_release_counts(r->files, &present, &missing, &bytes);
    if (missing == 0) {
        /* What an earlier run left behind goes now. */
        if (!r->options->get.dry_run &&
            belay_release_commit(r->files, &error) != BELAY_DONE) {
            return failed(&error);
        }
        say(r->options, "all there already", info, 0);
        return r->options->run.error_on_nothing ? EXIT_NOTHING : EXIT_DONE;
    }
    code = download(r, missing);
    if (code != EXIT_DONE) {
        fprintf(stderr, "belay: the release is not complete: no file was "
                "changed; the same command goes on\n");
        return code;
    }
    if (r->options->get.dry_run) {
        return EXIT_DONE;
    }
    if (belay_release_commit(r->files, &error) != BELAY_DONE) {
        return failed(&error);
    }
    say(r->options, "in place", info, missing);
    return EXIT_DONE;
}

static bool jail_release(struct get_options *o)
{
    const struct belay_get_options *get = &o->get;
    struct jail *jail = &o->jail;
    bool good = !get_release_remote(o->manifest) ||
                jail_url(jail, o->manifest);

    if (o->url_count == 1) {
        good = good && jail_url(jail, o->urls[0]);
    }
    /* It is made in a dry run as well. */
    good = good && jail_directory(jail, get->directory != NULL
                                            ? get->directory
                                            : ".");
    jail->make = true;
    if (get->receipt != NULL && get->receipt[0] != '\0') {
        good = good && jail_file(jail, NULL, get->receipt);
    }
    jail->trust = o->trust.trust.no_state ? NULL : trust_of(&o->trust);
    return good;
}

int get_release(struct get_options *options)
{
    const char *dir = options->get.directory;
    struct release r = {.options = options};
    struct belay_manifest_info info = {.struct_size = sizeof info};
    struct belay_manifest *manifest = NULL;
    struct belay_error error;
    int code;
    char *base = find_base(options, &code);

    if (base == NULL) {
        return code;
    }
    r.base = base;
    if (!jail_release(options)) {
        fputs("belay: out of memory\n", stderr);
        code = EXIT_FAULT;
        goto out_free;
    }
    code = load_manifest(options, &manifest);
    if (code != EXIT_DONE) {
        goto out_free;
    }
    belay_manifest_info(manifest, &info);
    if (belay_release_open(manifest, dir != NULL ? dir : ".", &r.files,
                           &error) != BELAY_DONE) {
        code = failed(&error);
        goto out_close;
    }
    code = install(&r, &info);
    belay_release_close(r.files);

out_close:
    belay_manifest_close(manifest);
out_free:
    free(base);
    return code;
}
