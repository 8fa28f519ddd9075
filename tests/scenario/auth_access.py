#!/usr/bin/env python3
"""Who may read what: tokens, client certificates, rules, and their reload.

Requirements: B1-A1, B1-A2, B1-A3, B1-A4, B1-A5, B1-S2a, B1-S2b, B1-S6;
acceptance B20, B21, B25.
"""

import os
import socket
import ssl
import statistics
import subprocess
import time

from harness import (KI, Run, case, check, check_code, check_one_line, get,
                     library, main, program, same, scaled, shelf,
                     write_random)
from rawclient import Raw, fetch, hello
from tlskit import (Authority, TlsBelayd, TlsRaw, client_context, openssl,
                    self_made)

import belay_wire as W
import registry as R

library(file=(write_random, 400 * KI, 3))

BEARER, EXTERNAL = R.AUTH_BEARER, R.AUTH_EXTERNAL


def make_token(path, name):
    """belayd token add: the token that it prints."""
    done = subprocess.run([program("BELAYD"), "token", "add", str(path),
                           name], capture_output=True, text=True, timeout=30)
    check(done.returncode == 0, done.stderr)
    return done.stdout.strip()


def private(path, text):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o600)
    return path


def tree(tmp):
    root = os.path.join(tmp, "root")
    for name in ("pub/a", "team/b", "team/secret/c", "other/d"):
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        write_random(os.path.join(root, name), 5000, len(name))
    return root


def methods(raw):
    return {bytes(value) for kind, value in raw.hello.tlvs
            if kind == R.TLV_AUTH_METHODS}


# -- tokens ------------------------------------------------------------------

@case
def token_needed(tmp):
    """Without a token, with a wrong one, with the right one from a file and
    from the environment."""
    identity = self_made(tmp)
    tokens = os.path.join(tmp, "tokens")
    token = make_token(tokens, "alice")
    check(os.stat(tokens).st_mode & 0o777 == 0o600, "mode of the file")
    check(token not in open(tokens).read(), "the token itself is kept")
    good = private(os.path.join(tmp, "good"), token + "\n")
    bad = private(os.path.join(tmp, "bad"), token[:-1] + "#\n")
    with TlsBelayd(identity, "--tokens", tokens) as server:
        url, pin = server.url("file"), ("--pin", identity[2])
        check_one_line(get(*pin, url, cwd=tmp), 11, "credentials")
        check_one_line(get(*pin, "--token-file", bad, url, cwd=tmp), 11,
                       "refused the token")
        check_code(get(*pin, "--token-file", good, url, cwd=tmp), 0)
        check(same(os.path.join(tmp, "file"), os.path.join(shelf(), "file")),
              "file differs")
        run = get(*pin, "--overwrite", url, cwd=tmp,
                  env={"BELAY_TOKEN": token})
        check_code(run, 0)
        log = server.whole()
        check('who="token:alice"' in log, "the log does not say who")
        check(token not in log and token not in run.err, "a token is told")


@case
def token_file_of_the_client(tmp):
    """One line, for its owner only; nothing of it on the terminal."""
    for text, mode, word in (("", 0o600, "one line"), ("a\nb\n", 0o600,
                                                       "one line"),
                             ("x" * 5000, 0o600, "longer"),
                             ("secret\n", 0o644, "others can read")):
        path = private(os.path.join(tmp, "t"), text)
        os.chmod(path, mode)
        run = get("--token-file", path, "belay://localhost:1/x", cwd=tmp)
        check_one_line(run, 2, word)
        check("secret" not in run.err, "the token is told", run)
    run = get("--token-file", os.path.join(tmp, "none"),
              "belay://localhost:1/x", cwd=tmp)
    check_one_line(run, 2, "No such file")


@case
def never_in_the_open(tmp):
    """B1-S2a: over plain TCP the client keeps its token; B1-S2b: a server
    calls one that came so INSECURE, right or wrong."""
    identity = self_made(tmp)
    tokens = os.path.join(tmp, "tokens")
    token = make_token(tokens, "alice")
    with TlsBelayd(identity, "--plain", "--tokens", tokens) as server:
        run = get("belay+tcp://127.0.0.1:%d/file" % server.port, cwd=tmp,
                  env={"BELAY_TOKEN": token})
        check_one_line(run, 11, "credentials", "never sent over plain TCP")
        run = Run(["ls", "belay+tcp://127.0.0.1:%d/" % server.port], tmp,
                  env={"BELAY_TOKEN": token}).wait()
        check_one_line(run, 11, "never sent over plain TCP")
        for text in (token.encode(), b"wrong"):
            with Raw(server.port) as raw:
                asked = raw.ask("AUTH", {"method": BEARER},
                                [(R.TLV_TOKEN, text)])
                check(raw.error(asked) == R.WIRE_INSECURE, "not INSECURE")
                check(raw.error(raw.open("file")) == R.WIRE_AUTH_REQUIRED,
                      "it let us in")
    run = get("--token-file", private(os.path.join(tmp, "t"), token),
              "belay+tcp://127.0.0.1:1/x", cwd=tmp)
    check(run.code == 75, "exit code %s" % run.code, run)


