# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Signatures of packages by OpenSSF model-signing: made beside the folder, and verified.

A signature is a Sigstore bundle, one file, over the SHA-256 of every file of the folder; so
`model_signing verify` checks it too, without any of this. github.com/ossf/model-signing-spec.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import errors, files
from stages.promotion import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY, CERTIFICATE, SIGSTORE = "key", "certificate", "sigstore"


def can_sign(spec: Mapping[str, Any], key: Path | None) -> bool:
    """Whether there is something to sign with.

    Keyless that is an identity token, an identity that the CI offers, or somebody at a terminal
    who can log in by a browser.
    """
    if spec["method"] != SIGSTORE:
        return keys.given(key)
    if keys.token() is not None or sys.stdin.isatty():
        return True
    with _telling("the identity that this machine offers cannot be had"):
        from sigstore import oidc

        return oidc.detect_credential("sigstore") is not None


def sign(
    package: Path,
    signature: Path,
    spec: Mapping[str, Any],
    *,
    key: Path | None,
    certificate: Path | None,
) -> None:
    """Sign a folder into a file, whole or not at all.

    Args:
        package: the folder.
        signature: the file, outside of it.
        spec: `signature` of the channel.
        key: file with the private key; None for the environment variable, and for sigstore.
        certificate: file with the signing certificate, and intermediate ones behind it, PEM.

    Raises:
        SigningError: there is no key, or it does not fit; or sigstore cannot be reached.
    """
    with _telling(f"{package} could not be signed"), contextlib.ExitStack() as stack:
        from model_signing import signing

        config = _config(signing)
        if spec["method"] == SIGSTORE:
            config.use_sigstore_signer(
                oidc_issuer=spec["issuer"],
                use_ambient_credentials=True,
                identity_token=keys.token(),
                trust_config=_path(spec["trust_config"]),
            )
        elif spec["method"] == KEY:
            config.use_elliptic_key_signer(private_key=stack.enter_context(keys.private(key)))
        else:
            own, chain = stack.enter_context(_certificates(certificate))
            private = stack.enter_context(keys.private(key))
            config.use_certificate_signer(
                private_key=private, signing_certificate=own, certificate_chain=chain
            )
        with files.writing(signature) as temporary:
            config.sign(package, temporary)


def verify(package: Path, signature: Path, spec: Mapping[str, Any]) -> str:
    """Verify a folder: every file, no other, and who signed; return who that is.

    Args:
        package: the folder.
        signature: the file.
        spec: `signature` of the channel: whom to believe.

    Raises:
        SigningError: it is not signed, altered since, or signed by somebody else.
    """
    if not signature.is_file():
        raise errors.SigningError(f"{package} is not signed: there is no {signature}", mend=_MEND)
    with _telling(f"{signature} does not hold for {package}"):
        from model_signing import verifying

        config = _config(verifying)
        if spec["method"] == KEY:
            config.use_elliptic_key_verifier(public_key=_trusted(spec["public_key"]))
        elif spec["method"] == CERTIFICATE:
            chain = [_trusted(name) for name in spec["certificates"]]
            config.use_certificate_verifier(certificate_chain=chain)
        else:
            config.use_sigstore_verifier(
                identity=spec["identity"],
                oidc_issuer=spec["issuer"],
                trust_config=_path(spec["trust_config"]),
            )
        config.verify(package, signature)
        return _signer(signature, spec)


_MEND = (
    "`python -m stages.promote <engine> --channel <channel> --key FILE` signs it; or the key (PEM)"
    f" in the environment variable {keys.KEY}; or `model_signing sign`, elsewhere"
)


def _config(module: Any) -> Any:
    """Every file counts: the library leaves out Git's, and what a signature says to leave out."""
    from model_signing import hashing

    untyped: Any = hashing

    class Every(untyped.Config):
        def add_ignored_paths(self, **_: Any) -> None:
            """What a signature does not cover is not signed, whoever signed the rest."""

    every = Every().set_ignored_paths(paths=[], ignore_git_paths=False)
    return module.Config().set_hashing_config(every)


def _signer(signature: Path, spec: Mapping[str, Any]) -> str:
    """Who signed, after all else has been verified."""
    if spec["method"] == KEY:
        return f"key sha256:{fingerprint(_trusted(spec['public_key']))}"
    if spec["method"] == SIGSTORE:
        return f"{spec['identity']} ({spec['issuer']})"
    subject, names = _named(signature)
    if spec["identity"] not in (subject, *names):
        found = " or ".join(sorted({subject, *names}))
        msg = f"{signature} was signed by {found}, not by {spec['identity']}"
        raise errors.SigningError(msg, mend="let that one sign it, or change `identity`")
    return str(spec["identity"])


def fingerprint(public_key: Path) -> str:
    """SHA-256 of a public key in PEM form, as signatures name it."""
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_public_key(public_key.read_bytes())
    pem = key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _named(signature: Path) -> tuple[str, list[str]]:
    """Subject, and alternative names, of the certificate that signed."""
    from cryptography import x509

    material = json.loads(signature.read_bytes())["verificationMaterial"]
    first = material["x509CertificateChain"]["certificates"][0]["rawBytes"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(first))
    try:
        more = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return certificate.subject.rfc4514_string(), []
    kinds: tuple[Any, ...] = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
    names = [str(name) for kind in kinds for name in more.get_values_for_type(kind)]
    return certificate.subject.rfc4514_string(), names


@contextlib.contextmanager
def _certificates(file: Path | None) -> Iterator[tuple[Path, list[Path]]]:
    """The signing certificate, and those behind it in its file, as files of their own."""
    if file is None:
        msg = "this channel wants a certificate, and none is given"
        raise errors.SigningError(msg, mend="give `--certificate FILE`, its own one first")
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    found = x509.load_pem_x509_certificates(_trusted(file).read_bytes())
    with files.scratch() as folder:
        paths = [folder / f"{number}.pem" for number in range(len(found))]
        for path, certificate in zip(paths, found, strict=True):
            path.write_bytes(certificate.public_bytes(Encoding.PEM))
        yield paths[0], paths[1:]


def _path(name: str | None) -> Path | None:
    return None if name is None else _trusted(name)


def _trusted(name: str | Path) -> Path:
    """A file that says whom to believe."""
    path = Path(name)
    if path.is_file():
        return path
    msg = f"{path}, which says whose signature counts, is not there"
    pair = "`openssl ecparam -name prime256v1 -genkey -noout -out ~/signing.key`"
    public = f"`openssl ec -in ~/signing.key -pubout -out {path}`"
    raise errors.SigningError(msg, mend=f"put it there; or make a key pair: {pair}, then {public}")


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    """Whatever model-signing raises, without anything secret that may stand in it."""
    try:
        yield
    except errors.EngineryError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}".removeprefix("ValueError: ").rstrip(": ")
        for secret in keys.secrets():
            text = text.replace(secret, "***")
        raise errors.SigningError(f"{what}: {text}", mend=_MEND) from None
