#!/usr/bin/env python3
"""Downloads over TLS: who is believed, who is not, and what breaks do.

Requirements: B1-S1b, B1-S3, B1-S4, B1-S7, B1-S8, B1-V1e; acceptance H18, H19.
"""

import contextlib
import itertools
import os
import re
import socket
import ssl
import subprocess
import threading

from harness import (KI, MI, Belayd, Fault, Peer, Run, case, check, check_code,
                     check_nothing_final, check_one_line, get, library, main,
                     names, program, same, shelf, spawn, wait_until,
                     write_random)
from tlskit import (Authority, Bridge, TlsBelayd, TlsPeer, config, known_hosts,
                    pin_of, self_made)

library(file=(write_random, 24 * MI, 5),
        small=(write_random, 300 * KI, 6))

UNTRUSTED = 13


def path(name):
    return os.path.join(shelf(), name)


def check_same(tmp, name="small"):
    check(same(os.path.join(tmp, name), path(name)), "%s differs" % name)


def check_refused(run, tmp, *words):
    check_one_line(run, UNTRUSTED, *words)
    check_nothing_final(tmp, "ca", "other", "home", "id", "id2")


# -- whom to believe ---------------------------------------------------------

@case
def by_authority(tmp):
    """Chain and name, for a name and for an address."""
    ca = Authority(tmp)
    with TlsBelayd(ca.issue("server")) as server:
        for host in ("localhost", "127.0.0.1"):
            run = get("--overwrite", "--cacert", ca.cert, "-v",
                      server.url("small", host), cwd=tmp, env=config(tmp))
            check_code(run, 0)
            check("TLS 1.3" in run.err, "TLS is not told", run)
        check_same(tmp)
        check(not os.path.exists(known_hosts(config(tmp))),
              "a verified host was recorded")


@case
def wrong_certificates(tmp):
    """H18: wrong name, expired, another authority, itself."""
    ca, other = Authority(tmp), Authority(tmp, "other")
    wrong = [(ca.issue("elsewhere", alt="DNS:elsewhere.example"),
              "hostname mismatch"),
             (ca.issue("address", alt="IP:127.0.0.9"), "mismatch"),
             (ca.issue("nameless", alt=None, cn="elsewhere"), "mismatch"),
             (ca.issue("old", expired=True), "expired"),
             (ca.issue("client", usage="clientAuth"), "purpose"),
             (other.issue("stranger"), "cannot be verified"),
             (self_made(tmp), "cannot be verified")]
    for identity, word in wrong:
        heard = []

        def serve(tls):
            heard.append(tls.recv(100))

        with TlsPeer(identity, serve) as peer:
            run = get("--cacert", ca.cert, peer.url(), cwd=tmp,
                      env=config(tmp))
            check_refused(run, tmp, word)
            check(not any(heard), "something was sent: %r" % heard, run)


@case
def by_pin(tmp):
    """A pinned key needs neither chain nor name nor dates, and no other key
    will do, not even that of a good chain."""
    ca = Authority(tmp)
    old = ca.issue("old", alt="DNS:elsewhere.example", expired=True)
    with TlsBelayd(old) as server:
        check_code(get("--pin", pin_of(old[0]), server.url("small"), cwd=tmp,
                       env=config(tmp)), 0)
        check_same(tmp)
    with TlsBelayd(ca.issue("good")) as server:
        run = get("--overwrite", "--cacert", ca.cert, "--pin",
                  pin_of(old[0]), server.url("small"), cwd=tmp,
                  env=config(tmp))
        check_one_line(run, UNTRUSTED, "not the one demanded")
    for bad in ("sha256:12", "sha1:" + "0" * 40, "sha256:" + "g" * 64,
                pin_of(old[0]) + " "):
        run = get("--pin", bad, "belay://localhost:1/x", cwd=tmp)
        check_one_line(run, 2, "pin")


