# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A Sigstore instance on loopback, as small as can be: issuer, Fulcio, a CT log and Rekor.

What it signs is real, so that sigstore's own client verifies all of it: a certificate from a
certificate authority, its timestamp of a CT log (RFC 6962), and an entry of a log with one leaf,
whose inclusion proof is therefore empty (github.com/sigstore/rekor, API v1).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import http.server
import json
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

if TYPE_CHECKING:
    from types import TracebackType

_SCT = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


class Sigstore:
    """The servers, the keys behind them, and the words that make a client trust them."""

    def __init__(self) -> None:
        self.authority, self.transparency, self.rekor = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(3)
        )
        self.root = self._root()
        self.asked: list[str] = []
        self.refused, self.token_seen = "", ""
        handler = type("Handler", (_Handler,), {"sigstore": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, subject: str) -> str:
        """An identity token; a client does not look at its signature."""
        now = int(time.time())
        claims = {"iss": self.url, "sub": subject, "aud": "sigstore", "iat": now, "exp": now + 300}
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
        return ".".join(_word(part) for part in [*parts, b"signature"])

    def config(self) -> str:
        """The trust configuration of a client, as JSON."""
        start = {"start": "2020-01-01T00:00:00Z"}
        one = {"url": self.url, "majorApiVersion": 1, "validFor": start, "operator": "test"}
        certificate = self.root.public_bytes(form.Encoding.DER)
        return json.dumps({
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [self._log(self.rekor, start)],
                "ctlogs": [self._log(self.transparency, start)],
                "timestampAuthorities": [],
                "certificateAuthorities": [{
                    "subject": {"organization": "test", "commonName": "test"},
                    "uri": self.url,
                    "certChain": {"certificates": [{"rawBytes": _text(certificate)}]},
                    "validFor": start,
                }],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [one],
                "oidcUrls": [one],
                "rekorTlogUrls": [one],
                "tsaUrls": [],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        })  # fmt: skip

    def _log(self, key: Any, start: dict[str, str]) -> dict[str, Any]:
        public = _public(key)
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _text(public),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": start,
            },
            "logId": {"keyId": _text(hashlib.sha256(public).digest())},
        }

    def _root(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder(name, name, self.authority.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(_identifier(self.authority), critical=False)
            .sign(self.authority, hashes.SHA256())
        )

    def certify(self, request: dict[str, Any], token: str) -> dict[str, Any]:
        """Fulcio: a certificate of ten minutes for who the token names."""
        csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        who = x509.SubjectAlternativeName([x509.RFC822Name(claims["sub"])])
        code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        issuer = claims["iss"].encode()
        plain = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + dt.timedelta(minutes=10))
            .add_extension(who, critical=True)
            .add_extension(code, critical=False)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(_authority(self.authority), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer), critical=False)
        )
        tbs = plain.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        stamp = x509.UnrecognizedExtension(_SCT, self._timestamp(tbs, now))
        made = plain.add_extension(stamp, critical=False).sign(self.authority, hashes.SHA256())
        chain = [one.public_bytes(form.Encoding.PEM).decode() for one in (made, self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def _timestamp(self, tbs: bytes, now: dt.datetime) -> bytes:
        """The CT log's list of one signed certificate timestamp (RFC 6962, 3.2 and 3.3)."""
        moment = int(now.timestamp() * 1000)
        issuer = hashlib.sha256(_public(self.authority)).digest()
        entry = issuer + len(tbs).to_bytes(3, "big") + tbs
        told = struct.pack("!BBQH", 0, 0, moment, 1) + entry + struct.pack("!H", 0)
        signature = self.transparency.sign(told, ec.ECDSA(hashes.SHA256()))
        log = hashlib.sha256(_public(self.transparency)).digest()
        sct = struct.pack("!B32sQH", 0, log, moment, 0) + b"\x04\x03"
        sct += struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!HH", len(sct) + 2, len(sct)) + sct
        return bytes([0x04, len(listed)]) + listed

    def enter(self, request: dict[str, Any]) -> dict[str, Any]:
        """Rekor: the entry, as the only one of its log."""
        proposed = request["spec"]["proposedContent"]
        envelope = json.loads(proposed["envelope"])
        entry: Any = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": _digest(proposed["envelope"].encode()),
                "payloadHash": _digest(base64.b64decode(envelope["payload"])),
                "signatures": [
                    {"signature": one["sig"], "verifier": proposed["verifiers"][0]}
                    for one in envelope["signatures"]
                ],
            },
        }
        body = _text(rfc8785.dumps(entry))
        log, when = hashlib.sha256(_public(self.rekor)).digest(), int(time.time())
        root = hashlib.sha256(b"\0" + base64.b64decode(body)).digest()
        note = f"test\n1\n{_text(root)}\n"
        signed = log[:4] + self._signed(note.encode())
        promise: Any = {"body": body, "integratedTime": when, "logID": log.hex(), "logIndex": 0}
        proof = {
            "checkpoint": f"{note}\n\u2014 test {_text(signed)}\n",
            "hashes": [],
            "logIndex": 0,
            "rootHash": root.hex(),
            "treeSize": 1,
        }
        verification = {
            "inclusionProof": proof,
            "signedEntryTimestamp": _text(self._signed(rfc8785.dumps(promise))),
        }
        return {"00": {**promise, "verification": verification}}

    def _signed(self, data: bytes) -> bytes:
        return self.rekor.sign(data, ec.ECDSA(hashes.SHA256()))


class _Handler(http.server.BaseHTTPRequestHandler):
    sigstore: Sigstore

    def do_GET(self) -> None:
        self.sigstore.asked.append(self.path)
        url = self.sigstore.url
        self._answer({"authorization_endpoint": f"{url}/auth", "token_endpoint": f"{url}/token"})

    def do_POST(self) -> None:
        self.sigstore.asked.append(self.path)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        self.sigstore.token_seen = token or self.sigstore.token_seen
        if self.path == self.sigstore.refused:
            told = f"{self.sigstore.token_seen} is not welcome"
            self._answer({"code": 403, "message": told}, status=403)
        elif self.path == "/api/v2/signingCert":
            self._answer(self.sigstore.certify(request, token))
        else:
            self._answer(self.sigstore.enter(request), status=201)

    def _answer(self, document: Any, status: int = 200) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name it has there)
        """Say nothing."""


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in _USAGES})


def _identifier(key: Any) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _authority(key: Any) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _public(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(
        form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo
    )
    return data


def _digest(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _word(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
