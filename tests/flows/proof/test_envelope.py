"""Keys and envelopes; what a foreign implementation makes of them."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from autocast_core.errors import ConfigError
from flows.proof.envelope import opened, sealed
from flows.proof.keys import read_private_key, read_public_key
from tests.flows.proof.key_files import key_files


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_sealed_statement_opens_with_the_key_alone(tmp_path, curve):
    (tmp_path / "other").mkdir()
    private, public = key_files(tmp_path, ec.generate_private_key(curve))
    _, other = key_files(tmp_path / "other")
    text = sealed({"a": ["é", 1]}, read_private_key(private))
    assert opened(text, read_public_key(public)) == {"a": ["é", 1]}
    assert opened(text, read_public_key(other)) is None


def test_any_changed_character_of_what_is_signed_keeps_it_closed(tmp_path):
    private, public = key_files(tmp_path)
    text = sealed({"metrics": {"a": "1.0"}}, read_private_key(private))
    key, envelope = read_public_key(public), json.loads(text)
    for name in ("payload", "payloadType"):
        for at in range(len(envelope[name])):
            letter = "A" if envelope[name][at] != "A" else "B"
            changed = {**envelope, name: envelope[name][:at] + letter + envelope[name][at + 1 :]}
            assert opened(json.dumps(changed), key) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"payload": 1}', "[" * 5000, '{"payload": "", "payloadType": "", "signatures": 3}']
)
def test_what_is_no_envelope_stays_closed(tmp_path, text):
    assert opened(text, read_public_key(key_files(tmp_path)[1])) is None


def test_a_foreign_implementation_verifies_the_envelope(tmp_path):
    """securesystemslib is that of in-toto and TUF."""
    dsse = pytest.importorskip("securesystemslib.dsse", reason="the extra `signing` is not installed")
    from securesystemslib.signer import SSlibKey

    private, public = key_files(tmp_path)
    envelope = dsse.Envelope.from_dict(json.loads(sealed({"a": 1}, read_private_key(private))))
    key = SSlibKey.from_crypto(read_public_key(public).key, keyid=next(iter(envelope.signatures)))
    assert set(envelope.verify([key], threshold=1)) == {key.keyid}


def test_an_encrypted_key_needs_its_password(tmp_path):
    private, _ = key_files(tmp_path, password=b"open")
    assert read_private_key(private, "open").public.fingerprint
    for password in (None, "wrong"):
        with pytest.raises(ConfigError, match="AUTOCAST_SIGNING_PASSWORD"):
            read_private_key(private, password)


def test_a_key_that_cannot_be_read_is_named(tmp_path):
    private, public = key_files(tmp_path, rsa.generate_private_key(65537, 2048))
    (tmp_path / "text.pem").write_text("no key")
    for path in (public, tmp_path / "text.pem", tmp_path / "none.pem", tmp_path):
        with pytest.raises(ConfigError, match=f"{path}: "):
            read_public_key(path)
    for path in (private, tmp_path / "text.pem", tmp_path / "none.pem"):
        with pytest.raises(ConfigError, match=f"{path}: "):
            read_private_key(path)
