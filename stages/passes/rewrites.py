# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The user's own rewrites: Python files of `models/<m>/rewrites/`, run in order of name.

A file defines `PASS`, an `onnx_ir.passes.PassBase`, or `RULES`, an
`onnxscript.rewriter.RewriteRuleSet`. They run before the passes, under the same proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.lib import errors, plugins

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir


def names(folder: Path) -> list[str]:
    """File names of the user's rewrites, in the order in which they run."""
    return sorted(file.name for file in folder.glob("*.py"))


def run(model: ir.Model, folder: Path, name: str) -> ir.Model:
    """Apply one file.

    Raises:
        GraphError: the file defines neither PASS nor RULES, or fails.
    """
    try:
        module = plugins.entry(folder, name)
        if hasattr(module, "PASS"):
            result: ir.Model = module.PASS(model).model
            return result
        module.RULES.apply_to_model(model)
    except (Exception, SystemExit) as error:  # a file of the user's may call sys.exit
        msg = f"rewrite {folder.as_posix()}/{name} failed: {type(error).__name__}: {error}"
        raise errors.GraphError(
            msg, mend="define PASS (an onnx_ir pass) or RULES (an onnxscript RewriteRuleSet) in it"
        ) from error
    return model
