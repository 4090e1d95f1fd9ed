# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a store, said so that a person can act on it and no secret is in it."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

# Classes of botocore, asyncssh, google.auth and azure.core, by name: their packages may be absent.
_ACCESS = frozenset({
    "ClientAuthenticationError", "CredentialRetrievalError", "DefaultCredentialsError",
    "HostKeyNotVerifiable", "KeyImportError", "NoAuthTokenError", "NoCredentialsError",
    "PartialCredentialsError", "PermissionDenied", "PermissionError", "ProfileNotFound",
    "RefreshError", "SFTPPermissionDenied", "SSOTokenLoadError", "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
})  # fmt: skip
_ACCESS_MEND = {
    "file": "see who may use that folder: `ls -ld`",
    "s3": "`aws sts get-caller-identity` shows whose credentials are used; AWS_PROFILE, or"
    " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose others",
    "gs": "`gcloud auth application-default login`, or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "`az login`, or AZURE_STORAGE_CONNECTION_STRING",
    "ssh": "try `sftp` with the same host: it must know the host's key (`ssh-keyscan`) and let you"
    " in without asking (`ssh-add`)",
}
_SECRET = re.compile(
    r"//[^/\s@]+@|(?i:(?:signature|sig|token|secret|password|credential|accountkey)[^\s=:]*[=:]\s*)\S+"
    r"|(?i:bearer\s+)\S+"
)
_LENGTH = 300


@contextlib.contextmanager
def told(url: str, kind: str) -> Iterator[None]:
    """Turn what a driver raises into an error of ours.

    Raises:
        AccessError: the store refuses the credentials, or there are none.
        StoreError: anything else.
    """
    try:
        yield
    except errors.EngineryError:
        raise
    except Exception as error:
        cause = _plain(error)
        if {part.__name__ for part in type(error).__mro__} & _ACCESS:
            msg = f"{url} does not let us in: {cause}"
            raise errors.AccessError(msg, mend=_ACCESS_MEND[kind]) from error
        mend = "see whether the store is up and can be reached from here, then run the same again"
        raise errors.StoreError(f"{url} failed: {cause}", mend=mend) from error


def _plain(error: Exception) -> str:
    """Kind and first line of an error, without what may be a secret."""
    lines = str(error).strip().splitlines()
    text = _SECRET.sub("...", lines[0])[:_LENGTH] if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