@case
def auth_on_the_wire(tmp):
    """B1-A1 to B1-A4: order, refusals, repetition, and their limit."""
    identity = self_made(tmp)
    tokens = os.path.join(tmp, "tokens")
    token = make_token(tokens, "alice").encode()
    with TlsBelayd(identity, "--tokens", tokens) as server:
        with TlsRaw(server.port) as raw:
            check(methods(raw) == {bytes([BEARER])}, "methods in HELLO")
            check(raw.error(raw.open("file")) == R.WIRE_AUTH_REQUIRED, "A1")
            check(raw.error(raw.list(b"")) == R.WIRE_AUTH_REQUIRED, "A1")
            raw.ping()
            check(raw.message().name == "PONG", "PING works as always")
            check(raw.judged(EXTERNAL) == R.WIRE_UNSUPPORTED, "unlisted")
            check(raw.judged(77) == R.WIRE_UNSUPPORTED, "unknown method")
            check(raw.judged(token=b"no") == R.WIRE_AUTH_FAILED, "wrong")
            check(raw.judged(token=token) == 0, "right")
            info, chunks, _ = fetch(raw, "file")
            check(raw.judged(token=b"no") == R.WIRE_AUTH_FAILED, "wrong")
            check(raw.info("file", handle=9) is not None, "A4: still in")
        # A2: everything in one write.
        with TlsRaw(server.port, greet=False) as raw:
            raw.next_id = 3
            raw.send(hello(), W.encode("AUTH", 1, {"method": BEARER},
                                       [(R.TLV_TOKEN, token)]),
                     W.encode("OPEN", 2, {"handle": 1, "path": b"file",
                                          "want_chunk_log2": 0,
                                          "flags": 0}))
            raw.greeting()
            check(raw.answer(1)[-1].name == "DONE", "AUTH")
            check(raw.answer(2)[-1].name == "INFO", "OPEN behind it")
        # A3.
        with TlsRaw(server.port) as raw:
            for _ in range(R.LIMIT_AUTH_ATTEMPTS):
                raw.auth(token=b"guess")
            codes = raw.ends_with()
            check(R.WIRE_AUTH_FAILED in codes, "last words %r" % codes)


@case
def tokens_by_time(tmp):
    """B1-S6: how much of a token is right does not show in the time."""
    identity = self_made(tmp)
    tokens = os.path.join(tmp, "tokens")
    token = make_token(tokens, "alice").encode()
    near, far = token[:-1] + b"!", b"!" * len(token)
    times = {near: [], far: []}
    rounds = scaled(60, 30)
    with TlsBelayd(identity, "--tokens", tokens, "--exempt",
                   "127.0.0.1") as server:
        for number in range(rounds):
            for text in ((near, far), (far, near))[number % 2]:
                with TlsRaw(server.port) as raw:
                    began = time.perf_counter()
                    check(raw.judged(token=text) == R.WIRE_AUTH_FAILED, "in")
                    times[text].append(time.perf_counter() - began)
    one, two = times[near], times[far]
    spread = (statistics.variance(one) / rounds +
              statistics.variance(two) / rounds) ** 0.5
    t = abs(statistics.mean(one) - statistics.mean(two)) / spread
    check(t < 4.5, "t = %.2f" % t)


# -- certificates ------------------------------------------------------------

@case
def certificates_of_clients(tmp):
    ca, other = Authority(tmp), Authority(tmp, "other")
    good = ca.issue("build-7", alt=None, usage="clientAuth")
    bad = other.issue("build-7", alt=None, usage="clientAuth")
    identity = self_made(tmp)
    with TlsBelayd(identity, "--client-ca", ca.cert) as server:
        url, pin = server.url("file"), ("--pin", identity[2])

        def with_cert(pair):
            return get(*pin, "--overwrite", "--cert", pair[0], "--cert-key",
                       pair[1], url, cwd=tmp)

        check_code(with_cert(good), 0)
        check('who="cert:build-7"' in server.whole(), "the log says who")
        check_one_line(with_cert(bad), 11, "refused")
        check_one_line(get(*pin, "--overwrite", url, cwd=tmp), 11,
                       "credentials")
        with TlsRaw(server.port) as raw:
            check(raw.judged(EXTERNAL) == R.WIRE_AUTH_FAILED, "no cert")
        with TlsRaw(server.port, cert=good) as raw:
            check(raw.error(raw.open("file")) == R.WIRE_AUTH_REQUIRED,
                  "a certificate without AUTH")
            check(raw.judged(EXTERNAL) == 0, "a good certificate")
            check(raw.info("file") is not None, "INFO")


