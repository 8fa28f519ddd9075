#include "server/census.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "server/limits.h"

/* Longest source that is told apart: an IPv6 /64 and the family. */
struct source_key {
    uint8_t bytes[9];
};

struct place {
    struct source_key key;
    bool used;
    uint16_t count[SERVER_WORKERS_MAX];
};

struct census {
    pthread_mutex_t lock;
    unsigned total_max;
    unsigned per_source_max;
    unsigned total;
    bool alive[SERVER_WORKERS_MAX];
    unsigned of_worker[SERVER_WORKERS_MAX];
    size_t places; /* a power of two, twice the connections at least */
    struct place place[];
};

static size_t
places_for(unsigned total)
{
    size_t n = 16;
    while (n < 2 * (size_t)total) {
        n *= 2;
    }
    return n;
}

static size_t
census_bytes(size_t places)
{
    return sizeof(struct census) + places * sizeof(struct place);
}

int
census_new(unsigned total, unsigned per_source, struct census **out)
{
    size_t places = places_for(total);
    struct census *c = mmap(NULL, census_bytes(places), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (c == MAP_FAILED) {
        return ERR_NOMEM;
    }
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    int rc = pthread_mutex_init(&c->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    if (rc != 0) {
        munmap(c, census_bytes(places));
        return ERR_IO;
    }
    c->total_max = total;
    c->per_source_max = per_source;
    c->places = places;
    *out = c;
    return 0;
}

void
census_free(struct census *census)
{
    if (census != NULL) {
        munmap(census, census_bytes(census->places));
    }
}

static void
lock(struct census *c)
{
    /* A holder that died left at worst one count wrong, and the parent takes
     * back all counts of a dead worker. */
    if (pthread_mutex_lock(&c->lock) == EOWNERDEAD) {
        pthread_mutex_consistent(&c->lock);
    }
}

static void
unlock(struct census *c)
{
    pthread_mutex_unlock(&c->lock);
}

static struct source_key
key_of(const struct net_addr *peer)
{
    struct source_key key;

    memset(&key, 0, sizeof(key));
    if (peer->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in =
            (const struct sockaddr_in *)&peer->storage;
        key.bytes[0] = 4;
        memcpy(key.bytes + 1, &in->sin_addr, 4);
    } else if (peer->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 =
            (const struct sockaddr_in6 *)&peer->storage;
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            /* Of a socket for both: all of IPv4 would be one /64. */
            key.bytes[0] = 4;
            memcpy(key.bytes + 1, in6->sin6_addr.s6_addr + 12, 4);
        } else {
            key.bytes[0] = 6;
            memcpy(key.bytes + 1, &in6->sin6_addr, 8);
        }
    }
    return key;
}

static size_t
hash_of(const struct source_key *key)
{
    /* FNV-1a; a flood of colliding sources is bounded by the total. */
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof(key->bytes); i++) {
        h = (h ^ key->bytes[i]) * UINT64_C(0x100000001b3);
    }
    return (size_t)(h ^ (h >> 32));
}

/* The place of a source, or a free one for it; the table is never full. */
static struct place *
find(struct census *c, const struct source_key *key)
{
    size_t mask = c->places - 1;
    size_t i = hash_of(key) & mask;
    while (c->place[i].used &&
           memcmp(&c->place[i].key, key, sizeof(*key)) != 0) {
        i = (i + 1) & mask;
    }
    return &c->place[i];
}

static unsigned
place_count(const struct place *p)
{
    unsigned sum = 0;
    for (size_t w = 0; w < SERVER_WORKERS_MAX; w++) {
        sum += p->count[w];
    }
    return sum;
}

/* Frees the place at i and moves those that had to go past it. */
static void
vacate(struct census *c, size_t i)
{
    size_t mask = c->places - 1;
    memset(&c->place[i], 0, sizeof(c->place[i]));
    for (size_t k = (i + 1) & mask; c->place[k].used; k = (k + 1) & mask) {
        struct place moved = c->place[k];
        memset(&c->place[k], 0, sizeof(c->place[k]));
        *find(c, &moved.key) = moved;
    }
}

enum census_verdict
census_enter(struct census *census, unsigned worker,
             const struct net_addr *peer)
{
    struct source_key key = key_of(peer);
    enum census_verdict verdict = CENSUS_ENTERED;

    BELAY_ASSERT(worker < SERVER_WORKERS_MAX);
    lock(census);
    struct place *p = find(census, &key);
    if (census->total >= census->total_max) {
        verdict = CENSUS_FULL;
    } else if (place_count(p) >= census->per_source_max) {
        verdict = CENSUS_SOURCE_FULL;
    } else {
        p->used = true;
        p->key = key;
        p->count[worker]++;
        census->of_worker[worker]++;
        census->total++;
    }
    unlock(census);
    return verdict;
}

void
census_leave(struct census *census, unsigned worker,
             const struct net_addr *peer)
{
    struct source_key key = key_of(peer);

    lock(census);
    struct place *p = find(census, &key);
    if (p->used && p->count[worker] > 0) {
        p->count[worker]--;
        census->of_worker[worker]--;
        census->total--;
        if (place_count(p) == 0) {
            vacate(census, (size_t)(p - census->place));
        }
    }
    unlock(census);
}

bool
census_has_idler(struct census *census, unsigned worker)
{
    bool found = false;

    lock(census);
    for (size_t w = 0; w < SERVER_WORKERS_MAX; w++) {
        found |= census->alive[w] &&
                 census->of_worker[w] < census->of_worker[worker];
    }
    unlock(census);
    return found;
}

void
census_worker_started(struct census *census, unsigned worker)
{
    lock(census);
    census->alive[worker] = true;
    unlock(census);
}

void
census_worker_died(struct census *census, unsigned worker)
{
    lock(census);
    census->alive[worker] = false;
    census->total -= census->of_worker[worker];
    census->of_worker[worker] = 0;
    for (size_t i = 0; i < census->places; i++) {
        census->place[i].count[worker] = 0;
    }
    /* Moving places while walking could skip some: walk until none moves. */
    for (size_t i = 0; i < census->places; i++) {
        while (census->place[i].used && place_count(&census->place[i]) == 0) {
            vacate(census, i);
        }
    }
    unlock(census);
}

unsigned
census_total(struct census *census)
{
    lock(census);
    unsigned total = census->total;
    unlock(census);
    return total;
}
