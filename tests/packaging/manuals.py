#!/usr/bin/env python3
"""Goal: the manual pages are well-formed mdoc; belay(1), belayd(8) and
belay-fault(1) know the options of the programs and no others, belay(1) and
README the exit codes; belay(7) the variables that the programs ask for; the
configuration file sets options that there are."""

import os
import re
import shutil
import subprocess
import sys

import helptext
from helptext import ROOT, differences, options, tell

PAGES = ("client/belay.1", "client/belay.7", "client/libbelay.3",
         "server/belayd.8", "tests/fault/belay-fault.1")
# How the sources ask for variables.
VARIABLE = re.compile(r'getenv\(\s*"(\w+)"|either\("(\w+)", "(\w+)"\)')


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def page_options(name):
    """Long options of a page: `.Fl -name` is how mdoc writes --name."""
    found = set()
    for line in read(name).split("\n"):
        if line.startswith("."):
            found |= {"-" + word for word in
                      re.findall(r"(?<= )-[a-z][a-z0-9-]*(?=[ =,]|$)", line)
                      if "Fl" in line}
    return found


def lint():
    if not shutil.which("mandoc"):
        print("mandoc is not installed: pages were not linted")
        return None
    faults = []
    for page in PAGES:
        run = subprocess.run(["mandoc", "-T", "lint", "-W", "warning",
                              os.path.join(ROOT, page)], text=True,
                             capture_output=True)
        if run.returncode or run.stdout or run.stderr:
            faults.append(run.stdout + run.stderr)
    return faults


def exit_codes():
    printed = set(re.findall(r"^ *(\d+)  ", tell("BELAY", "--exit-codes"),
                             re.M))
    page = set(re.findall(r"^\.It (\d+)(?:\+n)?$", read("client/belay.1"),
                          re.M))
    readme = set(re.findall(r"^\| (\d+)(?:\+n)? \|", read("README.md"), re.M))
    return (differences("exit codes", printed, page) +
            differences("exit codes of README", printed, readme))


def variables():
    asked = set()
    for folder in ("client", "client/cli"):
        for name in os.listdir(os.path.join(ROOT, folder)):
            if name.endswith(".c"):
                for found in VARIABLE.findall(read(folder + "/" + name)):
                    asked |= {word for word in found if word}
    page = read("client/belay.7")
    return ["belay(7) does not know the variable " + name
            for name in sorted(asked)
            if not re.search(r"\b%s\b" % name, page)]


def settings():
    """What the configuration file may say, `belay get` must take."""
    names = re.findall(r'^    \{"([a-z0-9-]+)", (?:true|false)\},$',
                       read("client/cli/config.c"), re.M)
    if len(names) < 20:
        return ["settings: only %d found" % len(names)]
    get = options(tell("BELAY", "get", "--help"))
    page = re.search(r"^These can be set:\n([a-z0-9, \n-]+)\.$",
                     read("client/belay.7"), re.M)
    told = set(re.split(r"[,\s]+", page.group(1))) if page else set()
    return (["the setting %s is no option of belay get" % name
             for name in names if "--" + name not in get] +
            differences("settings in belay(7)", set(names), told))


def main():
    faults = lint()
    skipped = faults is None
    faults = faults or []
    faults += differences("belay(1)", options(tell("BELAY", "--help", "all")) |
                          options(tell("BELAY", "--help")),
                          page_options("client/belay.1"))
    faults += differences("belayd(8)", options(tell("BELAYD", "--help")),
                          page_options("server/belayd.8"))
    faults += differences("belay-fault(1)",
                          options(tell("BELAY_FAULT", "--help")),
                          page_options("tests/fault/belay-fault.1"))
    faults += exit_codes() + variables() + settings()
    return helptext.finish(faults) or (77 if skipped else 0)


if __name__ == "__main__":
    sys.exit(main())
