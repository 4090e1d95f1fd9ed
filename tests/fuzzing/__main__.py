# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""`make fuzz`: hostile models until the time is over."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter
from pathlib import Path

from stages.lib.console import say
from tests.fuzzing import models, target

_KEPT = Path(".logs/fuzz")


def main() -> int:
    """Fuzz, and say how to repeat what failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="budget; default 600")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument("--only", type=int, help="repeat this one attempt and show its end")
    words = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if words.seed is None else words.seed
    bases = models.all_of_them() | models.of_all_ops()
    if words.only is not None:
        say(str(target.attempt(bases, seed, words.only, keep=_KEPT)))
        return 0
    say(f"seed {seed}; {len(bases)} models; {words.seconds:g} s")
    ends: Counter[str] = Counter()
    failures, index, begin = 0, 0, time.monotonic()
    while time.monotonic() - begin < words.seconds:
        result = target.attempt(bases, seed, index, keep=_KEPT)
        ends[result.end] += 1
        if result.failed:
            failures += 1
            again = f"python -m tests.fuzzing --seed {seed} --only {index}"
            say(f"FAILED {result}\n  again: {again}")
        index += 1
    say(f"{index} attempts: " + ", ".join(f"{end} {n}" for end, n in ends.most_common()))
    say(f"failures {failures}; again: python -m tests.fuzzing --seed {seed}")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
