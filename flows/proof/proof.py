"""Signs a registered version, and checks the proof that it carries.

The proof lies among the artifacts of the version's run, in PROOF: an OpenSSF model signature over the registered files
(https://model-signing.readthedocs.io), which `model_signing verify key` checks too, and the signed attestation.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast_core.errors import ConfigError, GateError, InputError
from autocast_core.text import one_line
from flows.proof import SIGNING_KEY, SIGNING_PASSWORD
from flows.proof.attestation import AttestedDifference, PublishedConversion, differences, statement
from flows.proof.envelope import opened, sealed
from flows.proof.keys import PrivateKey, PublicKey, read_private_key
from tasks.storage.model_registry import download_folder, resolve_tracking_uri
from tasks.tracking.artifacts import artifact_digests, download_artifact, folder_digests, upload_artifacts
from tasks.tracking.reading import RunRecord, VersionRecord, read_run, read_version

PROOF = "proof"
MODEL_SIGNATURE = f"{PROOF}/model.sig"
ATTESTATION = f"{PROOF}/conversion.intoto.json"
_INSTALL = "model signing is not installed: pip install 'autocast-flow[signing]'"


class BrokenProofError(GateError):
    """A version carries no proof by the given key, or is not what it attests; `differences` says what."""

    def __init__(self, message: str, found: tuple[AttestedDifference, ...] = ()) -> None:
        super().__init__(message)
        self.differences = found
        self.result: Any = None
        """What a command could still say of the version, with `to_json`."""


@dataclass(frozen=True)
class Proof:
    """A proof that holds, or was just made: `key` is the fingerprint of the public key."""

    version: str
    key: str
    files: int
    artifacts: int
    metrics: int


def service_key(environment: Mapping[str, str] = os.environ) -> PrivateKey:
    """The key with which this service signs what it registers. ConfigError where it cannot be read, or where model
    signing is not installed: before a conversion, not after it."""
    _model_signing()
    return read_private_key(environment[SIGNING_KEY], environment.get(SIGNING_PASSWORD))


def sign_version(version: VersionRecord, run: RunRecord, key: PrivateKey) -> Proof:
    """Signs the registered files and the attestation of the conversion as it is now, in place of an earlier proof.

    ConfigError where model signing is not installed; InputError and ServiceError as reading the version.
    """
    signing = _model_signing()
    with tempfile.TemporaryDirectory(prefix="autocast-sign-") as scratch:
        folder, made = Path(scratch, "model"), Path(scratch, PROOF)
        made.mkdir()
        published = _published(version, run, folder)
        config = signing.signing.Config().use_elliptic_key_signer(private_key=str(key.path), password=key.password)
        config.sign(folder, made / Path(MODEL_SIGNATURE).name)
        envelope = sealed(statement(published), key)
        (made / Path(ATTESTATION).name).write_text(envelope, encoding="utf-8")
        upload_artifacts(resolve_tracking_uri(), run.run_id, made, PROOF)
    return _proof(published, key.public)


def check_proof(version: VersionRecord, run: RunRecord, key: PublicKey) -> Proof:
    """The proof that the version carries.

    BrokenProofError where it has none by this key, or where a file, artifact, metric, parameter, tag or digest is not
    what was attested; ConfigError where model signing is not installed.
    """
    signing = _model_signing()
    with tempfile.TemporaryDirectory(prefix="autocast-verify-") as scratch:
        folder = Path(scratch, "model")
        signature = _proof_file(version, run, MODEL_SIGNATURE, Path(scratch))
        attestation = _proof_file(version, run, ATTESTATION, Path(scratch))
        published = _published(version, run, folder)
        public = Path(scratch, "public.pem")
        public.write_bytes(key.pem)
        config = signing.verifying.Config().use_elliptic_key_verifier(public_key=str(public))
        attested = opened(attestation.read_text(encoding="utf-8", errors="replace"), key)
        if attested is None:
            raise BrokenProofError(f"{version}: its attestation is not signed with the key {key.path}")
        found = tuple(differences(attested, published))
        if found:
            first = found[0]
            more = f", and {len(found) - 1} more differences" if len(found) > 1 else ""
            raise BrokenProofError(
                f"{version} is not what was attested: {first.what} is {first.found}, not {first.attested}{more}", found
            )
        try:
            config.verify(folder, signature)
        except Exception as error:  # model_signing raises what its libraries raise
            raise BrokenProofError(
                f"{version}: its files do not have this signature: {one_line(error, 300)}"
            ) from error
    return _proof(published, key)


def holds_proof(tracking_uri: str, uri: str, key: PublicKey) -> bool:
    """Whether the version at ``models:/NAME/VERSION`` carries a proof by this key that holds.

    InputError where it, or its run, is not there; otherwise as `check_proof`.
    """
    version = read_version(tracking_uri, uri)
    if version.run_id is None:
        return False
    try:
        check_proof(version, read_run(tracking_uri, version.run_id), key)
    except BrokenProofError:
        return False
    return True


def _published(version: VersionRecord, run: RunRecord, folder: Path) -> PublishedConversion:
    tracking = resolve_tracking_uri()
    download_folder(str(version), folder, tracking)
    artifacts = artifact_digests(tracking, run.run_id, but=PROOF)
    return PublishedConversion(version, run, folder_digests(folder), artifacts)


def _proof_file(version: VersionRecord, run: RunRecord, name: str, scratch: Path) -> Path:
    try:
        return download_artifact(resolve_tracking_uri(), run.run_id, name, scratch)
    except InputError as error:
        raise BrokenProofError(
            f"{version} carries no proof: its run {run.run_id} has no {name}: `autocast sign` it"
        ) from error


def _proof(published: PublishedConversion, key: PublicKey) -> Proof:
    return Proof(
        str(published.version),
        key.fingerprint,
        len(published.files),
        len(published.artifacts),
        len(published.run.metrics),
    )


def _model_signing() -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise ConfigError(_INSTALL) from error
    return model_signing
