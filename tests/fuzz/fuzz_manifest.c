/* Manifests: what is accepted has one written form, ascending acceptable paths,
 * and says why when it is not.
 *
 * Input: the text, signed or not.  The form is checked without keys, as the
 * signature would stop every mutation; then the notes and keys in it, too. */

#include "proto/data/manifest.h"
#include "proto/data/relpath.h"
#include "tests/fuzz/fuzz.h"

static struct hasher *hasher;

static void check_fault(int err, const struct note_fault *fault)
{
    FUZZ_CHECK(err == ERR_MANIFEST || err == ERR_LIMIT);
    FUZZ_CHECK(fault->reason != NULL && fault->reason[0] != '\0');
}

/* Written again, it is the same bytes. */
static void check_manifest(const struct manifest *m)
{
    static struct manifest_walk walk;
    static struct manifest_order order;
    struct manifest_entry entry;
    uint8_t *again = malloc(m->text.len);
    uint64_t count = 0;
    struct writer w;
    FUZZ_CHECK(again != NULL);
    writer_init(&w, again, m->text.len);
    manifest_write_head(&w, m->origin, m->origin_len, m->serial, m->expires);
    manifest_order_init(&order);
    manifest_walk_init(&walk, m);
    while (manifest_walk_next(&walk, &entry) == 0) {
        FUZZ_CHECK(entry.path_len > 0);
        FUZZ_CHECK(relpath_check(entry.path, entry.path_len) == 0);
        FUZZ_CHECK(manifest_order_add(&order, entry.path,
                                      entry.path_len) == 0);
        manifest_write_file(&w, &entry);
        count++;
    }
    FUZZ_CHECK(count == m->count);
    FUZZ_CHECK(writer_err(&w) == 0 && writer_len(&w) == m->text.len);
    FUZZ_CHECK(memcmp(again, m->text.ptr, m->text.len) == 0);
    free(again);
}

static void check_key(const char *text, size_t len)
{
    char again[NOTE_KEY_MAX];
    struct note_key key;
    if (note_key_parse(hasher, text, len, &key) == 0) {
        FUZZ_CHECK(note_name_ok(key.name, key.name_len));
        note_key_encode(&key, again);
        FUZZ_CHECK(strlen(again) == len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = { data, size };
    struct note_fault fault = { 0, NULL };
    struct manifest m;
    size_t len;
    uint8_t *text = script_rest(&script, &len);
    struct bytes_view view = { text, len };
    if (hasher == NULL) {
        hasher = hasher_new();
        FUZZ_CHECK(hasher != NULL);
    }
    int err = manifest_open_text(hasher, view, &m, &fault);
    if (err == 0) {
        check_manifest(&m);
    } else {
        check_fault(err, &fault);
    }
    err = manifest_open(hasher, view, NULL, 0, NULL, &m, &fault);
    if (err == 0) {
        check_manifest(&m);
        FUZZ_CHECK(manifest_accept(&m, NULL, m.expires) == ERR_EXPIRED);
    } else {
        check_fault(err, &fault);
    }
    check_key((const char *)text, len);
    free(text);
    return 0;
}
