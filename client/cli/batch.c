#include "client/cli/batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/targets.h"
#include "client/cli/usage.h"

/* Jobs in the engine's hands: enough for it to group what it asks for. */
#define IN_HAND_MAX 6000u

/* ---- reading. */

static const char *list_name(const struct batch *batch)
{
    return strcmp(batch->options->list, "-") == 0 ? "standard input"
                                                  : batch->options->list;
}

static void on_fault(void *arg, unsigned line, const char *why)
{
    struct batch *batch = arg;
    char shown[400];

    (void)belay_text_escape(shown, sizeof shown, list_name(batch));
    fprintf(stderr, "belay: %s:%u: %s\n", shown, line, why);
    batch->faults++;
}

static int read_list(struct batch *batch)
{
    bool standard = strcmp(batch->options->list, "-") == 0;
    FILE *from = standard ? stdin : fopen(batch->options->list, "re");
    char shown[400];
    bool good;
    int code = errno;

    good = from != NULL && list_read(&batch->list, from,
                                     batch->options->separator, on_fault,
                                     batch);
    code = from == NULL || good ? code : errno;
    if (from != NULL && !standard) {
        (void)fclose(from);
    }
    if (batch->list.nomem) {
        fprintf(stderr, "belay: out of memory\n");
        return EXIT_FAULT;
    }
    if (good) {
        return -1;
    }
    (void)belay_text_escape(shown, sizeof shown, list_name(batch));
    fprintf(stderr, "belay: cannot read the list %s: %s\n", shown,
            strerror(code));
    return (int)exit_code_of_file(code);
}

static void wrong_operand(struct batch *batch, const char *text)
{
    fprintf(stderr, "belay: %s\n", text);
    batch->faults++;
}

/* A slash at the end is how people write a directory. */
static bool is_directory_url(const char *text)
{
    size_t len = strlen(text);
    char *shorter = len > 1 && text[len - 1] == '/' ? strndup(text, len - 1)
                                                    : NULL;
    bool is = shorter != NULL &&
              belay_url_parse(shorter, NULL, NULL) == BELAY_DONE;

    free(shorter);
    return is;
}

static int read_operands(struct batch *batch)
{
    const struct get_options *o = batch->options;
    struct belay_error error;

    for (int k = 0; k < o->url_count; k++) {
        struct list_item item = {.url = o->urls[k],
                                 .out = o->get.output,
                                 .sha256 = o->get.sha256};
        struct belay_url url = {.struct_size = sizeof url};

        bool good = belay_url_parse(item.url, &url, &error) == BELAY_DONE;

        if ((good && item.out == NULL && url.name[0] == '\0' &&
             !o->get.to_fd) ||
            (!good && is_directory_url(item.url))) {
            wrong_operand(batch, "the URL names a directory, not a file; -r "
                                 "fetches what is in it");
        } else if (!good) {
            wrong_operand(batch, error.text);
        } else if (!list_add(&batch->list, &item)) {
            fprintf(stderr, "belay: out of memory\n");
            return EXIT_FAULT;
        }
    }
    return -1;
}

/* ---- choosing. */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void tell_clash(struct batch *batch, const struct list_item *first,
                       const struct list_item *second)
{
    char shown[400];

    (void)belay_text_escape(shown, sizeof shown,
                            second->out != NULL ? second->out : second->url);
    if (second->line > 0 && first->line > 0) {
        fprintf(stderr, "belay: lines %u and %u have the same target: %s\n",
                first->line, second->line, shown);
    } else {
        fprintf(stderr, "belay: two URLs have the same target: %s\n", shown);
    }
    batch->faults++;
}

