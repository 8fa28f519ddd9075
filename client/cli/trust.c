#include "client/cli/trust.h"

#include "client/cli/usage.h"

int trust_add_key(struct trust_options *options, const char *key)
{
    if (options->trust.key_count == TRUST_KEYS_MAX) {
        return usage_wrong("--key", key, "at most 16 of them");
    }
    options->keys[options->trust.key_count++] = key;
    return -1;
}

const struct belay_trust *trust_of(struct trust_options *options)
{
    options->trust.struct_size = sizeof options->trust;
    options->trust.keys = options->keys;
    return &options->trust;
}
