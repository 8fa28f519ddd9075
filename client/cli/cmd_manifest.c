/* belay manifest: signed lists of files, made and checked. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/exitcode.h"
#include "client/cli/trust.h"
#include "client/cli/usage.h"
#include "client/cli/values.h"

#define DAY_SECONDS 86400
#define EXPIRES_DAYS 90

enum {
    OPT_ORIGIN = 256,
    OPT_SERIAL,
    OPT_EXPIRES,
    OPT_CHUNK_SIZE,
    OPT_THREADS,
    OPT_NAME,
    OPT_KEY,
    OPT_KEY_NAME,
    OPT_NO_STATE,
};

static const char help_text[] =
    "Usage: belay manifest create --origin NAME [OPTION]... DIR|FILE...\n"
    "       belay manifest keygen --name NAME FILE\n"
    "       belay manifest sign --key FILE MANIFEST\n"
    "       belay manifest verify --key PUB [OPTION]... MANIFEST [DIR]\n"
    "\n"
    "A manifest says which paths have which contents; with 'belay get\n"
    "--manifest' nothing else is accepted, whatever a server sends.\n"
    "\n"
    "create: lists and hashes files\n"
    "      --origin NAME        whose serials these are, such as\n"
    "                           example.org/releases\n"
    "      --serial N           must rise from release to release (default:\n"
    "                           seconds since 1970)\n"
    "      --expires TIME       30d, 2027-01-01 or 2027-01-01T12:00:00Z\n"
    "                           (default 90d)\n"
    "      --chunk-size SIZE    4K to 4M (default: what fits each file)\n"
    "      --threads N          that hash (default: one a processor)\n"
    "  -o, --output FILE        default: standard output\n"
    "keygen: writes FILE, the private key, and FILE.pub\n"
    "      --name NAME          one word that others will see\n"
    "sign: adds a signature to MANIFEST\n"
    "      --key FILE           a private key; PEM of Ed25519 as openssl has\n"
    "      --key-name NAME      where the key file does not tell it\n"
    "verify: checks MANIFEST, and the files below DIR\n"
    "      --key PUB            a file of public keys, or the text of one\n"
    "      --origin NAME        accept no other\n"
    "      --no-state           neither look at nor store the serial\n"
    "  -h, --help               print this\n";

struct request {
    struct belay_manifest_options make;
    struct trust_options trust;
    bool has_serial;
    const char *output;
    const char *name;
    const char *key;
    const char *key_name;
};

/* ---- values. */

