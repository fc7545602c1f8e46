"""Our signature is the one that Nova computes (nova/api/metadata/handler.py, `_validate_shared_secret`)."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from astara.appliance.subsystems.metadata.config import Identity
from astara.appliance.subsystems.metadata.signing import headers_for_nova, signature

WHO = Identity("fa:16:3e:00:00:0a", (ip_address("10.1.0.5"),), "instance-a", "project-a")


def nova_accepts(shared_secret: str, headers: dict[str, str]) -> bool:
    """What Nova does with the four headers; its HTTP answers are 400 and 403 otherwise."""
    instance_id = headers.get("x-instance-id")
    if instance_id is None or headers.get("x-tenant-id") is None:
        return False
    expected = hmac.new(shared_secret.encode("utf-8"), instance_id.encode("utf-8"), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, headers.get("x-instance-id-signature", ""))


def test_the_signature_is_hmac_sha256_in_hexadecimal() -> None:
    # printf %s 8a7c1de5-6f39-4a0e-9f8a-0d0f7d1d2c3b | openssl dgst -sha256 -hmac secret
    assert signature(b"secret", "8a7c1de5-6f39-4a0e-9f8a-0d0f7d1d2c3b") == (
        "5669612d2ee77a894bb92ec224d7450f241561cbb068d5811c57be0a398e5092"
    )


@given(st.text(min_size=1), st.uuids().map(str), st.uuids().map(str))
def test_nova_accepts_what_we_sign(shared_secret: str, instance_id: str, project_id: str) -> None:
    who = Identity(WHO.mac, WHO.addresses, instance_id, project_id)

    headers = headers_for_nova([], who, ip_address("10.1.0.5"), shared_secret.encode())

    said = {name.decode(): value.decode() for name, value in headers}
    assert nova_accepts(shared_secret, said)
    assert not nova_accepts(shared_secret + "x", said)
    assert (said["x-instance-id"], said["x-tenant-id"]) == (instance_id, project_id)


@given(st.lists(st.tuples(st.text(alphabet="abcdefixnstuc-_", min_size=1).map(str.encode), st.binary())))
def test_trap_nothing_of_a_guests_headers_reaches_the_identity(guest: list[tuple[bytes, bytes]]) -> None:
    hostile = [*guest, (b"x-instance-id", b"other"), (b"x_instance_id", b"other"), (b"x-forwarded-for", b"1.1.1.1")]

    headers = headers_for_nova(hostile, WHO, ip_address("10.1.0.5"), b"secret")

    folded = [(name.replace(b"_", b"-"), value) for name, value in headers]
    assert [value for name, value in folded if name == b"x-instance-id"] == [b"instance-a"]
    assert [value for name, value in folded if name == b"x-forwarded-for"] == [b"10.1.0.5"]
    assert [value for name, value in folded if name == b"x-tenant-id"] == [b"project-a"]


def test_a_link_local_guest_is_forwarded_for_its_ports_address() -> None:
    headers = dict(headers_for_nova([], WHO, ip_address("fe80::1"), b"secret"))

    assert headers[b"x-forwarded-for"] == b"10.1.0.5"
