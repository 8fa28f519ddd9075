#!/usr/bin/env python3
"""The JSON events: every line parses and obeys the documented schema, and the
story that they tell is what happened."""

import json
import os
import re
import signal

import trees
from harness import (KI, MI, TOP, Belayd, Fault, Run, case, check,
                     check_code, get, library, main, names, same, shelf,
                     start, wait_until, write_random)

SIZE = 6 * MI + 5
library(file=(write_random, SIZE, 3), second=(write_random, 40 * KI, 4))

COMMON = {"v": int, "event": str, "time_ms": int, "elapsed_ms": int}
FILE = {"id": int, "file": str}
LEDGER = {name: int for name in
          "size have kept fresh reused wire repeated wasted saved connects "
          "resets damaged_chunks changes job_ms".split()}
END = {"reason": str, "class": str, "exit_code": int, "text": str}
# event: members that it must have.
SCHEMA = {
    "begin": {"program": str, "version": str, "protocol": int, "files": int},
    "start": {**FILE, "url": str},
    "note": {**FILE, "text": str},
    "secure": {**FILE, "connection": int, "text": str},
    "reset": {**FILE, "connection": int, "text": str},
    "stall": {**FILE, "retry_ms": int, "text": str},
    "back": {**FILE, "text": str},
    "changed": {**FILE, "text": str},
    "reused": {**FILE, "bytes": int, "text": str},
    "damaged": {**FILE, "chunk": int, "text": str},
    "wrong": {**FILE, "offset": int, "text": str},
    "verify": {**FILE, **LEDGER},
    "progress": {**FILE, **LEDGER, "connections": int, "rate": int},
    "file": {**FILE, **END, "path": str, "size": int},
    "done": {**FILE, **LEDGER, **END},
    "failed": {**FILE, **LEDGER, **END},
    "summary": {name: int for name in
                "files fetched up_to_date skipped would_fetch "
                "failed_temporary failed_permanent failed_limit failed_usage "
                "fresh wire exit_code".split()},
}
DIRECTORY = {name: int for name in
             "files_found files_have files_kept files_failed".split()}
OPTIONAL = {"progress": {"eta_ms": int, "cid": str, **DIRECTORY},
            "done": {"cid": str, **DIRECTORY},
            "failed": {"cid": str, **DIRECTORY},
            "verify": {"cid": str, **DIRECTORY}}


def documented():
    """The tables of events.md: events, reasons with their class."""
    with open(os.path.join(TOP, "client", "cli", "events.md")) as file:
        text = file.read()
    table = text[text.index("| event |"):text.index("The ledger:")]
    events = set(re.findall(r"^\| `([a-z]+)` \|", table, re.M))
    reasons = dict(re.findall(
        r"^\| `([a-z-]+)` \| (done|temporary|permanent|limit|usage) \|", text,
        re.M))
    return events, reasons


EVENTS, REASONS = documented()


def check_line(line, run):
    event = json.loads(line)
    kind = event["event"]
    must = {**COMMON, **SCHEMA[kind]}
    may = {**must, **OPTIONAL.get(kind, {})}
    check(event["v"] == 1, "another version", run)
    check(set(must) <= set(event) <= set(may), "%s has members %r, not %r" %
          (kind, sorted(event), sorted(must)), run)
    for name, value in event.items():
        check(type(value) is may[name], "%s: %s is %r" % (kind, name, value),
              run)
        check(value != "" or name == "text", "empty " + name, run)
    if kind in ("done", "failed"):
        check(REASONS.get(event["reason"]) == event["class"],
              "reason %s, class %s" % (event["reason"], event["class"]), run)
        check((event["class"] == "done") == (kind == "done"), "its class",
              run)
    if set(DIRECTORY) & set(event):
        check(set(DIRECTORY) <= set(event), "some of the members", run)
        check(event["files_kept"] <= event["files_have"] <=
              event["files_found"], "its files do not add up", run)
    if "have" in event:
        check(event["have"] == event["kept"] + event["fresh"] +
              event["reused"], "the ledger does not add up", run)
    return event


def events_of(run, text=None):
    text = run.out if text is None else text
    check(text.endswith(b"\n"), "the last line has no end", run)
    events = [check_line(line, run) for line in text.decode().splitlines()]
    times = [event["elapsed_ms"] for event in events]
    check(times == sorted(times), "time runs backwards", run)
    check(events[0]["event"] == "begin" and events[-1]["event"] == "summary",
          "it does not begin and end as it should", run)
    check(events[-1]["exit_code"] == run.code, "another exit code", run)
    return events


def kinds(events):
    return [event["event"] for event in events]


@case
def the_schema_is_the_documented_one(into):
    check(EVENTS == set(SCHEMA), "events.md and this test differ: %r" %
          (EVENTS ^ set(SCHEMA)))
    with open(os.path.join(TOP, "client", "belay.h")) as file:
        known = {name: kind.lower() for name, kind in re.findall(
            r'"([a-z-]+)", BELAY_CLASS_([A-Z]+)\)', file.read())}
    check(REASONS == known and len(known) > 18, "reasons: %r" %
          (set(known.items()) ^ set(REASONS.items())))


