/* Fetch: is the server who it should be? */
#include "client/fetch_internal.h"

void fetch_trust_begin(struct fetch *f)
{
    char why[TLS_TEXT_MAX];

    for (unsigned k = 0; k <= f->options.mirror_count; k++) {
        const struct uri *uri = fetch_source_uri(f, k);
        enum belay_reason reason = security_trust(
            f->options.security, uri, k == 0, &f->trust[k], why);

        if (reason != BELAY_DONE) {
            fetch_over(f, reason, "%s", why);
            return;
        }
    }
}

/* Without this server, if there are others. */
void fetch_distrust(struct link *link, const char *text)
{
    struct fetch *f = link->fetch;
    unsigned source = transfer_conn_source(f->transfer, link->conn);

    if (f->options.mirror_count == 0) {
        fetch_over(f, security_reason(f->trust[source]), "%s", text);
    } else {
        transfer_distrust(f->transfer, link->conn, text,
                          loop_now_ms(f->loop));
    }
}

void fetch_trusted(struct fetch *f, const struct link *link)
{
    char text[TLS_TEXT_MAX];
    unsigned source = transfer_conn_source(f->transfer, link->conn);

    if (trust_recorded(f->trust[source], text, sizeof text)) {
        fetch_note(f, "%s", text);
    }
    fetch_event(f, BELAY_EVENT_SECURE, link->conn + 1,
                "connection %u: TLS 1.3, %s", link->conn + 1,
                tls_cipher(link->channel.tls));
}
