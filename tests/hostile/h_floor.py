#!/usr/bin/env python3
"""What the user demands (TLS, a pin, a key, an identity) is lowered by no
answer: not by what a server says at its end, by mirrors, by proxies, by the
file of known hosts, by a configuration against the command line."""

import os
import time

from peer import (PATIENT, R, SIZE, SMALL, Partner, Peer, Run, always,
                  at_greeting, borrow, box, case, check, check_code,
                  check_one_line, conform, judge, main, names, noise, on,
                  scenario, secure, tlskit, wire)

get_proxy = borrow("get_proxy")

conform("token_on_plain", "wrong_pin")
scenario("get_proxy", "other_kinds_fail_closed")
scenario("manifest_get", "the_five_failures")

GOOD, EVIL = noise(SIZE), noise(SIZE, 666)


def over_tls(hooks=lambda n: None, data=GOOD, chain="good", **options):
    p = Partner(hooks, tls=secure.server_context(chain),
                **dict(SMALL, **options))
    p.put("f", data)
    return p


def in_plain(hooks=lambda n: None, data=EVIL, **options):
    p = Partner(hooks, **dict(SMALL, **options))
    p.put("f", data)
    return p


def fetch(tmp, *args, env=None):
    config = os.path.join(str(tmp), "config")
    return Run(["get", *PATIENT, *args], box(tmp),
               env={"XDG_CONFIG_HOME": config, **(env or {})}).wait()


CA = ["--cacert", secure.CA]


@case
def hints_to_go_elsewhere(tmp):
    """GOAWAY, ERROR and NOTICE that name a plain address: nobody calls
    there."""
    with Peer(lambda sock: sock.recv(1)) as trap:
        hint = ("moved: use %s or belay+tcp://127.0.0.1:%d/f" %
                (trap.url("f"), trap.port)).encode()
        text = [(R.TLV_MESSAGE, hint)]

        def goaway(session, ident, *_):
            session.plain("GOAWAY", 0, {"last_id": 0,
                                        "code": R.WIRE_SHUTTING_DOWN}, text)
            session.end()

        def error(session, ident, *_):
            session.plain("NOTICE", 0, {"text": hint})
            session.plain("ERROR", 0, {"code": R.WIRE_SHUTTING_DOWN}, text)
            session.end()

        def refusal(session, ident, *_):
            session.plain("ERROR", ident, {"code": R.WIRE_DENIED}, text)

        for act in (goaway, error, refusal):
            for name in ("HELLO", "INFO", "CHUNK"):
                with over_tls(always(on(name, act))) as p:
                    run = fetch(tmp, *CA, p.url())
                    judge(run, tmp, GOOD)
                for left in names(box(tmp)):
                    os.unlink(os.path.join(box(tmp), left))
        check(trap.accepted == 0, "it called the address of the hint")


@case
def plain_behind_the_port_later(tmp):
    """TLS at first, plain when it comes again: nothing plain is heard."""
    heard = []
    with over_tls(always(on("CHUNK", lambda s, *_: s.end(), 3))) as p:
        tls_serve = p.serve

        def serve(sock, number):
            if number == 0:
                return tls_serve(sock, number)
            sock.settimeout(5)
            heard.append(sock.recv(4096))
            sock.sendall(wire.encode_preface(R.ROLE_SERVER))
            sock.close()
        p.serve = serve
        run = fetch(tmp, *CA, p.url())
        judge(run, tmp)
    check(heard and all(data[:1] == b"\x16" for data in heard if data),
          "not TLS: %r" % heard[:2], run)


@case
def a_plain_mirror_does_not_decide(tmp):
    """Slow and over TLS the first, quick and plain the mirror: what the
    mirror has counts only if it is the same."""
    def slowly(session):
        time.sleep(0.5)

    for again in range(2):
        with over_tls(always(at_greeting(slowly))) as p, in_plain() as q:
            if again:
                with open(os.path.join(str(tmp), "list"), "w") as out:
                    out.write("%s mirror=%s\n" % (p.url(), q.url()))
                run = fetch(tmp, *CA, "-i", os.path.join(str(tmp), "list"))
            else:
                run = fetch(tmp, *CA, "--mirror", q.url(), p.url())
            judge(run, tmp, GOOD)
            check(p.connections > 0, "the first one was not asked", run)
        for left in names(box(tmp)):
            os.unlink(os.path.join(box(tmp), left))