@case
def a_download_and_again(into):
    with Belayd() as server:
        run = get("--json", server.url(), cwd=into)
        check_code(run, 0)
        events = events_of(run)
        check(kinds(events)[:2] == ["begin", "start"], "first lines", run)
        last = [kind for kind in kinds(events) if kind != "progress"][-3:]
        check(last == ["verify", "done", "summary"],
              "last lines", run)
        done = events[-2]
        check(done["size"] == done["fresh"] == done["have"] == SIZE,
              "its bytes", run)
        check(done["reason"] == "ok" and done["wire"] > SIZE, "result", run)
        cid = Run(["cid", "file"], into).wait().out.split()[0].decode()
        check(done["cid"] == cid, "another content id", run)
        check(events[-1]["fetched"] == 1, "summary", run)
        run = get("--json", server.url(), cwd=into)
        check_code(run, 0)
        events = events_of(run)
        check(events[-2]["reason"] == "up-to-date" and
              events[-1]["up_to_date"] == 1, "the second run", run)


@case
def breaks_and_progress(into):
    with Belayd() as server, Fault(server, "--rst-every", "1M",
                                   "--rate", 3 * MI) as fault:
        run = get("--json", "-x", "1", fault.url(), cwd=into)
        check_code(run, 0)
        events = events_of(run)
        check(kinds(events).count("reset") >= 3, "too few resets", run)
        progress = [e for e in events if e["event"] == "progress"]
        check(progress, "no progress", run)
        have = [event["have"] for event in progress]
        check(have == sorted(have), "progress goes backwards", run)
        check(any(0 < e["rate"] < 30 * MI for e in progress),
              "no rate that can be true", run)
        check(events[-2]["resets"] >= 3, "the ledger's resets", run)


@case
def failures_and_their_reasons(into):
    with Belayd() as server:
        with open(os.path.join(into, "list"), "w") as file:
            file.write("%s\n%s\n%s sha256=%s\n" % (
                server.url("second"), server.url("none"),
                server.url("file"), "0" * 64))
        run = get("--json", "-i", "list", cwd=into)
        check_code(run, 4)
        events = events_of(run)
        ends = {e["file"]: e for e in events
                if e["event"] in ("done", "failed")}
        check({n: e["reason"] for n, e in ends.items()} ==
              {"second": "ok", "none": "refused", "file": "wrong-content"},
              "reasons", run)
        check(ends["none"]["exit_code"] == 3, "its exit code", run)
        check(events[-1]["failed_permanent"] == 2 and
              events[-1]["fetched"] == 1, "summary", run)
    run = get("--json", "belay+tcp://127.0.0.1:1/x", cwd=into)
    check_code(run, 75)
    check(events_of(run)[-2]["class"] == "temporary", "class", run)


@case
def on_standard_error_beside_data(into):
    with Belayd() as server:
        for args in (["--json", "-o", "-"], ["--progress=json", "-o", "x"]):
            run = get(*args, server.url("second"), cwd=into)
            check_code(run, 0)
            events_of(run, run.raw_err)
        run = get("--json", "-o", "-", server.url("second"), cwd=into)
        check(len(run.out) == 40 * KI, "the data", run)


@case
def names_that_are_no_text(into):
    """Whatever the name, the line stays JSON and one line."""
    with Belayd() as server:
        for name in ("%0A%1B%5B31m", "%FF%FE", "a%22b%5Cc", "%E2%80%AE"):
            run = get("--json", server.url(name), cwd=into)
            check_code(run, 3)
            events = events_of(run)
            check(events[-2]["reason"] == "refused", "reason", run)
            check("\x1b" not in events[-2]["file"], "a raw escape", run)


@case
def interrupted(into):
    with Belayd() as server, Fault(server, "--rate", 1 * MI) as fault:
        run = start("--json", fault.url(), cwd=into)
        wait_until(lambda: b'"progress"' in run.out, "progress")
        run.send(signal.SIGTERM)
        run.wait()
        check_code(run, 128 + signal.SIGTERM)
        events = events_of(run)
        check(events[-2]["reason"] == "interrupted", "reason", run)


@case
def a_directory(into):
    """Totals while it goes on, and at the end what the file events say."""
    src = trees.make(into + "/src", dirs=4, files=10, large=2)
    files = trees.count(src)
    size = sum(os.path.getsize(os.path.join(base, name))
               for base, _, names_ in os.walk(src) for name in names_)
    os.symlink("nothing", src + "/link")
    with Belayd(src) as server:
        for fetched in (files, 0):
            run = get("--json", "-r", "--limit-rate", 2 * MI, server.url(""),
                      "-d", "out", cwd=into)
            check_code(run, 0)
            events = events_of(run)
            done, each = events[-2], [e for e in events
                                      if e["event"] == "file"]
            check((done["files_found"], done["files_have"],
                   done["files_kept"], done["files_failed"]) ==
                  (files, files, files - fetched, 0), "totals", run)
            check(done["size"] == done["have"] == size and
                  done["fresh"] == (size if fetched else 0), "bytes", run)
            check(len([e for e in each if e["reason"] == "ok"]) == fetched,
                  "file events", run)
            check(kinds(events).index("start") < kinds(events).index("file"),
                  "order", run)
            progress = [e for e in events if e["event"] == "progress"]
            have = [(e["files_have"], e["have"]) for e in progress]
            check(have == sorted(have), "progress goes backwards", run)
            check(all(e["size"] in (0, size) for e in progress), "size", run)


@case
def nobody_reads_the_events(into):
    """The file is fetched; that its events went nowhere is an error."""
    with Belayd() as server, open("/dev/full", "wb") as full:
        run = get("--json", server.url("second"), cwd=into, stdout=full)
        check_code(run, 5)
        check(same(os.path.join(into, "second"),
                   os.path.join(shelf(), "second")), "the file", run)
        check(names(into) == ["second"], "left: %r" % names(into), run)


if __name__ == "__main__":
    main()
