/* The one list of errors.
 *
 * Functions that can fail return an int: BELAY_OK (0) or one of the negative
 * codes below, and nothing else. The list gives each code its name, a
 * sentence for people and the code that a peer is told (section 15 of
 * spec/belay-1.md), or 0 when the error is of no concern to a peer.
 *
 * Pure: constant tables only. */

#ifndef PROTO_BASE_ERR_H
#define PROTO_BASE_ERR_H

#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/registry.h"

/* X(name, sentence, wire code or 0) */
#define ERR_LIST(X) \
    /* Input of the peer, found by the wire room. */ \
    X(ERR_MALFORMED, "malformed message", WIRE_PROTOCOL_ERROR) \
    X(ERR_TRUNCATED, "message ends too early", WIRE_PROTOCOL_ERROR) \
    X(ERR_TRAILING, "bytes after the end of the message", \
      WIRE_PROTOCOL_ERROR) \
    X(ERR_MAGIC, "the peer does not speak this protocol", \
      WIRE_PROTOCOL_ERROR) \
    X(ERR_VERSION, "no common protocol version", WIRE_VERSION_REJECTED) \
    X(ERR_ROLE, "the peer has the wrong role", WIRE_PROTOCOL_ERROR) \
    X(ERR_CRC, "checksum mismatch in the stream", WIRE_CORRUPT_STREAM) \
    X(ERR_TOO_LARGE, "frame longer than its type allows", \
      WIRE_FRAME_TOO_LARGE) \
    X(ERR_DIRECTION, "frame type in the wrong direction", \
      WIRE_PROTOCOL_ERROR) \
    X(ERR_REQUEST_ID, "request id breaks the rule of the frame type", \
      WIRE_PROTOCOL_ERROR) \
    X(ERR_UNSUPPORTED, "not supported here", WIRE_UNSUPPORTED) \
    X(ERR_BAD_REQUEST, "a field of the request breaks a rule", \
      WIRE_BAD_REQUEST) \
    X(ERR_STATE, "not allowed in this state", WIRE_BAD_STATE) \
    X(ERR_PINGS, "pings too often", WIRE_TOO_MANY_PINGS) \
    /* Contents, found by the data room. */ \
    X(ERR_PATH, "unacceptable path", WIRE_BAD_PATH) \
    X(ERR_DIGEST, "digest mismatch", 0) \
    X(ERR_CODEC, "chunk does not decode", 0) \
    X(ERR_JOURNAL, "the journal cannot be used", 0) \
    X(ERR_MANIFEST, "the manifest cannot be used", 0) \
    X(ERR_SIGNATURE, "the signature is not valid", 0) \
    X(ERR_NO_KEY, "no signature of a known key", 0) \
    X(ERR_ROLLBACK, "older than what was accepted before", 0) \
    X(ERR_EXPIRED, "it has expired", 0) \
    X(ERR_URI, "not a valid address", 0) \
    X(ERR_SYNTAX, "not valid text", 0) \
    /* Bounds. */ \
    X(ERR_LIMIT, "a limit is reached", WIRE_BUSY) \
    X(ERR_RANGE, "a number is out of range", WIRE_BAD_REQUEST) \
    X(ERR_SPACE, "the buffer is too small", WIRE_INTERNAL) \
    X(ERR_NOMEM, "out of memory", WIRE_BUSY) \
    /* The world outside. */ \
    X(ERR_IO, "input or output failed", WIRE_IO_ERROR) \
    X(ERR_AGAIN, "not ready yet", 0) \
    X(ERR_EOF, "end of the stream", 0) \
    X(ERR_RESET, "the connection was lost", 0) \
    X(ERR_TIMEOUT, "the time is over", 0) \
    X(ERR_RESOLVE, "the name has no address", 0) \
    X(ERR_CONNECT, "no connection", 0) \
    X(ERR_TLS, "the secure connection failed", 0) \
    X(ERR_NOT_FOUND, "no such file", WIRE_NOT_FOUND) \
    X(ERR_DENIED, "not allowed", WIRE_DENIED) \
    X(ERR_NOT_A_FILE, "not a regular file", WIRE_NOT_A_FILE) \
    X(ERR_NOT_A_DIRECTORY, "not a directory", WIRE_NOT_A_DIRECTORY) \
    X(ERR_EXISTS, "already exists", 0) \
    X(ERR_NO_SPACE, "no space left", 0) \
    X(ERR_LOCKED, "in use by another process", 0) \
    X(ERR_CHANGED, "the file changed", WIRE_CHANGED) \
    X(ERR_AUTH, "authentication failed", WIRE_AUTH_FAILED) \
    X(ERR_REMOTE, "the peer reported an error", 0) \
    X(ERR_CANCELLED, "cancelled", WIRE_CANCELLED) \
    X(ERR_USAGE, "wrong use of the command", 0) \
    X(ERR_INTERNAL, "internal fault", WIRE_INTERNAL)

/* Positions in the list; only err_code's values leave this header. */
enum err_index {
#define ERR_INDEX(name, sentence, wire) name##_INDEX,
    ERR_LIST(ERR_INDEX)
#undef ERR_INDEX
    ERR_COUNT
};

enum err_code {
    BELAY_OK = 0,
#define ERR_CODE(name, sentence, wire) name = -1 - (int)name##_INDEX,
    ERR_LIST(ERR_CODE)
#undef ERR_CODE
};

/* "ERR_CRC" for ERR_CRC, "BELAY_OK" for 0, "ERR_UNKNOWN" for other values.
 * The string is constant. */
const char *err_name(int code);

/* A short sentence in lower case without a full stop; never NULL. */
const char *err_sentence(int code);

/* The code to tell a peer, or 0 when there is none to tell. */
uint16_t err_wire(int code);

/* The name of a wire code ("BAD_REQUEST"), or NULL when it is not assigned
 * (a peer may send any value; its class is err_wire_class of it). */
const char *err_wire_name(uint16_t wire);

/* A short sentence for a wire code; never NULL. */
const char *err_wire_sentence(uint16_t wire);

/* The class of a wire code, one of WIRE_CLASS_...: the high byte, where an
 * unknown class counts as WIRE_CLASS_PERMANENT (section 15). */
uint8_t err_wire_class(uint16_t wire);

#endif
