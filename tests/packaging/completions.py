#!/usr/bin/env python3
"""Goal: each shell's completion is free of syntax errors and offers every
command and option of the programs, and no others."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import helptext
from helptext import ROOT, commands, differences, options, tell

FOLDER = os.path.join(ROOT, "client", "completion")
VERBS = ("create", "keygen", "sign", "verify")
ASK_BASH = r"""
source "$1"
shift
function=$1
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"$function"
printf '%s\n' "${COMPREPLY[@]}"
"""


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60,
                          **more)


def bash_offers(function, *words):
    """What bash offers for the last of these words."""
    got = run("bash", "--norc", "-c", ASK_BASH, "bash",
              FOLDER + "/belay.bash", function, *words, cwd=FOLDER)
    assert got.returncode == 0 and not got.stderr, got.stderr
    return set(got.stdout.split())


def known(command):
    """Options of a command, as its help tells them."""
    return options(tell("BELAY", command, "--help"))


def check_help():
    """Each row of a command's table of options is in its help."""
    faults = []
    for command in commands():
        path = os.path.join(ROOT, "client", "cli", "cmd_%s.c" % command)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        rows = set(re.findall(r'^    \{"([a-z0-9-]+)", \w+_argument', text,
                              re.M))
        for macro, names in (("PROXY_OPTIONS", ("proxy", "noproxy")),
                             ("SECURITY_OPTIONS", ("cacert", "pin"))):
            if re.search(r"^    %s," % macro, text, re.M):
                rows |= set(names)
        for name in sorted(rows):
            if "--" + name not in known(command):
                faults.append("belay %s --help hides --%s" % (command, name))
    return faults


def check_bash():
    faults = []
    if run("bash", "-n", FOLDER + "/belay.bash").returncode:
        return ["belay.bash: syntax"]
    names = bash_offers("_belay", "belay", "")
    faults += differences("bash, commands", set(commands()),
                          {n for n in names if not n.startswith("-")})
    for command in commands():
        if command == "manifest":
            got = set()
            for verb in VERBS:
                got |= bash_offers("_belay", "belay", command, verb, "--")
            want = known(command) - {"--manifest"}
        else:
            got = bash_offers("_belay", "belay", command, "--")
            want = known(command)
        faults += differences("bash, " + command, want, options(
            " ".join(got)))
    faults += differences("bash, belayd", options(tell("BELAYD", "--help")),
                          options(" ".join(bash_offers("_belayd", "belayd",
                                                       "--"))))
    # Values.
    for words, offered in (
            (("belay", "get", "--if-changed", ""), {"reuse", "stop"}),
            (("belay", "get", "--progress", "=", "pl"), {"plain"}),
            (("belay", "get", "-j", ""), set()),
            (("belay", "manifest", "s"), {"sign"}),
            (("belay", "get", "--cacert", "belay.b"), {"belay.bash"})):
        got = bash_offers("_belay", *words)
        if got != offered:
            faults.append("bash: %r gives %r" % (words, got))
    return faults


def check_words(name, found):
    """Options that a file names, whatever the shell makes of them."""
    want = options(tell("BELAY", "--help", "all") + tell("BELAYD", "--help") +
                   tell("BELAY", "--help"))
    return differences(name, want, found)


def read(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def check_zsh():
    faults = check_words("_belay", {
        option for option in options(re.sub(r"=-\[", "[", read("_belay")))})
    if shutil.which("zsh") and run("zsh", "-n", FOLDER +
                                   "/_belay").returncode:
        faults.append("_belay: syntax")
    return faults


def check_fish():
    faults = check_words("belay.fish", {
        "--" + name for name in re.findall(r" -l ([a-z0-9-]+)",
                                           read("belay.fish"))
        if name != "none"})
    if not shutil.which("fish"):
        return faults
    with tempfile.TemporaryDirectory() as room:
        got = run("fish", "-c", "source %s/belay.fish; "
                  "complete -C 'belay get --man'; "
                  "complete -C 'belayd --sandbox s'" % FOLDER,
                  env={**os.environ, "HOME": room, "XDG_CONFIG_HOME": room})
    offered = {line.split("\t")[0] for line in got.stdout.splitlines()}
    if not {"--manifest", "--manifest-key", "strict"} <= offered:
        faults.append("fish offers %r\n%s" % (offered, got.stderr))
    return faults


def main():
    return helptext.finish(check_help() + check_bash() + check_zsh() +
                           check_fish())


if __name__ == "__main__":
    sys.exit(main())
