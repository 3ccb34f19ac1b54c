"""DSSE, the envelope of in-toto attestations: a payload, its type, and signatures over both.

https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import json
from typing import Any

from flows.proof.keys import PrivateKey, PublicKey

IN_TOTO = "application/vnd.in-toto+json"


def sealed(statement: Any, key: PrivateKey) -> str:
    """The envelope, as JSON, of a statement that is plain values."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    signature = key.sign(_signed_form(IN_TOTO, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": IN_TOTO,
        "signatures": [{"keyid": key.public.fingerprint, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(envelope, indent=1) + "\n"


def opened(text: str, key: PublicKey) -> Any | None:
    """The statement in an envelope that the owner of the key signed; None: it is no such envelope."""
    try:
        envelope = json.loads(text)
        payload = base64.b64decode(envelope["payload"], validate=True)
        kind = envelope["payloadType"]
        signatures = [base64.b64decode(each["sig"], validate=True) for each in envelope["signatures"]]
        if kind != IN_TOTO or not any(key.verifies(one, _signed_form(kind, payload)) for one in signatures):
            return None
        return json.loads(payload)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _signed_form(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)