/* Leaves the items that the filter takes, each once.  False: no memory. */
static bool choose(struct batch *batch, struct targets *targets)
{
    struct list *list = &batch->list;
    const struct get_options *o = batch->options;
    size_t kept = 0;

    for (size_t k = 0; k < list->count; k++) {
        struct list_item item = list->items[k];
        struct belay_url url = {.struct_size = sizeof url};
        size_t tag = kept;

        if (belay_url_parse(item.url, &url, NULL) != BELAY_DONE ||
            !filter_takes(&o->filter, url.path)) {
            continue;
        }
        switch (o->get.to_fd
                    ? TARGETS_NEW
                    : targets_add(targets,
                                  item.dir != NULL ? item.dir
                                                   : o->get.directory,
                                  item.out != NULL ? item.out : url.name,
                                  &tag)) {
        case TARGETS_NEW:
            list->items[kept++] = item;
            break;
        case TARGETS_AGAIN:
            if (!same_text(list->items[tag].url, item.url) ||
                !same_text(list->items[tag].sha256, item.sha256)) {
                tell_clash(batch, &list->items[tag], &item);
            }
            break;
        case TARGETS_NOMEM:
            return false;
        }
    }
    list->count = kept;
    return true;
}

int batch_read(struct batch *batch, const struct get_options *options)
{
    struct targets targets = {0};
    int result;
    bool good;

    *batch = (struct batch){.options = options};
    result = read_operands(batch);
    if (result < 0 && options->list != NULL) {
        result = read_list(batch);
    }
    if (result >= 0) {
        return result;
    }
    good = choose(batch, &targets);
    targets_clear(&targets);
    if (!good) {
        fprintf(stderr, "belay: out of memory\n");
        return EXIT_FAULT;
    }
    if (batch->faults > 1 || (batch->faults > 0 && options->list != NULL)) {
        fprintf(stderr, "belay: nothing was fetched; correct %s first\n",
                options->list != NULL ? "the list" : "the URLs");
    }
    return batch->faults > 0 ? EXIT_USAGE : -1;
}

/* ---- what failed, in the form of a list. */

static bool open_failed(struct batch *batch)
{
    if (batch->options->failed == NULL) {
        return true;
    }
    batch->failed = fopen(batch->options->failed, "we");
    if (batch->failed == NULL) {
        int error = errno;
        char shown[400];

        (void)belay_text_escape(shown, sizeof shown, batch->options->failed);
        fprintf(stderr, "belay: cannot write %s, the list of what fails: "
                "%s\n", shown, strerror(error));
    }
    return batch->failed != NULL;
}

static void write_failed(struct batch *batch, const struct list_item *item,
                         enum belay_reason reason, const char *text)
{
    struct list_item full = *item;

    if (batch->failed == NULL) {
        return;
    }
    if (full.dir == NULL && (full.out == NULL || full.out[0] != '/')) {
        full.dir = batch->options->get.directory;
    }
    fprintf(batch->failed, "# %s (%s): %s\n", belay_reason_name(reason),
            belay_class_name(belay_reason_class(reason)), text);
    list_write(batch->failed, &full);
}

static int close_failed(struct batch *batch, int code)
{
    int err;

    if (batch->failed == NULL) {
        return code;
    }
    for (; batch->next < batch->list.count; batch->next++) {
        write_failed(batch, &batch->list.items[batch->next],
                     BELAY_INTERRUPTED, "not begun");
    }
    err = ferror(batch->failed) || fflush(batch->failed) != 0 ||
          fsync(fileno(batch->failed)) < 0;
    if ((fclose(batch->failed) != 0 || err) && errno != EINVAL &&
        errno != EROFS) {
        fprintf(stderr, "belay: the list of what failed could not be "
                        "written: %s\n", strerror(errno));
        code = (int)exit_code_worse(EXIT_DISK, (enum exit_code)code);
    }
    batch->failed = NULL;
    return code;
}

/* ---- running. */

/* The mirrors of one item; kept as long as the batch. */
struct batch_mirrors {
    struct batch_mirrors *next;
    const char *url[BELAY_MIRRORS_MAX];
    unsigned count;
    char text[];
};

static struct batch_mirrors *split_mirrors(struct batch *batch,
                                           const char *text)
{
    size_t len = strlen(text) + 1;
    struct batch_mirrors *m = calloc(1, sizeof *m + len);
    char *rest = NULL;

    if (m == NULL) {
        return NULL;
    }
    m->next = batch->mirrors;
    batch->mirrors = m;
    memcpy(m->text, text, len);
    for (char *url = strtok_r(m->text, " \t", &rest); url != NULL;
         url = strtok_r(NULL, " \t", &rest)) {
        if (m->count == BELAY_MIRRORS_MAX) {
            return NULL;
        }
        m->url[m->count++] = url;
    }
    return m;
}