@case
def first_use(tmp):
    """H19: an unknown key is refused with what it takes to accept it, then
    recorded by the user, then expected."""
    identity = self_made(tmp)
    check(identity[2] == pin_of(identity[0]), "belayd init prints %s" %
          identity[2])
    check(os.stat(identity[1]).st_mode & 0o777 == 0o600, "mode of the key")
    env = config(tmp)
    with TlsBelayd(identity) as server:
        run = get(server.url("small"), cwd=tmp, env=env)
        command = "belay trust localhost:%d %s" % (server.port, identity[2])
        check_refused(run, tmp, "cannot be verified", identity[2], command)
        for args in (["ls"], ["get", "-r", "-d", "out"]):
            run = get_belay([*args, server.url("")], tmp, env)
            check(run.code == UNTRUSTED and command + "\n" in run.err,
                  "the command to run is cut", run)
        trust = get_belay(command.split()[1:], tmp, env)
        check_code(trust, 0)
        with open(known_hosts(env)) as file:
            check(file.read() == "localhost:%d %s\n" %
                  (server.port, identity[2]), "what is recorded")
        check(os.stat(known_hosts(env)).st_mode & 0o777 == 0o600,
              "mode of known_hosts")
        check_code(get(server.url("small"), cwd=tmp, env=env), 0)
        check_same(tmp)
        # The same key under another name is another host.
        run = get("--overwrite", server.url("small", "127.0.0.1"), cwd=tmp,
                  env=env)
        check_one_line(run, UNTRUSTED, "cannot be verified")


def get_belay(words, tmp, env):
    return Run(words, tmp, env=env).wait()


@case
def asked_on_a_terminal(tmp):
    """Somebody is there: the key is shown, only a whole yes is one."""
    identity = self_made(tmp)
    env = config(tmp)
    with TlsBelayd(identity) as server:
        for answer, code in ((b"no\n", UNTRUSTED), (b"y\nno\n", UNTRUSTED),
                             (b"yes\n", 0)):
            ours, theirs = os.openpty()
            child = spawn([program("BELAY"), "get", "--progress=none",
                           server.url("small")], cwd=tmp, stdin=theirs,
                          stderr=theirs, env={**os.environ, **env})
            os.close(theirs)
            shown = b""
            while b"(yes/no)" not in shown:
                shown += os.read(ours, 4096)
            check(identity[2].encode() in shown, repr(shown))
            os.write(ours, answer)
            check(child.wait(30) == code, "exit code %d" % child.returncode)
            check(os.path.exists(known_hosts(env)) == (code == 0),
                  "known hosts after %r" % answer)
            os.close(ours)
        check_same(tmp)


@case
def accept_new_and_changed(tmp):
    """--accept-new records an unknown key once, and never a changed one."""
    one, two = self_made(tmp), self_made(tmp, "id2")
    env = config(tmp)
    with TlsBelayd(one) as server:
        run = get("--accept-new", server.url("small"), cwd=tmp, env=env)
        check_code(run, 0)
        check("recorded" in run.err and one[2] in run.err, "it is not told",
              run)
        run = get("--overwrite", server.url("small"), cwd=tmp, env=env)
        check_code(run, 0)
        check("recorded" not in run.err, "recorded again", run)
        port = server.port
    heard = []

    def serve(tls):
        heard.append(tls.recv(100))

    with TlsBelayd(two, listen="127.0.0.1:%d" % port):
        run = get("--accept-new", "--overwrite", "belay://localhost:%d/small"
                  % port, cwd=tmp, env=env)
        check_one_line(run, UNTRUSTED, "HAS CHANGED", one[2], two[2],
                       "nothing was sent", "belay trust --replace")
        run = get_belay(["trust", "--replace", "localhost:%d" % port,
                         two[2]], tmp, env)
        check_code(run, 0)
        check_code(get("--overwrite", "belay://localhost:%d/small" % port,
                       cwd=tmp, env=env), 0)
        check_code(get_belay(["trust", "--forget", "localhost:%d" % port],
                             tmp, env), 0)
        run = get("--overwrite", "belay://localhost:%d/small" % port,
                  cwd=tmp, env=env)
        check_one_line(run, UNTRUSTED, "cannot be verified")


