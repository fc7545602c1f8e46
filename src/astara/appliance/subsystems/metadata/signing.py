"""The four headers by which Nova recognises an instance (nova/api/metadata/handler.py).

X-Instance-ID, X-Tenant-ID, X-Forwarded-For, and X-Instance-ID-Signature: hexadecimal HMAC-SHA256 of the instance's
id under `[neutron] metadata_proxy_shared_secret`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from astara.appliance.subsystems.metadata.config import Identity

#: What of a guest's request goes on to Nova. Everything else is dropped, so that no spelling of a header that
#: carries identity (WSGI servers read X_Instance_ID as X-Instance-ID) has to be thought of.
_PASSED_ON = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"content-type",
        b"if-modified-since",
        b"if-none-match",
        b"range",
        b"user-agent",
    }
)


def signature(shared_secret: bytes, instance_id: str) -> str:
    """Return X-Instance-ID-Signature."""
    return hmac.new(shared_secret, instance_id.encode(), hashlib.sha256).hexdigest()


def headers_for_nova(
    guest: Iterable[tuple[bytes, bytes]], identity: Identity, source: IPv4Address | IPv6Address, shared_secret: bytes
) -> list[tuple[bytes, bytes]]:
    """Return the headers of the request to Nova; `guest` has lower-case names.

    A link-local source means nothing to Nova, so the port's first address stands for it.
    """
    address = identity.addresses[0] if source.is_link_local and identity.addresses else source
    return [
        *((name, value) for name, value in guest if name in _PASSED_ON),
        (b"x-instance-id", identity.instance_id.encode()),
        (b"x-tenant-id", identity.project_id.encode()),
        (b"x-forwarded-for", str(address).encode()),
        (b"x-instance-id-signature", signature(shared_secret, identity.instance_id).encode()),
    ]
