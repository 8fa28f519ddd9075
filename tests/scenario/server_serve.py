"""What the server serves: fresh and resumed downloads, several at once,
expectations, digests, listings, pipes.  Against the oracle's identity."""

import os
import socket
import subprocess
import time

import harness
from harness import MI, Belayd, case, check, program, settle, spawn, \
    write_random, write_sparse, write_text

import belay_id
import belay_wire as W
import registry as R
from rawclient import MAX, Raw, chunk_bytes, cid_of, fetch, hello, joined


def tree(tmp, **files):
    root = os.path.join(tmp, "root")
    os.makedirs(root, exist_ok=True)
    for name, data in files.items():
        with open(os.path.join(root, name), "wb") as out:
            out.write(data)
    if files:
        settle(*[os.path.join(root, name) for name in files])
    return root


@case
def fresh_download_of_every_awkward_size(tmp):
    c = 12
    sizes = [0, 1, 4095, 4096, 4097, 8191, 8193, 3 * 4096, 5 * 4096,
             13 * 4096 + 7]
    root = tree(tmp, **{"s%d" % n: belay_id.pattern(n) for n in sizes})
    with Belayd(root) as server:
        for size in sizes:
            with Raw(server.port) as raw:
                info, chunks, done = fetch(raw, "s%d" % size, c)
                data = belay_id.pattern(size)
                check(joined(chunks) == data, "bytes differ at %d" % size)
                check(info.fields["size"] == size, "size")
                check(info.fields["info_flags"] & R.INFO_VERSION_STRONG,
                      "an old file has no strong version")
                check(done.tlv(R.TLV_CID) == cid_of(data, c),
                      "CID of DONE at %d" % size)
                check(done.tlv(R.TLV_VERSION) == info.tlv(R.TLV_VERSION),
                      "VERSION of DONE")
                # Now that the server knows it, INFO names it too.
                again = raw.info("s%d" % size, handle=2, c=c)
                check(again.tlv(R.TLV_CID) == cid_of(data, c), "CID of INFO")
                check(not again.fields["info_flags"] & R.INFO_CID_PENDING,
                      "CID is there and pending")


@case
def chunk_size_is_the_rule_or_what_was_asked(tmp):
    root = tree(tmp, f=belay_id.pattern(100000))
    with Belayd(root) as server, Raw(server.port) as raw:
        check(raw.info("f", handle=1).fields["chunk_log2"] == 18, "default")
        for handle, c in enumerate(range(12, 23), 2):
            check(raw.info("f", handle=handle, c=c).fields["chunk_log2"] == c,
                  "asked for %d" % c)
    small = ((R.TLV_MAX_CHUNK_LOG2, b"\x0e"),)
    with Belayd(root) as server, Raw(server.port, greet=False) as raw:
        raw.send(hello(small))
        raw.greeting()
        check(raw.info("f").fields["chunk_log2"] == 14,
              "the client's limit lowers the choice")
        check(raw.error(raw.open("f", handle=2, c=15)) ==
              R.WIRE_UNSUPPORTED, "above the client's limit")


@case
def many_small_files_in_one_flight(tmp):
    files = {"f%03d" % i: belay_id.pattern(10 * i + 1) for i in range(200)}
    root = tree(tmp, **files)
    with Belayd(root) as server, Raw(server.port) as raw:
        pairs = []
        for handle, name in enumerate(files, 1):
            pairs.append((name, raw.open(name, handle=handle), raw.get(
                handle=handle, flags=R.GET_CLOSE_AFTER)))
        for name, opened, got in pairs:
            raw.answer(opened, "INFO")
            frames = raw.answer(got, "DONE")
            check(chunk_bytes(frames[0]) == files[name], "bytes of " + name)


