# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Signatures with real keys and certificates, and without a network for keyless ones."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from stages.lib import errors
from stages.promotion import keys, signing
from tests.promotions_zoo import BY_KEY, pem
from tests.sigstore_zoo import Sigstore

if TYPE_CHECKING:
    from collections.abc import Iterator

BY_CERTIFICATE = BY_KEY | {
    "method": "certificate",
    "public_key": None,
    "certificates": ["root.pem"],
    "identity": "CN=promoter",
}
SIGNER = ("key", "signing.pem")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to sign; beside it keys/staging.pub and its private key."""
    monkeypatch.chdir(tmp_path)
    for name in (keys.KEY, keys.PASSWORD, keys.TOKEN):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "engine"
    (folder / "1").mkdir(parents=True)
    (folder / "1/model.plan").write_bytes(b"plan")
    (folder / "manifest.json").write_text("{}")
    private = ec.generate_private_key(ec.SECP384R1())
    write_pair(private, Path("key.pem"), Path("keys/staging.pub"))
    return Path("engine")


def write_pair(private: Any, to: Path, public: Path) -> None:
    to.write_bytes(pem(private))
    public.parent.mkdir(exist_ok=True)
    told = private.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    public.write_bytes(told)


def sign(package: Path, spec: Any = BY_KEY, key: str | None = "key.pem", **more: Any) -> Path:
    signature = Path("engine.sig")
    given = {"certificate": None, **more}
    signing.sign(package, signature, spec, key=Path(key) if key else None, **given)
    return signature


def test_what_was_signed_is_verified_and_says_by_whom(package: Path) -> None:
    signature = sign(package)
    by = signing.verify(package, signature, BY_KEY)
    digest = signing.fingerprint(Path("keys/staging.pub"))
    assert by == f"key sha256:{digest}"
    shown = subprocess.run(
        ["openssl", "ec", "-pubin", "-in", "keys/staging.pub"], capture_output=True, check=True
    )
    told = subprocess.run(["sha256sum"], input=shown.stdout, capture_output=True, check=True)
    assert told.stdout.split()[0].decode() == digest


@pytest.mark.parametrize("way", ["changed", "added", "removed", "renamed", "git's own"])
def test_an_altered_package_does_not_verify(package: Path, way: str) -> None:
    signature, plan = sign(package), package / "1/model.plan"
    if way == "changed":
        plan.write_bytes(b"plaN")
    elif way == "added":
        (package / "2").mkdir()
        (package / "2/model.plan").write_bytes(b"plan")
    elif way == "removed":
        plan.unlink()
    elif way == "renamed":
        plan.rename(package / "1/other.plan")
    else:  # what model-signing leaves out unless told
        (package / ".gitattributes").write_text("* text")
    with pytest.raises(errors.SigningError, match="does not hold for engine: Signature mismatch"):
        signing.verify(package, signature, BY_KEY)


def test_the_key_of_somebody_else_does_not_count(package: Path) -> None:
    write_pair(ec.generate_private_key(ec.SECP256R1()), Path("key.pem"), Path("keys/other.pub"))
    signature = sign(package)
    with pytest.raises(errors.SigningError, match="does not hold"):
        signing.verify(package, signature, BY_KEY)
    other = BY_KEY | {"public_key": "keys/other.pub"}
    assert signing.verify(package, signature, other).startswith("key sha256:")


def test_a_key_from_the_environment_leaves_no_trace(
    package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = Path("key.pem").read_text()
    Path("key.pem").unlink()
    monkeypatch.setenv(keys.KEY, text)
    signature = sign(package, key=None)
    assert signing.verify(package, signature, BY_KEY)
    body = text.splitlines()[1]
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert held
    assert not [path for path in held if body.encode() in path.read_bytes()]


def test_a_key_with_a_password(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = form.load_pem_private_key(Path("key.pem").read_bytes(), None)
    Path("key.pem").write_bytes(pem(private, b"open sesame"))
    with pytest.raises(errors.SigningError, match="does not open with that password"):
        sign(package)
    monkeypatch.setenv(keys.PASSWORD, "wrong password")
    with pytest.raises(errors.SigningError, match="does not open") as caught:
        sign(package)
    assert "wrong password" not in caught.value.paragraph()
    monkeypatch.setenv(keys.PASSWORD, "open sesame")
    assert signing.verify(package, sign(package), BY_KEY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"no key", "is no private key in PEM form"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "could not be signed"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "Unsupported key for curve 'secp256k1'"),
    ],
)
def test_keys_that_cannot_sign_are_told(package: Path, text: bytes, said: str) -> None:
    Path("key.pem").write_bytes(text)
    with pytest.raises(errors.SigningError, match=said) as caught:
        sign(package)
    assert text.decode().splitlines()[0] not in caught.value.paragraph()


def test_no_key_and_no_signature_are_told(package: Path) -> None:
    assert not signing.can_sign(BY_KEY, None)
    with pytest.raises(errors.SigningError, match="there is no private key to sign with"):
        sign(package, key=None)
    with pytest.raises(errors.SigningError, match="cannot be read: No such file"):
        sign(package, key="nowhere.pem")
    with pytest.raises(errors.SigningError, match="engine is not signed"):
        signing.verify(package, Path("engine.sig"), BY_KEY)


def test_a_public_key_that_is_not_there_comes_with_the_way_to_make_one(package: Path) -> None:
    signature = sign(package)
    Path("keys/staging.pub").unlink()
    with pytest.raises(errors.SigningError, match="says whose signature counts") as caught:
        signing.verify(package, signature, BY_KEY)
    assert "openssl ecparam" in caught.value.mend


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"verificationMaterial": {}}'])
def test_a_file_that_is_no_signature(package: Path, text: str) -> None:
    Path("engine.sig").write_text(text)
    with pytest.raises(errors.SigningError, match=r"engine\.sig does not hold"):
        signing.verify(package, Path("engine.sig"), BY_KEY)


def test_model_signing_by_itself_verifies_ours_and_ours_takes_its(package: Path) -> None:
    sign(package)
    command = [str(Path(sys.executable).with_name("model_signing"))]
    words = ["--signature", "engine.sig"]
    public = ["--public_key", "keys/staging.pub"]
    run(*command, "verify", "key", "engine", *words, *public)
    Path("engine.sig").unlink()
    run(*command, "sign", "key", "engine", *words, "--private_key", "key.pem")
    assert signing.verify(package, Path("engine.sig"), BY_KEY)
    (package / "1/model.plan").write_bytes(b"plaN")
    done = run(*command, "verify", "key", "engine", *words, *public, check=False)
    assert done.returncode != 0


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=check)


def certificate(
    subject: str, key: Any, issuer: str, by: Any, *, authority: bool, mail: str | None = None
) -> bytes:
    """A certificate, PEM."""
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage(sign=not authority), critical=True)
    )
    if mail:
        names = x509.SubjectAlternativeName([x509.RFC822Name(mail)])
        made = made.add_extension(names, critical=False)
    return made.sign(by, hashes.SHA256()).public_bytes(form.Encoding.PEM)


def usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.fixture
def chain(package: Path) -> Path:
    """root.pem, and chain.pem: a signing certificate behind an intermediate one; key.pem is its."""
    root, middle, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    Path("root.pem").write_bytes(certificate("root", root, "root", root, authority=True))
    between = certificate("middle", middle, "root", root, authority=True)
    end = certificate(
        "promoter", own, "middle", middle, authority=False, mail="promoter@example.com"
    )
    Path("chain.pem").write_bytes(end + between)
    Path("key.pem").write_bytes(pem(own))
    return package


@pytest.mark.parametrize("identity", ["CN=promoter", "promoter@example.com"])
def test_a_certificate_behind_an_intermediate_one(chain: Path, identity: str) -> None:
    spec = BY_CERTIFICATE | {"identity": identity}
    signature = sign(chain, spec, certificate=Path("chain.pem"))
    assert signing.verify(chain, signature, spec) == identity
    (chain / "1/model.plan").write_bytes(b"plaN")
    with pytest.raises(errors.SigningError, match="Signature mismatch"):
        signing.verify(chain, signature, spec)


def test_a_certificate_of_the_same_root_but_of_somebody_else(chain: Path) -> None:
    signature = sign(chain, BY_CERTIFICATE, certificate=Path("chain.pem"))
    with pytest.raises(errors.SigningError, match=r"signed by CN=promoter.*, not by CN=boss"):
        signing.verify(chain, signature, BY_CERTIFICATE | {"identity": "CN=boss"})


def test_a_certificate_of_another_root(chain: Path) -> None:
    signature = sign(chain, BY_CERTIFICATE, certificate=Path("chain.pem"))
    other = ec.generate_private_key(ec.SECP256R1())
    Path("root.pem").write_bytes(certificate("root", other, "root", other, authority=True))
    with pytest.raises(errors.SigningError, match="does not hold"):
        signing.verify(chain, signature, BY_CERTIFICATE)


def test_a_certificate_that_is_not_of_the_key(chain: Path) -> None:
    Path("key.pem").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(errors.SigningError, match="does not match"):
        sign(chain, BY_CERTIFICATE, certificate=Path("chain.pem"))
    with pytest.raises(errors.SigningError, match="wants a certificate, and none is given"):
        sign(chain, BY_CERTIFICATE)


def test_a_signature_of_another_method_does_not_count(chain: Path) -> None:
    signature = sign(chain, BY_CERTIFICATE, certificate=Path("chain.pem"))
    with pytest.raises(errors.SigningError, match="does not hold"):
        signing.verify(chain, signature, BY_KEY)
    signature = sign(chain, BY_KEY)
    with pytest.raises(errors.SigningError, match="does not hold"):
        signing.verify(chain, signature, BY_CERTIFICATE)


WHO = "ada@example.com"


@pytest.fixture
def sigstore(package: Path) -> Iterator[Sigstore]:
    """A Sigstore instance on loopback; trust.json trusts it."""
    assert package.is_dir()
    with Sigstore() as running:
        Path("trust.json").write_text(running.config())
        yield running


def keyless(sigstore: Sigstore, **changes: Any) -> dict[str, Any]:
    """A channel that trusts one identity of it."""
    ours = {"method": "sigstore", "public_key": None, "identity": WHO, "issuer": sigstore.url}
    return BY_KEY | ours | {"trust_config": "trust.json"} | changes


def test_keyless_by_the_identity_of_a_token(
    package: Path, sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = keyless(sigstore)
    assert not signing.can_sign(spec, None)
    monkeypatch.setenv(keys.TOKEN, sigstore.token(WHO))
    assert signing.can_sign(spec, None)
    signature = sign(package, spec, key=None)
    assert sigstore.asked[1:] == ["/api/v2/signingCert", "/api/v1/log/entries"]
    assert signing.verify(package, signature, spec) == f"{WHO} ({sigstore.url})"
    assert len(sigstore.asked) == 3, "to verify needs no network"
    with pytest.raises(errors.SigningError, match="does not hold"):
        signing.verify(package, signature, keyless(sigstore, identity="eve@example.com"))
    with pytest.raises(errors.SigningError, match="does not hold"):
        signing.verify(package, signature, keyless(sigstore, issuer="https://elsewhere"))
    (package / "1/model.plan").write_bytes(b"plaN")
    with pytest.raises(errors.SigningError, match="Signature mismatch"):
        signing.verify(package, signature, spec)


def test_keyless_by_another_instance_does_not_count(
    package: Path, sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(keys.TOKEN, sigstore.token(WHO))
    signature = sign(package, keyless(sigstore), key=None)
    with Sigstore() as other:
        Path("other.json").write_text(other.config())
    with pytest.raises(errors.SigningError, match="does not hold"):
        signing.verify(package, signature, keyless(sigstore, trust_config="other.json"))


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ("/api/v2/signingCert", "FulcioClientError"),
        ("/api/v1/log/entries", r"RekorClientError: .*\*\*\* is not welcome"),
    ],
)
def test_keyless_that_is_refused_does_not_tell_the_token(
    package: Path, sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch, refused: str, said: str
) -> None:
    sigstore.refused = refused
    token = sigstore.token(WHO)
    monkeypatch.setenv(keys.TOKEN, token)
    with pytest.raises(errors.SigningError, match=f"could not be signed: {said}") as caught:
        sign(package, keyless(sigstore), key=None)
    assert token not in caught.value.paragraph()
    assert not Path("engine.sig").exists()


def test_keyless_without_a_network_says_so(
    package: Path, sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(keys.TOKEN, sigstore.token(WHO))
    spec = keyless(sigstore)
    sigstore.__exit__(None, None, None)
    with pytest.raises(errors.SigningError, match="could not be signed: NetworkError"):
        sign(package, spec, key=None)


def test_a_signature_cannot_leave_files_out(package: Path) -> None:
    """The library believes what a signature says to leave out, such as the folder of the plan."""
    command = [str(Path(sys.executable).with_name("model_signing")), "sign", "key", "engine"]
    words = ["--signature", "engine.sig", "--private_key", "key.pem"]
    run(*command, *words, "--ignore-paths", "engine/1")
    with pytest.raises(errors.SigningError, match=r"Extra files found .*1/model\.plan"):
        signing.verify(package, Path("engine.sig"), BY_KEY)
