/* Comparing a local file with what a receipt or a content id says (belay.h).
 * Nothing is written, and no server is asked. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/donor.h"
#include "client/filecid.h"
#include "client/receiptfile.h"
#include "client/report.h"
#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"

struct check {
    const struct belay_verify_options *options;
    struct belay_verify_result *result;
    const struct receipt *receipt;
    uint64_t open_from; /* wrong from here on, */
    uint64_t open_to;   /* ... to here; equal: nothing */
};

static void close_range_of(struct check *c)
{
    if (c->open_to > c->open_from && c->options->wrong != NULL) {
        c->options->wrong(c->options->arg, c->open_from, c->open_to);
    }
    c->open_from = c->open_to;
}

/* Neighbouring wrong chunks are told as one range. */
static void on_chunk(void *arg, uint64_t index, const uint8_t *digest)
{
    struct check *c = arg;
    const struct receipt *r = c->receipt;
    uint64_t from = cid_chunk_offset(r->chunk_log2, index);
    uint32_t len = cid_chunk_len(r->size, r->chunk_log2, index);
    uint8_t want[HASH_LEN];

    receipt_digest(r, index, want);
    if (digest != NULL && memcmp(digest, want, HASH_LEN) == 0) {
        return;
    }
    c->result->wrong_chunks++;
    c->result->wrong_bytes += len;
    if (c->open_to != from) {
        close_range_of(c);
        c->open_from = from;
    }
    c->open_to = from + len;
}

static enum belay_reason with_receipt(const struct belay_verify_options *o,
                                      struct belay_verify_result *result,
                                      int fd, const char *shown,
                                      struct belay_error *error)
{
    struct receipt_error where = {0};
    struct receipt receipt;
    struct check check = {.options = o, .result = result,
                          .receipt = &receipt};
    char name[300];
    char *text;
    int err = receiptfile_read(o->receipt, &text, &receipt, &where);

    (void)text_escape(name, sizeof name, o->receipt, strlen(o->receipt));
    if (err == ERR_SYNTAX) {
        return report(error, BELAY_USAGE, "%s is no receipt: line %" PRIu64
                                          ": %s", name, where.line,
                      where.reason);
    }
    if (err == ERR_DIGEST) {
        return report(error, BELAY_WRONG_CONTENT,
                      "%s was changed: its digests do not make its content "
                      "id; nothing of it is believed", name);
    }
    if (err != 0) {
        return report(error, err == ERR_IO ? belay_reason_of_file(errno)
                             : err == ERR_NOMEM ? BELAY_INTERNAL
                                                : BELAY_USAGE,
                      "%s: %s", name,
                      err == ERR_IO ? strerror(errno) : err_sentence(err));
    }
    result->want_size = receipt.size;
    result->chunks = receipt.chunks;
    cid_encode(receipt.chunk_log2, receipt.cid, result->cid);
    err = file_chunks(fd, receipt.size, receipt.chunk_log2, on_chunk,
                      &check);
    close_range_of(&check);
    free(text);
    if (err != 0) {
        return report(error, BELAY_INTERNAL, "%s: %s", shown,
                      err_sentence(err));
    }
    if (result->wrong_chunks == 0 && result->size == result->want_size) {
        return BELAY_DONE;
    }
    if (result->wrong_chunks == 0) {
        return report(error, BELAY_DIFFERS, "%" PRIu64 " bytes are too many "
                                            "at its end; the rest is right",
                      result->size - result->want_size);
    }
    return report(error, BELAY_DIFFERS,
                  "%" PRIu64 " of %" PRIu64 " chunks are wrong or missing%s",
                  result->wrong_chunks, result->chunks,
                  result->size > result->want_size ? ", and it is too long"
                                                   : "");
}

static enum belay_reason with_cid(const struct belay_verify_options *o,
                                  struct belay_verify_result *result, int fd,
                                  const char *shown,
                                  struct belay_error *error)
{
    const char *text = o->cid + (o->cid[0] == '#');
    uint8_t want[HASH_LEN], is[HASH_LEN];
    uint8_t log2;

    if (cid_parse(text, strlen(text), &log2, want) != 0) {
        return report(error, BELAY_USAGE, "a content id looks like bl1-18- "
                                          "and 64 hexadecimal digits");
    }
    if (!cid_geometry_ok(result->size, log2)) {
        return report(error, BELAY_DIFFERS, "no file of this size has a "
                                            "content id of such chunks");
    }
    result->want_size = result->size;
    result->chunks = cid_chunk_count(result->size, log2);
    if (file_cid(fd, result->size, log2, is) != 0) {
        return report(error, BELAY_DISK, "%s: it cannot be read", shown);
    }
    cid_encode(log2, is, result->cid);
    return memcmp(is, want, HASH_LEN) == 0
               ? BELAY_DONE
               : report(error, BELAY_DIFFERS,
                        "its content id is %s; a receipt or the URL would "
                        "tell which bytes are wrong", result->cid);
}

enum belay_reason belay_verify(const struct belay_verify_options *options,
                               struct belay_verify_result *result,
                               struct belay_error *error)
{
    struct belay_verify_options o;
    struct belay_verify_result all = {0};
    struct donors files = {0};
    enum belay_reason reason;
    char shown[300];
    int err;

    report_take(&o, sizeof o, options);
    if (o.path == NULL || (o.receipt == NULL) == (o.cid == NULL)) {
        return report(error, BELAY_USAGE, "a file and either a receipt or a "
                                          "content id are needed");
    }
    (void)text_escape(shown, sizeof shown, o.path, strlen(o.path));
    err = donors_add(&files, ".", o.path, false);
    if (err != 0) {
        return report(error, donors_reason(err), "cannot read it: %s",
                      donors_problem(err));
    }
    donor_refresh(&files.donor[0]);
    all.size = files.donor[0].size;
    reason = o.receipt != NULL
                 ? with_receipt(&o, &all, files.donor[0].fd, shown, error)
                 : with_cid(&o, &all, files.donor[0].fd, shown, error);
    donors_close(&files);
    if (result != NULL) {
        report_give(result, &all, sizeof all);
    }
    return reason;
}
