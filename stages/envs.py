# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the environments of exporters ahead of their first use: `make envs`. A command, no stage.

For build servers without a network at build time, and for CI. With `--interpreter` it prints the
path of a framework's interpreter and nothing else, for scripts.
"""

from __future__ import annotations

import argparse
import contextlib
import sys

from stages.lib import console, environments, errors, params, wording


def main(told: argparse.Namespace) -> None:
    """Make the environment of one framework, or of every framework that has one of its own.

    Raises:
        ParamsError: there is no such framework, or it runs in the chain's own environment.
        EnvironmentUnmadeError: an environment cannot be made, or an interpreter in params.yaml is
            not there.
    """
    known, framework = environments.frameworks(), told.framework
    if framework and framework not in known:
        near = wording.suggestion(framework, known)
        msg = f"no exporter {framework!r} has an environment of its own.{near}"
        raise errors.ParamsError(msg, mend=f"name one of {', '.join(known)}, or none for all")
    given = params.load().param("interpreters")
    for name in [framework] if framework else known:
        with contextlib.redirect_stdout(sys.stderr if told.interpreter else sys.stdout):
            path = environments.interpreter(name, given)
        whose = " (of params.yaml, left as it is: `make doctor` looks into it)" * (name in given)
        console.say(f"{path}" if told.interpreter else f"{name}: {path}{whose}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stages.envs", description=__doc__)
    parser.add_argument("framework", nargs="?", default="", help="one of them; without it all")
    parser.add_argument("--interpreter", action="store_true", help="print its path alone")
    return parser


if __name__ == "__main__":
    console.run_parsed("envs", main, _parser())
