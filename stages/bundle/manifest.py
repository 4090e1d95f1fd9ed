# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest: what a package holds, what it was made from and how it was judged.

Fields are those that deployments ask for and that the facts can answer; nothing in it names a
time, a host or a user, so the same recipe gives the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import errors, layout, plan_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "manifest.json"
SCHEMA_VERSION = 1
PLAN = "model.plan"


# Builder settings that decide where the plan may run; each backend has its own.
_COMPAT = ("hardware_compatibility", "refit", "strip_plan", "version_compatible")

_MAY_BE_NOTHING = ("rewrites", "timing_cache", "plugins", "metric")

_MAKE_AGAIN = "`dvc repro --force {stage}@{name}` makes it again, then `dvc repro` what follows"

_BUILD = ("command", "layers", "precisions", "compiled", "reproducible")

Document = dict[str, Any]


def check(facts: Mapping[str, Document], names: Mapping[str, str]) -> None:
    """Check that the facts are of the right runs, and that these runs form one chain.

    One file has one digest and one parameter one value in all facts that mention it. Code files are
    left out: a stage that did not need to run again was run by older code, and says so.

    Args:
        facts: by stage.
        names: the model or engine that each stage ran for.

    Raises:
        ArtifactError: they are not.
    """
    seen: dict[tuple[str, str], tuple[str, Any]] = {}
    for stage, told in facts.items():
        if (told["stage"], told["name"]) != (stage, names[stage]):
            found = f"{told['stage']} {told['name']}"
            msg = f"{layout.facts(stage, names[stage])} holds the facts of `{found}`"
            raise _error(msg, stage, names[stage])
        for kind in ("inputs", "outputs", "params"):
            for key, value in told[kind].items():
                subject = ("param" if kind == "params" else "file", key)
                first, known = seen.setdefault(subject, (stage, value))
                if known != value:
                    what = f"{stage} and {first} disagree about the {' '.join(subject)}"
                    msg = f"{what}: {value!r} and {known!r}"
                    raise _error(msg, first, names[first])


def make(
    engine: str,
    model: str,
    *,
    facts: Mapping[str, Document],
    report: Document,
    verdict: Document,
    code: Mapping[str, str],
    versions: Mapping[str, str],
    params: Mapping[str, Any],
    serving: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any]],
) -> Document:
    """Make a manifest (schemas/manifest.schema.json).

    Args:
        engine: key of the engine.
        model: key of its model.
        facts: by stage, from export to gate; checked by `check`.
        report: what `validate` measured.
        verdict: what `gate` decided.
        code: digests of the code of `package` itself.
        versions: versions that `package` itself is pinned to.
        params: values that `package` itself used, by dotted key.
        serving: version and runtime, what answers, and its files, the first one in the lead.
        files: {"sha256", "bytes"} of each file of the package, by path in the package.

    Raises:
        ArtifactError: facts lack something that a manifest needs.
    """
    face = facts["build"]["details"]
    header = next(e["value"] for e in report["measurements"] if e["name"] == "plan-header")
    builder = facts["build"]["params"].get(f"engines.{engine}.builder", {})
    return {
        "schema_version": SCHEMA_VERSION,
        "engine": engine,
        "model": model,
        "backend": face["backend"],
        "plan": {
            "file": f"{serving['version']}/{PLAN}",
            **face["plan"],
            "magic": header["magic"],
            "version": header["version"],
        },
        "compat": {
            "compute_capabilities": builder.get("compute_capabilities", []),
            "runtime": dict([plan_header.library(facts["build"]["versions"], face["backend"])]),
            "settings": {key: builder[key] for key in _COMPAT if key in builder},
        },
        "inputs": face["inputs"],
        "outputs": face["outputs"],
        "profiles": face["profiles"],
        "build": {key: face[key] for key in _BUILD},
        "toolchain": {
            **{stage: told["versions"] for stage, told in facts.items()},
            **_exporter(model, facts["export"]),
            "package": dict(versions),
        },
        "params": {
            **{key: value for told in facts.values() for key, value in told["params"].items()},
            **params,
        },
        "digests": _digests(engine, model, facts),
        "code": {**{stage: told["code"] for stage, told in facts.items()}, "package": dict(code)},
        **judged(report, verdict),
        "serving": dict(serving),
        "device": "not run",
        "files": {path: dict(entry) for path, entry in files.items()},
    }


def _exporter(model: str, export: Document) -> Document:
    """Versions in the exporter's own environment, if it has one; its Python is the chain's."""
    if export["details"]["environment"] is None:
        return {}
    framework = export["params"][f"models.{model}.source"]["framework"]
    python = export["versions"]["python"]
    return {f"export-{framework}": {**export["details"]["environment"], "python": python}}


def judged(report: Document, verdict: Document) -> Document:
    """What a manifest takes from report and verdict: `precision`, `metrics` and `verdict`."""
    measured = {entry["name"]: entry["value"] for entry in report["measurements"]}
    return {
        "precision": report["precision"],
        "metrics": {
            "task_metric": measured["task-metric"],
            "numerics": measured["numerics"],
            "out_of_range": (measured["coverage"] or {"worst": None})["worst"],
        },
        "verdict": {
            "verdict": verdict["verdict"],
            "rules": {rule["name"]: rule["state"] for rule in verdict["rules"]},
            "not_run": verdict["not_run"],
        },
    }


def _digests(engine: str, model: str, facts: Mapping[str, Document]) -> Document:
    """Digests by what they are of."""
    caches = layout.cache(model, "none").parent
    sources: dict[str, tuple[str, str, Path]] = {
        "source": ("export", "inputs", layout.model_source(model)),
        "probe_samples": ("export", "inputs", layout.samples(model, "probe")),
        "exported_graph": ("export", "outputs", layout.exported(model)),
        "rewrites": ("sanitize", "inputs", layout.rewrites(model)),
        "clean_graph": ("sanitize", "outputs", layout.clean(model)),
        "calibration_samples": ("observe", "inputs", layout.samples(model, "calibration")),
        "observations": ("observe", "outputs", layout.observations(model)),
        "calibration_cache": ("precision", "inputs", caches),
        "typed_graph": ("precision", "outputs", layout.typed(engine)),
        "timing_cache": ("build", "inputs", layout.timing(model)),
        "plugins": ("build", "inputs", layout.plugins(model)),
        "validation_samples": ("validate", "inputs", layout.samples(model, "validation")),
        "metric": ("validate", "inputs", layout.metric(model)),
    }
    found = {}
    for title, (stage, kind, path) in sources.items():
        found[title] = _below(path, facts[stage][kind])
        if not found[title] and title not in _MAY_BE_NOTHING:
            name = model if stage in layout.MODEL_STAGES else engine
            msg = f"the facts of `{stage} {name}` name nothing at {path}"
            raise _error(msg, stage, name)
    return {title: digests for title, digests in found.items() if digests or title != "plugins"}


def _below(path: Path, digests: Mapping[str, str]) -> dict[str, str]:
    prefix = path.as_posix()
    return {
        file: digest
        for file, digest in digests.items()
        if file == prefix or file.startswith(f"{prefix}/")
    }


def _error(what: str, stage: str, name: str) -> errors.ArtifactError:
    return errors.ArtifactError(what, mend=_MAKE_AGAIN.format(stage=stage, name=name))
