#!/bin/sh
# Pins chain.txt and dev.txt from chain.in and dev.in, in a temporary virtual environment.
# Both are resolved together, so that the tests never change a version that the chain uses.
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
{ echo "# Pinned by 'make lock' from chain.in; do not edit by hand."; cat "$work/chain"; } > "$here/chain.txt"
{ echo "# Pinned by 'make lock' from dev.in, beside chain.txt; do not edit by hand."
  LC_ALL=C comm -13 "$work/chain" "$work/all"; } > "$here/dev.txt"
"$work/bin/pip" check
