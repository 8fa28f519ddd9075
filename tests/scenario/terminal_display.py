#!/usr/bin/env python3
"""Several files at once on a terminal: a block of lines that stays in its
place, never scrolls what is above it away, and leaves the result lines."""

import os
import re

from harness import (MI, Belayd, case, check, library, main, on_terminal,
                     program, write_random)

FILES = 5
SIZE = 2 * MI
library(**{"file%d" % k: (write_random, SIZE, k) for k in range(FILES)})


class Screen:
    """As much of a terminal as is used; anything else is a failure."""

    def __init__(self, columns, rows=24):
        self.columns, self.height = columns, rows
        self.lines, self.row, self.column = [""], 0, 0
        self.most_drawn = 0
        self.blocks = []

    def put(self, text):
        for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+|.", text,
                               re.S):
            self.take(part)

    def take(self, part):
        line = self.lines[self.row]
        if part == "\r":
            self.column = 0
        elif part == "\n":
            self.row += 1
            self.column = 0
            if self.row == len(self.lines):
                self.lines.append("")
        elif part == "\x1b[K":
            self.lines[self.row] = line[:self.column]
        elif part == "\x1b[J":
            self.lines[self.row] = line[:self.column]
            del self.lines[self.row + 1:]
        elif re.fullmatch(r"\x1b\[\d+A", part):
            up = int(part[2:-1])
            check(up <= self.row and up < self.height, "up by %d" % up)
            self.blocks.append(self.lines[self.row - up:self.row + 1])
            self.row -= up
        else:
            check("\x1b" not in part, "unknown: %r" % part)
            self.lines[self.row] = (line[:self.column].ljust(self.column) +
                                    part + line[self.column + len(part):])
            self.column += len(part)
            # A result may wrap, since nothing is drawn below it then.
            check(self.column <= self.columns or
                  self.lines[self.row].startswith("belay: "),
                  "too wide: %r" % self.lines[self.row])


def shown(into, columns, *args, env=None):
    with Belayd() as server:
        with open(os.path.join(into, "list"), "w") as file:
            for k in range(FILES):
                file.write(server.url("file%d" % k) + "\n")
        code, text = on_terminal(
            [program("BELAY"), "get", "-i", "list", "-j", "3",
             "--limit-rate", str(FILES * SIZE // 2), *args], into, columns,
            env=env)
    check(code == 0, "exit code %d\n%s" % (code, text))
    return text


@case
def a_block_of_lines(into):
    for columns in (60, 120):
        where = os.path.join(into, str(columns))
        os.mkdir(where)
        text = shown(where, columns)
        screen = Screen(columns)
        screen.put(text)
        check(len(screen.blocks) > 3, "hardly drawn:\n%r" % text)
        check(max(map(len, screen.blocks)) == 4, "lines: %r" %
              [len(b) for b in screen.blocks], None)
        for block in screen.blocks:
            check(re.match(r"\d of 5 files, \d at work", block[-1]),
                  "no totals: %r" % block)
            check(all(re.match(r"file\d ", line) for line in block[:-1]),
                  "a line of no file: %r" % block)
        done = [int(b[-1].split()[0]) for b in screen.blocks]
        check(done == sorted(done), "the count goes back: %r" % done)
        # What stays are the results alone.
        left = [line for line in screen.lines if line]
        check(all(line.startswith("belay: ") for line in left),
              "left on the screen: %r" % left)
        check(sum("verified in" in line for line in left) == FILES and
              "5 of 5 files fetched" in left[-1], "results: %r" % left)


@case
def what_turns_it_off(into):
    for k, (args, env) in enumerate((
            ([], {"TERM": "dumb"}), (["--progress=none"], {}), (["-q"], {}),
            (["--no-progress"], {}), (["--progress=plain"], {}))):
        where = os.path.join(into, str(k))
        os.mkdir(where)
        text = shown(where, 80, *args, env=env)
        check("\x1b" not in text, "%r %r: escapes %r" % (args, env, text))


@case
def no_colours(into):
    """With and without NO_COLOR: there are none."""
    for k, env in enumerate(({}, {"NO_COLOR": "1"}, {"CLICOLOR_FORCE": "1"})):
        where = os.path.join(into, str(k))
        os.mkdir(where)
        text = shown(where, 80, env=env)
        check(not re.search(r"\x1b\[[\d;]*m", text), "colours: %r" % text)


if __name__ == "__main__":
    main()
