"""The lab's metadata backend checks a request as Nova's handler does."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from astara_lab.metadata import Caller, Refusal, answer, signature, verify

SECRET = b"shared"
HEADERS = {
    "X-Instance-ID": "i-1",
    "X-Tenant-ID": "p-1",
    "X-Instance-ID-Signature": signature(SECRET, "i-1"),
    "X-Forwarded-For": "10.0.0.5",
}
PORTS = [
    {
        "id": "port",
        "name": "web",
        "project_id": "p-1",
        "mac_address": "fa:16:3e:00:00:01",
        "fixed_ips": [{"ip_address": "2001:db8::5"}, {"ip_address": "10.0.0.5"}, {"ip_address": "10.0.0.6"}],
    }
]


def test_a_signed_request_says_who_asks() -> None:
    assert verify({name.lower(): value for name, value in HEADERS.items()}, SECRET) == Caller("i-1", "p-1", "10.0.0.5")


@pytest.mark.parametrize("missing", ["X-Instance-ID", "X-Tenant-ID", "X-Instance-ID-Signature"])
def test_a_missing_header_is_a_bad_request(missing: str) -> None:
    with pytest.raises(Refusal) as refusal:
        verify({name: value for name, value in HEADERS.items() if name != missing}, SECRET)

    assert refusal.value.status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("forged", [signature(b"other", "i-1"), signature(SECRET, "i-2"), "é"])
def test_a_wrong_signature_is_forbidden(forged: str) -> None:
    with pytest.raises(Refusal) as refusal:
        verify(HEADERS | {"X-Instance-ID-Signature": forged}, SECRET)

    assert refusal.value.status is HTTPStatus.FORBIDDEN


def test_another_projects_instance_is_not_found() -> None:
    with pytest.raises(Refusal) as refusal:
        answer("/latest/meta-data/", Caller("i-1", "p-2", ""), PORTS)

    assert refusal.value.status is HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/latest/meta-data/instance-id", "i-1"),
        ("/2009-04-04/meta-data/local-ipv4", "10.0.0.6"),
        ("/latest/meta-data/", "hostname\ninstance-id\nlocal-ipv4\nmac"),
    ],
)
def test_the_usual_paths_are_answered_from_the_port(path: str, expected: str) -> None:
    body, _ = answer(path, Caller("i-1", "p-1", "10.0.0.6"), PORTS)

    assert body == expected