@case
def ranges_select_whole_chunks_once(tmp):
    data = belay_id.pattern(20000)
    root = tree(tmp, f=data)
    cases = [(((0, 1),), [0]), (((4096, 4096),), [1]),
             (((4095, 2),), [0, 1]), (((0, 10), (20, 10)), [0]),
             (((0, 10), (4090, 10), (16384, MAX)), [0, 1, 4]),
             (((20000, 5),), []), (((30000, MAX),), []),
             (((19999, 100000),), [4])]
    with Belayd(root) as server, Raw(server.port) as raw:
        raw.info("f", c=12)
        for ranges, want in cases:
            frames = raw.answer(raw.get(ranges=ranges), "DONE")
            got = [f.fields["offset"] // 4096 for f in frames[:-1]]
            check(got == want, "%r gives %r" % (ranges, got))


@case
def expectations_decide_before_a_byte_travels(tmp):
    data = belay_id.pattern(20000)
    root = tree(tmp, f=data)
    path = os.path.join(root, "f")
    with Belayd(root) as server, Raw(server.port) as raw:
        info, _, done = fetch(raw, "f", 12)
        version, cid = info.tlv(R.TLV_VERSION), done.tlv(R.TLV_CID)
        expect = [(R.TLV_EXPECT_VERSION, version), (R.TLV_EXPECT_CID, cid)]
        check(raw.info("f", handle=2, c=12, tlvs=expect).tlv(R.TLV_CID) ==
              cid, "same file")
        wrong = [(R.TLV_EXPECT_VERSION, version),
                 (R.TLV_EXPECT_CID, bytes(32))]
        opened = raw.open("f", handle=3, c=12, tlvs=wrong)
        got = raw.get(handle=3)
        last = raw.answer(opened)[-1]
        check(last.fields["code"] == R.WIRE_CHANGED, "wrong CID")
        check(last.tlv(R.TLV_CID) == cid and
              last.tlv(R.TLV_VERSION) == version and
              last.tlv_uint(R.TLV_SIZE, 0) == 20000, "TLVs of CHANGED")
        check(raw.error(got) == R.WIRE_BAD_HANDLE, "GET behind CHANGED")
        # Touched: another version, the same content. Its CID is not known
        # until it is read, so the version decides.
        os.utime(path, (1, 1))
        check(raw.error(raw.open("f", handle=4, c=12, tlvs=expect)) ==
              R.WIRE_CHANGED, "touched, CID unknown")
        info = raw.info("f", handle=5, c=12, tlvs=expect[1:])
        check(info.tlv(R.TLV_CID) is None, "CID unknown")
        raw.answer(raw.digest(handle=5), "DIGESTS")
        check(raw.info("f", handle=6, c=12, tlvs=expect).tlv(R.TLV_CID) ==
              cid, "known CID")


@case
def digests_with_and_without_proof(tmp):
    data = belay_id.pattern(13 * 4096 + 5)
    root = tree(tmp, f=data)
    digests = belay_id.digests_of(data, 12)
    leaves = belay_id.leaves_of(len(data), 12, digests)
    root_hash = belay_id.mth(leaves)
    with Belayd(root) as server, Raw(server.port) as raw:
        raw.info("f", c=12)
        check(raw.error(raw.digest(flags=R.DIGEST_NO_WAIT)) ==
              R.WIRE_DIGEST_PENDING, "nothing is known yet")
        frames = raw.answer(raw.digest(), "DIGESTS")
        got = [d for f in frames for d in f.fields["digests"]]
        check(got == digests, "digest list")
        for b in (0, 1, 2, 3, 4, 32):
            m = belay_id.block_count(len(digests), b)
            frames = raw.answer(raw.digest(block_log2=b, count=0,
                                           flags=R.DIGEST_WITH_PROOF),
                                "DIGESTS")
            check(len(frames) == m, "one frame for each block")
            for j, frame in enumerate(frames):
                part = leaves[j << b:(j + 1) << b]
                belay_id.verify_block(root_hash, j, m, belay_id.mth(part),
                                      list(frame.fields["proof"]))
        frames = raw.answer(raw.digest(block_log2=2, first=3, count=9),
                            "DIGESTS")
        check([d for f in frames for d in f.fields["digests"]] ==
              digests[12:], "the ragged last block")
        raw.answer(raw.digest(block_log2=2, first=4, count=1), "DONE")
        raw.answer(raw.digest(block_log2=32, first=MAX, count=0), "DONE")


@case
def digest_list_longer_than_a_frame(tmp):
    path = os.path.join(tree(tmp), "f")
    write_random(path, 9 * MI)
    settle(path)
    with open(path, "rb") as file:
        want = belay_id.digests_of(file.read(), 12)
    with Belayd(os.path.dirname(path)) as server, Raw(server.port) as raw:
        raw.info("f", c=12)
        frames = raw.answer(raw.digest(), "DIGESTS")
        check([d for f in frames for d in f.fields["digests"]] == want,
              "digest list")
        check(len(frames) == 2, "%d frames" % len(frames))


@case
def fresh_file_has_a_weak_version_and_no_cid_until_it_rests(tmp):
    root = tree(tmp)
    data = belay_id.pattern(10000)
    with Belayd(root) as server, Raw(server.port) as raw:
        with open(os.path.join(root, "f"), "wb") as out:
            out.write(data)
        began = time.monotonic()
        info, chunks, done = fetch(raw, "f", 12)
        check(joined(chunks) == data, "bytes")
        check(not info.fields["info_flags"] & R.INFO_VERSION_STRONG,
              "weak version")
        check(done.tlv(R.TLV_CID) is None, "CID of digests that prove nothing")
        check(raw.error(raw.digest(flags=R.DIGEST_NO_WAIT)) ==
              R.WIRE_DIGEST_PENDING, "not yet")
        frames = raw.answer(raw.digest(), "DIGESTS")
        check(time.monotonic() - began > 1.5, "the racy window was not kept")
        check(list(frames[0].fields["digests"]) ==
              belay_id.digests_of(data, 12), "digests")
        info, _, done = fetch(raw, "f", 12, handle=2)
        check(done.tlv(R.TLV_CID) == cid_of(data, 12), "CID after the rest")


@case
def who_has_gone_gets_no_digests(tmp):
    """Rule C10: the end of the client's direction ends what it waits for.
    A fresh file has to rest before it is hashed, which is long enough to
    leave."""
    root = tree(tmp)
    path = os.path.join(root, "f")
    with Belayd(root) as server, Raw(server.port) as raw, \
            Raw(server.port) as other:
        write_random(path, 3 * MI)
        for one in (raw, other):
            one.info("f", c=12)
        waits = other.digest()
        raw.digest()
        raw.sock.shutdown(socket.SHUT_WR)
        names = []
        while (message := raw.message()) is not None:
            names.append(message.name)
        check("DIGESTS" not in names, "hashed for nobody: %r" % names)
        # Those who stayed have theirs.
        check(other.answer(waits, "DIGESTS"), "digests")


@case
def several_connections_share_what_they_hash(tmp):
    """Four connections, a quarter each, over two workers: the CID is known
    when the last of them is done."""
    path = os.path.join(tree(tmp), "f")
    write_random(path, 8 * MI)
    settle(path)
    with open(path, "rb") as file:
        data = file.read()
    with Belayd(os.path.dirname(path), "--workers", "2") as server:
        raws = [Raw(server.port) for _ in range(4)]
        cids = []
        for i, raw in enumerate(raws):
            _, chunks, done = fetch(raw, "f", 18,
                                    ((i * 2 * MI, 2 * MI),))
            check(joined(chunks) == data[i * 2 * MI:(i + 1) * 2 * MI],
                  "quarter %d" % i)
            cids.append(done.tlv(R.TLV_CID))
        check(cids[:3] == [None] * 3, "CID before all was hashed")
        check(cids[3] == cid_of(data, 18), "CID at the end")
        for raw in raws:
            raw.sock.close()


@case
def digests_survive_a_restart(tmp):
    path = os.path.join(tree(tmp), "f")
    write_random(path, 4 * MI)
    settle(path)
    with Belayd(os.path.dirname(path)) as server:
        with Raw(server.port) as raw:
            _, _, done = fetch(raw, "f")
        cid = done.tlv(R.TLV_CID)
        check(cid is not None, "CID")
        import signal
        for how in (signal.SIGTERM, signal.SIGKILL):
            time.sleep(3)  # it is written down within a second
            server.restart(how)
            with Raw(server.port) as raw:
                info = raw.info("f")
                check(info.tlv(R.TLV_CID) == cid, "CID after a restart")
                check(info.tlv(R.TLV_VERSION) == done.tlv(R.TLV_VERSION),
                      "VERSION after a restart")


@case
def zero_and_sparse_chunks_travel_as_nothing(tmp):
    path = os.path.join(tree(tmp), "f")
    write_sparse(path, 64 * MI, [3 * MI, 40 * MI])
    settle(path)
    with open(path, "rb") as file:
        data = file.read()
    with Belayd(os.path.dirname(path)) as server:
        for turn in ("read", "known"):
            with Raw(server.port) as raw:
                _, chunks, done = fetch(raw, "f")
                check(joined(chunks) == data, "bytes, " + turn)
                check(done.tlv(R.TLV_CID) == cid_of(data, 18), "CID")
                check(raw.received < 2 * MI, "%d bytes travelled, %s" %
                      (raw.received, turn))
        # A client that does not know the codec gets the zeros.
        with Raw(server.port, greet=False) as raw:
            raw.send(hello(()))
            raw.greeting()
            _, chunks, _ = fetch(raw, "f", ranges=((0, MI),))
            check(joined(chunks) == data[:MI], "raw zeros")
            check(raw.received > MI, "codec that was not offered")


@case
def compression_only_where_wanted_and_useful(tmp):
    root = tree(tmp)
    write_text(os.path.join(root, "text"), 4 * MI)
    write_random(os.path.join(root, "noise"), 4 * MI)
    settle(os.path.join(root, "text"), os.path.join(root, "noise"))
    codecs = ((R.TLV_MAX_CHUNK_LOG2, b"\x16"),
              (R.TLV_CODECS, bytes([R.CODEC_ZLIB])))
    with Belayd(root) as server:
        for name, flags, most in (("text", 0, 2 * MI),
                                  ("text", R.GET_NO_COMPRESSION, 5 * MI),
                                  ("noise", 0, 5 * MI)):
            with open(os.path.join(root, name), "rb") as file:
                data = file.read()
            with Raw(server.port, greet=False) as raw:
                raw.send(hello(codecs))
                raw.greeting()
                raw.info(name)
                frames = raw.answer(raw.get(flags=flags), "DONE")
                used = {f.fields["codec"] for f in frames[:-1]}
                check(raw.received < most, "%s took %d bytes" %
                      (name, raw.received))
                check((R.CODEC_ZLIB in used) == (most == 2 * MI),
                      "codecs of %s: %r" % (name, used))
                check(frames[-1].fields["raw_bytes"] == len(data), "length")
    with Belayd(root, "--no-compression") as server:
        with Raw(server.port, greet=False) as raw:
            raw.send(hello(codecs))
            check(R.CODEC_ZLIB not in raw.greeting().tlv(R.TLV_CODECS),
                  "codec announced")
            _, chunks, _ = fetch(raw, "text")
            check(raw.received > 4 * MI, "compressed all the same")


@case
def list_in_order_page_by_page(tmp):
    root = tree(tmp)
    want = sorted(["n%04d" % i for i in range(3000)] +
                  ["long" + "x" * 240 + str(i) for i in range(5)] +
                  ["dir", "link"])
    for name in want:
        at = os.path.join(root, name)
        if name == "dir":
            os.mkdir(at)
        elif name == "link":
            os.symlink("n0001", at)
        else:
            with open(at, "wb") as out:
                out.write(b"x" * (len(name) % 7))
    with Belayd(root) as server, Raw(server.port) as raw:
        for most in (None, 1, 700):
            got, cursor, pages = [], None, 0
            while pages < 5000 and (most != 1 or pages < 8):
                last = raw.answer(raw.list(b"", cursor, most), "ENTRIES")[-1]
                got += last.fields["entries"]
                cursor = last.tlv(R.TLV_CURSOR)
                pages += 1
                check(most is None or len(last.fields["entries"]) <= most,
                      "more than MAX_ENTRIES")
                if cursor is None:
                    break
            found = [e["name"].decode() for e in got]
            check(found == want[:len(found)], "names")
            check(most == 1 or len(found) == len(want), "all names")
        types = {e["name"].decode(): e["file_type"] for e in got}
        check(types["dir"] == R.FILE_DIRECTORY and
              types["link"] == R.FILE_SYMLINK and
              types["n0001"] == R.FILE_REGULAR, "types")
        raw.answer(raw.list(b"dir"), "ENTRIES")
        check(raw.error(raw.list(b"n0001")) == R.WIRE_NOT_A_DIRECTORY, "file")
        check(raw.error(raw.list(b"none")) == R.WIRE_NOT_FOUND, "missing")
        check(raw.error(raw.list(b"", b"?")) == R.WIRE_CHANGED,
              "a cursor of somebody else")


@case
def open_without_handle_describes_everything(tmp):
    root = tree(tmp, f=b"hello")
    os.mkdir(os.path.join(root, "d"))
    os.symlink("f", os.path.join(root, "l"))
    os.mkfifo(os.path.join(root, "p"))
    want = {"": R.FILE_DIRECTORY, "d": R.FILE_DIRECTORY,
            "f": R.FILE_REGULAR, "l": R.FILE_SYMLINK, "p": R.FILE_OTHER}
    with Belayd(root) as server, Raw(server.port) as raw:
        for path, kind in want.items():
            info = raw.info(path, handle=0, flags=R.OPEN_NO_HANDLE)
            check(info.fields["file_type"] == kind, "type of %r" % path)
            check(info.fields["handle"] == 0, "handle")


@case
def ipv6_and_ipv4_side_by_side(tmp):
    root = tree(tmp, f=b"hello")
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        raise harness.Skip("no IPv6 here")
    with Belayd(root, "--listen", "[::1]:0") as server:
        import re
        port = int(re.search(r"listening on \[::1\]:(\d+)",
                             server.text()).group(1))
        with Raw(port, host="::1") as raw:
            check(joined(fetch(raw, "f")[1]) == b"hello", "over IPv6")
        with Raw(server.port) as raw:
            check(joined(fetch(raw, "f")[1]) == b"hello", "over IPv4")


@case
def pipe_carries_nothing_but_frames(tmp):
    data = belay_id.pattern(300000)
    root = tree(tmp, f=data)
    child = spawn([program("BELAYD"), "--root", root, "--stdio", "--cache",
                   os.path.join(tmp, "cache"), "--verbose"],
                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  stderr=subprocess.PIPE)
    child.stdin.write(
        hello() + W.encode("OPEN", 1, {"handle": 1, "path": b"f"}) +
        W.encode("GET", 2, {"handle": 1, "urgency": 3,
                            "ranges": [(0, MAX)]}) +
        W.encode("GOAWAY", 0, {"last_id": 0}))
    child.stdin.flush()
    out, err = child.communicate(timeout=harness.PATIENCE)
    check(child.returncode == 0, "exit %d: %r" % (child.returncode, err))
    items = W.StreamReader("server").feed(out)
    chunks = {m.fields["offset"]: m.fields["data"] for m in items
              if isinstance(m, W.Message) and m.name == "CHUNK"}
    check(joined(chunks) == data, "bytes over a pipe")
    check(b"reason=done" in err, "log on standard error: %r" % err)


@case
def pipe_ends_with_its_peer(tmp):
    root = tree(tmp, f=b"x")
    command = [program("BELAYD"), "--root", root, "--stdio", "--cache",
               os.path.join(tmp, "cache")]
    child = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  stderr=subprocess.DEVNULL)
    child.stdin.write(hello())
    child.stdin.flush()
    check(child.stdout.read(8) == R.PREFACE_MAGIC, "greeting")
    child.stdin.close()
    check(child.wait(10) == 0, "exit code")
    # One that reads nothing more and is gone.
    child = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  stderr=subprocess.DEVNULL)
    child.stdout.close()
    child.stdin.write(hello() + W.encode("OPEN", 1, {"handle": 1,
                                                     "path": b"f"}))
    child.stdin.close()
    check(child.wait(10) == 0, "exit code")
    with open(os.path.join(root, "f")) as file:
        done = subprocess.run(command, stdin=file, capture_output=True,
                              timeout=10)
    check(done.returncode == 1 and b"pipe" in done.stderr and
          done.stdout == b"", "a file for standard input: %r" % done)


if __name__ == "__main__":
    harness.main()
