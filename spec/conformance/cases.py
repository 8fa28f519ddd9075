"""Cases, their results, and the three forms in which results are shown."""

import json
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from xml.sax.saxutils import quoteattr

PASS, FAIL, SKIP, UNSUPPORTED = "pass", "fail", "skip", "unsupported"


class Unsupported(Exception):
    """The peer lacks an optional feature (section 14.1)."""


class Skipped(Exception):
    """The case needs something that was not given."""


class Later(Exception):
    """The server puts the case off (B1-D4): it is begun anew."""


class Case:
    def __init__(self, function, ids, needs, slow, alone):
        self.function, self.ids = function, ids
        self.needs, self.slow, self.alone = needs, slow, alone
        self.title = " ".join((function.__doc__ or "").split())


class Suite:
    """Cases of one direction, in the order of their definition."""

    def __init__(self):
        self.cases = []

    def case(self, *ids, needs=(), slow=False, alone=False):
        """Every id named gets a result of its own in the report.  A case
        that keeps the server busy runs alone, after the others."""
        def register(function):
            self.cases.append(Case(function, ids, needs, slow, alone))
            return function
        return register

    def chosen(self, wanted):
        """Cases with one of the ids; a family stands for its members."""
        if not wanted:
            return self.cases
        return [c for c in self.cases if c.function.__name__ in wanted or any(
            one == w or one.rstrip("abcdefghijklmnopqrstuvwxyz") == w
            for one in c.ids for w in wanted)]


class Result:
    def __init__(self, case, verdict, reason, seconds):
        self.case, self.verdict = case, verdict
        self.reason, self.seconds = reason, seconds


def begin(function, argument, tries=20):
    for left in range(tries - 1, -1, -1):
        try:
            function(argument)
            return
        except Later as later:
            if not left:
                raise AssertionError(str(later))
            time.sleep(1)


def run_case(case, argument, have, slow):
    start = time.monotonic()
    try:
        for need in case.needs:
            if need not in have:
                raise Skipped("needs " + need)
        if case.slow and not slow:
            raise Skipped("takes long, needs --slow")
        begin(case.function, argument)
        verdict, reason = PASS, ""
    except AssertionError as error:
        verdict, reason = FAIL, str(error) or "assertion"
    except Unsupported as error:
        verdict, reason = UNSUPPORTED, str(error)
    except Skipped as error:
        verdict, reason = SKIP, str(error)
    except Exception:                   # a fault of this program, said so
        verdict, reason = FAIL, "internal: " + traceback.format_exc()
    return Result(case, verdict, reason, time.monotonic() - start)


def run(cases, argument, have, slow, jobs=1):
    """Most cases wait most of the time, so several run at once; they are
    shown in their order."""
    results = []
    for alone in False, True:
        with ThreadPoolExecutor(1 if alone else jobs) as pool:
            for result in pool.map(
                    lambda one: run_case(one, argument, have, slow),
                    [one for one in cases if one.alone == alone]):
                results.append(result)
                print_human(result)
    return results


def print_human(result):
    print("%-11s %-24s %s" % (result.verdict, " ".join(result.case.ids),
                              result.case.title))
    if result.reason:
        print("            %s" % result.reason.strip().replace(
            "\n", "\n            "))
    sys.stdout.flush()


def per_requirement(results):
    for result in results:
        for one in result.case.ids:
            yield one, result


def write_json(results, path):
    rows = [{"id": one, "case": r.case.function.__name__,
             "title": r.case.title, "result": r.verdict, "reason": r.reason,
             "seconds": round(r.seconds, 3)}
            for one, r in per_requirement(results)]
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"results": rows}, f, indent=1)
        f.write("\n")


def write_junit(results, path, name):
    rows = list(per_requirement(results))
    with open(path, "w", encoding="utf-8") as f:
        f.write('<?xml version="1.0" encoding="UTF-8"?>\n')
        f.write('<testsuite name=%s tests="%d" failures="%d" skipped="%d">\n'
                % (quoteattr(name), len(rows),
                   sum(r.verdict == FAIL for _, r in rows),
                   sum(r.verdict in (SKIP, UNSUPPORTED) for _, r in rows)))
        for one, r in rows:
            f.write(' <testcase classname=%s name=%s time="%.3f">' % (
                quoteattr(one), quoteattr(r.case.function.__name__),
                r.seconds))
            if r.verdict == FAIL:
                f.write("<failure message=%s/>" % quoteattr(r.reason))
            elif r.verdict != PASS:
                f.write("<skipped message=%s/>" % quoteattr(
                    r.verdict + ": " + r.reason))
            f.write("</testcase>\n")
        f.write("</testsuite>\n")


def exit_status(results):
    """1 if anything failed; 127 if nothing was decided."""
    verdicts = {r.verdict for r in results}
    if FAIL in verdicts:
        return 1
    return 0 if PASS in verdicts else 127


def summary(results):
    count = {v: sum(r.verdict == v for r in results)
             for v in (PASS, FAIL, UNSUPPORTED, SKIP)}
    return "%d cases for %d requirements: " % (
        len(results), len({one for one, _ in per_requirement(results)})) + \
        ", ".join("%d %s" % (n, v) for v, n in count.items())
