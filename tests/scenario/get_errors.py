#!/usr/bin/env python3
"""What goes wrong is told in one clear line, with the exit code that the
table promises, and nothing appears under the final name."""

import os
import re
import socket
import time

from harness import (KI, TOP, Belayd, Peer, case, check, check_code,
                     check_nothing_final, check_one_line, check_printable,
                     free_port, get, library, lines_of, main, names, program,
                     shelf, write_random, Run)

import belay_wire as W
import registry as R

library(file=(write_random, 300 * KI + 5))
PIN = "#bl1-18-" + "0" * 64


def source():
    return os.path.join(shelf(), "file")


@case
def wrong_use(into):
    """Every mistake on the command line: exit 2, and the mistake is named."""
    url = "belay+tcp://127.0.0.1:1/file"
    for args, words in [
            ([], ["URL"]),
            (["--no-such-option", url], ["no-such-option", "no such option"]),
            (["--over=1", url], ["over"]),
            (["-Q", url], ["-Q"]),
            (["-x", url], [url]),
            (["-x", "0", url], ["connections", "1 to 16"]),
            (["-x", "17", url], ["17"]),
            (["-x", "-1", url], ["-1"]),
            (["-x", "2k", url], ["2k"]),
            (["--limit-rate", "fast", url], ["fast", "500k"]),
            (["--limit-rate", "-5", url], ["-5"]),
            (["--limit-rate", "0", url], ["0"]),
            (["--limit-rate", "nan", url], ["nan"]),
            (["--limit-rate", "1e40", url], ["1e40"]),
            (["--sha256", "abc", url], ["64"]),
            (["--sha256", "g" * 64, url], ["64"]),
            (["--checksum", "md5:" + "0" * 32, url], ["md5", "sha256"]),
            (["--retry", "-1", url], ["-1"]),
            (["--deadline", "soon", url], ["soon"]),
            (["--deadline", "0", url], ["0"]),
            (["--connect-timeout", "inf", url], ["inf"]),
            (["--chunk-size", "1000", url], ["1000", "power of two"]),
            (["--chunk-size", "8M", url], ["8M"]),
            (["--if-changed", "panic", url], ["panic"]),
            (["--progress=loud", url], ["loud"]),
            (["-o", "x", url, url], ["-o"]),
            (["--overwrite", "--no-clobber", url], ["no-clobber"]),
            (["-o", "-", "-d", "x", url], ["standard output"]),
            (["-o", "x/", url], ["directory"]),
            (["-C", "77", url], ["-C"])]:
        run = get(*args, cwd=into)
        check_one_line(run, 2, *map(re.escape, words))
        check(names(into) == [], "something was made", run)


@case
def wrong_urls(into):
    for url, words in [
            ("", []), ("file", []), ("http://example.org/file", []),
            ("belay+tcp://", []), ("belay+tcp:///file", []),
            ("belay+tcp://127.0.0.1:0/file", []),
            ("belay+tcp://127.0.0.1:65536/file", []),
            ("belay+tcp://127.0.0.1:x/file", []),
            ("belay+tcp://[::1/file", []),
            ("belay+tcp://127.0.0.1:1/a/../b", []),
            ("belay+tcp://127.0.0.1:1/%2e%2e/b", []),
            ("belay+tcp://127.0.0.1:1/%zz", []),
            ("belay+tcp://127.0.0.1:1/a%00b", []),
            ("belay+tcp://127.0.0.1:1/file?x=1", []),
            ("belay+tcp://user:secret@127.0.0.1:1/file", []),
            ("belay+tcp://127.0.0.1:1/file#bl1-18-00", []),
            ("belay+tcp://127.0.0.1:1/file#bl1-30-" + "0" * 64, []),
            ("belay+tcp://127.0.0.1:1/" + "a" * 5000, []),
            ("belay+tcp://127.0.0.1:1/" + "a" * 300, []),
            ("belay+tcp://127.0.0.1:1/\x1b[31mred", [])]:
        run = get(url, cwd=into)
        check_one_line(run, 2, *words)
        check(names(into) == [], "something was made", run)


@case
def a_word_that_is_no_command(into):
    for args in (["fetch", "x"], ["GET", "x"], ["ge\x1bt"]):
        run = Run(args, into).wait()
        check_one_line(run, 2, "command")
    run = Run([], into).wait()
    check_code(run, 2)
    check(run.err.lower().startswith("usage"), "no help", run)


@case
def nobody_there(into):
    run = get("belay+tcp://127.0.0.1:%d/file" % free_port(), cwd=into)
    check_one_line(run, 75, "refused")
    run = get("belay+tcp://no-such-host.invalid/file", cwd=into)
    check_one_line(run, 75, "no-such-host.invalid")
    check_nothing_final(into)


@case
def what_a_server_refuses(tmp):
    root, into = os.path.join(tmp, "root"), os.path.join(tmp, "into")
    os.makedirs(os.path.join(root, "dir"))
    os.mkdir(into)
    write_random(os.path.join(root, "file"), 1000)
    write_random(os.path.join(tmp, "outside"), 1000)
    os.symlink(os.path.join(tmp, "outside"), os.path.join(root, "link"))
    os.symlink("file", os.path.join(root, "inner"))
    os.mkfifo(os.path.join(root, "fifo"))
    with Belayd(root) as server:
        for name, words in [("missing", "not found|no such"),
                            ("dir", "regular file"),
                            ("dir/missing", "not found|no such"),
                            ("file/below", "not found|no such"),
                            ("link", ""), ("inner", ""), ("fifo", "")]:
            run = get(server.url(name), cwd=into)
            check_one_line(run, 3, words)
            check_nothing_final(into)
        # One bad name among several: the others arrive, the code tells.
        run = get(server.url("missing"), server.url("file"), cwd=into)
        check_code(run, 3)
        check("file" in names(into), "the good one is missing", run)


