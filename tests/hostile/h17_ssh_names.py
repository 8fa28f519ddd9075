#!/usr/bin/env python3
"""H17: a host or mirror that begins with "-", or has spaces, line ends or
characters of a shell, for the ssh transport: refused, and nothing is run."""

import os

from peer import (box, case, check, check_code, check_printable, conform, get,
                  main, names)

conform("over_ssh")

BAD = ["-oProxyCommand=touch pwned:f", "belay+ssh://-oProxyCommand=x/f",
       "belay+ssh://-l@h/f", "h;touch pwned:f", "$(touch pwned):f",
       "`touch pwned`:f", "belay+ssh://a b/f", "a b:f", "a\nb:f", "a\tb:f",
       "h|touch pwned:f", "h&touch pwned:f", "h'x:f", 'h"x:f', "h>pwned:f",
       "belay+ssh://h\nx/f", "belay+ssh://%2doProxyCommand=x/f",
       "belay+ssh://h%20x/f", "belay+ssh://h%0ax/f", "-h:f", "u@-h:f",
       "-u@h:f", "belay+ssh://h:-1/f", "belay+ssh://h:22;x/f"]


def recorder(tmp):
    """An ssh that only notes that it was run."""
    path, record = os.path.join(tmp, "ssh"), os.path.join(tmp, "record")
    with open(path, "w") as out:
        out.write("#!/bin/sh\necho \"$*\" >> '%s'\nexit 255\n" % record)
    os.chmod(path, 0o755)
    return path, record


@case
def as_the_url(tmp):
    fake, record = recorder(tmp)
    for bad in BAD:
        run = get("-e", fake, "--retry", "1", "--", bad, cwd=box(tmp))
        check_code(run, 2, repr(bad))
        check_printable(run)
    check(not os.path.exists(record), "it was run")
    check(names(box(tmp)) == [], "left: %r" % names(box(tmp)))


@case
def as_a_mirror_and_in_lists(tmp):
    fake, record = recorder(tmp)
    for bad in BAD:
        run = get("-e", fake, "--retry", "1", "--mirror", bad,
                  "belay+tcp://127.0.0.1:1/f", cwd=box(tmp))
        check_code(run, 2, "mirror " + repr(bad))
        if "\n" in bad or " " in bad or '"' in bad or "\t" in bad:
            continue
        for line in (bad, "belay+tcp://127.0.0.1:1/f mirror=" + bad):
            with open(os.path.join(tmp, "list"), "w") as out:
                out.write(line + "\n")
            run = get("-e", fake, "--retry", "1", "-i",
                      os.path.join(tmp, "list"), cwd=box(tmp))
            check_code(run, 2, "line " + repr(line))
            check_printable(run)
    check(not os.path.exists(record), "it was run")


@case
def paths_are_no_words(tmp):
    """What is a path stays one: it does not reach ssh at all."""
    fake, record = recorder(tmp)
    for path in ("-oProxyCommand=x", "$(touch pwned)", "`touch pwned`;x"):
        run = get("-e", fake, "--retry", "1", "h:" + path, cwd=box(tmp))
        check(run.code in (2, 75), "exit code", run)
    if os.path.exists(record):
        with open(record) as file:
            for line in file:
                check("Proxy" not in line and "pwned" not in line,
                      "ssh got %r" % line)
    check(names(box(tmp)) == [], "left: %r" % names(box(tmp)))


if __name__ == "__main__":
    main()
