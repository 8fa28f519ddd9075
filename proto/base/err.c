#include "proto/base/err.h"

#include <stddef.h>

struct err_row {
    const char *name;
    const char *sentence;
    uint16_t wire;
};

static const struct err_row err_rows[ERR_COUNT] = {
#define ERR_ROW(name, sentence, wire) { #name, sentence, wire },
    ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

/* The row of an error, or NULL for BELAY_OK and values off the list. */
static const struct err_row *err_row(int code)
{
    if (code >= 0 || code < -(int)ERR_COUNT) {
        return NULL;
    }
    return &err_rows[-1 - code];
}

const char *err_name(int code)
{
    if (code == BELAY_OK) {
        return "BELAY_OK";
    }
    const struct err_row *row = err_row(code);
    return row != NULL ? row->name : "ERR_UNKNOWN";
}

const char *err_sentence(int code)
{
    if (code == BELAY_OK) {
        return "no error";
    }
    const struct err_row *row = err_row(code);
    return row != NULL ? row->sentence : "unknown error";
}

uint16_t err_wire(int code)
{
    const struct err_row *row = err_row(code);
    return row != NULL ? row->wire : 0;
}

struct wire_row {
    uint16_t wire;
    const char *name;
    const char *sentence;
};

static const struct wire_row wire_rows[] = {
#define WIRE_ROW(name, value, sentence) { value, #name, sentence },
    REGISTRY_CODES(WIRE_ROW)
#undef WIRE_ROW
};

static const struct wire_row *wire_row(uint16_t wire)
{
    for (size_t i = 0; i < sizeof wire_rows / sizeof wire_rows[0]; i++) {
        if (wire_rows[i].wire == wire) {
            return &wire_rows[i];
        }
    }
    return NULL;
}

const char *err_wire_name(uint16_t wire)
{
    const struct wire_row *row = wire_row(wire);
    return row != NULL ? row->name : NULL;
}

const char *err_wire_sentence(uint16_t wire)
{
    const struct wire_row *row = wire_row(wire);
    return row != NULL ? row->sentence : "unknown error code";
}

uint8_t err_wire_class(uint16_t wire)
{
    switch (wire >> 8) {
#define WIRE_CLASS_CASE(name, value, meaning) \
    case value: \
        return value;
        REGISTRY_CLASSES(WIRE_CLASS_CASE)
#undef WIRE_CLASS_CASE
    default:
        return WIRE_CLASS_PERMANENT;
    }
}