@case
def other_content(tmp):
    with Belayd() as server:
        run = get(server.url("file") + PIN, cwd=tmp)
        check_one_line(run, 4, "pin|content")
        run = get("--sha256", "0" * 64, "-o", "sum", server.url("file"),
                  cwd=tmp)
        check_one_line(run, 4, "SHA-256")
        check_nothing_final(tmp)


def talks(*parts, wait=0.3):
    def serve(sock):
        for part in parts:
            sock.sendall(part)
        with_end = time.monotonic() + wait
        sock.settimeout(wait)
        while time.monotonic() < with_end:
            if not sock.recv(65536):
                return
    return serve


GREETING = W.encode_preface(R.ROLE_SERVER) + W.encode("HELLO", tlvs=())


@case
def not_a_belay_server(into):
    """Other protocols, other versions, and noise of every kind."""
    other = bytearray(W.encode_preface(R.ROLE_SERVER))
    other[9] = 9  # a version that nobody knows
    for what, parts in [
            ("http", [b"HTTP/1.1 400 Bad Request\r\nServer: \x1b[31mx\r\n"
                      b"\r\n"]),
            ("ssh", [b"SSH-2.0-OpenSSH_9.2\r\n"]),
            ("tls alert", [b"\x15\x03\x01\x00\x02\x02\x46"]),
            ("zeros", [b"\0" * 4096]),
            ("client role", [W.encode_preface(R.ROLE_CLIENT)]),
            ("broken preface", [bytes(other)])]:
        with Peer(talks(*parts)) as peer:
            run = get("--retry", "1", peer.url(), cwd=into)
            check(run.code in (8, 75), "%s: exit %d" % (what, run.code), run)
            check(len(lines_of(run)) == 1, what + ": more than a line", run)
            check_printable(run)
    with Peer(talks(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as peer:
        check_one_line(get(peer.url(), cwd=into), 8, "not a Belay server")
    check_nothing_final(into)


@case
def malformed_frames(into):
    """A server that greets well and goes wrong then."""
    good = W.encode("HELLO", tlvs=())
    crc = bytearray(good)
    crc[-1] ^= 1
    for what, stream in [
            ("bad CRC", W.encode_preface(R.ROLE_SERVER) + bytes(crc)),
            ("no HELLO", W.encode_preface(R.ROLE_SERVER) +
             W.encode("GOAWAY", 0, {"code": 0, "last_request": 0})
             if "GOAWAY" in W.TYPES else GREETING[:-1]),
            ("HELLO twice", GREETING + good),
            ("noise", GREETING + bytes(range(256)) * 8),
            ("short", GREETING + good[:7]),
            ("a request", GREETING + W.encode(
                "OPEN", 1, {"handle": 1, "want_chunk_log2": 0,
                            "path": b"x", "flags": 0}))]:
        with Peer(talks(stream)) as peer:
            run = get("--retry", "2", "--deadline", "20", peer.url(),
                      cwd=into)
            check(run.code in (8, 75), "%s: exit %s" % (what, run.code), run)
            check_printable(run)
    check_nothing_final(into)


@case
def a_port_that_never_answers(into):
    """A listener that accepts nothing, and one that never greets."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = "belay+tcp://127.0.0.1:%d/file" % deaf.getsockname()[1]
        run = get("--deadline", "1.5", url, cwd=into)
        check_one_line(run, 9, "time allowed is over")
    check_nothing_final(into)


@case
def exit_codes_are_one_table(into):
    """What --exit-codes prints is what README says."""
    run = Run(["--exit-codes"], into).wait()
    check_code(run, 0)
    printed = dict(re.findall(r"^ *(\d+)  (.+)$", run.out.decode(), re.M))
    with open(os.path.join(TOP, "README.md")) as file:
        readme = dict(re.findall(r"^\| (\d+)(?:\+n)? \| (.+) \|$",
                                 file.read(), re.M))
    check(set(printed) == set(readme), "codes differ: %r" %
          (set(printed) ^ set(readme)))
    check(len(printed) > 10, "hardly a table", run)


@case
def help_and_version(into):
    for args in (["--help"], ["get", "--help"], ["--version"], ["-V"],
                 ["cid", "-h"]):
        run = Run(args, into).wait()
        check_code(run, 0)
        check(run.out and not run.raw_err, "not on standard output", run)
        wide = [line for line in run.out.decode().splitlines()
                if len(line) > 80]
        check(not wide, "too wide: %r" % wide[:1])
    with open("/dev/full", "wb") as full:
        run = Run(["--help"], into, stdout=full).wait()
        check_one_line(run, 5, "write")


@case
def cid_of_files(into):
    path = os.path.join(into, "empty")
    open(path, "wb").close()
    run = Run(["cid", path, source()], into).wait()
    check_code(run, 0)
    check(len(run.out.splitlines()) == 2, "two files, other lines", run)
    run = Run(["cid", os.path.join(into, "none")], into).wait()
    check_one_line(run, 2, "none", "No such file")
    run = Run(["cid", into], into).wait()
    check_one_line(run, 2, "not a regular file")
    check(os.path.exists(program("BELAY")), "no program")


main()
