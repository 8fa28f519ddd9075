/* What the aide and its process say to each other: one request, one answer,
 * each in a packet of its own. Private to client/aide*.c. */
#ifndef CLIENT_AIDE_INTERNAL_H
#define CLIENT_AIDE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "client/aide.h"

enum aide_kind {
    AIDE_START, /* the words of a command, each with its NUL */
    AIDE_ENDED, /* has it? */
    AIDE_FINISH,
    AIDE_RECORD, /* struct aide_host */
};

struct aide_request {
    uint32_t kind;
    uint32_t number;
};

struct aide_host {
    uint8_t pin[HASH_LEN];
    uint16_t port;
    char host[256]; /* with its NUL */
};

/* ... of which only as much is sent as there is. */
struct aide_packet {
    struct aide_request head;
    union {
        char words[AIDE_WORDS_MAX];
        struct aide_host host;
    };
};

/* With the answer to a start come three descriptors: the socket, standard
 * error, the process. */
#define AIDE_FDS 3

struct aide_answer {
    int32_t err;
    int32_t error; /* errno */
    uint32_t number;
    int32_t ended; /* 1: yes, with */
    int32_t status;
    char why[TLS_TEXT_MAX];
};

/* The aide: serves `sock` until its other end is closed. Only in a new
 * process. */
noreturn void aide_serve(int sock, const struct aide_duties *duties);

#endif