# -- rules -------------------------------------------------------------------

@case
def rules_by_path(tmp):
    """The longest path decides; what no line is about nobody reads; nothing
    tells a forbidden path from one that is not there."""
    root, identity = tree(tmp), self_made(tmp)
    tokens = os.path.join(tmp, "tokens")
    alice, bob = (make_token(tokens, name).encode()
                  for name in ("alice", "bob"))
    rules = private(os.path.join(tmp, "rules"),
                    "# who reads what\n*  /pub\ntoken:alice /team\n"
                    "token:bob\t/team/secret\n")
    reads = {alice: {"pub/a": 1, "team/b": 1, "team/secret/c": 0,
                     "other/d": 0, "none": 0},
             bob: {"pub/a": 1, "team/b": 0, "team/secret/c": 1,
                   "other/d": 0, "team/none": 0}}
    names = {alice: {"": {"pub", "team"}, "team": {"b"}, "pub": {"a"}},
             bob: {"": {"pub", "team"}, "team": {"secret"},
                   "team/secret": {"c"}}}
    with TlsBelayd(identity, "--tokens", tokens, "--access", rules,
                   root=root) as server:
        for token, files in reads.items():
            with TlsRaw(server.port) as raw:
                check(raw.judged(token=token) == 0, "AUTH")
                for number, (path, good) in enumerate(files.items(), 1):
                    last = raw.answer(raw.open(path, handle=number))[-1]
                    code = 0 if last.name == "INFO" else last.fields["code"]
                    check(code == (0 if good else R.WIRE_NOT_FOUND),
                          "%s: %x" % (path, code))
                for path, wanted in names[token].items():
                    page = raw.answer(raw.list(path.encode()), "ENTRIES")[-1]
                    seen = {e["name"].decode()
                            for e in page.fields["entries"]}
                    check(seen == wanted, "%s: %r" % (path, seen))
                for path in ("other", "none", "team/none"):
                    check(raw.error(raw.list(path.encode())) == R.WIRE_NOT_FOUND,
                          path)
                    last = raw.answer(raw.open(path, handle=0, flags=
                                               R.OPEN_NO_HANDLE))[-1]
                    check(last.name == "ERROR" and last.fields["code"] ==
                          R.WIRE_NOT_FOUND, "describing " + path)


@case
def files_that_are_no_good(tmp):
    """B25: nothing is served under rules that cannot be understood."""
    identity = self_made(tmp)
    ca = Authority(tmp)
    tokens = os.path.join(tmp, "tokens")
    make_token(tokens, "alice")
    base = ["--root", shelf(), "--tls-cert", identity[0], "--tls-key",
            identity[1], "--listen", "127.0.0.1:0", "--cache",
            os.path.join(tmp, "cache")]
    os.mkdir(os.path.join(tmp, "cache"))
    if os.geteuid() == 0:
        base += ["--user", "root"]

    def refuses(word, *options, status=1):
        done = subprocess.run([program("BELAYD"), *base, *options],
                              capture_output=True, text=True, timeout=20)
        check(done.returncode == status, "%r: status %d\n%s" % (
            options, done.returncode, done.stderr))
        check(word in done.stderr and "\x1b" not in done.stderr and
              len(done.stderr.splitlines()) == 1, done.stderr)

    for text, word in (("pub\n", "line 1"), ("* pub\n", "begins with"),
                       ("# x\n\n* /a/../b\n", "line 3"),
                       ("*, /a\n", "WHO is"), ("* /a\n- /a\n", "same path"),
                       ("token:bob /a\n", "a token that there is not"),
                       ("cert:x /a\n", "--client-ca"),
                       ("token:a\x1b[2J /a\n", "control"),
                       ("key:sha256:12 /a\n", "64 digits")):
        refuses(word, "--tokens", tokens, "--access",
                private(os.path.join(tmp, "rules"), text))
    for text, word in (("alice\n", "line 1"), ("alice sha256:1\n", "line 1"),
                       (open(tokens).read() * 2, "line 2"),
                       ("a b sha256:" + "0" * 64 + "\n", "line 1")):
        refuses(word, "--tokens", private(os.path.join(tmp, "t"), text))
    os.chmod(tokens, 0o604)
    refuses("its mode is 0604", "--tokens", tokens)
    os.chmod(tokens, 0o600)
    os.chmod(identity[1], 0o644)
    refuses("its mode is 0644")
    os.chmod(identity[1], 0o600)
    refuses("key cannot be used", "--tls-key", ca.key)
    refuses("authorities", "--client-ca",
            private(os.path.join(tmp, "empty"), ""))
    refuses("cannot read", "--tokens", os.path.join(tmp, "none"))
    done = subprocess.run([program("BELAYD"), "--root", shelf(), "--plain",
                           "--tokens", tokens], capture_output=True,
                          text=True, timeout=20)
    check(done.returncode == 2 and "--tls-cert" in done.stderr, done.stderr)


