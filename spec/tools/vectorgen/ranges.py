"""range.json: what a GET selects, and which GETs are refused (G1 to G3)."""

from .common import VectorFile, request_error, u64

NOTES = {
    "GRID": "ranges that begin and end on, before and after chunk borders",
    "LAST": "the ragged last chunk",
    "BEYOND": "G2: parts beyond the end are ignored without error",
    "NOTHING": "G2: a GET that selects nothing ends with DONE, 0 chunks",
    "ONCE": "G3: two ranges in one chunk send it once",
    "G1": "a list of ranges that is refused",
    "EDGE": "near 2^64, the largest file, or exactly MAX_RANGES",
}
TOP = (1 << 64) - 1


def build():
    out = VectorFile("range", NOTES)

    def get(name, comment, size, ranges, runs=None, error=False, flags=(),
            c=12, max_ranges=64, req="G2 G3"):
        """runs: (first chunk, how many), ascending."""
        out.add(name, req, comment,
                {"size": u64(size), "chunk_log2": c,
                 "max_ranges": max_ranges,
                 "ranges": [{"offset": u64(o), "length": u64(n)}
                            for o, n in ranges]},
                None if error else
                {"runs": [{"first": u64(f), "count": u64(n)}
                          for f, n in runs],
                 "chunks": u64(sum(n for _, n in runs))},
                request_error("BAD_REQUEST") if error else None, flags)

    add_grid(get)
    add_ends(get)
    add_several(get)
    add_refused(get)
    return out


def add_grid(get):
    n = 20000
    get("first-byte", "the first byte", n, [(0, 1)], [(0, 1)],
        flags=["GRID"])
    get("first-chunk", "exactly chunk 0", n, [(0, 4096)], [(0, 1)],
        flags=["GRID"])
    get("one-byte-more", "chunk 0 and a byte", n, [(0, 4097)], [(0, 2)],
        flags=["GRID"])
    get("last-byte-of-0", "the last byte of chunk 0", n, [(4095, 1)],
        [(0, 1)], flags=["GRID"])
    get("across-a-border", "two bytes around a border", n, [(4095, 2)],
        [(0, 2)], flags=["GRID"])
    get("first-byte-of-1", "the first byte of chunk 1", n, [(4096, 1)],
        [(1, 1)], flags=["GRID"])
    get("middle", "the middle of the file", n, [(5000, 8000)], [(1, 3)],
        flags=["GRID"])
    get("all", "everything", n, [(0, TOP)], [(0, 5)])
    get("all-by-size", "everything, length known", n, [(0, n)], [(0, 5)])
    get("bigger-chunks", "the same bytes at c = 13", n, [(5000, 8000)],
        [(0, 2)], flags=["GRID"], c=13)
    get("one-chunk-file", "c = 22, one chunk", n, [(19999, 1)], [(0, 1)],
        flags=["LAST"], c=22)


def add_ends(get):
    n = 20000
    get("last-byte", "the last byte", n, [(19999, 1)], [(4, 1)],
        flags=["LAST"])
    get("last-chunk", "the last chunk to the end", n, [(16384, TOP)],
        [(4, 1)], flags=["LAST"])
    get("over-the-end", "the last byte and 100 beyond", n, [(19999, 101)],
        [(4, 1)], flags=["BEYOND"])
    get("inside-the-last-grid-cell", "after the end, still in its cell", n,
        [(20000, 100)], [], flags=["BEYOND", "NOTHING"])
    get("at-the-end", "from the end to the end", n, [(20000, TOP)], [],
        flags=["NOTHING"])
    get("far-beyond", "far beyond", n, [(1 << 40, 1)], [],
        flags=["BEYOND", "NOTHING"])
    get("empty-file", "everything of nothing", 0, [(0, TOP)], [],
        flags=["NOTHING"])
    get("whole-grid", "a file of exactly two chunks", 8192, [(8191, 1)],
        [(1, 1)], flags=["LAST"])
    get("whole-grid-end", "the end of such a file", 8192, [(8192, TOP)], [],
        flags=["NOTHING"])
    get("one-over", "two chunks and a byte", 8193, [(8192, TOP)], [(2, 1)],
        flags=["LAST"])
    large, larger = 1 << 44, 1 << 54
    get("largest-at-12", "the last byte of the largest file at c = 12",
        large, [(large - 1, 1)], [((1 << 32) - 1, 1)], flags=["EDGE"])
    get("largest-at-22", "all of the largest file there is", larger,
        [(0, TOP)], [(0, 1 << 32)], flags=["EDGE"], c=22)
    get("open-from-u64-end", "an open range from 2^64 - 1", larger,
        [(TOP, TOP)], [], flags=["EDGE", "NOTHING"], c=22)
    get("ends-at-u64-end", "a range that ends at 2^64 - 1", larger,
        [(larger - 1, TOP - larger + 1)], [((1 << 32) - 1, 1)],
        flags=["EDGE"], c=22)


def add_several(get):
    n = 20000
    get("resume", "chunks 1, 3 and 4", n, [(4096, 4096), (12288, TOP)],
        [(1, 1), (3, 2)])
    get("same-chunk", "two ranges in chunk 0", n, [(0, 10), (20, 10)],
        [(0, 1)], flags=["ONCE"])
    get("touching-in-chunk", "ranges that touch inside chunk 1", n,
        [(0, 5000), (5000, 3000)], [(0, 2)], flags=["ONCE"])
    get("ends-where-next-starts", "chunk 1 is met by both", n,
        [(0, 4097), (8191, 2)], [(0, 3)], flags=["ONCE"])
    get("partly-beyond", "the second range lies beyond the end", n,
        [(0, 1), (30000, 5)], [(0, 1)], flags=["BEYOND"])
    get("three-in-one", "three ranges in the last chunk", n,
        [(16384, 1), (17000, 1), (19999, TOP)], [(4, 1)], flags=["ONCE"])
    get("64-ranges", "as many as MAX_RANGES", 1 << 20,
        [(i * 16384, 1) for i in range(64)],
        [(i * 4, 1) for i in range(64)], flags=["EDGE"])
    get("1000-ranges", "a server that announced 1000", 1 << 24,
        [(i * 8192, 4097) for i in range(1000)], [(0, 2000)],
        flags=["EDGE"], max_ranges=1000)


def add_refused(get):
    n = 20000
    for name, ranges in (
            ("none", []), ("empty", [(0, 0)]),
            ("empty-at-the-end", [(20000, 0)]),
            ("second-empty", [(0, 1), (1, 0)]),
            ("overlap", [(0, 2), (1, 1)]),
            ("same", [(0, 1), (0, 1)]),
            ("inside", [(0, 100), (50, 10)]),
            ("descending", [(4096, 1), (0, 1)]),
            ("descending-beyond", [(50000, 1), (40000, 1)]),
            ("open-not-last", [(0, TOP), (TOP, TOP)]),
            ("after-open", [(5, TOP), (6, 1)]),
            ("overflow-by-one", [(TOP, 1)]),
            ("overflow-large", [(1 << 63, 1 << 63)]),
            ("overflow-not-last", [(TOP - 1, 2), (TOP, TOP)])):
        get("bad-" + name, name.replace("-", " "), n, ranges, error=True,
            flags=["G1"],
            req="G1b" if "open" in name else "G1a")
    get("bad-65-ranges", "one more than MAX_RANGES", n,
        [(i, 1) for i in range(65)], error=True, flags=["G1", "EDGE"],
        req="G1a")
