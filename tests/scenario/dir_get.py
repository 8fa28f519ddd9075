#!/usr/bin/env python3
"""Directories: everything arrives as it is there, a second run asks for
nothing, and what cannot be had does not disturb the rest."""

import json
import os
import pwd
import re
import signal
import subprocess

import tlskit
import trees
from harness import (KI, MI, SCALE, Belayd, Fault, Run, case, check, check_code,
                     check_one_line, get, main, names, need_root, same,
                     scaled, start, wait_until, write_random)

N = trees.FILES


def tree(tmp, **how):
    return trees.make(os.path.join(tmp, "src"), files=N, **how)


def ls(*args, cwd):
    return Run(["ls", *args], cwd).wait()


def total(run):
    """(fetched, there already, failed) of the last line."""
    found = re.search(r"(\d+) files? fetched .*?(\d+) there already, "
                      r"(\d+) failed", run.err)
    check(found, "no totals", run)
    return tuple(map(int, found.groups()))


@case
def whole_tree_and_again(tmp):
    src = tree(tmp, large=2)
    files = trees.count(src)
    with Belayd(src) as server:
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        trees.same(src, tmp + "/out", run)
        check(total(run) == (files, 0, 0), "totals", run)
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        check(total(run) == (0, files, 0), "fetched again", run)
        trees.same(src, tmp + "/out", run)


@case
def nothing_was_fetched(tmp):
    src = tree(tmp)
    files = trees.count(src)
    with Belayd(src) as server:
        command = ("-r", "--error-on-nothing", "--json", server.url(""),
                   "-d", "out")
        for fetched, code in ((files, 0), (0, 12)):
            run = get(*command, cwd=tmp)
            check_code(run, code)
            check(total(run)[0] == fetched, "totals", run)
            lines = [json.loads(line) for line in run.out.splitlines()]
            counts = [lines[-1][k] for k in ("fetched", "up_to_date")]
            check(counts == ([1, 0] if fetched else [0, 1]), "summary", run)
            check(len([e for e in lines if e["event"] == "file"]) >= fetched,
                  "no file events", run)


@case
def what_directories_have_no_use_for(tmp):
    for option in ("--receipt", "--seed=x", "--mirror=belay://localhost/y"):
        run = get("-r", option, "belay+tcp://localhost:1/d", cwd=tmp)
        check_one_line(run, 2, "single files")


@case
def named_by_the_url(tmp):
    src = tree(tmp, dirs=3)
    with Belayd(src) as server:
        check_code(get("-r", server.url("d001/"), cwd=tmp), 0)
        trees.same(src + "/d001", tmp + "/d001")
        check_code(get("-r", server.url("d000"), server.url("d002/n"), "-d",
                       "both", cwd=tmp), 0)
        trees.same(src + "/d000", tmp + "/both/d000")
        trees.same(src + "/d002/n", tmp + "/both/n")


@case
def only_what_changed(tmp):
    src = tree(tmp, dirs=4)
    files = trees.count(src)
    with Belayd(src) as server:
        check_code(get("-r", server.url(""), "-d", "out", cwd=tmp), 0)
        with open(src + "/d000/f0001", "wb") as out:
            out.write(b"another version")
        with open(src + "/d001/n/new", "wb") as out:
            out.write(b"a new one")
        os.unlink(tmp + "/out/d002/n/n/f0003")
        with open(tmp + "/out/extra", "wb") as out:
            out.write(b"mine")
        trees.rest(src)
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        # The walk over the tree gave new times to some directories' files.
        check(total(run)[0] >= 3 and sum(total(run)) == files + 1, "totals",
              run)
        check(os.path.exists(tmp + "/out/extra"), "deleted my file")
        os.unlink(tmp + "/out/extra")
        trees.same(src, tmp + "/out", run, times=False)


