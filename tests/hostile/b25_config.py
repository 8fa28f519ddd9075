#!/usr/bin/env python3
"""B25: limits of 0, negative ones, ones beyond counting, empty lists and names
that nobody knows: it refuses to start, or denies; there is no "no limit"."""

import os
import subprocess

from kit import R, as_user, borrow, case, check, main, program

auth = borrow("auth_access", "files_that_are_no_good")

from tlskit import TlsBelayd, self_made                         # noqa: E402

NUMBERS = ("0", "-1", "-0", "+1", "", " 1", "1 ", "1x", "0x10", "1e3", "1.5",
           "18446744073709551615", "18446744073709551616",
           "36893488147419103233", "99999999999999999999999999",
           "unlimited", "none", "\u0661")
COUNTED = ("--workers", "--max-connections", "--max-per-address")
EXEMPT = ("", "0", "localhost", "no.such.host.invalid", "10.0.0.0/33",
          "10.0.0.0/-1", "10.0.0.1/8", "::/129", "[::1]", "10.0.0.0/8,::1",
          "300.1.1.1", "*", "any")
LISTEN = ("", "nowhere.invalid:7245", "localhost:7245", "127.0.0.1:65536",
          "127.0.0.1:-1", "127.0.0.1", "::1:80")


def refuses(root, *args):
    done = subprocess.run([program("BELAYD"), "--root", root, "--plain",
                           *as_user(), *args], capture_output=True, text=True,
                          timeout=60)
    check(done.returncode == 2, "%r: exit status %d\n%s" %
          (args, done.returncode, done.stderr))
    check(len(done.stderr.splitlines()) == 1, done.stderr)


@case
def numbers_that_are_no_limits(tmp):
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    for option in COUNTED:
        for text in NUMBERS:
            refuses(root, "%s=%s" % (option, text))
    refuses(root, "--workers=9")
    refuses(root, "--max-connections=65537")
    refuses(root, "--max-per-address=65537")


@case
def addresses_that_are_none(tmp):
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    for text in EXEMPT:
        refuses(root, "--exempt=" + text)
    for text in LISTEN:
        refuses(root, "--listen=" + text)
    refuses(root, *["--exempt=10.0.0.%d" % i for i in range(17)])


@case
def empty_lists_let_nobody_in(tmp):
    """A file of rules or tokens without a line is no "everybody"."""
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    with open(os.path.join(root, "file"), "w") as out:
        out.write("x")
    tokens = auth.private(os.path.join(tmp, "tokens"), "")
    rules = auth.private(os.path.join(tmp, "rules"), "# nothing\n")
    identity = self_made(tmp)
    with TlsBelayd(identity, "--access", rules, root=root) as server, \
            auth.TlsRaw(server.port) as raw:
        check(raw.error(raw.open("file")) == R.WIRE_NOT_FOUND, "rules")
    with TlsBelayd(identity, "--tokens", tokens, root=root) as server, \
            auth.TlsRaw(server.port) as raw:
        check(raw.error(raw.open("file")) == R.WIRE_AUTH_REQUIRED, "tokens")
        check(raw.judged(token=b"x") == R.WIRE_AUTH_FAILED, "any token")


if __name__ == "__main__":
    main()
