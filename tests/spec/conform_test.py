#!/usr/bin/env python3
"""Goal: the conformance suite passes, in both directions.  Partners are the
small server and the small client, or, from the environment, the programs
BELAYD and BELAY."""

import os
import subprocess
import sys
import tempfile
import time

import serving

CONFORM = os.path.join(serving.ROOT, "spec", "conformance", "belay-conform")


def conform(*args):
    done = subprocess.run([sys.executable, "-B", CONFORM, *args],
                          stdout=subprocess.PIPE, text=True, timeout=280)
    wrong = [line for line in done.stdout.split("\n")
             if not line.startswith(("pass", "skip", "unsupported"))]
    print("\n".join(wrong).strip())
    return done.returncode


def server():
    with serving.Server() as target:
        target.put("Demo.bin", serving.noise(20000))
        time.sleep(2.3 if serving.is_belayd() else 0.3)
        return conform("server", "--root", target.root,
                       serving.url(target.port, "Demo.bin"))


def client():
    belay = os.environ.get("BELAY")
    command = [belay, "get", "-q", "--retry", "20", "{url}", "-o", "{out}"] \
        if belay else [sys.executable, "-B", serving.MINI, "{url}", "{out}"]
    return conform("client", "--", *command)


def nonsense():
    """A client that does nothing, and one that lies, must fail."""
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
            return 0 if "<failure" in f.read() else 1


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["server", "client", "nonsense"]
    sys.exit(max([globals()[name]() for name in wanted]))