@case
def touched_files_are_not_fetched_with_check(tmp):
    src = tree(tmp, dirs=2)
    files = trees.count(src)
    with Belayd(src) as server:
        check_code(get("-r", server.url(""), "-d", "out", cwd=tmp), 0)
        # Same size and time, other bytes: only --check sees it.
        victim = tmp + "/out/d000/f%04d" % next(
            k for k in range(N)
            if os.path.getsize(src + "/d000/f%04d" % k) > 0)
        st = os.stat(victim)
        os.chmod(victim, 0o644)
        with open(victim, "r+b") as out:
            first = out.read(1)
            out.seek(0)
            out.write(bytes([first[0] ^ 1]))
        os.utime(victim, ns=(st.st_atime_ns, st.st_mtime_ns))
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        check(total(run) == (0, files, 0), "looked inside", run)
        run = get("-r", "--check", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        check(total(run) == (1, files - 1, 0), "the damaged one", run)
        trees.same(src, tmp + "/out", run)
        # Other times, same bytes: --check does not fetch either.
        for k in range(N):
            os.utime(tmp + "/out/d000/f%04d" % k, (1, 1))
        run = get("-r", "--check", server.url(""), "-d", "out", cwd=tmp)
        check(total(run) == (0, files, 0), "fetched for the time", run)
        trees.same(src, tmp + "/out", run)


@case
def no_clobber(tmp):
    src = tree(tmp, dirs=2)
    with Belayd(src) as server:
        os.makedirs(tmp + "/out/d000")
        with open(tmp + "/out/d000/f0000", "wb") as out:
            out.write(b"mine, and longer than nothing")
        check_code(get("-r", "--no-clobber", server.url(""), "-d", "out",
                       cwd=tmp), 0)
        with open(tmp + "/out/d000/f0000", "rb") as file:
            check(file.read().startswith(b"mine"), "overwritten")
        check(os.path.exists(tmp + "/out/d000/f0001"), "the rest")


@case
def no_clobber_of_links(tmp):
    """A link that is there stays with --no-clobber, else it is replaced;
    what is no link stays anyway."""
    src, out = tmp + "/src", tmp + "/out"
    os.mkdir(src)
    os.mkdir(out)
    for name in ("changed", "equal", "taken", "new"):
        os.symlink("theirs", src + "/" + name)
    os.symlink("mine", out + "/changed")
    os.symlink("theirs", out + "/equal")
    with open(out + "/taken", "wb") as file:
        file.write(b"mine")
    with Belayd(src) as server:
        run = get("-v", "-r", "--links", "--no-clobber", server.url(""),
                  "-d", out, cwd=tmp)
        check_code(run, 0)
        check(os.readlink(out + "/changed") == "mine", "replaced", run)
        check(run.err.count("is left alone") == 3, "told", run)
        check(os.readlink(out + "/new") == "theirs", "the new one", run)
        run = get("-r", "--links", server.url(""), "-d", out, cwd=tmp)
        check_code(run, 10)
        check(os.readlink(out + "/changed") == "theirs", "kept", run)
        check(names(out) == ["changed", "equal", "new", "taken"], "names",
              run)
        with open(out + "/taken", "rb") as file:
            check(file.read() == b"mine", "a file was replaced", run)


def large_and_small(tmp, small, folder=""):
    """A large file x and small ones of the names given beside it."""
    src = os.path.join(tmp, "src", folder)
    os.makedirs(src)
    write_random(src + "/x", 3 * MI)
    for number, name in enumerate(small):
        write_random(src + "/" + name, 3000, number)
    trees.rest(tmp + "/src")
    return tmp + "/src"


@case
def names_like_those_of_a_partial(tmp):
    """The server's x.part is a file like any other, and so is ours."""
    src = large_and_small(tmp, ["x.part", "x.part.belay", "x.part.part"],
                          "d")
    write_random(src + "/d/x.part.part.belay", 2 * MI)
    trees.rest(src)
    with Belayd(src) as server:
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        trees.same(src, tmp + "/out", run)
        for name in ("x.part", "x.part.belay", "x.part.part",
                     "x.part.part.belay"):
            os.unlink(src + "/d/" + name)
        mine = tmp + "/mine"
        os.makedirs(mine + "/d")
        for name in ("x.part", "x.part.belay"):
            with open(mine + "/d/" + name, "wb") as file:
                file.write(b"mine")
        run = get("-r", server.url(""), "-d", "mine", cwd=tmp)
        check_code(run, 0)
        check(names(mine + "/d") == ["x", "x.part", "x.part.belay"],
              "names: %r" % names(mine + "/d"), run)
        for name in ("x.part", "x.part.belay"):
            with open(mine + "/d/" + name, "rb") as file:
                check(file.read() == b"mine", name + " was touched", run)


@case
def our_names_are_not_the_servers(tmp):
    """What a partial is called here is not taken from a server, at any depth;
    a partial is found again by the next run."""
    src = large_and_small(tmp, [".belay-part-x.part", ".BELAY-part-y"], "d")
    with Belayd(src) as server:
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 4)
        check(run.err.count("not one that a file may have") == 2, "told",
              run)
        check(names(tmp + "/out/d") == ["x"], "names", run)
        os.unlink(tmp + "/out/d/x")
        os.truncate(src + "/d/.BELAY-part-y", 0)
        with Fault(server, "--rate", MI) as fault:
            run = start("-r", fault.url("d/"), "-d", "slow", cwd=tmp)
            part = tmp + "/slow/.belay-part-x.part"
            wait_until(lambda: os.path.exists(part) and
                       os.stat(part).st_blocks * 512 > MI, "partial")
            run.send(signal.SIGTERM)
            run.wait()
        check(os.path.exists(part) and not os.path.exists(tmp + "/slow/x"),
              "partial", run)
        run = get("-v", "-r", server.url("d/"), "-d", "slow", cwd=tmp)
        check(names(tmp + "/slow") == ["x"], "left: %r" %
              names(tmp + "/slow"), run)
        check(same(src + "/d/x", tmp + "/slow/x"), "content", run)


