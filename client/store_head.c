#include <errno.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

int store_head_load(struct store *store, enum journal_verdict *verdict,
                    struct store_error *why)
{
    uint8_t bytes[JOURNAL_HEAD_LEN];
    struct iovec buffer = {bytes, sizeof bytes};
    size_t got;

    if (store_call_read(store->sys, store->journal_fd, &buffer, 0, &got)) {
        return store_fail_errno(store, why, "read", STORE_FILE_JOURNAL);
    }
    store->durable_copy = STORE_COPY_NONE;
    *verdict = journal_choose(bytes, got, &store->head, &store->written_copy);
    return 0;
}

/* The copy to write next. While nothing is known to be durable the newest
 * head itself is replaced: the other copy may be the only one that a crash
 * leaves. */
static unsigned int next_copy(const struct store *store)
{
    if (store->durable_copy == STORE_COPY_NONE) {
        return store->written_copy;
    }
    return 1 - store->durable_copy;
}

int store_head_write(struct store *store,
                     void (*change)(struct journal_head *head,
                                    const void *with),
                     const void *with)
{
    uint8_t block[JOURNAL_COPY_LEN];
    struct iovec iov = {block, sizeof block};
    unsigned int copy;
    int rc;
    int error;

    pthread_mutex_lock(&store->head_lock);
    if (change != NULL) {
        change(&store->head, with);
    }
    copy = next_copy(store);
    store->head.generation++;
    journal_head_encode(&store->head, block);
    rc = store_call_write(store->sys, store->journal_fd, &iov, 1,
                          (uint64_t)copy * JOURNAL_COPY_LEN);
    error = errno;
    store->written_copy = copy;
    store->head_writes++;
    pthread_mutex_unlock(&store->head_lock);
    errno = error;
    return rc;
}

int store_head_sync(struct store *store)
{
    uint64_t writes;
    unsigned int copy;

    pthread_mutex_lock(&store->head_lock);
    writes = store->head_writes;
    copy = store->written_copy;
    pthread_mutex_unlock(&store->head_lock);
    if (store_call_fdatasync(store->sys, store->journal_fd) != 0) {
        return -1;
    }
    /* A head written meanwhile may be half on the disk: it does not count. */
    pthread_mutex_lock(&store->head_lock);
    if (writes == store->head_writes) {
        store->durable_copy = copy;
    }
    pthread_mutex_unlock(&store->head_lock);
    return 0;
}

void store_head_own(const struct store *store, struct journal_head *head)
{
    char host[JOURNAL_HOST_MAX + 1] = "";

    head->owner_pid = (uint32_t)store->sys->pid();
    if (store->sys->hostname(host, sizeof host) != 0) {
        host[0] = '\0';
    }
    head->owner_host_len = (uint16_t)strlen(host);
    memset(head->owner_host, 0, sizeof head->owner_host);
    memcpy(head->owner_host, host, head->owner_host_len);
}

void store_head_adopt(struct store *store)
{
    store->size = store->head.identity.size;
    store->chunks = journal_chunks(&store->head.identity);
    memcpy(store->salt, store->head.salt, sizeof store->salt);
}
