#!/usr/bin/env python3
"""Goal: README is true: the commands of its blocks marked as runnable work as
printed, in one shell, in an empty directory, for an ordinary user; each option
that it names is one; each file that it names is there."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

import helptext
from helptext import ROOT, options, tell

NOBODY = 65534
PORT = 7245
# What README says of other programs' options.
FOREIGN = {"--build", "--install", "--now", "--help", "--cflags", "--libs",
           "--append-verify", "--inplace"}


def read():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return file.read()


def runnable(text):
    return re.findall(r"^<!-- runnable -->\n```sh\n(.*?)^```$", text,
                      re.M | re.S)


def check_options(text):
    benches = "".join(
        subprocess.run([sys.executable, os.path.join(ROOT, path), "--help"],
                       capture_output=True, text=True, check=True,
                       timeout=60).stdout
        for path in ("tests/bench/loopback.py", "tests/bench/links.py"))
    fault = os.environ.get("BELAY_FAULT")
    if fault:
        benches += tell("BELAY_FAULT", "--help")
    with open(os.path.join(ROOT, "tests/run.sh"), encoding="utf-8") as run:
        benches += run.read()
    known = options(tell("BELAY", "--help", "all") + tell("BELAY", "--help") +
                    tell("BELAYD", "--help") + benches) | FOREIGN
    return ["README knows the option %s, and no program does" % option
            for option in sorted(options(text) - known)
            if fault or option != "--delay"]


def check_files(text):
    named = set(re.findall(r"`((?:client|server|proto|spec|tests)/[\w./-]+)`",
                           text))
    named |= set(re.findall(r"\]\(([\w./-]+)\)", text))
    named |= set(re.findall(r"\b(tests/[\w/-]+\.(?:py|sh))\b", text))
    return ["README names %s, which is not there" % name
            for name in sorted(named)
            if not os.path.exists(os.path.join(ROOT, name))]


def alone():
    """In a network of its own README's port is free; else it must be."""
    probe = subprocess.run(["unshare", "-n", "ip", "link", "set", "lo", "up"],
                           capture_output=True)
    if probe.returncode == 0:
        return ["unshare", "-n", "sh", "-c",
                "ip link set lo up && exec \"$@\"", "sh"]
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", PORT))
        except OSError:
            return None
    return []


def run_block(block, before, room):
    """The programs and their library are copied: a user who may not read the
    build directory must find them."""
    home = os.path.join(room, "home")
    programs = os.path.join(room, "bin")
    os.mkdir(home)
    os.mkdir(programs)
    for variable in ("BELAY", "BELAYD"):
        shutil.copy(os.environ[variable], programs)
        folder = os.path.dirname(os.path.abspath(os.environ[variable]))
        for name in os.listdir(folder):
            if name.startswith("libbelay.so"):
                shutil.copy(os.path.join(folder, name), programs)
    os.chmod(room, 0o755)
    command = ["bash", "-e", "-u", "-m", "-c",
               "trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n" + block]
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
        command = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY),
                   "--clear-groups", "--"] + command
    env = {"PATH": programs + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home,
           "LD_LIBRARY_PATH": programs, "LANG": "C.UTF-8"}
    for name in ("ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS",
                 "UBSAN_OPTIONS"):
        if name in os.environ:
            env[name] = os.environ[name]
    with tempfile.TemporaryFile() as said:
        code = subprocess.run(before + command, cwd=home, env=env,
                              stdin=subprocess.DEVNULL, stdout=said,
                              stderr=subprocess.STDOUT,
                              timeout=240).returncode
        said.seek(0)
        text = said.read().decode("utf-8", "backslashreplace")
    if code != 0:
        return ["a block of README ends with %d:\n%s" % (code, text)]
    if "exit code 14" not in text:
        return ["README's verify does not end with 14:\n" + text]
    return []


def main():
    text = read()
    blocks = runnable(text)
    faults = check_options(text) + check_files(text)
    if not blocks:
        faults.append("README has no runnable block")
    before = alone()
    if before is None or (os.geteuid() == 0 and not shutil.which("setpriv")):
        print("not run: port %d is taken, or setpriv is missing" % PORT)
        return helptext.finish(faults) or 77
    for block in blocks:
        with tempfile.TemporaryDirectory() as room:
            faults += run_block(block, before, room)
    return helptext.finish(faults)


if __name__ == "__main__":
    sys.exit(main())
