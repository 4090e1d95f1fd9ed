# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""S3 and what speaks its protocol.

Parts go up in parallel, each with its SHA-256, and S3 makes the object's checksum of them: the
SHA-256 of the parts' digests, or of the object itself if it was sent as one. That is compared with
what was read here; where a server keeps none, the object is read back. Source: "Checking object
integrity" in the S3 user guide.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from stages.storage import driver
from stages.storage.cloud import Cloud

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

_MIB = 1 << 20
_PARALLEL = 6
_MOST_PARTS = 10_000
_TAKEN = ("PreconditionFailed", "412")
_AT_ONCE = ("ConditionalRequestConflict", "409")


class S3(Cloud):
    """Driver of a bucket; at most `_PARALLEL` + 1 parts are in memory, over all uploads."""

    def __init__(self, fs: Any, root: str) -> None:
        super().__init__(fs, root)
        self._pool = ThreadPoolExecutor(_PARALLEL)
        self._free = threading.BoundedSemaphore(_PARALLEL + 1)

    def _where(self, path: str) -> dict[str, str]:
        bucket, _, key = self.at(path).partition("/")
        return {"Bucket": bucket, "Key": key}

    def create(self, path: str, data: bytes) -> None:
        sent = {"Body": data, **_summed(hashlib.sha256(data).digest())}
        for last in (False, True):
            try:
                self.fs.call_s3("put_object", **self._where(path), **sent, IfNoneMatch="*")
            except OSError as error:
                if (code := _code(error)) in _TAKEN:
                    raise FileExistsError(path) from error
                if code in _AT_ONCE and not last:
                    continue  # S3 could not tell who is first: ask again
                raise
            return

    def put(self, path: str, source: driver.Source, progress: driver.Progress) -> None:
        if source.bytes <= _part(source.bytes):
            data = b"".join(driver.reading(source, _part(source.bytes)))
            summed = _summed(bytes.fromhex(source.sha256))
            checksum = summed["ChecksumSHA256"]
            self.fs.call_s3("put_object", **self._where(path), Body=data, **summed)
            progress(source.bytes)
        else:
            checksum = self._parts(path, source, progress)
        self._confirm(path, source, checksum)

    def _parts(self, path: str, source: driver.Source, progress: driver.Progress) -> str:
        """Upload in parts; return the checksum that S3 must have made of them."""
        where = self._where(path)
        made = self.fs.call_s3("create_multipart_upload", **where, ChecksumAlgorithm="SHA256")
        upload = {**where, "UploadId": made["UploadId"]}
        waiting: list[Future[dict[str, Any]]] = []
        try:
            for data in driver.reading(source, _part(source.bytes)):
                self._free.acquire()
                work = self._pool.submit(self._part, upload, len(waiting) + 1, data, progress)
                work.add_done_callback(lambda _: self._free.release())
                waiting.append(work)
                del data
                if failed := next((one for one in waiting if one.done() and one.exception()), None):
                    failed.result()
            parts = [work.result() for work in waiting]
            self.fs.call_s3("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})
        except BaseException:
            for work in waiting:
                work.cancel()
            self.fs.call_s3("abort_multipart_upload", **upload)
            raise
        return _composite(base64.b64decode(part["ChecksumSHA256"]) for part in parts)

    def _part(
        self, upload: dict[str, str], number: int, data: bytes, progress: driver.Progress
    ) -> dict[str, Any]:
        digest = _base64(hashlib.sha256(data).digest())
        told = self.fs.call_s3(
            "upload_part", **upload, PartNumber=number, Body=data, ChecksumSHA256=digest
        )
        progress(len(data))
        return {"PartNumber": number, "ETag": told["ETag"], "ChecksumSHA256": digest}

    def _confirm(self, path: str, source: driver.Source, checksum: str) -> None:
        size, known = self._head(path)
        if known is None:
            right = driver.sha256(self.chunks(path, source.bytes)) == source.sha256
        else:
            right = known == checksum
        if size != source.bytes or not right:
            self.delete(path)
            raise OSError(f"{path} is not in the store what was sent")

    def _head(self, path: str) -> tuple[int, str | None]:
        told = self.fs.call_s3("head_object", **self._where(path), ChecksumMode="ENABLED")
        known: str | None = told.get("ChecksumSHA256")
        # Of an object in parts it ends in their number, which moto leaves out.
        return told["ContentLength"], known.partition("-")[0] if known else None

    def holds(self, path: str, source: driver.Source) -> bool:
        try:
            size, known = self._head(path)
        except FileNotFoundError:
            return False
        if size != source.bytes:
            return False
        if known is None:  # a server that keeps none, or written by somebody else
            return driver.sha256(self.chunks(path, size)) == source.sha256
        if source.bytes <= (piece := _part(source.bytes)):
            return known == _base64(bytes.fromhex(source.sha256))
        pieces = driver.reading(source, piece)
        return known == _composite(hashlib.sha256(data).digest() for data in pieces)

    def leftovers(self, older_than_s: float) -> list[str]:
        where = self._where("objects/")
        told = self.fs.call_s3(
            "list_multipart_uploads", Bucket=where["Bucket"], Prefix=where["Key"]
        )
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        found = [one for one in told.get("Uploads", []) if one["Initiated"] < before]
        return [f"{one['Key']}?uploadId={one['UploadId']}" for one in found]

    def clear(self, leftover: str) -> None:
        key, _, upload = leftover.partition("?uploadId=")
        bucket = self._where("")["Bucket"]
        self.fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)


def _part(size: int) -> int:
    """Bytes of a part: a function of the size alone, since the checksum depends on it."""
    return max(driver.PART, -(-size // _MOST_PARTS // _MIB) * _MIB)


def _composite(digests: Iterable[bytes]) -> str:
    return _base64(hashlib.sha256(b"".join(digests)).digest())


def _summed(sha256: bytes) -> dict[str, str]:
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _base64(sha256)}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _code(error: OSError) -> str:
    """S3's own word for an error that s3fs has translated."""
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
