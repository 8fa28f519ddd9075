#include "proto/data/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/limits.h"
#include "proto/data/cid.h"
#include "proto/data/relpath.h"
#include "proto/data/text.h"

#define FIRST_LINE "belay-manifest/1"
#define HEAD_LINES 4u
#define CID_DIGITS ((size_t)2 * HASH_LEN)

/* ---- Order of paths. */

void manifest_order_init(struct manifest_order *order)
{
    memset(order, 0, sizeof *order);
}

static size_t common_prefix(const char *a, size_t a_len, const char *b,
                            size_t b_len)
{
    size_t n = 0;
    while (n < a_len && n < b_len && a[n] == b[n]) {
        n++;
    }
    return n;
}

/* In ascending order a path can only lie below one that begins every path
 * between the two, so those that begin the last path are all that count. */
int manifest_order_add(struct manifest_order *order, const char *path,
                       size_t len)
{
    if (len == 0 || relpath_check(path, len) != 0) {
        return ERR_PATH;
    }
    size_t same = common_prefix(order->last, order->last_len, path, len);
    if (order->any && same == len) {
        return same == order->last_len ? ERR_EXISTS : ERR_STATE;
    }
    if (order->any && same < order->last_len &&
        (uint8_t)path[same] < (uint8_t)order->last[same]) {
        return ERR_STATE;
    }
    size_t count = order->count;
    while (count > 0 && order->prefix[count - 1] > same) {
        count--;
    }
    for (size_t k = 0; k < count; k++) {
        if (path[order->prefix[k]] == '/') {
            return ERR_NOT_A_DIRECTORY;
        }
    }
    order->prefix[count] = (uint16_t)len;
    order->count = count + 1;
    memcpy(order->last, path, len);
    order->last_len = len;
    order->any = true;
    return 0;
}

/* ---- Lines. */

/* Takes the next line without its LF; false when none is left.  A text whose
 * last line has no end is malformed and not a line. */
static bool next_line(struct bytes_view *rest, struct bytes_view *line)
{
    const uint8_t *end =
        rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
    if (end == NULL) {
        return false;
    }
    line->ptr = rest->ptr;
    line->len = (size_t)(end - rest->ptr);
    rest->ptr = end + 1;
    rest->len -= line->len + 1;
    return true;
}

static int read_number(const uint8_t *text, size_t len, uint64_t *value)
{
    *value = 0;
    if (len == 0 || (text[0] == '0' && len > 1)) {
        return ERR_SYNTAX;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' ||
            __builtin_mul_overflow(*value, UINT64_C(10), value) ||
            __builtin_add_overflow(*value, (uint64_t)(text[i] - '0'),
                                   value)) {
            return ERR_SYNTAX;
        }
    }
    return 0;
}

/* These bytes are written as % and two upper-case digits. */
static bool is_escaped(uint8_t c)
{
    return c < 0x21 || c == '%' || c == 0x7f;
}

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int read_path(const uint8_t *text, size_t len, char out[LIMIT_PATH],
                     size_t *out_len)
{
    size_t at = 0;
    size_t i = 0;
    while (i < len) {
        uint8_t c = text[i];
        if (c == '%') {
            int high = len - i > 2 ? digit_of(text[i + 1]) : -1;
            int low = len - i > 2 ? digit_of(text[i + 2]) : -1;
            c = (uint8_t)(high * 16 + low);
            if (high < 0 || low < 0 || !is_escaped(c)) {
                return ERR_SYNTAX;
            }
            i += 3;
        } else if (is_escaped(c)) {
            return ERR_SYNTAX;
        } else {
            i++;
        }
        if (at == LIMIT_PATH) {
            return ERR_SYNTAX;
        }
        out[at] = (char)c;
        at++;
    }
    *out_len = at;
    return 0;
}

static bool is_lower_hex(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((text[i] < '0' || text[i] > '9') &&
            (text[i] < 'a' || text[i] > 'f')) {
            return false;
        }
    }
    return true;
}

