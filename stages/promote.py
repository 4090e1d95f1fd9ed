# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Promotes a package to a channel: judged, signed, uploaded, then switched to in one step.

A command, no stage. `<engine> --channel C` promotes, with `--rollback` it goes back to the version
before; `--list` shows what serves where; `--gc --channel C` tells what no kept record needs, and
with `--yes` removes it. What a channel asks is `channels` of params.yaml.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.bundle import integrity
from stages.lib import console, errors, files, layout, params, schema
from stages.promotion import channels, finding, git, listing, policy, signing
from stages.storage import collecting, opening, pointers, transfer
from stages.storage.driver import Source
from stages.storage.records import Entry

if TYPE_CHECKING:
    from stages.lib.params import Params
    from stages.storage.records import Record
    from stages.storage.store import Store

Document = dict[str, Any]


def main(words: argparse.Namespace) -> None:
    """Do what the command line asks."""
    document, lists = params.load(), words.list or words.gc
    lacking = {
        "an engine": words.engine is None and not lists,
        "--channel": words.channel is None and not words.list,
        "--gc, if --yes": words.yes and not words.gc,
        "--channel without a dot": "." in (words.channel or ""),  # a key within it, to params
    }
    if what := [name for name, lacks in lacking.items() if lacks]:
        mend = "`python -m stages.promote --help` shows the usage"
        raise errors.ParamsError(f"give {' and '.join(what)}", mend=mend)
    if words.channel is not None:
        document.param(f"channels.{words.channel}")
    if words.list:
        _list(document, words.channel, words.engine)
    elif words.gc:
        _collect(document, words.channel, yes=words.yes)
    elif words.rollback:
        _rollback(document, words.engine, words.channel)
    else:
        _promote(document, words)


def _promote(document: Params, words: argparse.Namespace) -> None:
    engine, channel, who = words.engine, words.channel, git.who()
    rules = document.param(f"channels.{channel}")
    document.param(f"engines.{engine}")
    manifest = integrity.check(layout.package(engine))
    if manifest["engine"] != engine:
        msg = f"{layout.package(engine)} holds another engine, {manifest['engine']}"
        raise errors.IntegrityError(msg, mend=f"`dvc repro --force package@{engine}`")
    store = opening.open_store(rules["url"])
    before = pointers.current(store, channel, engine)

    signed = _sign(words, rules["signature"])
    verdict = _judge(engine, channel, rules, manifest, signed)
    record = _record(store, manifest, verdict, who, before)
    told = _send(store, record, before)
    path = _channel_file(document, store, channel, engine, verdict)
    console.say(f"{channel} {told}, device: {verdict['device']['state']} -> {path}")


def _send(store: Store, record: Record, before: Record | None) -> str:
    """Upload and switch; where the same serves already, see that the store has it whole."""
    sources = transfer.sources_of(layout.package(record.engine), record.files)
    if sig := record.signature:
        sources.append(Source(layout.signature(record.engine), sig.sha256, sig.bytes))
    total = sum(source.bytes for source in sources)
    with console.counting(total, label=f"{record.engine} -> {record.channel}") as progress:
        if before is None or _content(before) != _content(record):
            transfer.publish(store, record, sources, progress)
            return f"serves {record.engine} {record.version} now: record {record.number}"
        sent = transfer.upload(store, sources, progress)
    mended = f", {sent} of its files missing or altered there and sent again" if sent else ""
    return f"serves {before.engine} {before.version} already: record {before.number}{mended}"


def _sign(words: argparse.Namespace, spec: Document | None) -> tuple[str | None, str | None]:
    """Sign what is not signed yet, if a key is given: who signed, or why no signature holds."""
    if spec is None:
        return None, None
    package, signature = layout.package(words.engine), layout.signature(words.engine)
    try:
        return signing.verify(package, signature, spec), None
    except errors.SigningError as error:
        if not signing.can_sign(spec, words.key):
            return None, f"{error.what}. To mend it: {error.mend}"
    with files.scratch() as aside:  # the one that is there may hold for another channel
        made = aside / signature.name
        signing.sign(package, made, spec, key=words.key, certificate=words.certificate)
        signer = signing.verify(package, made, spec)
        files.write_bytes(signature, made.read_bytes())
    return signer, None


def _judge(
    engine: str,
    channel: str,
    rules: Document,
    manifest: Document,
    signed: tuple[str | None, str | None],
) -> Document:
    """Judge, write the verdict, and tell it.

    Raises:
        PromotionError: a rule says no.
    """
    signer, unsigned = signed
    package, path = layout.package(engine), layout.promotion(channel, engine)
    found = finding.about(package, manifest, rules, channel, signer=signer, unsigned=unsigned)
    verdict = policy.decide(found, rules, channel, dt.datetime.now(dt.UTC))
    schema.check(verdict, layout.schema("promotion"), path.as_posix())
    files.write_json(path, verdict)
    rows = "\n".join(policy.lines(verdict["rules"]))
    if no := policy.failed(verdict["rules"]):
        numbers = ", ".join(f"{rule['number']} ({rule['name']})" for rule in no)
        msg = f"{engine} may not go to {channel}, by rule {numbers}\n\n{rows}"
        mend = f"do what each line asks, then the same command again; it is all in {path}"
        raise errors.PromotionError(msg, mend=mend)
    console.say(rows)
    return verdict


