"""Proof that travels with a registered version: a signature over its files, and a signed attestation.

The settings are here, apart from what reads keys: most runs sign nothing, and need not import cryptography.
"""

SIGNING_KEY = "AUTOCAST_SIGNING_KEY"
"""The file of the private key with which this service signs what it registers."""
SIGNING_PASSWORD = "AUTOCAST_SIGNING_PASSWORD"
"""What opens that file where it is encrypted."""
TRUSTED_KEY = "AUTOCAST_TRUSTED_KEY"
"""The file of the public key that versions must be signed with to be promoted."""