/* DIR of -d is made when it is missing, and so is all that a list names; a
 * typing error in -o FILE makes no directory. */
static bool makes_directories(const struct get_options *o)
{
    return o->list != NULL || o->get.directory != NULL;
}

static bool add_item(struct batch *batch, const struct list_item *item)
{
    struct belay_get_options get = batch->options->get;

    get.url = item->url;
    get.output = item->out;
    get.sha256 = item->sha256;
    get.make_directories = makes_directories(batch->options);
    if (item->dir != NULL) {
        get.directory = item->dir;
    }
    if (item->mirror != NULL) {
        const struct batch_mirrors *m = split_mirrors(batch, item->mirror);

        if (m == NULL) {
            fprintf(stderr, "belay: line %u: too many mirrors\n",
                    item->line);
            return false;
        }
        get.mirrors = m->url;
        get.mirror_count = m->count;
    }
    return run_get(&batch->run, &get, batch->next - 1);
}

static void feed(struct batch *batch)
{
    while (batch->next < batch->list.count &&
           batch->in_hand < IN_HAND_MAX && !run_interrupted()) {
        const struct list_item *item = &batch->list.items[batch->next];

        batch->next++;
        if (add_item(batch, item)) {
            batch->in_hand++;
        } else {
            write_failed(batch, item, BELAY_USAGE, "cannot be begun");
        }
    }
}

static void on_end(void *arg, size_t id, const struct belay_event *event)
{
    struct batch *batch = arg;

    batch->in_hand--;
    if (belay_reason_class(event->reason) != BELAY_CLASS_DONE) {
        write_failed(batch, &batch->list.items[id], event->reason,
                     event->text);
    }
    if (2 * batch->in_hand <= IN_HAND_MAX) {
        feed(batch);
    }
}

/* Where the files go, and which hosts are reached through ssh. */
static bool jail_item(struct batch *batch, const struct list_item *item)
{
    const struct belay_get_options *get = &batch->options->get;
    struct jail *jail = batch->options->run.jail;
    const char *dir = item->dir != NULL ? item->dir : get->directory;
    bool good = jail_url(jail, item->url);

    if (item->mirror != NULL) {
        const struct batch_mirrors *m = split_mirrors(batch, item->mirror);

        for (unsigned k = 0; m != NULL && k < m->count; k++) {
            good = good && jail_url(jail, m->url[k]);
        }
    }
    if (get->to_fd || get->dry_run) {
        return good;
    }
    return good && jail_file(jail, dir, item->out != NULL ? item->out : "");
}

static bool jail_batch(struct batch *batch)
{
    const struct get_options *o = batch->options;
    bool good = true;

    for (size_t k = 0; k < batch->list.count && good; k++) {
        good = jail_item(batch, &batch->list.items[k]);
    }
    for (unsigned k = 0; k < o->get.mirror_count && good; k++) {
        good = jail_url(o->run.jail, o->get.mirrors[k]);
    }
    if (o->get.receipt != NULL && o->get.receipt[0] != '\0' &&
        !o->get.dry_run) {
        good = good && jail_file(o->run.jail, NULL, o->get.receipt);
    }
    o->run.jail->make = makes_directories(o) && !o->get.dry_run;
    return good;
}

int batch_run(struct batch *batch)
{
    int result;

    if (!jail_batch(batch)) {
        fprintf(stderr, "belay: out of memory\n");
        return EXIT_FAULT;
    }
    if (!open_failed(batch)) {
        return EXIT_DISK;
    }
    if (batch->list.count == 0 && !batch->options->run.quiet) {
        fprintf(stderr, "belay: there is nothing to fetch\n");
    }
    result = run_open(&batch->run, &batch->options->run, batch->list.count);
    if (result >= 0) {
        return close_failed(batch, result);
    }
    batch->run.on_end = on_end;
    batch->run.arg = batch;
    batch->run.directory = batch->options->get.directory;
    feed(batch);
    return close_failed(batch, run_close(&batch->run));
}

void batch_clear(struct batch *batch)
{
    while (batch->mirrors != NULL) {
        struct batch_mirrors *next = batch->mirrors->next;

        free(batch->mirrors);
        batch->mirrors = next;
    }
    list_free(&batch->list);
}
