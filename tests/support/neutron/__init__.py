"""A real Neutron for tests: one API process on SQLite, configured as an embedded cloud, spoken to over HTTP."""

from __future__ import annotations

import hashlib
import hmac

SECRET = b"neutron-test-secret"


def expected_signature(secret: bytes, stamp: str, body: bytes) -> str:
    """Return what the contract between Neutron's side and the intake asks for, written down independently of both."""
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
