# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What `verify` takes against its stages, each run once by hand: `python -m bench.verifying`.

Both in one fresh clone, round by round, for one engine; DVC runs in neither.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from bench.workspace import Workspace
from stages.lib import layout

ENGINE, MODEL = "digits-int8-b64", "digits"
ROUNDS = 5


def main() -> None:
    """Build the engine, then measure and print."""
    once, verified = [], []
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        clone = space.clone("verify")
        space.python(clone, "-m", "dvc", "repro", "--quiet", f"package@{ENGINE}")
        for _ in range(ROUNDS):
            once.append(_stages(space, clone))
            verified.append(space.python(clone, "-m", "stages.verify", ENGINE))
    more = [b - a for a, b in zip(once, verified, strict=True)]
    print(f"stages of {ENGINE}, once each: {_shown(once)} s")
    print(f"verify {ENGINE}:               {_shown(verified)} s")
    print(f"verify - stages:                      {_shown(more)} s, aim: <= 2.0 s")


def _stages(space: Workspace, clone: Path) -> float:
    of_model = [(stage, MODEL) for stage in layout.MODEL_STAGES]
    of_engine = [(stage, ENGINE) for stage in (*layout.ENGINE_STAGES, "package")]
    return sum(
        space.python(clone, "-m", f"stages.{stage}", name) for stage, name in of_model + of_engine
    )


def _shown(seconds: list[float]) -> str:
    middle = statistics.median(seconds)
    return f"{middle:.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


if __name__ == "__main__":
    main()
