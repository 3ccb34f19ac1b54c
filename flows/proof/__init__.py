"""Proof that travels with a registered version: a signature over its files, and a signed attestation."""
