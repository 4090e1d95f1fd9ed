# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements against the gates in params.yaml.

The verdict is written either way, so that people and the closing table can read it; the stage then
fails if a rule says no, and nothing is packaged.
"""

from __future__ import annotations

from stages.lib import console, errors, facts, files, layout, params, pins, schema
from stages.policy import gates


def main(engine: str) -> None:
    """Judge `engines.<engine>`."""
    document = params.load()
    versions = pins.toolchain(document)
    limits = document.param(f"engines.{engine}.gates")
    path = layout.report(engine)
    report = files.read_json(path)
    schema.check(report, layout.schema("report"), path.as_posix())
    if report["engine"] != engine:
        msg = f"{path} is the report of {report['engine']}, not of {engine}"
        raise errors.ArtifactError(
            msg, mend=f"`dvc repro --force validate@{engine}` makes it again"
        )

    verdict = gates.decide(report, limits, files.sha256(path))
    schema.check(verdict, layout.schema("verdict"), layout.verdict(engine).as_posix())
    files.write_json(layout.verdict(engine), verdict)
    facts.write(
        "gate",
        engine,
        inputs=[path],
        outputs=[layout.verdict(engine)],
        params={f"engines.{engine}.gates": limits},
        versions=versions,
        details={"verdict": verdict["verdict"]},
    )
    if verdict["verdict"] == "failed":
        raise _refusal(engine, report["model"], verdict["rules"])
    passed, moot = (
        [rule["name"] for rule in verdict["rules"] if rule["state"] == state]
        for state in ("passed", "not applicable")
    )
    console.say(
        f"gate {engine}: passed its {len(passed)} rules;"
        f" not applicable: {_list(moot)}; not run: {_list(verdict['not_run'])}"
    )


def _refusal(engine: str, model: str, rules: list[gates.Rule]) -> errors.GateError:
    failed = gates.failed(rules)
    msg = (
        f"{engine} fails {len(failed)} of {len(rules)} rules"
        f" ({layout.verdict(engine)} has all figures):\n\n{gates.table(failed)}"
    )
    mends = _mends(engine, model, [rule["name"] for rule in failed])
    return errors.GateError(msg, mend="\n- ".join(["", *mends]))


def _mends(engine: str, model: str, names: list[str]) -> list[str]:
    mends = []
    if "interface" in names:
        mends.append(
            "a rewrite or the precision stage changed inputs or outputs: compare"
            f" {layout.exported(model)} with {layout.typed(engine)}"
        )
    if "plan-header" in names:
        mends.append(f"`dvc repro --force build@{engine}` builds the plan with the pinned version")
    if "precision" in names:
        mends.append(f"report.json says what was kept and why; look at engines.{engine}.overrides")
    if "max_out_of_range" in names:
        mends.append(
            f"do the samples in {layout.samples(model, 'calibration')} represent those of"
            " validation? add such as they lack"
        )
    if keys := [f"engines.{engine}.gates.{name}" for name in names if "_" in name]:
        mends.append(f"if these figures are good enough, relax {_list(keys)} in params.yaml")
        mends.append(f"or give engines.{engine} another precision, method or overrides")
    return [*mends, f"then `dvc repro package@{engine}`"]


def _list(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


if __name__ == "__main__":
    console.run("gate", main, "engine")