static bool parse_serial(const char *text, uint64_t *serial)
{
    char *end;

    errno = 0;
    *serial = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

/* "90d", a day, or a second of UTC. */
static bool parse_expires(const char *text, int64_t *expires)
{
    struct tm tm = {0};
    const char *end;
    unsigned days;
    size_t len = strlen(text);

    if (len > 1 && len < 8 && text[len - 1] == 'd') {
        char number[8] = "";

        memcpy(number, text, len - 1);
        *expires = (int64_t)time(NULL);
        if (!value_number(number, 1, 999999, &days)) {
            return false;
        }
        *expires += (int64_t)days * DAY_SECONDS;
        return true;
    }
    end = strptime(text, len > 10 ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%d", &tm);
    if (end == NULL || *end != '\0') {
        return false;
    }
    int day = tm.tm_mday;

    *expires = (int64_t)timegm(&tm);
    return tm.tm_mday == day; /* else there is no such day */
}

/* One option; -1 to go on. */
static int take_option(struct request *r, int opt, const char *value)
{
    switch (opt) {
    case OPT_ORIGIN:
        r->make.origin = value;
        r->trust.trust.origin = value;
        return -1;
    case OPT_SERIAL:
        r->has_serial = true;
        return parse_serial(value, &r->make.serial)
                   ? -1
                   : usage_wrong("bad serial", value, "expected a number");
    case OPT_EXPIRES:
        return parse_expires(value, &r->make.expires)
                   ? -1
                   : usage_wrong("bad time", value,
                                 "expected such as 90d or 2027-01-01");
    case OPT_CHUNK_SIZE:
        return value_chunk(value, &r->make.chunk_size)
                   ? -1
                   : usage_wrong("bad chunk size", value,
                                 "expected a power of two from 4K to 4M");
    case OPT_THREADS:
        return value_number(value, 1, 64, &r->make.threads)
                   ? -1
                   : usage_wrong("bad number of threads", value,
                                 "expected 1 to 64");
    case OPT_NAME:
        r->name = value;
        return -1;
    case OPT_KEY:
        r->key = value;
        return trust_add_key(&r->trust, value);
    case OPT_KEY_NAME:
        r->key_name = value;
        return -1;
    case OPT_NO_STATE:
        r->trust.trust.no_state = true;
        return -1;
    case 'o':
        r->output = value;
        return -1;
    default:
        fputs(help_text, stdout);
        return EXIT_DONE;
    }
}

static int failed(const struct belay_error *error)
{
    fprintf(stderr, "belay: %s\n", error->text);
    return (int)exit_code_of(error->reason);
}

/* ---- create. */

/* A new name lasts when its directory is synced; some file systems know no
 * such call. */
static bool sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? strdup(".")
                              : strndup(path, (size_t)(slash + 1 - path));
    int fd = dir == NULL ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 ? fsync(fd) == 0 || errno == EINVAL
                        : dir != NULL && errno == EACCES;

    if (fd >= 0) {
        close(fd);
    }
    free(dir);
    return good;
}

/* The file appears under its name when it is whole. */
static int create_file(struct request *r, struct belay_error *error)
{
    int code = EXIT_DONE;
    char *temporary;
    int fd;

    if (asprintf(&temporary, "%s.XXXXXX", r->output) < 0) {
        fputs("belay: out of memory\n", stderr);
        return EXIT_FAULT;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd >= 0 && belay_manifest_create(&r->make, fd, error) != BELAY_DONE) {
        code = failed(error);
    } else if (fd < 0 || fchmod(fd, 0644) != 0 || fsync(fd) != 0 ||
               rename(temporary, r->output) != 0 ||
               !sync_directory(r->output)) {
        fprintf(stderr, "belay: cannot write the manifest: %s\n",
                strerror(errno));
        code = EXIT_DISK;
    }
    if (fd >= 0) {
        close(fd);
        if (code != EXIT_DONE) {
            (void)unlink(temporary);
        }
    }
    free(temporary);
    return code;
}

static int create(struct request *r, int count, char **paths)
{
    uint64_t files = 0, skipped = 0;
    struct belay_error error;
    int code;

    if (r->make.origin == NULL) {
        return usage_wrong("missing", "--origin", "whose manifest is it?");
    }
    if (count == 0) {
        return usage_wrong("missing", "DIR or FILE", "nothing to do");
    }
    r->make.paths = (const char *const *)paths;
    r->make.path_count = (size_t)count;
    r->make.output = r->output;
    r->make.count = &files;
    r->make.skipped = &skipped;
    if (!r->has_serial) {
        r->make.serial = (uint64_t)time(NULL);
    }
    if (r->make.expires == 0) {
        r->make.expires = (int64_t)time(NULL) + EXPIRES_DAYS * DAY_SECONDS;
    }
    if (r->output != NULL && strcmp(r->output, "-") != 0) {
        code = create_file(r, &error);
    } else {
        code = belay_manifest_create(&r->make, STDOUT_FILENO, &error) ==
                       BELAY_DONE
                   ? EXIT_DONE
                   : failed(&error);
    }
    if (code == EXIT_DONE) {
        fprintf(stderr, "belay: %" PRIu64 " files, serial %" PRIu64 "; not "
                "signed yet\n", files, r->make.serial);
    }
    if (code == EXIT_DONE && skipped > 0) {
        fprintf(stderr, "belay: left out: %" PRIu64 " names that are no "
                "regular files, or downloads that are not complete\n",
                skipped);
    }
    return code;
}

/* ---- keygen, sign. */

static int keygen(struct request *r, int count, char **paths)
{
    struct belay_error error;

    if (r->name == NULL || count != 1) {
        return usage_wrong("keygen needs", "--name NAME FILE",
                           "one key at a time");
    }
    if (belay_key_new(paths[0], r->name, &error) != BELAY_DONE) {
        return failed(&error);
    }
    fprintf(stderr, "belay: %s is secret; give %s.pub to others\n", paths[0],
            paths[0]);
    return EXIT_DONE;
}

static int sign(struct request *r, int count, char **paths)
{
    struct belay_error error;

    if (r->key == NULL || count != 1) {
        return usage_wrong("sign needs", "--key FILE MANIFEST",
                           "one manifest at a time");
    }
    return belay_manifest_sign(paths[0], r->key, r->key_name, &error) ==
                   BELAY_DONE
               ? EXIT_DONE
               : failed(&error);
}

/* ---- verify. */

static void on_match(void *arg, const char *path, enum belay_match match)
{
    static const char *const words[] = {"ok", "missing", "differs",
                                        "cannot be read"};
    char shown[2049];

    (void)arg;
    if (match != BELAY_MATCH) {
        (void)belay_text_escape(shown, sizeof shown, path);
        fprintf(stderr, "belay: %s: %s\n", shown, words[match]);
    }
}

static int verify_files(struct request *r, struct belay_manifest *manifest,
                        const char *directory)
{
    struct belay_error error;
    uint64_t counts[4];

    if (belay_manifest_compare(manifest, directory, r->make.threads, on_match,
                               NULL, counts, &error) != BELAY_DONE) {
        return failed(&error);
    }
    printf("%" PRIu64 " files as they should be, %" PRIu64 " missing, %"
           PRIu64 " differ, %" PRIu64 " cannot be read\n",
           counts[BELAY_MATCH], counts[BELAY_MATCH_ABSENT],
           counts[BELAY_MATCH_DIFFERS], counts[BELAY_MATCH_ERROR]);
    if (counts[BELAY_MATCH_ABSENT] + counts[BELAY_MATCH_DIFFERS] > 0) {
        return EXIT_DIFFERS;
    }
    return counts[BELAY_MATCH_ERROR] > 0 ? EXIT_DISK : EXIT_DONE;
}

static int verify(struct request *r, int count, char **paths)
{
    struct belay_manifest_info info = {.struct_size = sizeof info};
    struct belay_manifest *manifest;
    struct belay_error error;
    int code = EXIT_DONE;

    if (r->key == NULL || count < 1 || count > 2) {
        return usage_wrong("verify needs", "--key PUB MANIFEST [DIR]",
                           "a signature counts only with a key to trust");
    }
    if (belay_manifest_open(paths[0], trust_of(&r->trust), &manifest,
                            &error) != BELAY_DONE) {
        return failed(&error);
    }
    belay_manifest_info(manifest, &info);
    printf("good signature by %s\norigin %s\nserial %" PRIu64 "\nexpires %s\n"
           "files %" PRIu64 "\n", info.signers, info.origin, info.serial,
           info.expires_text, info.count);
    (void)fflush(stdout); /* before what is told of the files */
    if (count == 2) {
        code = verify_files(r, manifest, paths[1]);
    }
    belay_manifest_close(manifest);
    return code;
}

/* ---- the command. */

static const struct option create_options[] = {
    {"origin", required_argument, NULL, OPT_ORIGIN},
    {"serial", required_argument, NULL, OPT_SERIAL},
    {"expires", required_argument, NULL, OPT_EXPIRES},
    {"chunk-size", required_argument, NULL, OPT_CHUNK_SIZE},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const struct option keygen_options[] = {
    {"name", required_argument, NULL, OPT_NAME},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const struct option sign_options[] = {
    {"key", required_argument, NULL, OPT_KEY},
    {"key-name", required_argument, NULL, OPT_KEY_NAME},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const struct option verify_options[] = {
    {"key", required_argument, NULL, OPT_KEY},
    {"origin", required_argument, NULL, OPT_ORIGIN},
    {"no-state", no_argument, NULL, OPT_NO_STATE},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const struct {
    const char *name;
    int (*run)(struct request *r, int count, char **paths);
    const char *letters;
    const struct option *options;
} verbs[] = {
    {"create", create, ":ho:", create_options},
    {"keygen", keygen, ":h", keygen_options},
    {"sign", sign, ":h", sign_options},
    {"verify", verify, ":h", verify_options},
};

int cmd_manifest(int argc, char **argv)
{
    struct request r = {.make.struct_size = sizeof r.make};
    size_t verb = 0;
    int opt;

    if (argc > 1 &&
        (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help_text, stdout);
        return EXIT_DONE;
    }
    while (verb < 4 && (argc < 2 || strcmp(argv[1], verbs[verb].name) != 0)) {
        verb++;
    }
    if (verb == 4) {
        return usage_wrong("manifest", argc > 1 ? argv[1] : "alone",
                           "expected create, keygen, sign or verify");
    }
    opterr = 0;
    while ((opt = getopt_long(argc - 1, argv + 1, verbs[verb].letters,
                              verbs[verb].options, NULL)) != -1) {
        int result = opt == '?' || opt == ':'
                         ? usage_option(opt, argv[optind],
                                        verbs[verb].options)
                         : take_option(&r, opt, optarg);

        if (result >= 0) {
            return result;
        }
    }
    return verbs[verb].run(&r, argc - 1 - optind, argv + 1 + optind);
}
