#!/usr/bin/env python3
"""H18: a certificate of another host, expired, of its own making, of an
authority that is not ours any more, of an address instead of a name: refused
by default; there is no option that takes any certificate."""

from peer import (box, case, check, check_code, conform, get, main, names,
                  scenario, tlskit)

scenario("tls_get", "wrong_certificates", "no_fallback", "by_pin",
         "truncation")
conform("certificates", "old_tls", "no_alpn", "rejected_on_tls")


@case
def an_authority_that_was_taken_away(tmp):
    """What it signed is worth nothing any more, also for who was here
    before."""
    old, new = tlskit.Authority(tmp, "old"), tlskit.Authority(tmp, "new")
    config = {"XDG_CONFIG_HOME": tmp + "/config"}
    with tlskit.TlsBelayd(old.issue("server"), root=box(tmp)) as server:
        with open(box(tmp) + "/f", "w") as out:
            out.write("content")
        run = get("--cacert", old.cert, server.url("f"), "-o", "got",
                  cwd=tmp, env=config)
        check_code(run, 0)
        run = get("--cacert", new.cert, server.url("f"), "-o", "again",
                  cwd=tmp, env=config)
        check_code(run, 13)
        check("again" not in names(tmp), "fetched", run)


@case
def nothing_takes_any_certificate(tmp):
    """The options that other programs have for it do not exist."""
    for word in ("-k", "--insecure", "--no-check-certificate",
                 "--no-verify", "--trust-all"):
        check_code(get(word, "belay://localhost:1/x", cwd=tmp), 2, word)


if __name__ == "__main__":
    main()