@case
def known_hosts_that_cannot_be_used(tmp):
    """A damaged file knows nobody and lets nobody in; one clear line."""
    identity = self_made(tmp)
    env = config(tmp)
    with TlsBelayd(identity) as server:
        check_code(get("--accept-new", server.url("small"), cwd=tmp,
                       env=env), 0)
        with open(known_hosts(env)) as file:
            good = file.read()
        for text in (good + "localhost:1 sha256:\x1b[2J\n", good + "x\n",
                     good.replace("sha256", "sha512"),
                     good + "HOST:1 " + identity[2] + "\n"):
            with open(known_hosts(env), "w") as file:
                file.write(text)
            for option in ((), ("--accept-new",)):
                run = get("--overwrite", *option, server.url("small"),
                          cwd=tmp, env=env)
                check_one_line(run, 2, "line [12] of",
                               "known_hosts")
            with open(known_hosts(env)) as file:
                check(file.read() == text, "the file was changed")


@case
def many_and_known_hosts_that_cannot_be_used(tmp):
    """The same with so many files that they would go together."""
    env = config(tmp)
    os.makedirs(os.path.dirname(known_hosts(env)))
    with open(known_hosts(env), "w") as file:
        file.write("x\n")
    with open(os.path.join(tmp, "list"), "w") as file:
        for number in range(20):
            file.write("belay://localhost:1/f%d\n" % number)
    run = get("-i", "list", "--failed", "failed", cwd=tmp, env=env)
    check_code(run, 2)
    with open(os.path.join(tmp, "failed")) as file:
        text = file.read()
    check(len(re.findall("line 1 of .*known_hosts", text)) == 20,
          "failed: " + text, run)
    check_nothing_final(tmp, "failed", "home", "list")


@case
def many_small_files(tmp):
    """What asks for many files at once believes and refuses as one file
    does, through breaks, too."""
    root, out = os.path.join(tmp, "root"), os.path.join(tmp, "out")
    os.mkdir(root)
    for number in range(60):
        write_random(os.path.join(root, "f%d" % number), 20 * KI, number)
    identity = self_made(tmp)
    env = config(tmp)
    with TlsBelayd(identity, root=root) as server, \
            Fault(server, "--rst-every", 300 * KI, "--rst-max", 3) as fault:
        with open(os.path.join(tmp, "list"), "w") as file:
            for number in range(60):
                file.write("belay://localhost:%d/f%d\n" %
                           (fault.port, number))
        run = get("-i", os.path.join(tmp, "list"), "-d", out, cwd=tmp,
                  env=env)
        check_code(run, UNTRUSTED)
        check(not os.path.exists(out) or not names(out), "something came",
              run)
        run = get("-i", os.path.join(tmp, "list"), "-d", out, "--pin",
                  identity[2], cwd=tmp, env=env)
        check_code(run, 0)
        for number in range(60):
            check(same(os.path.join(root, "f%d" % number),
                       os.path.join(out, "f%d" % number)), "f%d" % number)


# -- who does not speak it ---------------------------------------------------

@case
def no_fallback(tmp):
    """B1-S7: a plain server, TLS 1.2, no ALPN, another ALPN: not Belay, and
    nothing of ours is sent."""
    ca = Authority(tmp)
    identity = ca.issue("server")
    heard = []

    def serve(tls):
        heard.append(tls.recv(100))

    with Belayd() as server:
        run = get("--cacert", ca.cert, "belay://localhost:%d/small" %
                  server.port, cwd=tmp)
        check_one_line(run, 75, "within the TLS handshake")
    for options, word in (({"version": ssl.TLSVersion.TLSv1_2},
                           "TLS 1.3|version"),
                          ({"alpn": ()}, "not Belay"),
                          ({"alpn": ("http/1.1",)}, "TLS")):
        with TlsPeer(identity, serve, **options) as peer:
            run = get("--cacert", ca.cert, peer.url(), cwd=tmp)
            check_one_line(run, 8, word)
    check(not any(heard), "something was sent: %r" % heard)
    with Peer(lambda sock: sock.sendall(b"220 mail ESMTP\r\n")) as peer:
        run = get("belay://localhost:%d/x" % peer.port, cwd=tmp)
        check_one_line(run, 8, "does not speak TLS")
    check_nothing_final(tmp, "ca")


