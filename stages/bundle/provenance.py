# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Provenance of a package: an in-toto Statement v1 with an SLSA provenance v1 predicate.

Specifications: github.com/in-toto/attestation (spec/v1) and slsa.dev/spec/v1.0/provenance. The
statement says in their words what the manifest says, so it is a function of the manifest, and
comparing the two is making it again. Nothing in it depends on who made it, where, when or from
which commit: who promotes a package binds these to it, and signs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stages.bundle import statement
from stages.lib import errors, files, layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FILE = "provenance.json"
# Names, not addresses: the project promises no web page under which they would be found, and
# whoever clones it is not the owner of one. ARCHITECTURE.md says what they stand for. The number
# is raised when parameters or dependencies come to mean something else.
BUILD_TYPE = "urn:enginery:chain:1"
# Any checkout on any machine: of itself it claims no SLSA build level.
BUILDER = "urn:enginery:checkout:1"

# What the chain itself makes on the way; all else in a manifest's `digests` came from outside, or
# decided numbers (the calibration cache).
_MADE = ("exported_graph", "clean_graph", "observations", "typed_graph")

Document = dict[str, Any]


def make(manifest: Mapping[str, Any]) -> Document:
    """Make the statement that belongs to a manifest, whose `files` may name it already.

    Raises:
        ArtifactError: a value cannot be said in a statement, such as an integer above 2**53.
    """
    document = {
        "_type": statement.TYPE,
        "subject": list(_subjects(manifest)),
        "predicateType": statement.PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"engine": manifest["engine"], "params": manifest["params"]},
                "resolvedDependencies": [
                    *_materials(manifest),
                    *_code(manifest),
                    _params(manifest),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": _versions(manifest["toolchain"]),
                    "builderDependencies": list(_packages(manifest["toolchain"])),
                },
                "byproducts": list(_byproducts(manifest)),
            },
        },
    }
    if fault := statement.problem(document):
        msg = f"no provenance can be made of this: {fault}"
        raise errors.ArtifactError(msg, mend=f"look at the names and numbers in {layout.PARAMS}")
    return document


def dir_hash(digests: Mapping[str, str]) -> str:
    """One digest of a folder, from the SHA-256 of each file by path in the folder.

    The SHA-256 of the lines `<digest>  <path>`, sorted by path: what in-toto calls `dirHash`, and
    Go's dirhash.Hash1 in hex. In the folder, by hand:
    `find . -type f | cut -c3- | LC_ALL=C sort | xargs -r sha256sum | sha256sum`.
    """
    rows = (f"{digests[name]}  {name}\n".encode() for name in sorted(digests, key=str.encode))
    return hashlib.sha256(b"".join(rows)).hexdigest()


def _subjects(manifest: Mapping[str, Any]) -> Iterator[Document]:
    plan = manifest["plan"]
    yield {"name": plan["file"], "digest": {"sha256": plan["sha256"]}}
    folder = layout.typed(manifest["engine"]).as_posix()
    graph = manifest["digests"]["typed_graph"]
    one = dir_hash({path.removeprefix(f"{folder}/"): digest for path, digest in graph.items()})
    # Both names, since consumers must ignore an algorithm that they do not know.
    yield {"name": folder, "digest": {"dirHash": one, "sha256": one}}


def _materials(manifest: Mapping[str, Any]) -> Iterator[Document]:
    for role, digests in sorted(manifest["digests"].items()):
        if role not in _MADE:
            for path, digest in sorted(digests.items()):
                yield _resource(path, digest, role=role)


def _code(manifest: Mapping[str, Any]) -> Iterator[Document]:
    """Each code file that ran; one of older code too, where a stage did not need to run again."""
    ran = ((stage, file) for stage, code in manifest["code"].items() for file in code.items())
    for (path, digest), stages in _grouped(ran):
        yield _resource(path, digest, role="code", stages=stages)


def _params(manifest: Mapping[str, Any]) -> Document:
    digest = _canonical(manifest["params"])
    return _resource("params", digest, role="`params` of manifest.json, as canonical JSON")


def _versions(toolchain: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for versions in toolchain.values():
        for package, version in versions.items():
            found.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(versions)) for package, versions in found.items()}


def _packages(toolchain: Mapping[str, Mapping[str, str]]) -> Iterator[Document]:
    """Pins as package URLs (ECMA-427)."""
    pins = ((stage, pin) for stage, versions in toolchain.items() for pin in versions.items())
    for (package, version), stages in _grouped(pins):
        if package == "platform":
            continue
        kind = "generic" if package == "python" else "pypi"
        name = quote(package.lower().replace("_", "-"), safe="")
        uri = f"pkg:{kind}/{name}@{quote(version, safe='')}"
        yield {"uri": uri, "annotations": {"stages": stages}}


def _byproducts(manifest: Mapping[str, Any]) -> Iterator[Document]:
    """The rest of the package, so that the statement accounts for all of it."""
    rest = {key: value for key, value in manifest.items() if key != "files"}
    role = "manifest.json without `files`, as canonical JSON"
    yield _resource("manifest", _canonical(rest), role=role)
    for path, entry in sorted(manifest["files"].items()):
        if path not in (FILE, manifest["plan"]["file"]):
            yield _resource(path, entry["sha256"], role="file of the package")


def _resource(name: str, digest: str, **annotations: Any) -> Document:
    return {"name": name, "digest": {"sha256": digest}, "annotations": annotations}


def _canonical(value: Any) -> str:
    return hashlib.sha256(files.canonical_json(value)).hexdigest()


def _grouped(
    pairs: Iterable[tuple[str, tuple[str, str]]],
) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Stages by what they share, both sorted."""
    found: dict[tuple[str, str], list[str]] = {}
    for stage, item in pairs:
        found.setdefault(item, []).append(stage)
    for item in sorted(found):
        yield item, sorted(found[item])
