#!/usr/bin/env python3
"""Is the simulator worth its name?  Plants known bugs, one at a time, in a
copy of the session room and of the store, and counts the seeds until one is
found.

usage: mutants.py LIBRARY [--table] [SEEDS [NAME...]]
  LIBRARY  libbelay_proto.a of a build of this tree
  --table  write what was found to tests/sim/README.md
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name, file (of proto/session, if no folder is named), what is there, what is
# planted
MUTANTS = [
    ("expectation-dropped", "transfer_conn.c",
     "    if (!plain) {\n        expect_version(",
     "    if (plain) {\n        expect_version("),
    ("no-expectation-at-all", "transfer_conn.c+transfer_info.c",
     ("    if (!plain) {\n        expect_version(",
      "    } else if (!info_same(t, i, info)) {"),
     ("    if (false && !plain) {\n        expect_version(",
      "    } else if (false && !info_same(t, i, info)) {")),
    ("hints-trusted", "transfer_next.c",
     "memcmp(g->digest[index], digest, HASH_LEN) == 0) {",
     "true) {"),
    ("weak-is-strong", "transfer_check.c",
     "    if (t->any_weak) {", "    if (false && t->any_weak) {"),
    ("weakness-forgotten", "transfer.c",
     "    t->any_weak = !identity->strong;", "    t->any_weak = false;"),
    ("no-last-look", "transfer_check.c",
     "    return t->unlooked == 0;\n}", "    return true;\n}"),
    ("old-done-counts", "transfer_check.c",
     "        claim->arrival = t->arrivals;", "        t->unlooked = 0;"),
    ("last-list-ignored", "transfer_check.c",
     "            memcmp(t->grid.digest[i], t->expect[i], HASH_LEN) != 0) {",
     "            false) {"),
    ("cid-not-compared", "transfer_check.c",
     "        memcmp(t->own_cid, t->identity.cid, HASH_LEN) != 0) {",
     "        false) {"),
    ("pin-not-compared", "transfer_check.c",
     "        memcmp(cid, t->anchor_cid, HASH_LEN) != 0) {",
     "        false) {"),
    ("pin-of-what-is-gone", "transfer.c",
     "        if (t->config.want_chunk_log2 == 0 || config->in_order) {",
     "        if (t->config.want_chunk_log2 == 0) {"),
    ("change-is-damage", "transfer_reply.c",
     "    } else if (weak) {\n        unsteady(",
     "    } else if (false) {\n        unsteady("),
    ("stop-not-heard", "transfer_change.c",
     "    if (t->config.stop_on_change ||\n", "    if (false ||\n"),
    ("impostor-ends-it", "transfer_source.c",
     "        mirror_fail(t, i, TRANSFER_DISTRUSTED, \"%s\", text);",
     "        transfer_fail(t, TRANSFER_DISTRUSTED, \"%s\", text);"),
    ("hurry-forgets", "transfer_conn.c",
     "            c->dial_at = c->pause_until > now ? c->pause_until : now;",
     "            c->dial_at = c->pause_until > now ? now : UINT64_MAX;"),
    ("greeting-forgotten", "transfer_conn.c",
     "    } else if (!t->contact && !t->config.wait_first &&\n",
     "    } else if (!t->config.wait_first &&\n"),
    ("weak-pieces-joined", "transfer_list.c",
     "    bool join = t->identity.cid_known ||\n"
     "                (c->strong && (list->strong || list->next == 0));",
     "    bool join = true;"),
    ("list-not-resumed", "transfer_list.c",
     "    if (!join) {\n        list->next = 0;",
     "    if (true) {\n        list->next = 0;"),
    ("list-pieces-too-large", "transfer_list.c",
     "    } else if (++t->list_barren >= BARREN_MAX) {",
     "    } else if (false) {"),
    ("copy-not-verified", "transfer_change.c",
     "    if (ok && grid_state(", "    if (grid_state("),
    ("kept-in-place-blindly", "transfer_change.c",
     "            memcmp(t->old.digest[i], digest, HASH_LEN) == 0) {",
     "            true) {"),
    ("old-grid-on-change", "transfer_change.c",
     "    return t->grid.piped > 0 || t->hash_pending > 0 || "
     "t->seed.copy_asked ||\n           t->now < t->calm_at;",
     "    return t->now < t->calm_at;"),
    ("claims-lost", "transfer_conn.c",
     "            claim_end(t, i, c->claim[k].request, false);",
     "            c->claim[k].request = 0;"),
    ("half-chunk-kept", "transfer_conn.c",
     "            grid_set(&t->grid, c->current, CHUNK_MISSING, 0);",
     "            (void)0;"),
    ("never-smaller", "transfer_grid.c",
     "    if (t->barren >= LIMIT_SHRINK_AFTER && t->phase",
     "    if (false && t->phase"),
    ("finer-grid-forgets", "transfer_grid.c",
     "        if (grid_state(old, i >> by) == CHUNK_HAVE) {",
     "        if (grid_state(old, i) == CHUNK_HAVE) {"),
    ("record-before-rebase", "transfer.c",
     "    return t->phase != PHASE_REGRID && !t->need_rebase &&\n",
     "    return\n"),
    ("digest-not-recorded", "transfer_reply.c",
     "        memcpy(t->grid.digest[index], digest, HASH_LEN);\n", ""),
    ("no-ping", "receiver.c",
     "    if (!r->pinged) {\n        return send_ping(r, now);",
     "    if (true) {\n        return send_ping(r, now);"),
    ("nobody-compares-versions", "transfer_info.c+sender_job.c",
     ("    } else if (!info_same(t, i, info)) {",
      "        return o->expect_version_len == result->open.version_len &&"),
     ("    } else if (false && !info_same(t, i, info)) {",
      "        return true || o->expect_version_len == "
      "result->open.version_len ||")),
    ("closed-handle-ignored", "transfer_reply.c+transfer_reply.c",
     ("        if (c->bound) {\n            conn_open(t, i);\n        }\n"
      "        return;",
      "    case WIRE_CLASS_STALE:\n        if (c->bound) {\n"
      "            conn_open(t, i);\n        }\n        break;"),
     ("        return;", "    case WIRE_CLASS_STALE:\n        break;")),
    ("kept-counted-twice", "transfer_change.c",
     "grid_state(&t->old, i), ORIGIN_REUSED);",
     "grid_state(&t->old, i), ORIGIN_FRESH);\n"
     "            t->ledger.size++;"),
    ("server-skips-check", "sender_job.c",
     "    } else if (r->get.all_scheduled) {\n"
     "        request_enqueue(r, &s->checks);",
     "    } else if (r->get.all_scheduled) {\n"
     "        request_answer(s, r, ANSWER_DONE);\n"
     "        handle_advance(s, r->handle);"),
    ("budget-never-refunded", "transfer_reply.c+transfer_conn.c",
     ("        t->fruitless = 0;\n        t->barren = 0;",
      "        c->fruitless = 0;\n        t->fruitless = 0;"),
     ("        t->barren = 0;", "        c->fruitless = 0;")),
    ("pin-blames-nobody", "transfer_check.c",
     "        if (mirror_disproved(t)) {", "        if (false) {"),
    ("any-mirror-believed", "transfer_reply.c",
     "    if (out->wanted && t->expect != NULL &&",
     "    if (false && out->wanted &&"),
    ("forgers-have-endless-tries", "transfer_reply.c",
     "    if (mirror_many(t) && t->conn[i].source != t->expect_source) {",
     "    if (mirror_many(t)) {"),
    ("two-contents-in-turns", "transfer_source.c",
     "    return other_usable(t, s) || (s != t->home && mirror_home_up(t));",
     "    return other_usable(t, s);"),
    ("no-fsync-before-rename", "client/store_finish.c",
     "    if (store_call_fsync(store->sys, store->part_fd) != 0) {\n"
     "        rc = part_failed(",
     "    if (false) {\n        rc = part_failed("),
    ("no-directory-fsync", "client/store_finish.c",
     "    if (store_sync_dir(store, warnings) != 0) {",
     "    if (false) {"),
    ("failed-sync-ignored", "client/store_sync.c",
     "        return store_refused(store, why);\n    }\n"
     "    if (store_call_fdatasync(store->sys, store->part_fd) != 0) {",
     "        return store_refused(store, why);\n    }\n"
     "    if (store_call_fdatasync(store->sys, store->part_fd) == 77) {"),
    ("cache-believed", "client/store_sync.c",
     "        if (store->sys->drop_pages(store->part_fd) == 0 &&",
     "        if (true || store->sys->drop_pages(store->part_fd) == 0 &&"),
    ("short-write-is-whole", "client/store_call.c",
     "        done = (size_t)put;\n        offset += done;",
     "        done = left[first].iov_len;\n        offset += done;"),
]

FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64",
         "-DTRANSFER_SMALL", "-O1", "-w"]
PARTS = ("client", "disk", "main", "net", "pages", "plan", "server", "source",
         "vary", "world")

HEAD = """# The simulator

