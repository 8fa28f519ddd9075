#!/usr/bin/env python3
"""Goal: the oracle agrees with every vector, and vectors are reproducible."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "spec", "tools"))

import check_vectors  # noqa: E402  (needs the path above)

sys.exit(check_vectors.main([]))
