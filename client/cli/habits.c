#include "client/cli/habits.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "client/belay.h"

/* ---- options. */

struct habit {
    const char *words; /* options of others, a blank around each */
    const char *ours;  /* a long option that the command must have; NULL:
                          none */
    const char *hint;
};

static const struct habit habits[] = {
    {" -O --remote-name --remote-name-all --output-document ", "output",
     "the name in the URL is what it gets anyway; -o FILE chooses another"},
    {" --output-dir --target-directory ", "directory", "-d DIR"},
    {" --output-file --append-output ", "log-file", "--log-file FILE"},
    {" -f --fail --fail-with-body --remove-on-error ", "output",
     "what fails never gets the final name, and the exit code tells"},
    {" -L --location --max-redirs --max-redirect ", "connections",
     "there are no redirects to follow"},
    {" -s ", "connections",
     "-q tells errors only, -x N is the number of connections for a file"},
    {" -s --silent -S --show-error --no-verbose ", "quiet",
     "-q tells errors only"},
    {" --split --min-split-size --max-connection-per-server ",
     "connections", "-x N is the number of connections for a file"},
    {" -k --insecure --no-check-certificate --check-certificate ",
     "accept-new",
     "a server is known by its key: --accept-new, --pin, belay trust"},
    {" -u --user --password --http-user --http-password --http-passwd "
     "--netrc --netrc-file -H --header --oauth2-bearer ", "token-file",
     "--token-file FILE or BELAY_TOKEN, --cert with --cert-key"},
    {" --ca-certificate --capath ", "cacert", "--cacert FILE"},
    {" --certificate --cert-type ", "cert", "--cert FILE, in PEM"},
    {" --private-key ", "cert-key", "--cert-key FILE"},
    {" -t ", "retry", "--retry N"},
    {" --retry-delay --retry-wait --retry-all-errors --retry-connrefused "
     "--waitretry --random-wait ", "retry",
     "what breaks is tried again anyway, at intervals that fit; --retry N "
     "waits for a server that is not up yet, too"},
    {" --retry-max-time ", "deadline", "--deadline S"},
    {" -m ", "deadline", "--deadline S"},
    {" -T --read-timeout --dns-timeout --contimeout ", "timeout",
     "--timeout S, --connect-timeout S"},
    {" -y ", "speed-time", "--speed-time S"},
    {" -Y --lowest-speed-limit ", "speed-limit", "--speed-limit RATE"},
    {" --max-download-limit --max-overall-download-limit --rate ",
     "limit-rate", "--limit-rate RATE"},
    {" -Z --parallel --parallel-max --max-concurrent-downloads ", "jobs",
     "-j N is the number of files at once"},
    {" --url ", NULL, "a URL needs no option"},
    {" -T --upload-file --post-data --post-file ", "output",
     "nothing is uploaded"},
    {" -I --head --spider --list-only ", "dry-run",
     "-n tells what would be fetched; belay ls -l lists"},
    {" --range ", "output",
     "files are fetched whole; what is there already is not fetched again"},
    {" --continue-at --start-pos --resume --append --append-verify "
     "--partial --partial-dir --inplace --always-resume ", "output",
     "a resume needs no option: run the same command again"},
    {" -N --timestamping --update --ignore-existing ", "overwrite",
     "what is there already is not fetched; else --overwrite or "
     "--no-clobber decides"},
    {" -R --remote-time --times -p --perms -a --archive ", "no-remote-time",
     "times are the server's anyway; -r fetches directories, with "
     "permission bits"},
    {" -A --accept-regex ", "include", "--include GLOB"},
    {" --reject --reject-regex ", "exclude", "--exclude GLOB"},
    {" -l --level --no-parent --cut-dirs --no-host-directories "
     "--page-requisites ", "recursive",
     "-r fetches the directory of the URL, and nothing else"},
    {" --delete --delete-after --delete-before --delete-excluded ",
     "recursive", "nothing is deleted here"},
    {" -V --check-integrity --hash-check-only ", NULL,
     "belay verify compares a file that is there, belay repair mends it; "
     "belay --version tells the version"},
    {" --version ", NULL, "belay --version"},
    {" --compressed ", "compress", "-z"},
    {" -# --progress-bar --show-progress ", "progress", "--progress=bar"},
    {" --create-dirs --mkpath --parents ", "directory",
     "-d DIR is made if it is missing"},
    {" -b --background --daemon ", NULL, "put & behind the command"},
    {" -K ", "retry", "--config FILE"},
    {" --max-filesize ", "max-size", "--max-size SIZE"},
    {" --preproxy --socks5 --socks5-hostname --all-proxy --http-proxy ",
     "proxy", "--proxy socks5h://HOST:PORT"},
    {" --no-proxy ", "noproxy", "--noproxy HOSTS"},
    {" -a --all --almost-all ", "long", "all names are listed"},
};

/* Is the word, without the value behind '=', in a list? */
static bool names(const char *list, const char *word)
{
    size_t len = strcspn(word, "=");
    const char *at = list;

    while (len > 0 && (at = strchr(at, ' ')) != NULL) {
        at++;
        if (strncmp(at, word, len) == 0 && at[len] == ' ') {
            return true;
        }
    }
    return false;
}

static bool has(const struct option *options, const char *name)
{
    if (name == NULL) {
        return true;
    }
    for (const struct option *o = options; o->name != NULL; o++) {
        if (strcmp(o->name, name) == 0) {
            return true;
        }
    }
    return false;
}

const char *habits_option(const char *typed, const struct option *options)
{
    for (size_t k = 0; k < sizeof habits / sizeof habits[0]; k++) {
        if (names(habits[k].words, typed) &&
            has(options, habits[k].ours)) {
            return habits[k].hint;
        }
    }
    return NULL;
}

/* ---- commands. */

const char *habits_command(const char *word)
{
    static const struct {
        const char *words;
        const char *hint;
    } table[] = {
        {" help ", "belay --help"},
        {" version ", "belay --version"},
        {" download fetch pull clone copy cp sync mirror ", "belay get"},
        {" list dir ", "belay ls"},
        {" check compare ", "belay verify"},
        {" fix heal ", "belay repair"},
        {" hash sum ", "belay cid"},
        {" serve server daemon ", "belayd"},
    };
    struct belay_error error;

    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        if (names(table[k].words, word)) {
            return table[k].hint;
        }
    }
    return belay_url_parse(word, NULL, &error) == BELAY_DONE
               ? "belay get URL fetches it"
               : NULL;
}
