"""What the programs tell about their options."""

import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
OPTION = re.compile(r"(?<![\w-])--[a-z0-9][a-z0-9-]*")


def tell(program, *args):
    """Standard output of a program that must succeed."""
    return subprocess.run([os.environ[program], *args], check=True,
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, "XDG_CONFIG_HOME": "/"}).stdout


def options(text):
    return set(OPTION.findall(text))


def commands():
    """Names in the usage of `belay --help`."""
    found = re.findall(r"^(?:Usage:|      ) belay ([a-z]+)",
                       tell("BELAY", "--help"), re.M)
    assert len(found) > 3, found
    return found


def differences(what, one, other):
    """Lines that tell what only one of two sets has."""
    return ["%s: %s only in %s" % (what, option, where)
            for where, extra in (("the program", one - other),
                                 ("the file", other - one))
            for option in sorted(extra)]


def finish(faults):
    for fault in faults:
        print(fault)
    print("%d faults" % len(faults))
    return 1 if faults else 0
