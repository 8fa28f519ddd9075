#!/usr/bin/env python3
"""Is the simulator worth its name?  Plants known bugs, one at a time, in a
copy of the session room, and counts the seeds until one is found.

usage: mutants.py LIBRARY [SEEDS [NAME...]]
  LIBRARY  libbelay_proto.a of a build of this tree
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name, file, what is there, what is planted
MUTANTS = [
    ("expectation-dropped", "transfer_conn.c",
     "    if (!plain) {\n        open.expect_version",
     "    if (plain) {\n        open.expect_version"),
    ("no-expectation-at-all", "transfer_conn.c+transfer_reply.c",
     ("    if (!plain) {\n        open.expect_version",
      "    } else if (!info_same(t, info)) {"),
     ("    if (false && !plain) {\n        open.expect_version",
      "    } else if (false && !info_same(t, info)) {")),
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
    ("weak-pieces-joined", "transfer_list.c",
     "    if (!join) {\n", "    if (false && !join) {\n"),
    ("list-not-resumed", "transfer_list.c",
     "    if (!join) {\n        list->next = 0;",
     "    if (true) {\n        list->next = 0;"),
    ("list-pieces-too-large", "transfer_list.c",
     "        list->barren = 0;\n        if (list->piece == 0) {",
     "        list->barren = 0;\n        if (false) {"),
    ("copy-not-verified", "transfer_change.c",
     "    if (ok && grid_state(", "    if (grid_state("),
    ("kept-in-place-blindly", "transfer_change.c",
     "            memcmp(t->old.digest[i], digest, HASH_LEN) == 0) {",
     "            true) {"),
    ("old-grid-on-change", "transfer_change.c",
     "    return t->grid.piped > 0 || t->hash_pending > 0;",
     "    return false;"),
    ("claims-lost", "transfer_conn.c",
     "            claim_end(t, i, c->claim[k].request, false);",
     "            c->claim[k].request = 0;"),
    ("half-chunk-kept", "transfer_conn.c",
     "            grid_set(&t->grid, c->current, CHUNK_MISSING, 0);",
     "            (void)0;"),
    ("never-smaller", "transfer_grid.c",
     "        if (t->barren >= LIMIT_SHRINK_AFTER) {",
     "        if (false && t->barren >= LIMIT_SHRINK_AFTER) {"),
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
    ("nobody-compares-versions", "transfer_reply.c+sender_job.c",
     ("    } else if (!info_same(t, info)) {",
      "        return o->expect_version_len == result->open.version_len &&"),
     ("    } else if (false && !info_same(t, info)) {",
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
]

FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-DTRANSFER_SMALL", "-O1", "-w"]


def sh(args, **kw):
    return subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          **kw)


def compile_one(tree, source, out):
    r = sh(["gcc", *FLAGS, f"-I{tree}", "-c", str(source), "-o", str(out)])
    if r.returncode != 0:
        sys.exit(f"{source}: {r.stdout}")


def build(tree, objects, library, changed):
    for name in changed:
        compile_one(tree, tree / "proto/session" / name,
                    objects / f"{name}.o")
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
    files = files.split("+")
    olds = old if isinstance(old, tuple) else (old,)
    news = new if isinstance(new, tuple) else (new,)
    for file, a, b in zip(files, olds, news):
        path = tree / "proto/session" / file
        text = path.read_text()
        if text.count(a) != 1:
            sys.exit(f"{name}: its place in {file} is gone; "
                     f"found {text.count(a)} times")
        path.write_text(text.replace(a, b))
    return files


def main():
    library = sys.argv[1]
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 10000
    wanted = set(sys.argv[3:])
    survivors = []
    with tempfile.TemporaryDirectory() as temp:
        temp = pathlib.Path(temp)
        tree = temp / "tree"
        objects = temp / "objects"
        objects.mkdir()
        shutil.copytree(ROOT / "proto", tree / "proto")
        shutil.copytree(ROOT / "tests/sim", tree / "tests/sim")
        names = sorted(p.name for p in (tree / "proto/session").glob("*.c"))
        for source in ("client", "disk", "main", "net", "server", "source",
                       "world"):
            compile_one(tree, tree / f"tests/sim/{source}.c",
                        objects / f"{source}.o")
        for name in names:
            compile_one(tree, tree / "proto/session" / name,
                        objects / f"{name}.o")
        for mutant in MUTANTS:
            if wanted and mutant[0] not in wanted:
                continue
            changed = plant(tree, mutant)
            build(tree, objects, library, changed)
            found = hunt(str(objects / "sim"), seeds)
            print(f"{mutant[0]:26} " +
                  (f"found by seed {found[0]}: {found[1]}" if found
                   else f"NOT FOUND in {seeds} seeds"), flush=True)
            if not found:
                survivors.append(mutant[0])
            for name in changed:
                shutil.copy(ROOT / "proto/session" / name,
                            tree / "proto/session" / name)
                compile_one(tree, tree / "proto/session" / name,
                            objects / f"{name}.o")
    print(f"{len(survivors)} survived: {' '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
