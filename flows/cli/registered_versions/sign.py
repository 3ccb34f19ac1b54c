"""`autocast sign`: a signature and an attestation for a registered conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Json, RegisteredVersion
from flows.proof import SIGNING_KEY

KEYS = ("version", "key", "files", "artifacts", "metrics")
HELP = """Sign a registered conversion: its files, and what it read, measured and decided.

The run gets proof/model.sig, an OpenSSF model signature that `model_signing verify key` checks too, and
proof/conversion.intoto.json, a signed in-toto attestation. `autocast verify --key` finds every later change.

The key is a PEM file of an elliptic curve; AUTOCAST_SIGNING_PASSWORD opens an encrypted one. Where a worker has
AUTOCAST_SIGNING_KEY, conversions are signed as they are registered.

Examples:

  openssl ecparam -name prime256v1 -genkey -noout -out private.pem
  openssl ec -in private.pem -pubout -out public.pem
  autocast sign models:/resnet-fp16/3 --key private.pem
  autocast verify models:/resnet-fp16/3 --key public.pem
"""


def add_to(app: typer.Typer) -> None:
    app.command("sign", help=HELP)(sign)


def sign(
    model: RegisteredVersion,
    key: Annotated[str, typer.Option(envvar=SIGNING_KEY, help="The private key, a PEM file of an elliptic curve.")],
    as_json: Json = False,
) -> None:
    """Sign a registered conversion."""
    result = finish(lambda: signed(model, key), KEYS, as_json)
    if not as_json:
        counts = f"{result['files']} files, {result['artifacts']} artifacts and {result['metrics']} metrics"
        say(f"{result['version']} is signed: {counts}, with the key sha256:{result['key']}")


def signed(model: str, key: str) -> Mapping[str, Any]:
    """Signs."""
    import os

    from flows.local.session import reading_session

    with reading_session():
        from flows.proof import SIGNING_PASSWORD
        from flows.proof.keys import read_private_key
        from flows.proof.proof import sign_version
        from flows.review.conversion_record import read_conversion

        private = read_private_key(key, os.environ.get(SIGNING_PASSWORD))
        return asdict(sign_version(*read_conversion(model), private))