`sim --seeds A..B` runs whole downloads in virtual time, one from each seed:
the real transfer and receivers, the real senders of one to four servers, and
the real store (`client/store*.c`) on a simulated disk. `sim --seed N -v` tells
the story of one. A seed that fails is printed and replays exactly.

| part | what goes wrong |
| --- | --- |
| network (`net.c`) | latency, rate, splits and joins of what arrives, resets after any byte, every connection cut after so many bytes, silence, flipped bits and bytes that come twice, in both directions, refused dials |
| servers (`server.c`) | busy, I/O errors, digests pending, going away, restarts that forget digests, make smaller chunks or have other limits (requests in all, idle time), stops by their operator at any moment, digests of a file that may still change; mirrors that are dead, are not who they should be, have another content, damage chunks, or forge them with digests that fit |
| source (`source.c`) | bytes change in place, shift, shrink, grow, are replaced or touched; it vanishes and returns; changes within one tick of the clock, and between fstat and read |
| disk (`disk.c`) | short reads and writes, ENOSPC, EIO, names that cannot be opened, renamed or removed, a sync that fails once and drops pages, power cuts that lose or tear what was not synced, bit rot |
| client | killed and started again, many connections or one, ordered output, donors, repair in place, pinned content, a budget of tries, no patience before the first answer, news of the network; every run with other options than the one before: chunks, connections, pin, ordered output, stop at a change, another server first |

