#!/usr/bin/env python3
"""Goal: the client in Perl, a second one written from the text alone, passes
the conformance suite and everything that the one in Python passes.  Exit
status 77 without perl."""

import shutil
import subprocess
import sys

import conform_test
import mini_test
import serving

MODULES = "-MCompress::Raw::Zlib -MDigest::SHA -MIO::Socket::IP".split()


def main():
    perl = shutil.which("perl")
    if not perl or subprocess.run([perl, *MODULES, "-e1"],
                                  stderr=subprocess.DEVNULL).returncode:
        print("skipped: no perl with its core modules")
        return 77
    serving.COMMAND = [perl, serving.MINI_PERL]
    # Its notes have another name and form.
    cases = [case for case in mini_test.cases()
             if case is not mini_test.part_damaged]
    failed = serving.run_all(cases)
    return failed or conform_test.conform(
        "client", "--", *serving.COMMAND, "{url}", "{out}")


if __name__ == "__main__":
    sys.exit(main())
