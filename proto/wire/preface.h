/* The 16 bytes that each side sends first (belay-1, section 5).
 *
 * Pure; no state, no borrowed memory. */

#ifndef PROTO_WIRE_PREFACE_H
#define PROTO_WIRE_PREFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/registry.h"

struct preface {
    uint16_t version; /* of the sender */
    uint8_t role;     /* ROLE_CLIENT or ROLE_SERVER: the sender */
    bool rejected;    /* server only: it does not speak our version (V1) */
};

void preface_encode(const struct preface *p, uint8_t out[PREFACE_LEN]);

/* Read the preface of a peer whose role is peer_role. Checks, in this order:
 * magic (ERR_MAGIC), CRC (ERR_CRC), role (ERR_ROLE: most likely an echo of
 * our own bytes), version (ERR_VERSION, unless the preface is a rejection).
 * A rejection is returned as BELAY_OK with rejected set: its version tells a
 * client how to dial again. out is complete for BELAY_OK and ERR_VERSION and
 * untouched otherwise. */
MUST_USE int preface_decode(const uint8_t in[PREFACE_LEN], uint8_t peer_role,
                            struct preface *out);

/* Could these first len bytes (any number) begin a preface? A foreign peer,
 * such as a shell that prints a greeting, shows at its first wrong byte. */
bool preface_possible(const uint8_t *data, size_t len);

#endif