def as_nobody():
    """Whom permissions bind."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


@case
def a_directory_that_cannot_be_made(tmp):
    """It is told, and so are the files in it, also the large ones; the rest
    arrives."""
    src = large_and_small(tmp, ["small"], "d/n")
    write_random(src + "/other", 2 * MI)
    trees.rest(src)
    out = tmp + "/out"
    os.makedirs(out + "/d")
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        os.chown(out, user.pw_uid, user.pw_gid)
        os.chown(out + "/d", user.pw_uid, user.pw_gid)
    os.chmod(out + "/d", 0o555)
    with Belayd(src) as server:
        run = get("-r", server.url(""), "-d", out, cwd=out,
                  preexec_fn=as_nobody)
        check_code(run, 5)
        check(total(run)[0] == 1 and total(run)[2] >= 3, "totals", run)
        check(re.search("d/n/x: .*cannot be made", run.err), "told", run)
        check(names(out) == ["d", "other"], "names", run)
        os.chmod(out + "/d", 0o755)
        check_code(get("-r", server.url(""), "-d", out, cwd=out,
                       preexec_fn=as_nobody), 0)
        trees.same(src, out, times=False)


@case
def a_new_key_is_told(tmp):
    """--accept-new says once which key it recorded."""
    src = large_and_small(tmp, ["one", "two"])
    identity, env = tlskit.self_made(tmp), tlskit.config(tmp)
    with tlskit.TlsBelayd(identity, root=src) as server:
        url = server.url("")
        for told in (1, 0):
            run = get("-r", "--accept-new", url, "-d", "out", cwd=tmp,
                      env=env)
            check_code(run, 0)
            check(run.err.count("is recorded") == told, "told", run)
            check(identity[2] in run.err or not told, "key", run)
        os.unlink(tlskit.known_hosts(env))
        with open(tmp + "/list", "w") as file:
            file.write("%s\n%s\n" % (server.url("one"), server.url("two")))
        run = get("--accept-new", "-i", "list", "-d", "group", cwd=tmp,
                  env=env)
        check_code(run, 0)
        check(run.err.count("is recorded") == 1, "told by a haul", run)
        os.unlink(tlskit.known_hosts(env))
        run = Run(["ls", "--accept-new", url], tmp, env=env).wait()
        check_code(run, 0)
        check(run.err.count("is recorded") == 1, "told by ls", run)


@case
def include_and_exclude(tmp):
    src = tree(tmp, dirs=4)
    with Belayd(src) as server:
        check_code(get("-r", server.url(""), "-d", "out", "--include",
                       "f*[02468]", "--exclude", "n", "--exclude",
                       "d003/*", cwd=tmp), 0)
        found = [os.path.relpath(os.path.join(base, name), tmp + "/out")
                 for base, _, files in os.walk(tmp + "/out")
                 for name in files]
        want = ["d%03d/f%04d" % (d, f) for d in (0,)
                for f in range(0, N, 2)]
        check(sorted(found) == want, "chosen: %r" % found[:20])


@case
def missing_and_forbidden(tmp):
    """What cannot be had: told one by one; all else arrives."""
    src = tree(tmp, dirs=3)
    cache = tmp + "/cache"
    os.mkdir(cache)
    options = []
    if os.geteuid() == 0:  # to root nothing is forbidden
        nobody = pwd.getpwnam("nobody")
        os.chown(cache, nobody.pw_uid, nobody.pw_gid)
        options = ["--user", "nobody", "--cache", cache]
        for base, dirs, files in os.walk(src):
            for name in files:
                os.chmod(os.path.join(base, name), 0o644)
        trees.rest(src)
    with Belayd(src, *options) as server:
        os.chmod(src + "/d000/f0001", 0)
        os.chmod(src + "/d001/n", 0)
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        os.chmod(src + "/d000/f0001", 0o644)
        os.chmod(src + "/d001/n", 0o755)
        check_code(run, 3)
        check("d000/f0001" in run.err and "d001/n" in run.err, "told", run)
        check(total(run)[2] == 2, "two failures", run)
        check(not os.path.exists(tmp + "/out/d000/f0001"), "a final name")
        trees.same(src + "/d002", tmp + "/out/d002", run)
        check_code(get("-r", server.url(""), "-d", "out", cwd=tmp), 0)
        trees.same(src, tmp + "/out", times=False)


@case
def nothing_there(tmp):
    src = tree(tmp, dirs=1)
    with Belayd(src) as server:
        run = get("-r", server.url("nowhere/"), "-d", "out", cwd=tmp)
        check_code(run, 3)
        check("no such file" in run.err, "told", run)
        run = get("-r", server.url("d000/f0000"), "-d", "out", cwd=tmp)
        check_code(run, 3)
        check("does not name a directory" in run.err, "told", run)
    run = get("-r", server.url(""), "-d", "out", cwd=tmp)
    check_code(run, 75)


@case
def symbolic_links(tmp):
    src = tree(tmp, dirs=2)
    for name, target in [("in", "d000/f0000"), ("out", "/etc/passwd"),
                         ("up", "../x"), ("d000/back", "../d001"),
                         ("d000/back2", "../../x"), ("d000/odd", "f/../.."),
                         ("dangling", "nothing")]:
        os.symlink(target, os.path.join(src, name))
    os.mkfifo(src + "/fifo")
    with Belayd(src) as server:
        run = get("-v", "-r", server.url(""), "-d", "plain", cwd=tmp)
        check_code(run, 0)
        check(not any(os.path.islink(os.path.join(base, name))
                      for base, _, files in os.walk(tmp + "/plain")
                      for name in files), "a link was made")
        run = get("-v", "-r", "--links", server.url(""), "-d", "linked",
                  cwd=tmp)
        check_code(run, 0)
        links = sorted(os.path.relpath(os.path.join(base, name),
                                       tmp + "/linked")
                       for base, dirs, files in os.walk(tmp + "/linked")
                       for name in dirs + files
                       if os.path.islink(os.path.join(base, name)))
        check(links == ["d000/back", "dangling", "in"], "links: %r" % links,
              run)
        check("fifo" in run.err and "leads out" in run.err, "told", run)
        check_code(get("-r", "--links", server.url(""), "-d", "linked",
                       cwd=tmp), 0)


@case
def resets_everywhere(tmp):
    src = tree(tmp, large=1)
    with Belayd(src) as server:
        size = sum(os.path.getsize(os.path.join(b, f))
                   for b, _, fs in os.walk(src) for f in fs)
        with Fault(server, "--rst-every", max(size // 12, 40 * KI)) as fault:
            run = get("-r", fault.url(""), "-d", "out", cwd=tmp)
            check_code(run, 0)
            trees.same(src, tmp + "/out", run)
            check(fault.stats()["resets"] > 3, "too few resets", run)


@case
def damaged_bytes(tmp):
    src = tree(tmp, dirs=6)
    with Belayd(src) as server:
        with Fault(server, "--flip-every", 900 * KI) as fault:
            run = get("-r", fault.url(""), "-d", "out", cwd=tmp)
            check_code(run, 0)
            trees.same(src, tmp + "/out", run)


@case
def small_pieces(tmp):
    src = tree(tmp, dirs=2)
    with Belayd(src) as server:
        with Fault(server, "--split", "1") as fault:
            run = get("-r", fault.url(""), "-d", "out", cwd=tmp)
            check_code(run, 0)
            trees.same(src, tmp + "/out", run)


@case
def compressed(tmp):
    src = tmp + "/src"
    os.makedirs(src)
    for k in range(N):
        with open(src + "/t%d" % k, "wb") as out:
            out.write((b"many equal words %d\n" % k) * 900)
        with open(src + "/z%d" % k, "wb") as out:
            out.write(bytes(5000 + k))
    trees.rest(src)
    with Belayd(src) as server:
        run = get("-z", "-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        trees.same(src, tmp + "/out", run)


@case
def files_just_written(tmp):
    """Too new for a strong version: asked for again when they have rested."""
    src = tmp + "/src"
    os.makedirs(src)
    with Belayd(src) as server:
        for k in range(N):
            with open(src + "/f%d" % k, "wb") as out:
                out.write(b"x" * k)
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        trees.same(src, tmp + "/out", run, times=False)


@case
def machine_output(tmp):
    src = tree(tmp, dirs=2)
    with Belayd(src) as server:
        run = get("--json", "-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        events = [json.loads(line) for line in run.out.splitlines()]
        files = [e for e in events if e["event"] == "file"]
        check(len(files) == trees.count(src), "%d file events" % len(files))
        check({e["path"] for e in files} >= {"d000/f0000", "d001/n/f0000"},
              "paths")
        check(all(e["reason"] == "ok" for e in files), "reasons")
        check(events[-1]["event"] == "summary", "summary")


@case
def listings(tmp):
    src = tree(tmp, dirs=3)
    os.symlink("d000", src + "/link")
    with open(os.fsencode(src) + b"/bad\x1b[2J\xff\n", "wb"):
        pass
    with Belayd(src) as server:
        run = ls(server.url(""), cwd=tmp)
        check_code(run, 0)
        check(run.out == b"bad\\x1B[2J\\xFF\\x0A\nd000/\nd001/\nd002/\nlink\n",
              "names: %r" % run.out)
        run = ls("-l", server.url("d000/"), cwd=tmp)
        lines = run.out.decode().splitlines()
        st = os.stat(src + "/d000/f0001")
        check(len(lines) == N and
              re.match(r"-[rwx-]{9} +%d 2020-09-13T\S+ f0001$" % st.st_size,
                       lines[1]), "lines: %r" % lines[:3])
        run = ls("-r", "--json", server.url(""), cwd=tmp)
        rows = [json.loads(line) for line in run.out.splitlines()]
        check({r["path"] for r in rows if r["type"] == "file"} >=
              {"d001/n/f0000", "d002/n/n/f0001"}, "recursive")
        bad = next(r for r in rows if "path_hex" in r)
        check(bytes.fromhex(bad["path_hex"]) == b"bad\x1b[2J\xff\n", "bytes")
        check(next(r for r in rows if r["path"] == "link")["target"] ==
              "d000", "target")
        check(os.fsencode(names(src)[0]) == b"bad\x1b[2J\xff\n", "order")
        run = ls(server.url("d000/f0000"), cwd=tmp)
        check_code(run, 3)
        with Fault(server, "--rst-every", 4000) as fault:
            run = ls("-r", fault.url(""), cwd=tmp)
            check_code(run, 0)
            check(sorted(run.out.splitlines()) ==
                  sorted(ls("-r", server.url(""), cwd=tmp).out.splitlines()),
                  "a listing over resets")
        with open("/dev/full", "wb") as full:
            run = Run(["ls", server.url("")], tmp, stdout=full).wait()
            check_code(run, 5)


@case
def many_entries_in_bounded_memory(tmp):
    """A directory of very many names: the client's memory does not grow with
    them."""
    need = 200_000 if os.environ.get("BELAY_LONG") else \
        scaled(40_000, 5_000)
    src = tmp + "/src"
    os.makedirs(src + "/none")
    fd = os.open(src, os.O_RDONLY)
    for k in range(need):
        os.close(os.open("name-of-some-length-%07d" % k,
                         os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)
    with Belayd(src) as server:
        none = ls(server.url("none/"), cwd=tmp)
        check_code(none, 0)
        many = ls(server.url(""), cwd=tmp)
        check_code(many, 0)
        lines = many.out.splitlines()
        check(len(lines) == need + 1, "%d names" % len(lines))
        # The names alone take as much; a sanitizer keeps freed memory back.
        check(many.peak_rss < (none.peak_rss + MI if SCALE >= 1 else 40 * MI),
              "%d KiB of memory, %d for none" % (many.peak_rss // KI,
                                                 none.peak_rss // KI), many)
        check(lines == sorted(lines), "order")


@case
def full_disk(tmp):
    need_root()
    src = tree(tmp, dirs=30)
    out = tmp + "/small"
    os.makedirs(out)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dk" %
                       (trees.count(src) * 3), "tmpfs", out],
                      capture_output=True).returncode != 0:
        return
    try:
        with Belayd(src) as server:
            run = get("-r", server.url(""), "-d", out + "/to", cwd=tmp)
            check_code(run, 5)
            check("no space" in run.err.lower() and "same command" in
                  run.err, "told", run)
            check(not [n for n in names(out + "/to") if "tmp" in n],
                  "temporary files are left")
            subprocess.run(["mount", "-o", "remount,size=100m", out],
                           check=True)
            run = get("-r", server.url(""), "-d", out + "/to", cwd=tmp)
            check_code(run, 0)
            check(total(run)[1] > 0, "nothing was kept", run)
            trees.same(src, out + "/to", run)
    finally:
        subprocess.run(["umount", "-l", out], check=False)


if __name__ == "__main__":
    main()
