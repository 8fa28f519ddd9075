/* Names of outcomes and events (belay.h). */
#include <errno.h>

#include "client/belay.h"

const char *belay_reason_name(enum belay_reason reason)
{
    switch (reason) {
#define REASON_NAME(name, text, class_) \
    case name:                          \
        return text;
        BELAY_REASON_LIST(REASON_NAME)
#undef REASON_NAME
    }
    return "unknown";
}

enum belay_class belay_reason_class(enum belay_reason reason)
{
    switch (reason) {
#define REASON_CLASS(name, text, class_) \
    case name:                           \
        return class_;
        BELAY_REASON_LIST(REASON_CLASS)
#undef REASON_CLASS
    }
    return BELAY_CLASS_PERMANENT;
}

const char *belay_class_name(enum belay_class class_)
{
    switch (class_) {
    case BELAY_CLASS_DONE:
        return "done";
    case BELAY_CLASS_TEMPORARY:
        return "temporary";
    case BELAY_CLASS_PERMANENT:
        return "permanent";
    case BELAY_CLASS_LIMIT:
        return "limit";
    case BELAY_CLASS_USAGE:
        return "usage";
    }
    return "unknown";
}

enum belay_reason belay_reason_of_file(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EINVAL: /* a FIFO or a device, where a file is wanted */
    case ELOOP:
    case ENAMETOOLONG:
    case EFBIG:
        return BELAY_USAGE;
    case ENOMEM:
        return BELAY_INTERNAL;
    default:
        return BELAY_DISK;
    }
}

const char *belay_event_name(enum belay_event_type type)
{
    switch (type) {
#define EVENT_NAME(name, text) \
    case name:                 \
        return text;
        BELAY_EVENT_LIST(EVENT_NAME)
#undef EVENT_NAME
    }
    return "unknown";
}
