#!/usr/bin/env python3
"""Hostile clients against the server: all files b*.py of this directory and
limits.py.

    server.py [FILE...]"""

import runner

# The lines of the catalogue; each has its file.
LINES = (1, 2, 3, 5, 6, 8, 10, 11, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24,
         25)

if __name__ == "__main__":
    runner.main("b", LINES, others=("limits.py",), at_once=6, patience=1500,
                longest=("b03", "b05", "b13", "limits"))