def _record(
    store: Store, manifest: Document, verdict: Document, who: str, before: Record | None
) -> Record:
    """The record that promotes, if nobody else promoted since this command began.

    Raises:
        TakenError: somebody did.
    """
    engine, channel = verdict["engine"], verdict["channel"]
    listed = {path: Entry(**entry) for path, entry in manifest["files"].items()}
    own = layout.package(engine) / "manifest.json"
    listed[own.name] = Entry(verdict["manifest_sha256"], own.stat().st_size)
    signature = layout.signature(engine)
    signed = verdict["signed_by"] is not None
    record = pointers.promotion(
        store,
        channel=channel,
        engine=engine,
        version=verdict["version"],
        files=listed,
        signature=Entry(files.sha256(signature), signature.stat().st_size) if signed else None,
        manifest=verdict["manifest_sha256"],
        plan=verdict["plan_sha256"],
        commit=verdict["commit"],
        who=who,
        when=verdict["judged_at"],
    )
    if record.previous != (before.number if before else None):
        first = pointers.current(store, channel, engine)
        other = f"{first.who} changed {channel} at {first.when}" if first else "it was emptied"
        msg = f"while this was judged, {other}: {engine} serves that"
        raise errors.TakenError(msg, mend="`python -m stages.promote --list`, then decide anew")
    if before is not None and before.files == record.files:
        # Another name or signature: going back from here means going back to other files.
        return dataclasses.replace(record, previous=before.previous)
    return record


def _content(record: Record) -> tuple[object, ...]:
    return (record.files, record.signature, record.version)


def _rollback(document: Params, engine: str, channel: str) -> None:
    rules = document.param(f"channels.{channel}")
    store = opening.open_store(rules["url"])
    store.prove_exclusive()
    collecting.refuse(store)  # it knows of one version to go back to, and we may have gone back
    when = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record = pointers.rollback(store, channel=channel, engine=engine, who=git.who(), when=when)
    if rules["signature"] is not None and record.signature is None:
        # It was promoted when the channel took such packages; whoever fetches wants a signature.
        msg = f"{engine} {record.version}, which served before, is not signed"
        mend = "promote a signed package; or allow unsigned ones: `signature: null`"
        raise errors.SigningError(msg, mend=f"{mend} in channels.{channel}")
    pointers.append(store, record)
    path = _channel_file(document, store, channel, engine, None)
    told = f"serves {engine} {record.version} again: record {record.number}"
    console.say(f"{channel} {told} -> {path}")


def _channel_file(
    document: Params, store: Store, channel: str, engine: str, verdict: Document | None
) -> Path:
    url = document.param(f"channels.{channel}.url")
    return channels.write(channel, engine, url, pointers.history(store, channel, engine), verdict)


def _list(document: Params, channel: str | None, only: str | None) -> None:
    """What serves, and what served, newest first: the stores are asked, not the files of Git."""
    names = [channel] if channel else list(document.param("channels"))
    rows = []
    for name in names:
        store = opening.open_store(document.param(f"channels.{name}.url"))
        for _, engine in pointers.engines(store, name):
            if only in (None, engine):
                rows += listing.rows(pointers.history(store, name, engine))
    console.say(listing.table(rows) if rows else "nothing was promoted yet")


def _collect(document: Params, channel: str, *, yes: bool) -> None:
    """Remove, or tell, what no kept record of the channel's store needs."""
    values = document.param("channels")
    url = values[channel]["url"]
    # Channels may share a store: what one of them keeps, stays.
    here = opening.place(url)
    keep = max(rules["keep"] for rules in values.values() if opening.place(rules["url"]) == here)
    store = opening.open_store(url)
    found = collecting.collect(store, keep, dry_run=not yes, who=git.who())
    for garbage in found:
        console.say(f"{garbage.bytes:>14,}  {garbage.name}  {garbage.why}")
    size = sum(garbage.bytes for garbage in found)
    done = "removed" if yes else "to remove; --yes removes them" if found else "to remove"
    console.say(f"{len(found)} files, {size:,} bytes of {store.url} {done}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m stages.promote", description=__doc__)
    made.add_argument("engine", nargs="?", help="key in `engines` of params.yaml")
    made.add_argument("--channel", metavar="NAME", help="key in `channels` of params.yaml")
    made.add_argument("--key", type=Path, metavar="FILE", help="private key that signs, PEM")
    made.add_argument("--certificate", type=Path, metavar="FILE", help="that signs, PEM")
    kinds = made.add_mutually_exclusive_group()
    kinds.add_argument("--rollback", action="store_true", help="go back to the version before")
    kinds.add_argument("--list", action="store_true", help="show what serves where")
    kinds.add_argument("--gc", action="store_true", help="tell what no kept record needs")
    made.add_argument("--yes", action="store_true", help="with --gc: remove it")
    return made


if __name__ == "__main__":
    console.run_parsed("promote", main, parser())
