/* Pages: the bytes of a simulated file.  Copies share their pages until one
 * of them is written, so that a file may have a thousand versions.
 *
 * Bytes that were never written are zeros.  Not thread-safe. */
#ifndef TESTS_SIM_PAGES_H
#define TESTS_SIM_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_LEN UINT64_C(4096)

struct page;

/* All zero is an empty file. */
struct pages {
    uint64_t len;
    uint64_t cap; /* entries of `page` */
    struct page **page; /* NULL: zeros */
};

void pages_clear(struct pages *p);
/* What is new reads as zeros. */
void pages_resize(struct pages *p, uint64_t len);
/* What is behind the end reads as zeros. */
void pages_read(const struct pages *p, uint64_t at, void *out, uint64_t len);
/* The file grows as far as needed. */
void pages_write(struct pages *p, uint64_t at, const void *data,
                 uint64_t len);
/* [at, at + len) becomes what `from` has at from_at.  Both offsets are
 * multiples of PAGE_LEN. */
void pages_share(struct pages *p, uint64_t at, const struct pages *from,
                 uint64_t from_at, uint64_t len);
/* One page, whole: of another file, with the same number. */
void pages_take(struct pages *p, const struct pages *from, uint64_t index);
bool pages_equal(const struct pages *a, const struct pages *b);

#endif
