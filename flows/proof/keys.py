"""Keys of signatures: elliptic curves (P-256, P-384, P-521) in PEM files, as OpenSSF model signing uses them.

Make a pair with

    openssl ecparam -name prime256v1 -genkey -noout -out private.pem
    openssl ec -in private.pem -pubout -out public.pem
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from autocast_core.errors import ConfigError
from flows.proof import SIGNING_PASSWORD, TRUSTED_KEY

_LARGEST = 1 << 16
_HASHES: Mapping[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
"""By the size of the curve, as model_signing does."""


@dataclass(frozen=True)
class PublicKey:
    """What signatures are checked with."""

    path: Path
    key: ec.EllipticCurvePublicKey = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """sha256 of the key's DER form (SubjectPublicKeyInfo), in hex."""
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(self.key.public_bytes(*form)).hexdigest()

    @property
    def pem(self) -> bytes:
        """The key as a PEM file holds it."""
        form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_bytes(*form)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the owner of the private key signed the message (ECDSA, DER)."""
        try:
            self.key.verify(signature, message, ec.ECDSA(_HASHES[self.key.key_size]))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """What signatures are made with; the password opens its file."""

    path: Path
    password: str | None = field(repr=False)
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.path, self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """The signature of the message (ECDSA, DER)."""
        return self.key.sign(message, ec.ECDSA(_HASHES[self.key.key_size]))


def read_public_key(path: str | Path) -> PublicKey:
    """The public key in a PEM file. ConfigError where there is none of a supported curve."""
    content = _content(path)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: holds no public key in PEM form: make one with `openssl ec -pubout`") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size not in _HASHES:
        raise ConfigError(f"{path}: holds a key of another kind: make one on the curve prime256v1")
    return PublicKey(Path(path), key)


def read_private_key(path: str | Path, password: str | None = None) -> PrivateKey:
    """The private key in a PEM file. ConfigError where there is none of a supported curve, or the password is wrong."""
    content = _content(path)
    try:
        key = serialization.load_pem_private_key(content, password.encode() if password else None)
    except TypeError as error:  # a password for a file without, or the other way round
        problem = "is not encrypted" if password else "is encrypted"
        raise ConfigError(f"{path}: the key {problem}: check {SIGNING_PASSWORD}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: holds no private key in PEM form, or its password is wrong: check {SIGNING_PASSWORD}"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.key_size not in _HASHES:
        raise ConfigError(f"{path}: holds a key of another kind: make one on the curve prime256v1")
    return PrivateKey(Path(path), password, key)


def trusted_key(environment: Mapping[str, str] = os.environ) -> PublicKey | None:
    """The key that versions must be signed with to be promoted; None: they need not be. ConfigError as reading it."""
    path = environment.get(TRUSTED_KEY)
    return read_public_key(path) if path else None


def _content(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror or error}") from error