@case
def a_mirror_gets_no_token(tmp):
    """However it asks: plain, or over TLS as another host."""
    token = os.path.join(str(tmp), "token")
    with open(token, "w") as out:
        out.write("secret\n")
    os.chmod(token, 0o600)
    for make in (in_plain, over_tls):
        with over_tls(data=GOOD) as p, \
                make(data=GOOD, token="secret") as q:
            run = fetch(tmp, *CA, "--token-file", token, "--mirror", q.url(),
                        p.url())
            judge(run, tmp, GOOD)
            check(not any(b"secret" in bytes(m.tlv(R.TLV_TOKEN) or b"")
                          for m in q.requests("AUTH")),
                  "the mirror has the token", run)
        for left in names(box(tmp)):
            os.unlink(os.path.join(box(tmp), left))


@case
def a_mirror_must_prove_who_it_is(tmp):
    """A mirror over TLS with a wrong certificate brings nothing."""
    with over_tls(always(on("CHUNK", lambda s, *_: s.end(), 2))) as p, \
            over_tls(chain="untrusted", data=GOOD) as q:
        run = fetch(tmp, *CA, "--mirror", q.url(), p.url())
        judge(run, tmp, GOOD)
        check(not q.heard, "something was said to it", run)


@case
def a_proxy_that_leads_elsewhere(tmp):
    """To a plain server, and to one with another certificate: the name in
    the URL has to be proved all the same."""
    with in_plain() as plain, over_tls(chain="untrusted") as stranger, \
            over_tls(chain="othername") as namesake:
        for server in (plain, stranger, namesake):
            with get_proxy.Proxy(("127.0.0.1", server.port)) as proxy:
                run = fetch(tmp, *CA, "--proxy", proxy.url(),
                            "belay://localhost:1/f")
                judge(run, tmp)
                check(not server.heard, "something was said", run)


@case
def the_command_line_stands_above_the_file(tmp):
    """An authority of the configuration does not weaken the pin that was
    given, nor accept-new, nor known hosts; a pin stands on the command line
    only."""
    evil = tlskit.self_made(tmp, "evil")
    good = tlskit.self_made(tmp, "good")
    config = os.path.join(str(tmp), "settings")
    with open(os.path.join(box(tmp), "f"), "wb") as out:
        out.write(EVIL)
    os.rename(os.path.join(box(tmp), "f"), os.path.join(str(tmp), "f"))
    with open(config, "w") as out:
        out.write("accept-new = yes\ncacert = %s\nsandbox = off\n" % evil[0])
    with tlskit.TlsBelayd(evil, root=str(tmp)) as server:
        run = fetch(tmp, "-v", "--config", config, "--pin", good[2],
                    "--sandbox=require", server.url("f"))
        judge(run, tmp)
        check_code(run, 13)
        check("sandbox: off" not in run.err, "the sandbox is off", run)
        with open(config, "w") as out:
            out.write("pin = %s\n" % evil[2])
        run = fetch(tmp, "--config", config, server.url("f"))
        check_one_line(run, 2, "no such setting")


@case
def known_hosts_know_no_schemes(tmp):
    """Lines that would mean "plain", or anything: the file is refused, and
    nothing is sent."""
    identity = tlskit.self_made(tmp)
    known = os.path.join(str(tmp), "known")
    with tlskit.TlsPeer(identity, lambda tls: tls.recv(1)) as peer:
        name = "localhost:%d" % peer.port
        for line in ("belay+tcp://%s %s" % (name, identity[2]),
                     "%s plain" % name, "%s none" % name, "%s *" % name,
                     "* %s" % identity[2], "%s" % name,
                     "%s %s extra" % (name, identity[2]),
                     "%s sha256:" % name, "%s md5:00" % name):
            with open(known, "w") as out:
                out.write(line + "\n")
            run = fetch(tmp, "--known-hosts", known, peer.url("f"))
            check_one_line(run, 2, "line 1 of")
        check(names(box(tmp)) == [], "left: %r" % names(box(tmp)))
        check(peer.received == b"", "something was sent: %r" % peer.received)


if __name__ == "__main__":
    main()
