# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Finds what the policy judges: evidence of the device, the commit, tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import files, layout, schema
from stages.promotion import approval, history
from stages.promotion.policy import Found

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DIGITS = 12

Document = dict[str, Any]


def about(
    package: Path,
    manifest: Document,
    rules: Mapping[str, Any],
    channel: str,
    *,
    signer: str | None,
    unsigned: str | None,
) -> Found:
    """All that there is to know about a package that is whole.

    Args:
        package: its folder.
        manifest: its manifest.
        rules: `channels.<channel>` of params.yaml.
        channel: its name.
        signer: who signed it; None if no signature holds.
        unsigned: why none does.

    Raises:
        HistoryError: there is no git.
    """
    engine = manifest["engine"]
    digest = files.sha256(package / "manifest.json")
    provenance = files.read_json(package / "provenance.json")
    evidence, no_evidence = _evidence(engine, manifest["plan"]["sha256"])
    tags, recorded = approval.tags(engine), approval.recorded(engine)
    version = approval.version(tags, recorded) if recorded else None
    approved, no_approval = _approval(rules["approval"], tags, recorded, version, channel)
    return Found(
        manifest=manifest,
        manifest_sha256=digest,
        gates=files.read_json(package / "verdict.json"),
        signer=signer,
        unsigned=unsigned,
        evidence=evidence,
        no_evidence=no_evidence,
        search=history.search(history.code(provenance), engine),
        approval=approved,
        no_approval=no_approval,
        version=version.version or "" if version else f"sha256:{digest[:_DIGITS]}",
    )


def _evidence(engine: str, plan: str) -> tuple[Document | None, str | None]:
    """Evidence of the command `device`, if it is of this very plan; else why there is none."""
    path = layout.device_evidence(engine)
    if not path.exists():
        return None, f"`python -m stages.device {engine}` on a machine with a GPU runs it"
    document: Document = files.read_json(path)
    mend = f"`python -m stages.device {engine}` writes it anew"
    schema.check(document, layout.schema("device"), path.as_posix(), mend=mend)
    if (document["engine"], document["plan"]["sha256"]) != (engine, plan):
        return None, f"{path} is of another plan; {mend}"
    return document, None


def _approval(
    form: str | None,
    tags: list[approval.Tag],
    recorded: Document | None,
    version: approval.Tag | None,
    channel: str,
) -> tuple[str | None, str | None]:
    """The tag that approves, and who made it; else why none does."""
    if form is None:
        return None, None
    if recorded is None:
        return None, f"{layout.LOCK} does not record this package: `make repro`, then commit it"
    engine = recorded["engine"]
    if form == "version":
        tag, found = version, f"no tag {engine}@v<number> stands for this package"
        mend = f"`gto register {engine} HEAD`"
    else:
        tag, found = approval.stage(tags, channel, recorded)
        mend = f"`gto assign {engine} HEAD --stage {channel}`"
    if tag is None:
        return None, f"{found}; {mend} approves, if {layout.LOCK} is committed as it is"
    return f"{tag.tag}, by {tag.by}" if tag.by else tag.tag, None
