# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""From a URL to a store. Credentials come from where each cloud's own tools take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from stages.lib import errors
from stages.storage import faults
from stages.storage.cloud import Cloud
from stages.storage.local import Local
from stages.storage.s3 import S3
from stages.storage.sftp import Sftp, open_filesystem
from stages.storage.store import Store

if TYPE_CHECKING:
    from stages.storage.driver import Driver

_KINDS = {
    "": "file", "file": "file", "s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az",
    "abfss": "az", "ssh": "ssh", "sftp": "ssh",
}  # fmt: skip
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "ssh": "sshfs"}
_EXTRAS = "python -m pip install --requirement requirements/stores.txt"
# A socket that hangs shall not hang a deployment for long (seconds); 5xx and lost connections are
# tried again, with growing pauses.
_S3 = {
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 60,
        "retries": {"mode": "standard", "max_attempts": 4},
        # Every upload bears its SHA-256 in a header that is signed: no need to hash it once more.
        "s3": {"payload_signing_enabled": False},
    }
}

_S3_READS = 2  # times s3fs begins again, each with those attempts: for an answer that breaks off


def open_store(url: str) -> Store:
    """Open a store; nothing is written, and a cloud is not even asked yet.

    Args:
        url: a folder (relative to the current one, or file://), s3://bucket/prefix,
            gs://bucket/prefix, az://container/prefix, ssh://user@host:port/folder.

    Raises:
        UnfitStoreError: no such store can create exclusively, or its driver is not installed.
        AccessError: the URL holds a password, or the host does not let us in.
        StoreError: the host cannot be reached.
    """
    parts = _parts(url)
    shown = parts._replace(query="", fragment="")
    if parts.password is not None or parts.query:
        host = parts.netloc.rpartition("@")[2]
        msg = f"the URL of the store at {parts.scheme}://{host} holds a password or a key"
        mend = "leave it out: credentials come from the environment, as for the cloud's own tools"
        raise errors.AccessError(msg, mend=mend)
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        msg = f"{shown.geturl()} cannot be a store: nothing says that {parts.scheme} can create a"
        mend = "use a folder, s3://, gs://, az:// or ssh://"
        raise errors.UnfitStoreError(f"{msg} file only if it is not there", mend=mend)
    with faults.told(shown.geturl(), kind):
        return Store(shown.geturl().rstrip("/"), kind, _driver(kind, url))


def place(url: str) -> str:
    """One text for the ways to write one store's URL: other scheme, slash at the end, folder.

    Raises:
        UnfitStoreError: it is no URL.
    """
    parts = _parts(url)
    kind = _KINDS.get(parts.scheme, parts.scheme)
    if kind == "file":
        return str(_folder(url).resolve())
    return f"{kind}://{parts.netloc}{parts.path.rstrip('/')}"


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # whose text may repeat a password
        mend = "take a folder, s3://, gs://, az:// or ssh://"
        raise errors.UnfitStoreError("the URL of the store is none", mend=mend) from None


def _folder(url: str) -> Path:
    return Path(url.removeprefix("file://"))


def _driver(kind: str, url: str) -> Driver:
    if kind == "file":
        return Local(_folder(url))
    import fsspec

    try:
        if kind == "ssh":
            return _ssh(url)
        options: dict[str, Any] = _S3 if kind == "s3" else {}
        fs, root = fsspec.url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **options
        )
    except ImportError as error:
        msg = f"{url} needs the package {_PACKAGES[kind]}, which is not installed: {error}"
        raise errors.UnfitStoreError(msg, mend=_EXTRAS) from None
    if kind == "s3":
        fs.retries = _S3_READS
        return S3(fs, root)
    return Cloud(fs, root)


def _ssh(url: str) -> Sftp:
    parts = urlsplit(url)
    location = {"host": parts.hostname, "port": parts.port, "username": parts.username}
    return Sftp(open_filesystem(location), parts.path)
