# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Places what a channel serves into a folder that Triton takes as its model repository. A command.

`python -m stages.fetch <url> <channel> --to DIR` fetches every engine of the channel, or one with
`--engine`. Each is checked before it appears: the pointer record, the digest of each file, and the
signature, for which the consumer says whom to believe; nothing that the store holds can say that.
An engine that is there already is replaced in one step. README.md shows the same by a store's own
command line and `model_signing verify`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import console, errors, files
from stages.promotion import signing
from stages.storage import opening, pointers, transfer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.storage.records import Record
    from stages.storage.store import Store

_WHOM = (
    "say whom to believe: `--key PUBLIC.pem`; `--certificates ROOT.pem --identity SUBJECT`;"
    " `--identity EMAIL --issuer URL` for Sigstore; or `--unsigned` to believe the store"
)


def main(words: argparse.Namespace) -> None:
    """Fetch one engine, or all, of a channel."""
    whom = _whom(words)
    store = opening.open_store(words.url)
    for record in _serving(store, words.channel, words.engine):
        target = Path(words.to) / record.engine
        with files.writing(target) as folder:
            signer = _fetch(store, record, folder, whom)
        console.say(
            f"{target}: {record.version}, record {record.number} of {record.channel}, by"
            f" {record.who} at {record.when}; {signer}"
        )


def _whom(words: argparse.Namespace) -> Mapping[str, Any] | None:
    """Whose signature counts, in the form of `channels.<channel>.signature`; None for nobody's.

    Raises:
        SigningError: the options do not say it, or say two things.
    """
    methods = {
        signing.KEY: words.key,
        signing.CERTIFICATE: words.certificates and words.identity,
        signing.SIGSTORE: words.issuer and words.identity,
    }
    chosen = [method for method, complete in methods.items() if complete]
    if len(chosen) + words.unsigned != 1:
        raise errors.SigningError("it is not clear whose signature counts", mend=_WHOM)
    if words.unsigned:
        return None
    return {
        "method": chosen[0],
        "public_key": words.key,
        "certificates": words.certificates,
        "identity": words.identity,
        "issuer": words.issuer,
        "trust_config": words.trust_config,
    }


def _serving(store: Store, channel: str, engine: str | None) -> list[Record]:
    """The records that serve.

    Raises:
        ArtifactError: there is none.
    """
    names = [engine] if engine else [name for _, name in pointers.engines(store, channel)]
    found = [record for name in names if (record := pointers.current(store, channel, name))]
    if not found:
        what = f"{engine} on {channel}" if engine else channel
        msg = f"{store.url} serves nothing as {what}: there is no valid pointer record"
        mend = "see the URL, and `python -m stages.promote --list` where it was promoted"
        raise errors.ArtifactError(msg, mend=mend)
    return found


def _fetch(store: Store, record: Record, folder: Path, whom: Mapping[str, Any] | None) -> str:
    """Download and check an engine into a folder; say who signed it."""
    total = sum(entry.bytes for entry in record.entries())
    with files.scratch() as aside, console.counting(total, label=record.engine) as progress:
        folder.mkdir()
        transfer.download(store, record.files, folder, progress)
        _same_engine(folder, record)
        if whom is None:
            return "its signature was not looked at"
        if record.signature is None:
            msg = f"{record.engine} of {store.url} is not signed (record {record.number})"
            raise errors.SigningError(msg, mend="sign and promote it again, or `--unsigned`")
        transfer.download(store, {"signature": record.signature}, aside, progress)
        return f"signed by {_verify(folder, aside / 'signature', whom)}"


def _same_engine(folder: Path, record: Record) -> None:
    """The files are signed, the record is not: they say themselves whose they are."""
    packed = files.read_json(folder / "manifest.json").get("engine")
    if packed != record.engine:
        told = f"record {record.number} of {record.channel}"
        msg = f"{told} serves a package of {packed} as {record.engine}"
        mend = "do not deploy it: nothing was placed. Ask who promoted it"
        raise errors.IntegrityError(msg, mend=mend)


def _verify(folder: Path, signature: Path, whom: Mapping[str, Any]) -> str:
    try:
        return signing.verify(folder, signature, whom)
    except errors.SigningError as error:
        mend = "do not deploy it: nothing was placed. Ask who promoted it, and see whom you believe"
        raise errors.SigningError(error.what, mend=mend) from None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m stages.fetch", description=__doc__)
    made.add_argument("url", help="of the store")
    made.add_argument("channel", help="such as production")
    made.add_argument("--to", required=True, metavar="DIR", help="Triton's model repository")
    made.add_argument("--engine", help="only this one")
    made.add_argument("--key", metavar="FILE", help="public key that must have signed, PEM")
    made.add_argument(
        "--certificates", metavar="FILE", nargs="+", help="trusted root certificates, PEM"
    )
    made.add_argument("--identity", help="who must have signed, by certificate or Sigstore")
    made.add_argument("--issuer", metavar="URL", help="who vouches for that identity to Sigstore")
    made.add_argument("--trust-config", metavar="FILE", help="of another Sigstore instance")
    made.add_argument("--unsigned", action="store_true", help="do not look at the signature")
    return made


if __name__ == "__main__":
    console.run_parsed("fetch", main, parser())
