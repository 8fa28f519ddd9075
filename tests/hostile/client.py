#!/usr/bin/env python3
"""Hostile servers against the client: all files h*.py of this directory.

    client.py [FILE...]"""

import runner

# The lines of the catalogue; each has its file, and h_floor.py the rest.
LINES = (1, 3, 4, 5, 6, 7, 10, 12, 13, 14, 15, 17, 18, 19, 20)

if __name__ == "__main__":
    runner.main("h", LINES, others=(), at_once=5, patience=1200,
                longest=("h_floor", "h10", "h12", "h13", "h18"))
