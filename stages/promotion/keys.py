# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Private keys: from a file or an environment variable into memory, and nowhere else.

A key is never written to a disk, shown or put into a message. model-signing wants a path; it gets
that of an anonymous file in memory (memfd_create(2)), gone when it is closed.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "ENGINERY_SIGNING_KEY"
PASSWORD = "ENGINERY_SIGNING_KEY_PASSWORD"  # noqa: S105  # a name, no secret
TOKEN = "ENGINERY_IDENTITY_TOKEN"  # noqa: S105  # a name, no secret
_WAYS = f"`--key FILE`, or the key itself (PEM) in the environment variable {KEY}"


def given(file: Path | None) -> bool:
    """Whether there is a key."""
    return file is not None or bool(os.environ.get(KEY))


def token() -> str | None:
    """Identity token for keyless signing; None leaves it to sigstore to find one."""
    return os.environ.get(TOKEN) or None


def secrets() -> list[str]:
    """What must stand in no message."""
    return [value for name in (KEY, PASSWORD, TOKEN) if (value := os.environ.get(name))]


@contextlib.contextmanager
def private(file: Path | None) -> Iterator[Path]:
    """Path of the private key, PEM without password, as long as the block runs.

    Args:
        file: with the key; None for the environment variable.

    Raises:
        SigningError: there is no key, it cannot be read, or its password is wrong.
    """
    from cryptography.hazmat.primitives import serialization as form

    data = _read(file)
    password = os.environ.get(PASSWORD)
    try:
        key = form.load_pem_private_key(data, password.encode() if password else None)
        plain = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    except (TypeError, ValueError) as error:
        raise _unusable(file, locked=isinstance(error, TypeError) or password is not None) from None
    handle = os.memfd_create("key", os.MFD_CLOEXEC)
    try:
        os.write(handle, plain)
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _read(file: Path | None) -> bytes:
    if file is None:
        if value := os.environ.get(KEY):
            return value.encode()
        raise errors.SigningError("there is no private key to sign with", mend=f"give {_WAYS}")
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"the private key {file} cannot be read: {error.strerror}"
        raise errors.SigningError(msg, mend=f"give {_WAYS}") from None


def _unusable(file: Path | None, *, locked: bool) -> errors.SigningError:
    what = f"the private key {file}" if file else f"what {KEY} holds"
    if locked:
        msg = f"{what} does not open with that password, or none was asked for"
        return errors.SigningError(msg, mend=f"set {PASSWORD} to its password, or unset it")
    mend = "an elliptic-curve key in PEM form: `openssl ecparam -name prime256v1 -genkey -noout`"
    return errors.SigningError(f"{what} is no private key in PEM form", mend=f"give {mend}")
