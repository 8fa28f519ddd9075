#include "tests/sim/pages.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

#define SLAB 64u

struct page {
    unsigned users;
    struct page *next_free;
    uint8_t bytes[PAGE_LEN];
};

static struct page *free_pages;
static const uint8_t zeros[PAGE_LEN];

static uint64_t count_of(uint64_t len)
{
    return (len + PAGE_LEN - 1) / PAGE_LEN;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static struct page *page_new(void)
{
    struct page *p = free_pages;

    if (p == NULL) {
        struct page *slab = calloc(SLAB, sizeof *slab);

        BELAY_ASSERT(slab != NULL);
        for (unsigned k = 0; k < SLAB; k++) {
            slab[k].next_free = k + 1 < SLAB ? &slab[k + 1] : NULL;
        }
        p = slab;
    }
    free_pages = p->next_free;
    p->users = 1;
    return p;
}

static void page_drop(struct page *p)
{
    if (p != NULL && --p->users == 0) {
        p->next_free = free_pages;
        free_pages = p;
    }
}

static struct page *page_keep(struct page *p)
{
    if (p != NULL) {
        p->users++;
    }
    return p;
}

static struct page *page_at(const struct pages *p, uint64_t index)
{
    return index < count_of(p->len) ? p->page[index] : NULL;
}

static const uint8_t *bytes_at(const struct pages *p, uint64_t index)
{
    const struct page *page = page_at(p, index);

    return page == NULL ? zeros : page->bytes;
}

/* The page, for writing into it. */
static uint8_t *page_own(struct pages *p, uint64_t index)
{
    struct page *old = p->page[index];
    struct page *own;

    if (old != NULL && old->users == 1) {
        return old->bytes;
    }
    own = page_new();
    memcpy(own->bytes, old == NULL ? zeros : old->bytes, PAGE_LEN);
    page_drop(old);
    p->page[index] = own;
    return own->bytes;
}

void pages_clear(struct pages *p)
{
    for (uint64_t i = 0; i < count_of(p->len); i++) {
        page_drop(p->page[i]);
    }
    free(p->page);
    memset(p, 0, sizeof *p);
}

void pages_resize(struct pages *p, uint64_t len)
{
    uint64_t before = count_of(p->len);
    uint64_t count = count_of(len);

    for (uint64_t i = count; i < before; i++) {
        page_drop(p->page[i]);
    }
    if (len < p->len && len % PAGE_LEN != 0 && p->page[count - 1] != NULL) {
        /* Behind the end there are zeros. */
        memset(page_own(p, count - 1) + len % PAGE_LEN, 0,
               PAGE_LEN - len % PAGE_LEN);
    }
    if (count > p->cap) {
        p->cap = count > 2 * p->cap ? count : 2 * p->cap;
        p->page = realloc(p->page, p->cap * sizeof *p->page);
        BELAY_ASSERT(p->page != NULL);
    }
    for (uint64_t i = before; i < count; i++) {
        p->page[i] = NULL;
    }
    p->len = len;
}

void pages_read(const struct pages *p, uint64_t at, void *out, uint64_t len)
{
    uint8_t *to = out;

    while (len > 0) {
        uint64_t from = at % PAGE_LEN;
        uint64_t n = smaller(len, PAGE_LEN - from);

        memcpy(to, bytes_at(p, at / PAGE_LEN) + from, n);
        to += n;
        at += n;
        len -= n;
    }
}

void pages_write(struct pages *p, uint64_t at, const void *data,
                 uint64_t len)
{
    const uint8_t *from = data;

    if (at + len > p->len) {
        pages_resize(p, at + len);
    }
    while (len > 0) {
        uint64_t to = at % PAGE_LEN;
        uint64_t n = smaller(len, PAGE_LEN - to);

        memcpy(page_own(p, at / PAGE_LEN) + to, from, n);
        from += n;
        at += n;
        len -= n;
    }
}

void pages_take(struct pages *p, const struct pages *from, uint64_t index)
{
    struct page *page = page_keep(page_at(from, index));

    BELAY_ASSERT(index < count_of(p->len));
    page_drop(p->page[index]);
    p->page[index] = page;
    if (index + 1 == count_of(p->len) && p->len % PAGE_LEN != 0 &&
        from->len > p->len && page != NULL) {
        memset(page_own(p, index) + p->len % PAGE_LEN, 0,
               PAGE_LEN - p->len % PAGE_LEN);
    }
}

void pages_share(struct pages *p, uint64_t at, const struct pages *from,
                 uint64_t from_at, uint64_t len)
{
    uint8_t tail[PAGE_LEN];

    BELAY_ASSERT(at % PAGE_LEN == 0 && from_at % PAGE_LEN == 0);
    if (at + len > p->len) {
        pages_resize(p, at + len);
    }
    for (; len >= PAGE_LEN; len -= PAGE_LEN) {
        struct page *page = page_keep(page_at(from, from_at / PAGE_LEN));

        page_drop(p->page[at / PAGE_LEN]);
        p->page[at / PAGE_LEN] = page;
        at += PAGE_LEN;
        from_at += PAGE_LEN;
    }
    if (len > 0) {
        pages_read(from, from_at, tail, len);
        pages_write(p, at, tail, len);
    }
}

bool pages_equal(const struct pages *a, const struct pages *b)
{
    if (a->len != b->len) {
        return false;
    }
    for (uint64_t i = 0; i < count_of(a->len); i++) {
        if (a->page[i] != b->page[i] &&
            memcmp(bytes_at(a, i), bytes_at(b, i), PAGE_LEN) != 0) {
            return false;
        }
    }
    return true;
}