After every world: a download that calls itself complete is one version of the
file and names its content id (P1); it is still there when the power fails at
the next moment (P2); the final name never leads to anything else (P1); bytes
that a killed client had verified are not fetched again, and a cut costs one
chunk at most (P3); everything comes to its end, and not by giving up without
need (P6): with mirrors not as long as an honest one has the content, and with a
budget of tries not while there is progress; no assertion fails (P7). Every
sixteenth world runs twice and has to be the same.

A world is drawn from its seed in `plan.c`, and runs in `world.c`; what
changes while it goes on is in `vary.c`.  Not varied: credentials, comparing
only, a probe, several donors, the limits of the client.

## Are bugs found?

Made by `python3 -B tests/sim/mutants.py build/gcc/libbelay_proto.a --table`.
Each line is a bug that is planted in a copy of the tree, and the first seed
that finds it. Some of them were in the tree until a seed found them:
two-contents-in-turns, change-is-damage and pin-of-what-is-gone. Two more of
that kind take more seeds than a normal run has, and are noticed by unit tests
(tests/mutation/README.md: whose damage it was, damage of each server).

| bug | where | seed | by |
| --- | --- | --- | --- |
"""


def sh(args, **kw):
    return subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          **kw)


def compile_one(tree, source, out):
    r = sh(["gcc", *FLAGS, f"-I{tree}", "-c", str(source), "-o", str(out)])
    if r.returncode != 0:
        sys.exit(f"{source}: {r.stdout}")


def object_of(objects, file):
    return objects / (file.replace("/", "_") + ".o")


def link(objects, library):
    r = sh(["gcc", "-o", str(objects / "sim"),
            *map(str, sorted(objects.glob("*.o"))), library, "-lcrypto",
            "-lz", *deflate(library)])
    if r.returncode != 0:
        sys.exit(r.stdout)


def deflate(library):
    names = sh(["nm", library]).stdout
    return ["-ldeflate"] if "libdeflate_" in names else []


def hunt(sim, seeds):
    """The seed that finds it, or None."""
    for first in range(1, seeds + 1, 100):
        last = min(first + 99, seeds)
        try:
            r = sh([sim, "--seeds", f"{first}..{last}"], timeout=120)
        except subprocess.TimeoutExpired:
            return last, "hangs"
        m = re.search(r"FAILED seed (\d+): (.*)", r.stdout)
        if m:
            return int(m.group(1)), m.group(2)
        if r.returncode != 0:
            return last, "crash"
    return None


def plant(tree, mutant):
    name, files, old, new = mutant
    files = [f if "/" in f else "proto/session/" + f
             for f in files.split("+")]
    olds = old if isinstance(old, tuple) else (old,)
    news = new if isinstance(new, tuple) else (new,)
    for file, a, b in zip(files, olds, news):
        path = tree / file
        text = path.read_text()
        if text.count(a) != 1:
            sys.exit(f"{name}: its place in {file} is gone; "
                     f"found {text.count(a)} times")
        path.write_text(text.replace(a, b))
    return sorted(set(files))


def build_all(tree, objects):
    shutil.copytree(ROOT / "proto", tree / "proto")
    shutil.copytree(ROOT / "tests/sim", tree / "tests/sim")
    (tree / "client").mkdir()
    for path in (ROOT / "client").glob("store*.[ch]"):
        shutil.copy(path, tree / "client")
    for file in [f"tests/sim/{part}.c" for part in PARTS] + [
            str(p.relative_to(tree))
            for folder in ("proto/session", "client")
            for p in (tree / folder).glob("*.c")]:
        compile_one(tree, tree / file, object_of(objects, file))


def try_one(tree, objects, library, mutant, seeds):
    changed = plant(tree, mutant)
    for file in changed:
        compile_one(tree, tree / file, object_of(objects, file))
    link(objects, library)
    found = hunt(str(objects / "sim"), seeds)
    for file in changed:
        shutil.copy(ROOT / file, tree / file)
        compile_one(tree, tree / file, object_of(objects, file))
    return found, changed


def main():
    args = [a for a in sys.argv[1:] if a != "--table"]
    library = args[0]
    seeds = int(args[1]) if len(args) > 1 else 20000
    wanted = set(args[2:])
    table = "--table" in sys.argv
    survivors = []
    rows = ""
    with tempfile.TemporaryDirectory() as temp:
        tree = pathlib.Path(temp) / "tree"
        objects = pathlib.Path(temp) / "objects"
        objects.mkdir()
        build_all(tree, objects)
        for mutant in MUTANTS:
            if wanted and mutant[0] not in wanted:
                continue
            found, changed = try_one(tree, objects, library, mutant, seeds)
            print(f"{mutant[0]:26} " +
                  (f"found by seed {found[0]}: {found[1]}" if found
                   else f"NOT FOUND in {seeds} seeds"), flush=True)
            if not found:
                survivors.append(mutant[0])
                found = "none", f"not found in {seeds} seeds"
            rows += (f"| {mutant[0]} | {', '.join(changed)} | {found[0]} | "
                     f"{found[1]} |\n")
    print(f"{len(survivors)} survived: {' '.join(survivors)}")
    if table:
        (ROOT / "tests/sim/README.md").write_text(HEAD + rows)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