/* Reads a file line; the path is decoded into `path`.  Returns the reason
 * why it is none, or NULL. */
static const char *read_file(struct bytes_view line, char path[LIMIT_PATH],
                             struct manifest_entry *entry)
{
    static const char form[] = "this is no file line";
    size_t size_at = CID_DIGITS + 1 + 2 + 1;
    if (line.len <= size_at || line.ptr[CID_DIGITS] != ' ' ||
        line.ptr[size_at - 1] != ' ' || !is_lower_hex(line.ptr, CID_DIGITS) ||
        cid_hex_decode((const char *)line.ptr, HASH_LEN, entry->cid) != 0) {
        return form;
    }
    const uint8_t *c = line.ptr + CID_DIGITS + 1;
    const uint8_t *space = memchr(line.ptr + size_at, ' ',
                                  line.len - size_at);
    if (c[0] < '0' || c[0] > '9' || c[1] < '0' || c[1] > '9' ||
        space == NULL ||
        read_number(line.ptr + size_at,
                    (size_t)(space - line.ptr) - size_at,
                    &entry->size) != 0) {
        return form;
    }
    unsigned log2 = (unsigned)((c[0] - '0') * 10 + (c[1] - '0'));
    if (!cid_chunk_log2_ok(log2) || !cid_geometry_ok(entry->size, log2)) {
        return "this file cannot have that size and chunk size";
    }
    entry->chunk_log2 = (uint8_t)log2;
    size_t path_at = (size_t)(space - line.ptr) + 1;
    if (path_at == line.len ||
        read_path(line.ptr + path_at, line.len - path_at, path,
                  &entry->path_len) != 0) {
        return "the path is not written as it has to be";
    }
    entry->path = path;
    return NULL;
}

/* ---- The head. */

static bool take_word(struct bytes_view *line, const char *word)
{
    size_t len = strlen(word);
    if (line->len < len || memcmp(line->ptr, word, len) != 0) {
        return false;
    }
    line->ptr += len;
    line->len -= len;
    return true;
}

static const char *read_head(struct bytes_view *rest, uint64_t *number,
                             struct manifest *out)
{
    struct bytes_view line[HEAD_LINES];
    for (*number = 1; *number <= HEAD_LINES; (*number)++) {
        if (!next_line(rest, &line[*number - 1])) {
            return "the head is not complete";
        }
    }
    *number = 1;
    if (!take_word(&line[0], FIRST_LINE) || line[0].len != 0) {
        return "this is not \"" FIRST_LINE "\"";
    }
    *number = 2;
    if (!take_word(&line[1], "origin ") ||
        !note_name_ok((const char *)line[1].ptr, line[1].len)) {
        return "this is no origin";
    }
    out->origin = (const char *)line[1].ptr;
    out->origin_len = line[1].len;
    *number = 3;
    if (!take_word(&line[2], "serial ") ||
        read_number(line[2].ptr, line[2].len, &out->serial) != 0) {
        return "this is no serial";
    }
    *number = 4;
    if (!take_word(&line[3], "expires ") ||
        manifest_time_parse((const char *)line[3].ptr, line[3].len,
                            &out->expires) != 0) {
        return "this is no time of expiry";
    }
    return NULL;
}

/* ---- The whole. */

static const char *order_reason(int err)
{
    switch (err) {
    case ERR_EXISTS:
        return "this path occurs twice";
    case ERR_STATE:
        return "the paths do not ascend";
    case ERR_NOT_A_DIRECTORY:
        return "a file is a directory of this path";
    default:
        return "this path is not acceptable";
    }
}