@case
def openssl_is_the_server(tmp):
    """openssl s_server takes our handshake: TLS 1.3, ALPN, SNI."""
    ca = Authority(tmp)
    cert, key = ca.issue("server")
    log = open(os.path.join(tmp, "log"), "wb")
    child = spawn(["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert",
                   cert, "-key", key, "-alpn", "belay/1", "-tlsextdebug",
                   "-naccept", "1"], stdin=subprocess.PIPE, stdout=log,
                  stderr=log)

    def text():
        with open(os.path.join(tmp, "log"), errors="replace") as file:
            return file.read()

    port = wait_until(lambda: re.search(r"ACCEPT \S*:(\d+)", text()),
                      "port of s_server").group(1)
    run = get("--cacert", ca.cert, "--retry", "1", "--connect-timeout", "2",
              "--deadline", "2", "belay://localhost:%s/x" % port, cwd=tmp)
    check(run.code in (9, 8, 75), "exit code %s" % run.code, run)
    check("ALPN protocols selected: belay/1" in text(), text())
    check("TLSv1.3" in text() or "TLS_AES" in text() or
          "TLS_CHACHA" in text(), text())
    for absent in ("early data", "psk", "session ticket"):
        check('extension "%s"' % absent not in text(), text())
    for present in ("server name", "application layer protocol"):
        check('extension "%s' % present in text(), text())
    child.kill()


# -- breaks ------------------------------------------------------------------

@case
def breaks(tmp):
    """Resets, stalls and split segments below TLS cost no bytes that were
    verified."""
    ca = Authority(tmp)
    with TlsBelayd(ca.issue("server")) as server, \
            Fault(server, "--rst-every", "%d" % (3 * MI), "--rst-max", 6,
                  "--split", 1400) as fault:
        run = get("-v", "--cacert", ca.cert, "belay://localhost:%d/file" %
                  fault.port, cwd=tmp)
        check_code(run, 0)
        check(run.ledger["breaks"] > 0, "no break", run)
        check_same(tmp, "file")


@case
def damage_is_noticed(tmp):
    """A flipped bit below TLS ends the connection, no more."""
    ca = Authority(tmp)
    with TlsBelayd(ca.issue("server")) as server, \
            Fault(server, "--flip-every", "%d" % (6 * MI)) as fault:
        run = get("-v", "--cacert", ca.cert, "belay://localhost:%d/file" %
                  fault.port, cwd=tmp)
        check_code(run, 0)
        check(run.ledger["bad chunks"] == 0, "damage passed TLS", run)
        check_same(tmp, "file")


class Flipper(Peer):
    """Flips one bit of what the server of `port` says: at this byte of each
    connection of this number."""

    def __init__(self, port, at, connections):
        self.target, self.at, self.chosen = port, at, connections
        self.flipped = 0
        self.number = itertools.count(1)
        super().__init__(self.pass_on)

    def pass_on(self, sock):
        number = next(self.number)
        inner = socket.create_connection(("127.0.0.1", self.target), 10)
        threading.Thread(target=self.copy, args=(sock, inner, None),
                         daemon=True).start()
        self.copy(inner, sock, self.at if number in self.chosen else None)

    def copy(self, source, sink, at):
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if at is not None and passed <= at < passed + len(data):
                    data = bytearray(data)
                    data[at - passed] ^= 4
                    self.flipped += 1
                passed += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@case
