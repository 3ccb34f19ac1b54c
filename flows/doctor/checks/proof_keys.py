"""The keys with which conversions are signed and signatures checked."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from autocast_core.errors import ConfigError
from flows.doctor.check_result import CheckResult, Results, Surroundings, problem, problem_of, warning, well
from flows.proof import SIGNING_KEY, SIGNING_PASSWORD, TRUSTED_KEY
from flows.proof.keys import PrivateKey, PublicKey, read_private_key, read_public_key

_NAME = "signing"
_OTHERS = 0o077


def proof_keys(around: Surroundings) -> Results:
    """Whether the keys that are set can be read, belong together, and can be used."""
    known = around.environment
    signing, trusted = known.get(SIGNING_KEY), known.get(TRUSTED_KEY)
    if not signing and not trusted:
        return (well(_NAME, f"neither {SIGNING_KEY} nor {TRUSTED_KEY} is set: versions are not signed"),)
    results: list[CheckResult] = []
    private, public = None, None
    try:
        private = read_private_key(signing, known.get(SIGNING_PASSWORD)) if signing else None
    except ConfigError as error:
        remedy = f"set {SIGNING_KEY} to a private key in PEM form, and {SIGNING_PASSWORD} where it is encrypted"
        results.append(problem_of(_NAME, error, remedy))
    try:
        public = read_public_key(trusted) if trusted else None
    except ConfigError as error:
        remedy = f"set {TRUSTED_KEY} to the public key, as `openssl ec -pubout` makes it of the private one"
        results.append(problem_of(_NAME, error, remedy))
    if private is not None:
        results += _of_private(private)
    if private is not None and public is not None and private.public.fingerprint != public.fingerprint:
        what = f"{TRUSTED_KEY} does not belong to {SIGNING_KEY}: what is signed here is not promoted here"
        results.append(problem(_NAME, what, f"set {TRUSTED_KEY} to the public key of {signing}"))
    return tuple(results) or (well(_NAME, _fingerprints(private, public)),)


def _of_private(key: PrivateKey) -> list[CheckResult]:
    results = []
    if find_spec("model_signing") is None:
        results.append(problem(_NAME, "model signing is not installed", "pip install 'autocast-flow[signing]'"))
    if Path(key.path).stat().st_mode & _OTHERS and key.password is None:
        what = f"{key.path} can be read by other users"
        results.append(warning(_NAME, what, f"chmod 600 {key.path}"))
    return results


def _fingerprints(private: PrivateKey | None, public: PublicKey | None) -> str:
    told = [f"signs with {private.public.fingerprint[:16]}"] if private is not None else []
    told += [f"trusts {public.fingerprint[:16]}"] if public is not None else []
    return ", ".join(told)
