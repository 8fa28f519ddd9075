#include "proto/wire/preface.h"

#include <string.h>

#include "proto/base/err.h"
#include "proto/wire/crc.h"
#include "proto/wire/layout.h"

static const uint8_t preface_magic[] = PREFACE_MAGIC;

BELAY_STATIC_ASSERT(PREFACE_LEN == LAYOUT_PREFACE_LEN,
                    "registry and layout agree");
BELAY_STATIC_ASSERT(LAYOUT_PREFACE_CRC_OFF + 4 == LAYOUT_PREFACE_LEN,
                    "the CRC covers all that stands before it");

void preface_encode(const struct preface *p, uint8_t out[PREFACE_LEN])
{
    struct layout_preface v = {
        .version = p->version,
        .role = p->role,
        .flags = p->rejected ? PREFACE_REJECTED : 0,
    };
    memcpy(v.magic, preface_magic, sizeof preface_magic);

    struct writer w;
    writer_init(&w, out, PREFACE_LEN);
    layout_preface_put(&w, &v);
    BELAY_ASSERT(writer_ok(&w));
    writer_fill_u32(&w, LAYOUT_PREFACE_CRC_OFF,
                    crc_update(CRC_START, out, LAYOUT_PREFACE_CRC_OFF));
}

int preface_decode(const uint8_t in[PREFACE_LEN], uint8_t peer_role,
                   struct preface *out)
{
    struct layout_preface v;
    struct reader r;
    reader_init(&r, in, PREFACE_LEN);
    layout_preface_get(&r, &v);

    if (memcmp(v.magic, preface_magic, sizeof preface_magic) != 0) {
        return ERR_MAGIC;
    }
    if (v.crc != crc_update(CRC_START, in, LAYOUT_PREFACE_CRC_OFF)) {
        return ERR_CRC;
    }
    if (v.role != peer_role) {
        return ERR_ROLE;
    }
    out->version = v.version;
    out->role = v.role;
    out->rejected = v.role == ROLE_SERVER && (v.flags & PREFACE_REJECTED) != 0;
    if (!out->rejected && v.version != PROTO_VERSION) {
        return ERR_VERSION;
    }
    return BELAY_OK;
}

bool preface_possible(const uint8_t *data, size_t len)
{
    size_t known = len < sizeof preface_magic ? len : sizeof preface_magic;
    return known == 0 || memcmp(data, preface_magic, known) == 0;
}
