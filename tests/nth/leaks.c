#include "tests/nth/leaks.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS (1u << 17)
#define FDS_MAX 1024
/* The notes' own descriptors are above those that a program opens. */
#define FD_BASE 700

struct block {
    uintptr_t at; /* 0: free */
    size_t size;
    const void *caller;
    bool seen;
};

struct notes {
    atomic_flag lock;
    bool over; /* full, or counted: nothing is noted any more */
    int maps_fd;
    int mem_fd;
    uintptr_t heap[2];
    /* A table by address with open addressing. */
    struct block slots[SLOTS];
    /* For the end: the blocks by address, and those still to be read. */
    size_t count;
    struct block sorted[SLOTS];
    uint32_t todo[SLOTS];
    size_t todo_count;
    char maps[1 << 18];
    uintptr_t words[1 << 13];
};

/* The code of libraries that are told apart.  dladdr() would search their
 * symbols each time. */
static struct library {
    const char *name;
    uintptr_t from;
    uintptr_t to;
} libraries[] = {
    [LEAKS_CRYPTO] = {.name = "libcrypto"},
    [LEAKS_SSL] = {.name = "libssl"},
    [LEAKS_UV] = {.name = "libuv"},
};

/* In memory of their own, where the search does not look. */
static struct notes *notes;

static void lock(void)
{
    while (atomic_flag_test_and_set(&notes->lock)) {
        sched_yield();
    }
}

static void unlock(void)
{
    atomic_flag_clear(&notes->lock);
}

/* ---- noting. */

static size_t slot_of(uintptr_t at)
{
    return (size_t)((at >> 4) * 0x9e3779b97f4a7c15u >> 47) % SLOTS;
}

static size_t find(uintptr_t at)
{
    size_t i = slot_of(at);

    while (notes->slots[i].at != 0 && notes->slots[i].at != at) {
        i = (i + 1) % SLOTS;
    }
    return i;
}

/* Those behind it move up, so that they are still found. */
static void empty(size_t i)
{
    struct block *slots = notes->slots;

    for (size_t j = (i + 1) % SLOTS; slots[j].at != 0; j = (j + 1) % SLOTS) {
        size_t home = slot_of(slots[j].at);

        if ((j - home) % SLOTS >= (j - i) % SLOTS) {
            slots[i] = slots[j];
            i = j;
        }
    }
    slots[i].at = 0;
}

void leaks_add(void *p, size_t size, const void *caller)
{
    if (notes == NULL || p == NULL) {
        return;
    }
    lock();
    if (!notes->over) {
        notes->over = ++notes->count > SLOTS / 2;
        notes->slots[find((uintptr_t)p)] =
            (struct block){(uintptr_t)p, size, caller, false};
    }
    unlock();
}

void leaks_drop(void *p)
{
    if (notes == NULL || p == NULL) {
        return;
    }
    lock();
    size_t i = find((uintptr_t)p);
    if (!notes->over && notes->slots[i].at != 0) {
        notes->count--;
        empty(i);
    }
    unlock();
}

/* ---- the process. */

static int open_high(const char *path)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    int high = fd < 0 ? -1 : (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC,
                                          FD_BASE);

    if (fd >= 0) {
        syscall(SYS_close, fd);
    }
    return high;
}

/* While it still may: a sandbox forbids it later. */
static void open_self(void)
{
    notes->maps_fd = open_high("/proc/self/maps");
    notes->mem_fd = open_high("/proc/self/mem");
}

/* A child reads its own memory, not its parent's. */
static void in_child(void)
{
    syscall(SYS_close, notes->maps_fd);
    syscall(SYS_close, notes->mem_fd);
    open_self();
    unlock();
}

static int find_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct library *library = arg;

    (void)size;
    if (strstr(info->dlpi_name, library->name) == NULL) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0) {
            library->from = info->dlpi_addr + part->p_vaddr;
            library->to = library->from + part->p_memsz;
        }
    }
    return 1;
}

bool leaks_in_library(enum leaks_library which, const void *caller)
{
    return (uintptr_t)caller >= libraries[which].from &&
           (uintptr_t)caller < libraries[which].to;
}

static bool in_crypto(const void *caller)
{
    return leaks_in_library(LEAKS_CRYPTO, caller) ||
           leaks_in_library(LEAKS_SSL, caller);
}

void leaks_start(void)
{
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        (void)dl_iterate_phdr(find_library, &libraries[i]);
    }
    void *p = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    /* All blocks in one place, so that the rest is told from them. */
    if (p == MAP_FAILED || mallopt(M_ARENA_MAX, 1) == 0 ||
        mallopt(M_MMAP_MAX, 0) == 0) {
        return;
    }
    notes = p;
    open_self();
    pthread_atfork(lock, unlock, in_child);
}

/* ---- searching. */

static void sift(struct block *blocks, size_t root, size_t count)
{
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        struct block kept = blocks[root];

        child += child + 1 < count &&
                 blocks[child].at < blocks[child + 1].at;
        if (kept.at >= blocks[child].at) {
            return;
        }
        blocks[root] = blocks[child];
        blocks[child] = kept;
    }
}

/* qsort() may want a block. */
static void sort(struct block *blocks, size_t count)
{
    for (size_t i = count / 2; i-- > 0;) {
        sift(blocks, i, count);
    }
    for (size_t end = count; end-- > 1;) {
        struct block kept = blocks[0];

        blocks[0] = blocks[end];
        blocks[end] = kept;
        sift(blocks, 0, end);
    }
}