def damaged_handshakes(tmp):
    """A flipped bit in a handshake is an accident of that connection: always
    where TLS shows it as damage, and for a server that did shake hands."""
    ca = Authority(tmp)
    with TlsBelayd(ca.issue("server")) as server:
        for at, connections in ((300, {1, 2}), (500, {1}), (20, {2, 3}),
                                (60, {2}), (300, {2, 3})):
            with Flipper(server.port, at, connections) as flipper:
                run = get("-v", "-x", "3", "--retry", "9", "--cacert",
                          ca.cert, "belay://localhost:%d/file" % flipper.port,
                          cwd=tmp)
                check_code(run, 0, "byte %d of %r" % (at, connections))
                check(flipper.flipped > 0, "nothing was flipped", run)
                check_same(tmp, "file")
                os.unlink(os.path.join(tmp, "file"))


def break_off(tls):
    """No close_notify, no last record."""
    raw = socket.socket(fileno=tls.detach())
    raw.shutdown(socket.SHUT_RDWR)
    raw.close()


@case
def truncation(tmp):
    """B1-S8: an end without close_notify, and one with it, in the middle of a
    file are breaks, never the end of the file."""
    ca = Authority(tmp)
    cuts = []

    def without(tls, total):
        if total < 2 * MI or len(cuts) >= 3:
            return False
        cuts.append(total)
        break_off(tls)
        return True

    def with_notify(tls, total):
        if total < 2 * MI or len(cuts) >= 3:
            return False
        cuts.append(total)
        tls.setblocking(False)
        try:
            tls.unwrap()
        except (ssl.SSLError, OSError):
            pass
        tls.close()
        return True

    for number, cut in enumerate((without, with_notify)):
        cuts.clear()
        with Belayd() as plain, \
                TlsPeer(ca.issue("server%d" % number),
                        Bridge(plain.port, cut)) as peer:
            run = get("-v", "--overwrite", "-x1", "--cacert", ca.cert,
                      peer.url("file"), cwd=tmp)
            check_code(run, 0)
            check(len(cuts) == 3, "%d cuts" % len(cuts), run)
            check_same(tmp, "file")
        os.unlink(os.path.join(tmp, "file"))


@case
def key_changes_in_mid_session(tmp):
    """The server of a later connection shows another key: refused loudly, and
    what was received stays for the right one."""
    one, two = self_made(tmp), self_made(tmp, "id2")
    env = config(tmp)
    seen = []

    def cut(tls, total):
        if total < 6 * MI:
            return False
        seen.append(total)
        peer.context.load_cert_chain(*two[:2])
        break_off(tls)
        return True

    with Belayd() as plain:
        with TlsPeer(one, Bridge(plain.port, cut)) as peer:
            run = get("-x1", "--accept-new", peer.url("file"), cwd=tmp,
                      env=env)
            check_code(run, UNTRUSTED)
            check("HAS CHANGED" in run.err, "it is not told", run)
            check(len(seen) == 1, "%d connections" % len(seen), run)
            check("file.part" in " ".join(names(tmp)), "nothing is kept",
                  run)
            port = peer.port
        with TlsPeer(one, Bridge(plain.port), port=port):
            run = get("-v", "belay://localhost:%d/file" % port, cwd=tmp,
                      env=env)
            check_code(run, 0)
            check(run.ledger["kept"] > 0, "nothing was taken up", run)
            check_same(tmp, "file")


@case
def trickled_handshake(tmp):
    """A server that takes its time for the handshake: given up at the
    greeting's deadline, which counts from the connection."""
    ca = Authority(tmp)

    def trickle(sock):
        sock.recv(1 << 16)
        for byte in b"\x16\x03\x03\x00\x7a" + bytes(100):
            sock.sendall(bytes([byte]))
            if not wait_readable(sock, 0.5):
                return

    with Peer(trickle) as peer:
        run = get("--cacert", ca.cert, "--retry", "1",
                  "belay://localhost:%d/x" % peer.port, cwd=tmp)
        check(run.code in (8, 75), "exit code %s" % run.code, run)
        check(run.seconds < 25, "it took %.1f s" % run.seconds, run)


def wait_readable(sock, seconds):
    """False when the peer has gone."""
    import select
    if not select.select([sock], [], [], seconds)[0]:
        return True
    return bool(sock.recv(1, socket.MSG_PEEK))


if __name__ == "__main__":
    main()
