#!/bin/sh
# Generated files and tables are those that spec/*.tsv give.
set -eu
cd "$(dirname "$0")/../.."
exec python3 -B spec/tools/gen.py --check
