#!/bin/sh
# Pins chain.txt, dev.txt, rivals.txt, stores.txt, serving.txt and export-*.txt from the .in files, in a temporary virtual environment.
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
"$1" -m venv "$work/other"
"$work/other/bin/pip" install --quiet --requirement "$here/chain.in" --requirement "$here/stores.in" --constraint "$work/all"
"$work/other/bin/pip" freeze | sed 's/+cpu$//' | LC_ALL=C sort > "$work/stores"
{ echo "# Pinned by 'make lock' from stores.in, beside chain.txt; do not edit by hand."
  LC_ALL=C comm -13 "$work/chain" "$work/stores"; } > "$here/stores.txt"
"$1" -m venv "$work/serving"
"$work/serving/bin/pip" install --quiet --no-deps --requirement "$here/serving.in"
{ echo "# Pinned by 'make lock' from serving.in; do not edit by hand."
  "$work/serving/bin/pip" freeze | LC_ALL=C sort; } > "$here/serving.txt"
for wanted in "$here"/export-*.in; do
  name=$(basename "$wanted" .in)
  "$1" -m venv "$work/$name"
  "$work/$name/bin/pip" install --quiet --requirement "$wanted"
  "$work/$name/bin/pip" check
  { echo "# Pinned by 'make lock' from $name.in; do not edit by hand."
    "$work/$name/bin/pip" freeze --all | sed 's/+cpu$//' | grep -v '^pip==' | LC_ALL=C sort; } > "$here/$name.txt"
done
"$work/bin/pip" check
