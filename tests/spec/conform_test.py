#!/usr/bin/env python3
"""Goal: the conformance suite passes, in both directions, over TCP, TLS and a
pipe.  Partners are the small server and the small client, or, from the
environment, the programs BELAYD and BELAY."""

import os
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
AUTH_CASES = ("old_tls", "early_data", "first_byte", "plain_on_tls", "auth",
              "auth_attempts", "auth_accepted", "auth_required",
              "unknown_method")


def tls():
    """The small server behind TLS.  Python's TLS cannot send the alert for a
    missing ALPN id: that one case has to fail, and alone."""
    with serving.Server("--secure") as target, \
            serving.Tls(target.port) as front:
        target.put("Demo.bin", serving.noise(20000))
        wrong = conform("server", "--root", target.root,
                        front.url("Demo.bin"), lines=True)
    if [line.split()[1] for line in wrong if line.startswith("fail")] != \
            ["B1-S1a"]:
        return 1
    with serving.Server("--token", "sesame", "--secure") as target, \
            serving.Tls(target.port) as front:
        target.put("Demo.bin", serving.noise(20000))
        return conform("server", "--token", "sesame",
                       *[w for name in AUTH_CASES for w in ("--case", name)],
                       front.url("Demo.bin"))


def client():
    belay = os.environ.get("BELAY")
    command = [belay, "get", "-q", "--retry", "20", "{url}", "-o", "{out}"] \
        if belay else MINI
    return conform("client", "--", *command)


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