/* Does this word lead into a block? */
static void follow(uintptr_t word)
{
    size_t low = 0;
    size_t high = notes->count;

    if (word < notes->heap[0] || word >= notes->heap[1]) {
        return;
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (notes->sorted[middle].at <= word) {
            low = middle;
        } else {
            high = middle;
        }
    }
    struct block *block = &notes->sorted[low];
    if (!block->seen && word >= block->at &&
        word - block->at <= block->size) {
        block->seen = true;
        notes->todo[notes->todo_count++] = (uint32_t)low;
    }
}

/* Other threads may take memory away: it is read as a file. */
static void search(uintptr_t from, uintptr_t to)
{
    from = (from + 7) & ~(uintptr_t)7;
    while (from < to) {
        size_t len = to - from < sizeof notes->words ? to - from
                                                     : sizeof notes->words;
        long got = syscall(SYS_pread64, notes->mem_fd, notes->words, len,
                           from);

        if (got <= 0) {
            return;
        }
        for (size_t i = 0; i < (size_t)got / sizeof *notes->words; i++) {
            follow(notes->words[i]);
        }
        from += (size_t)got;
    }
}

/* All but the notes, which may lie in the middle. */
static void search_around_notes(uintptr_t from, uintptr_t to)
{
    uintptr_t begin = (uintptr_t)notes;
    uintptr_t end = begin + sizeof *notes;

    if (to <= begin || from >= end) {
        search(from, to);
        return;
    }
    search(from, begin > from ? begin : from);
    search(end < to ? end : to, to);
}

static bool read_maps(void)
{
    size_t len = 0;
    long got;

    do {
        got = syscall(SYS_read, notes->maps_fd, notes->maps + len,
                      sizeof notes->maps - 1 - len);
        len += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    notes->maps[len] = '\0';
    return got == 0 && len > 0;
}

/* The next mapping that can be written and is this process's own. */
static char *next_map(char *line, uintptr_t range[2], char **name)
{
    while (*line != '\0') {
        unsigned long from;
        unsigned long to;
        char access[5];
        int name_at = 0;
        char *end = strchr(line, '\n');
        int found;

        *end = '\0';
        found = sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &from, &to,
                       access, &name_at);
        *name = line + name_at;
        line = end + 1;
        if (found == 3 && access[1] == 'w' && access[3] == 'p') {
            range[0] = from;
            range[1] = to;
            return line;
        }
    }
    return NULL;
}

static void search_all(uintptr_t stack)
{
    uintptr_t range[2];
    char *name;

    for (char *at = notes->maps; (at = next_map(at, range, &name)) != NULL;) {
        if (strcmp(name, "[heap]") == 0) {
            continue;
        }
        /* What is below the end of the stack is over. */
        if (stack >= range[0] && stack < range[1]) {
            range[0] = stack;
        }
        search_around_notes(range[0], range[1]);
    }
    while (notes->todo_count > 0) {
        struct block *block =
            &notes->sorted[notes->todo[--notes->todo_count]];

        search(block->at, block->at + block->size);
    }
}

/* ---- telling. */

static void describe(const struct block *block, char *text, size_t cap)
{
    Dl_info info = {.dli_fname = "?"};

    (void)dladdr(block->caller, &info);
    (void)snprintf(text, cap, "%zu bytes, by %s+0x%zx", block->size,
                   info.dli_fname,
                   (size_t)((uintptr_t)block->caller -
                            (uintptr_t)info.dli_fbase));
}

static void tell(struct nth_plan *plan)
{
    for (size_t i = 0; i < notes->count; i++) {
        const struct block *block = &notes->sorted[i];

        if (block->seen) {
            continue;
        }
        if (in_crypto(block->caller)) {
            atomic_fetch_add(&plan->crypto_leaks, 1);
        }
        if (atomic_fetch_add(&plan->leaks, 1) == 0) {
            describe(block, plan->leak, sizeof plan->leak);
        }
    }
}

static uint32_t open_files(void)
{
    uint32_t count = 0;

    for (int fd = STDERR_FILENO + 1; fd < FDS_MAX; fd++) {
        count += fd != notes->maps_fd && fd != notes->mem_fd &&
                 syscall(SYS_fcntl, fd, F_GETFD) >= 0;
    }
    return count;
}

static void take_blocks(void)
{
    notes->count = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        if (notes->slots[i].at != 0) {
            notes->sorted[notes->count++] = notes->slots[i];
        }
    }
    sort(notes->sorted, notes->count);
    if (notes->count > 0) {
        const struct block *last = &notes->sorted[notes->count - 1];

        notes->heap[0] = notes->sorted[0].at;
        notes->heap[1] = last->at + last->size + 1;
    }
}

__attribute__((noinline)) static void look(struct nth_plan *plan,
                                           bool proper, uintptr_t stack)
{
    lock();
    bool over = notes->over || !read_maps();
    notes->over = true;
    unlock();
    if (over) {
        return;
    }
    take_blocks();
    search_all(stack);
    tell(plan);
    uint32_t files = proper ? open_files() : 0;
    if (files > atomic_load(&plan->files)) {
        atomic_store(&plan->files, files);
    }
    atomic_fetch_add(&plan->ends, 1);
}

void leaks_end(struct nth_plan *plan, bool proper)
{
    if (notes == NULL || plan == NULL) {
        return;
    }
    /* Registers are variables, too; they are put where look() looks. */
    __builtin_unwind_init();
    look(plan, proper, (uintptr_t)__builtin_frame_address(0) - 128);
}
