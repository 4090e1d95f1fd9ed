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
import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import console, errors, files
from stages.promotion import signing
from stages.storage import opening, pointers, transfer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    repository = Path(words.to)
    with _alone(repository) as work:
        for record in _serving(store, words.channel, words.engine):
            target = repository / record.engine
            beside = work / f"{repository.resolve().name}@{record.engine}"
            with files.writing(target, beside=beside) as folder:
                signer = _fetch(store, record, folder, whom)
            console.say(
                f"{target}: {record.version}, record {record.number} of {record.channel}, by"
                f" {record.who} at {record.when}; {signer}"
            )


@contextlib.contextmanager
def _alone(repository: Path) -> Iterator[Path]:
    """Wait for others who fetch to the same folder; yield where to make what goes there.

    Two at once would each remove the other's unfinished work as that of a killed one.
    """
    with files.storage_errors(repository):
        repository.mkdir(parents=True, exist_ok=True)
        handle = os.open(repository, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say(f"waits for another one that fetches to {repository}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        yield _beside(repository.resolve())
    finally:
        os.close(handle)


def _beside(repository: Path) -> Path:
    """The folder above, since Triton takes each folder for a model, and may refuse to start.

    Where nothing can be moved from there, as into a mounted volume, it is the repository itself.
    """
    probe = repository.parent / f".{repository.name}.{os.getpid()}.tmp"
    moved = repository / probe.name
    try:
        probe.touch()
        probe.rename(moved)
    except OSError:
        return repository
    finally:
        for path in (probe, moved):
            with contextlib.suppress(OSError):
                path.unlink()
    return repository.parent


def _whom(words: argparse.Namespace) -> Mapping[str, Any] | None:
    """Whose signature counts, in the form of `channels.<channel>.signature`; None for nobody's.

    Raises:
        SigningError: the options do not say it, or say two things.
    """
    options = ("key", "certificates", "identity", "issuer", "trust_config", "unsigned")
    given = {name for name in options if getattr(words, name)}
    methods = {
        signing.KEY: ({"key"},),
        signing.CERTIFICATE: ({"certificates", "identity"},),
        signing.SIGSTORE: ({"identity", "issuer"}, {"identity", "issuer", "trust_config"}),
        None: ({"unsigned"},),
    }
    # No option is passed over: whoever gives one believes that it is looked at.
    chosen = [method for method, sets in methods.items() if given in sets]
    if not chosen:
        raise errors.SigningError("it is not clear whose signature counts", mend=_WHOM)
    if chosen[0] is None:
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
    told = files.read_json(folder / "manifest.json")
    packed = told.get("engine") if isinstance(told, dict) else None
    if packed != record.engine:
        number = f"record {record.number} of {record.channel}"
        msg = f"{number} serves a package of {packed} as {record.engine}"
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