static int check_files(struct manifest *out, uint64_t number,
                       struct note_fault *fault)
{
    struct manifest_order *order = malloc(sizeof *order);
    struct manifest_walk *walk = malloc(sizeof *walk);
    struct bytes_view line;
    int err = order == NULL || walk == NULL ? ERR_NOMEM : 0;
    if (err == 0) {
        manifest_order_init(order);
        manifest_walk_init(walk, out);
    }
    out->count = 0;
    while (err == 0 && walk->rest.len > 0) {
        struct manifest_entry entry;
        fault->line = number++;
        fault->reason = "its last line has no end";
        if (!next_line(&walk->rest, &line)) {
            err = ERR_MANIFEST;
            break;
        }
        fault->reason = read_file(line, walk->path, &entry);
        if (fault->reason != NULL) {
            err = ERR_MANIFEST;
            break;
        }
        err = manifest_order_add(order, entry.path, entry.path_len);
        if (err != 0) {
            fault->reason = order_reason(err);
            err = ERR_MANIFEST;
            break;
        }
        out->count++;
        if (out->count > MAX_MANIFEST_FILES) {
            fault->reason = "it names too many files";
            err = ERR_LIMIT;
        }
    }
    free(order);
    free(walk);
    return err;
}

/* out->text is set. */
static int read_text(struct hasher *hasher, struct manifest *out,
                     struct note_fault *fault)
{
    out->files = out->text;
    fault->reason = read_head(&out->files, &fault->line, out);
    if (fault->reason != NULL) {
        return ERR_MANIFEST;
    }
    int err = check_files(out, HEAD_LINES + 1, fault);
    if (err == 0) {
        err = hash_sha256(hasher, out->text.ptr, out->text.len, out->digest);
    }
    return err;
}

static uint64_t count_lines(struct bytes_view text)
{
    struct bytes_view line;
    uint64_t count = 0;
    while (next_line(&text, &line)) {
        count++;
    }
    return count;
}

static int check_size(struct bytes_view data, struct note_fault *fault)
{
    fault->line = 0;
    fault->reason = "it is too large";
    return data.len > MAX_MANIFEST_BYTES ? ERR_LIMIT : 0;
}

int manifest_open(struct hasher *hasher, struct bytes_view data,
                  const struct note_key *keys, size_t count, bool *verified,
                  struct manifest *out, struct note_fault *fault)
{
    memset(out, 0, sizeof *out);
    int err = check_size(data, fault);
    if (err == 0) {
        err = note_split(data, &out->text, &out->lines, fault);
    }
    if (err != 0) {
        return err;
    }
    err = note_check(out->text, out->lines, keys, count, verified, fault);
    if (err == ERR_NO_KEY && keys == NULL) {
        err = 0;
    }
    if (err != 0) {
        if (fault->line > 0) {
            fault->line += count_lines(out->text) + 1;
        }
        return err;
    }
    return read_text(hasher, out, fault);
}

int manifest_open_text(struct hasher *hasher, struct bytes_view text,
                       struct manifest *out, struct note_fault *fault)
{
    memset(out, 0, sizeof *out);
    int err = check_size(text, fault);
    if (err != 0) {
        return err;
    }
    if (text.len > 1 && text.ptr[text.len - 1] == '\n' &&
        text.ptr[text.len - 2] == '\n') {
        text.len--;
    }
    fault->reason = "it is not UTF-8 text";
    if (!text_is_utf8(text.ptr, text.len)) {
        return ERR_MANIFEST;
    }
    out->text = text;
    return read_text(hasher, out, fault);
}

void manifest_walk_init(struct manifest_walk *walk,
                        const struct manifest *manifest)
{
    walk->rest = manifest->files;
}

int manifest_walk_next(struct manifest_walk *walk,
                       struct manifest_entry *entry)
{
    struct bytes_view line;
    if (!next_line(&walk->rest, &line)) {
        return ERR_EOF;
    }
    /* manifest_open() checked the same bytes. */
    return read_file(line, walk->path, entry) == NULL ? 0 : ERR_MANIFEST;
}

int manifest_accept(const struct manifest *manifest,
                    const struct manifest_memory *memory, int64_t now)
{
    if (memory != NULL &&
        (manifest->serial < memory->serial ||
         (manifest->serial == memory->serial &&
          memcmp(manifest->digest, memory->digest, HASH_LEN) != 0))) {
        return ERR_ROLLBACK;
    }
    return manifest->expires <= now ? ERR_EXPIRED : 0;
}