# -- reload ------------------------------------------------------------------

@case
def revoked_while_in_use(tmp):
    """B20: a token that is taken away ends what came in by it; the certificate
    alone does not."""
    identity, second = self_made(tmp), self_made(tmp, "id2")
    tokens = os.path.join(tmp, "tokens")
    token = make_token(tokens, "alice").encode()
    with TlsBelayd(identity, "--tokens", tokens) as server:
        with TlsRaw(server.port) as raw:
            check(raw.judged(token=token) == 0, "AUTH")
            # A new pair: this connection stays.
            for part in (0, 1):
                with open(second[part]) as new, open(identity[part],
                                                     "w") as old:
                    old.write(new.read())
            server.reload("info reload")
            check(raw.info("file") is not None, "the connection ended")
            check(shown_pin(server.port) == second[2], "the old certificate")
            # No token any more.
            with open(tokens, "w") as file:
                file.write("# nobody\n")
            server.reload("info reload")
            check(raw.closes_within(5) is not None, "still in")
        with TlsRaw(server.port) as raw:
            check(raw.judged(token=token) == R.WIRE_AUTH_FAILED, "still in")


def shown_pin(port):
    """The key of the server, seen by Python and openssl."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        with client_context().wrap_socket(sock) as tls:
            pem = ssl.DER_cert_to_PEM_cert(tls.getpeercert(True))
    key = openssl("x509", "-noout", "-pubkey", input=pem.encode()).stdout
    der = openssl("pkey", "-pubin", "-outform", "DER", input=key).stdout
    return "sha256:" + openssl("dgst", "-sha256", "-r",
                               input=der).stdout.decode().split()[0]


@case
def reload_that_is_no_good(tmp):
    """One bad file keeps all as they were, and the log says why."""
    identity = self_made(tmp)
    tokens = os.path.join(tmp, "tokens")
    token = make_token(tokens, "alice").encode()
    with TlsBelayd(identity, "--tokens", tokens) as server:
        with TlsRaw(server.port) as raw:
            check(raw.judged(token=token) == 0, "AUTH")
            for path, text in ((identity[0], "garbage\n"),
                               (tokens, "garbage\n")):
                with open(path) as file:
                    before = file.read()
                with open(path, "w") as file:
                    file.write(text)
                server.reload("reload-failed")
                with open(path, "w") as file:
                    file.write(before)
            check(raw.info("file") is not None, "the connection ended")
        check(shown_pin(server.port) == identity[2], "another certificate")
        with TlsRaw(server.port) as raw:
            check(raw.judged(token=token) == 0, "tokens are gone")


@case
def names_and_tools(tmp):
    """belayd init and token: what is wrong is told in one line, what is there
    stays."""
    self_made(tmp)
    for args, status, word in (
            (["init", os.path.join(tmp, "id")], 1, "there already"),
            (["init"], 2, "usage"), (["init", "--help"], 2, "usage"),
            (["init", os.path.join(tmp, "x"), "a b"], 2, "name"),
            (["init", os.path.join(tmp, "x"), "a" * 65], 2, "name"),
            (["token", "add", os.path.join(tmp, "t"), "a b"], 2, "name"),
            (["token", "remove", "x", "y"], 2, "usage"),
            (["token", "add", tmp, "alice"], 1, "cannot open")):
        done = subprocess.run([program("BELAYD"), *args],
                              capture_output=True, text=True, timeout=20)
        check(done.returncode == status and word in done.stderr,
              "%r: %d %s" % (args, done.returncode, done.stderr))
    openssl("x509", "-in", os.path.join(tmp, "id", "cert.pem"), "-noout",
            "-checkhost", "localhost")


if __name__ == "__main__":
    main()
