/* Fetch: is the server who it should be? */
#include "client/fetch_internal.h"

void fetch_trust_begin(struct fetch *f)
{
    char why[TLS_TEXT_MAX];
    enum belay_reason reason = security_trust(
        f->options.security, f->options.uri, true, &f->trust, why);

    if (reason != BELAY_DONE) {
        fetch_over(f, reason, "%s", why);
    }
}

void fetch_distrust(struct fetch *f, const char *text)
{
    fetch_over(f, security_reason(f->trust), "%s", text);
}

void fetch_trusted(struct fetch *f, const struct link *link)
{
    uint8_t pin[HASH_LEN];
    char text[TLS_PIN_TEXT_LEN + 1];

    if (trust_recorded(f->trust, pin)) {
        tls_pin_format(pin, text);
        fetch_note(f, "%s was not known; its key %s is recorded and expected "
                      "from now on", f->options.uri->host, text);
    }
    fetch_event(f, BELAY_EVENT_SECURE, link->conn + 1,
                "connection %u: TLS 1.3, %s", link->conn + 1,
                tls_cipher(link->channel.tls));
}
