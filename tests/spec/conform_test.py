#!/usr/bin/env python3
"""Goal: the conformance suite passes, in both directions, over TCP, TLS and a
pipe.  Partners are the small server and the small client, or, from the
environment, the programs BELAYD and BELAY."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

import serving

CONFORM = os.path.join(serving.ROOT, "spec", "conformance", "belay-conform")
MINI = [sys.executable, "-B", serving.MINI, "{url}", "{out}"]


def conform(*args, lines=False):
    """The exit status of the suite; or what it printed that is not good."""
    done = subprocess.run([sys.executable, "-B", CONFORM, *args],
                          stdout=subprocess.PIPE, text=True, timeout=280)
    output, wrong, bad = done.stdout.strip().split("\n"), [], False
    for line in output[:-1]:
        bad = line.startswith("fail") or bad and line.startswith(" ")
        wrong += [line] * bad
    print("\n".join(wrong + output[-1:]))
    return wrong if lines else done.returncode


def server():
    with serving.Server() as target:
        target.put("Demo.bin", serving.noise(20000))
        target.rest()
        return conform("server", "--root", target.root,
                       serving.url(target.port, "Demo.bin"))


def pipe():
    """Every case once more, over a pipe; only belayd can do that."""
    with tempfile.TemporaryDirectory() as root:
        with open(os.path.join(root, "Demo.bin"), "wb") as f:
            f.write(serving.noise(20000))
        time.sleep(2.3)
        return conform("server", "--root", root, "--path", "Demo.bin", "--",
                       os.environ["BELAYD"], "--stdio", "--root", root)


# What a server that asks for AUTH can be asked.
TOKEN = "sesame, open"
AUTH_CASES = ("old_tls", "early_data", "first_byte", "plain_on_tls", "auth",
              "auth_attempts", "auth_accepted", "auth_required",
              "unknown_method")


def demanding(target, where):
    target.put("Demo.bin", serving.noise(20000))
    return conform("server", "--token", TOKEN,
                   *[w for name in AUTH_CASES for w in ("--case", name)],
                   where)


def real_tls():
    """belayd with the certificate of the suite; then with tokens."""
    with tempfile.TemporaryDirectory() as room:
        chain = os.path.join(room, "chain.pem")
        tokens = os.path.join(room, "tokens")
        shutil.copy(os.path.join(serving.secure.FOLDER, "good.pem"), chain)
        with open(tokens, "w", encoding="ascii") as f:
            f.write("somebody sha256:%s\n" % hashlib.sha256(
                TOKEN.encode()).hexdigest())
        for path in (chain, tokens):
            os.chmod(path, 0o600)
        access = ["--tls-cert", chain, "--tls-key", chain]
        with serving.Server(access=access) as target:
            target.put("Demo.bin", serving.noise(20000))
            target.rest()
            verdict = conform("server", "--root", target.root,
                              serving.tls_url(target.port, "Demo.bin"))
        with serving.Server(access=access + ["--tokens", tokens]) as target:
            return verdict or demanding(target, serving.tls_url(
                target.port, "Demo.bin"))


def tls():
    """The small server behind TLS.  Python's TLS cannot send the alert for a
    missing ALPN id: that one case has to fail, and alone."""
    if serving.is_belayd():
        return real_tls()
    with serving.Server("--secure") as target, \
            serving.Tls(target.port) as front:
        target.put("Demo.bin", serving.noise(20000))
        wrong = conform("server", "--root", target.root,
                        serving.tls_url(front.port, "Demo.bin"), lines=True)
    if [line.split()[1] for line in wrong if line.startswith("fail")] != \
            ["B1-S1a"]:
        return 1
    with serving.Server("--token", TOKEN, "--secure") as target, \
            serving.Tls(target.port) as front:
        return demanding(target, serving.tls_url(front.port, "Demo.bin"))


def client():
    belay = os.environ.get("BELAY")
    if not belay:
        return conform("client", "--", *MINI)
    return conform("client", "--token-args", "--token-file {token_file}",
                   "--", belay, "get", "-q", "--no-config", "--retry", "20",
                   "--cacert", "{ca}", "{url}", "-o", "{out}")


def nonsense():
    """A client that does nothing, and one that lies, must fail; nothing
    decided is no success either."""
    with tempfile.TemporaryDirectory() as room:
        report = os.path.join(room, "report.xml")
        for command in (["true", "{url}", "{out}"],
                        ["sh", "-c", "echo lie > {out}; : {url}"]):
            if conform("client", "--timeout", "5", "--case", "fresh",
                       "--case", "wrong_pin", "--junit", report, "--",
                       *command) != 1:
                print("a client of no use passed")
                return 1
        with open(report, encoding="utf-8") as f:
            if "<failure" not in f.read():
                return 1
    return conform("client", "--case", "token_wanted", "--", *MINI) != 127


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["server", "tls", "client", "nonsense"]
    sys.exit(max([globals()[name]() for name in wanted]))
