#!/bin/sh
# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs engines on this machine's GPU and leaves evidence/<engine>.device.json for each.
#
#   bench/device.sh                every engine of params.yaml whose plan is there
#   bench/device.sh ENGINE...      these
#   bench/device.sh --test         the tests that need a GPU
#
# PYTHON names the interpreter; .venv/bin/python by default. Plans come from `make repro`.
# Exit status: that of the first engine that failed (14: no GPU, 17: the plan does not load).

set -u
cd "$(dirname "$0")/.." || exit 70
python="${PYTHON:-.venv/bin/python}"

if [ "${1:-}" = "--test" ]; then
    shift
    exec "$python" -m pytest -n 0 -m gpu tests/gpu "$@"
fi

if [ $# -eq 0 ]; then
    for plan in artifacts/engines/*/model.plan; do
        [ -e "$plan" ] || { echo "there is no plan below artifacts/engines: make repro" >&2; exit 15; }
        set -- "$@" "$(basename "$(dirname "$plan")")"
    done
fi

first=0
for engine in "$@"; do
    "$python" -m stages.device "$engine"
    status=$?
    [ "$first" -ne 0 ] || first=$status
    # Without a GPU the rest would say the same.
    [ "$status" -ne 14 ] || break
done
exit "$first"
