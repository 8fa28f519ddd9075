#!/usr/bin/env python3
"""Every allocation and every system call of the server fails once, and for
ever, for all n (nth.py): it ends by itself and says so, or serves; no worker
crashes, and what failed once has no consequence for the next client."""

import os
import signal
import subprocess

import nth  # first: it knows where the harness is
from nth import CLIENT_CODES, EVER, ONCE, PATIENCE, loops, under
import harness
from harness import (Failure, Run, case, check, check_code, program, same,
                     shelf, spawn)
import tlskit

SAMPLE = 6
FEW = 2
# 0 stopped as asked, 1 cannot serve.
SERVER_CODES = {0, 1}

def server_begin(folder, plan, options):
    """belayd with the shim: the process, its log, and where it listens (None
    when it has ended instead)."""
    log = os.path.join(folder, "log")
    with open(log, "wb") as out:
        child = spawn([program("BELAYD"), "--listen", "127.0.0.1:0", "--root",
                       shelf(), "--workers", "1", "--cache",
                       os.path.join(folder, "cache"), *options,
                       *harness.as_user()],
                      stderr=out, stdout=out, stdin=-3,
                      env={**os.environ, **plan.env},
                      start_new_session=True)

    def port():
        with open(log) as text:
            found = harness.re.search(r"listening on .*?:(\d+)\b", text.read())
        return int(found.group(1)) if found else child.poll() is not None

    return child, log, harness.wait_until(port, "server that listens or ends",
                                          PATIENCE)


def server_end(child, log):
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        code = child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        with open(log) as text:
            said = text.read()
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise Failure("it does not end; log:\n" + said) from None
    with open(log) as text:
        said = text.read()
    check(code in SERVER_CODES, "exit code %s; log:\n%s" % (code, said))
    check("worker-killed" not in said and "worker-crash" not in said and
          " signal=" not in said, "a worker crashed; log:\n%s" % said)
    return code


def descriptors(child):
    """{worker: how many files it has open}"""
    found = {}
    try:
        with open("/proc/%d/task/%d/children" % (child.pid,
                                                 child.pid)) as file:
            for pid in file.read().split():
                found[pid] = len(os.listdir("/proc/%s/fd" % pid))
    except OSError:
        pass  # it ended meanwhile
    return found


def ready(child, log, options):
    """The children have all that they keep, or the server has ended; their
    descriptors then."""
    children = 1 + ("--metrics" in options)

    def settled():
        with open(log) as text:
            return child.poll() is not None or \
                text.read().count(" sandbox ") >= children

    harness.wait_until(settled, "worker", PATIENCE)
    return descriptors(child)


def check_descriptors(child, before):
    def back():
        now = descriptors(child)
        return all(now.get(pid, 0) <= before[pid] for pid in before)

    harness.wait_until(back, "descriptors given back: %r, then %r" %
                       (before, descriptors(child)), PATIENCE)


def right_or_absent(into, run):
    path = os.path.join(into, "file")
    if os.path.exists(path):
        check(same(path, os.path.join(shelf(), "file")),
              "wrong bytes under the final name", run)
    else:
        check(run.code != 0, "exit code 0 without a file", run)


def client(way, port, into, deadline="6"):
    return Run(["get", "-q", "--retry", "2", "--chunk-size", "16K", "-x", "2",
                "--deadline", deadline, *way[1:],
                "%s:%d/file" % (way[0], port)], into,
               env={"XDG_CONFIG_HOME": "/nonexistent",
                    "BELAY_CONFIG": "/dev/null"}).wait(PATIENCE)


def server_one(folder, plan, counting, options, way):
    """It ends by itself, or serves: then a client is right or told to come
    again, and what failed once has no consequence for the next one."""
    os.mkdir(os.path.join(folder, "cache"))
    child, log, port = server_begin(folder, plan, options)
    into = under(folder)
    try:
        if port is not True:
            # With failures for ever there may never be one that serves.
            before = ready(child, log, options) if plan.kind != EVER else {}
            run = client(way, port, into,
                         "6" if plan.kind == ONCE else "1")
            # A server that refuses or is silent: refused, or the deadline.
            check(run.code in ({0} if counting else CLIENT_CODES | {3, 9}),
                  "the client's exit code is %s" % run.code, run)
            right_or_absent(into, run)
            if plan.kind == ONCE and child.poll() is None:
                check_code(client(way, port, into), 0, "the next client")
            check_descriptors(child, before)
    finally:
        code = server_end(child, log)
    check(not counting or code == 0, "exit code %s" % code)
    return code


def serves(what, options, way, sample):
    loops(what, lambda folder, plan, counting:
          server_one(folder, plan, counting, options, way), sample)


@case
def server_serves(_tmp):
    serves("server", ["--plain"], ["belay+tcp://127.0.0.1"], SAMPLE)


@case
def server_with_all(tmp):
    """TLS, tokens, rules and the exporter."""
    identity = tlskit.self_made(tmp)
    tokens = os.path.join(tmp, "tokens")
    made = subprocess.run([program("BELAYD"), "token", "add", tokens, "a"],
                          capture_output=True, text=True, timeout=30)
    check(made.returncode == 0, made.stderr)
    token = os.path.join(tmp, "token")
    with open(token, "w", opener=lambda path, flags:
              os.open(path, flags, 0o600)) as file:
        file.write(made.stdout)
    serves("server with TLS, tokens and metrics",
           ["--tls-cert", identity[0], "--tls-key", identity[1], "--tokens",
            tokens, "--metrics", "127.0.0.1:0"],
           ["belay://localhost", "--pin", identity[2], "--token-file", token],
           FEW)


if __name__ == "__main__":
    nth.done()
