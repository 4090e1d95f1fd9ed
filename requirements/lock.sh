#!/bin/sh
# Pins chain.txt, dev.txt and rivals.txt from the .in files, in a temporary virtual environment.
# They are resolved together, so that neither tests nor benchmarks change a version that the chain uses.
set -eu
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
freeze() { "$work/bin/pip" freeze | sed 's/+cpu$//' | LC_ALL=C sort; }
"$1" -m venv "$work"
"$work/bin/pip" install --quiet --requirement "$here/chain.in"
freeze > "$work/chain"
"$work/bin/pip" install --quiet --requirement "$here/chain.in" --requirement "$here/dev.in"
freeze > "$work/all"
"$work/bin/pip" install --quiet --requirement "$here/chain.in" --requirement "$here/dev.in" --requirement "$here/rivals.in"
freeze > "$work/most"
{ echo "# Pinned by 'make lock' from chain.in; do not edit by hand."; cat "$work/chain"; } > "$here/chain.txt"
{ echo "# Pinned by 'make lock' from dev.in, beside chain.txt; do not edit by hand."
  LC_ALL=C comm -13 "$work/chain" "$work/all"; } > "$here/dev.txt"
{ echo "# Pinned by 'make lock' from rivals.in, beside chain.txt and dev.txt; do not edit by hand."
  LC_ALL=C comm -13 "$work/all" "$work/most"; } > "$here/rivals.txt"
"$work/bin/pip" check
