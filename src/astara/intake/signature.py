"""The signature of Neutron's HTTP notifications: HMAC-SHA256 over "timestamp.body". Pure.

A message recorded on the way is accepted again while its timestamp is fresh. That is harmless and so not prevented: an
event carries no content, it only has a resource looked at once more.
"""

from __future__ import annotations

import hashlib
import hmac

TIMESTAMP_HEADER = "X-Astara-Timestamp"
SIGNATURE_HEADER = "X-Astara-Signature"
#: A signed message is accepted this long before and after its timestamp, in seconds.
TOLERANCE_S = 300


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature in hex."""
    return hmac.new(secret, timestamp.encode("ascii") + b"." + body, hashlib.sha256).hexdigest()


def refusal(secret: bytes, timestamp: str, signature: str, body: bytes, wall_s: float) -> str | None:
    """Say why a message is not to be believed; None when it is genuine and fresh."""
    if not (timestamp.isascii() and timestamp.isdigit()):
        return f"{TIMESTAMP_HEADER} is not a number of seconds"
    if not hmac.compare_digest(sign(secret, timestamp, body).encode(), signature.encode("utf-8", "replace")):
        return f"{SIGNATURE_HEADER} does not match: both sides need the same secret file"
    if abs(wall_s - int(timestamp)) > TOLERANCE_S:
        return f"{TIMESTAMP_HEADER} is more than {TOLERANCE_S} s off: set the clocks (NTP)"
    return None
