#!/usr/bin/env python3
"""B23: the digest cache is served to nobody, wherever it is."""

import os

from kit import Listening, R, Raw, as_user, case, check, main, program


@case
def the_cache_is_not_served(tmp):
    root = os.path.join(tmp, "root")
    os.makedirs(os.path.join(root, "cache"))
    with open(os.path.join(root, "good"), "wb") as out:
        out.write(b"good" * 5000)
    server = Listening(
        [program("BELAYD"), "--root", root, "--plain", "--listen",
         "127.0.0.1:0", "--cache", os.path.join(root, "cache"),
         *as_user()],
        os.path.join(tmp, "log"))
    with server, Raw(server.port) as raw:
        check(raw.error(raw.open("cache/digests.mdb")) == R.WIRE_NOT_FOUND,
              "the cache file is served")
        check(raw.error(raw.list(b"cache")) == R.WIRE_NOT_FOUND,
              "the cache directory is listed")
        entries = raw.answer(raw.list(b""), "ENTRIES")[-1].fields["entries"]
        check([e["name"] for e in entries] == [b"good"], "it shows")

if __name__ == "__main__":
    main()
