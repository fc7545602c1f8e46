"""A deployment's certificates: made once, kept while good, private, and bound to a role."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509

from astara.clients.authority import issue, open_authority
from astara.contract.identity import ORCHESTRATOR, node_role, parse_role
from astara.model.errors import BadConfiguration

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_good_certificate_is_kept_and_one_about_to_expire_is_made_anew(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, NOW)
    first = certificate(issue(authority, "a", ORCHESTRATOR, [], NOW, days=90).cert_file)
    kept = certificate(issue(authority, "a", ORCHESTRATOR, [], NOW + 50 * DAY, days=90).cert_file)
    renewed = certificate(issue(authority, "a", ORCHESTRATOR, [], NOW + 70 * DAY, days=90).cert_file)
    assert kept == first
    assert renewed.not_valid_after_utc > first.not_valid_after_utc


def test_another_role_address_or_ca_makes_a_new_certificate(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "one", NOW)
    first = certificate(issue(authority, "a", node_role("a"), ["192.0.2.1"], NOW).cert_file)
    moved = certificate(issue(authority, "a", node_role("a"), ["192.0.2.2"], NOW).cert_file)
    changed = certificate(issue(authority, "a", ORCHESTRATOR, ["192.0.2.2"], NOW).cert_file)
    assert len({first.serial_number, moved.serial_number, changed.serial_number}) == 3


def test_a_key_without_its_certificate_is_replaced_as_a_pair(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, NOW)
    identity = issue(authority, "a", ORCHESTRATOR, [], NOW)
    identity.cert_file.unlink()
    again = issue(authority, "a", ORCHESTRATOR, [], NOW)
    assert again.cert_file.exists()


def test_names_roles_and_uses_are_in_the_certificate(tmp_path: Path) -> None:
    made = certificate(
        issue(open_authority(tmp_path, NOW), "a", node_role("a"), ["n.example", "2001:db8::1"], NOW).cert_file
    )
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["2001:db8::1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["astara:role/node/a"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_nobody_else_can_read_what_is_written(tmp_path: Path) -> None:
    issue(open_authority(tmp_path / "tls", NOW), "a", ORCHESTRATOR, [], NOW)
    modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "tls").iterdir()}
    assert set(modes.values()) == {0}
    assert len(modes) == 4  # and no temporary file is left


@pytest.mark.parametrize("missing", ["ca.crt", "ca.key"])
def test_half_a_ca_is_an_error_not_a_new_ca(tmp_path: Path, missing: str) -> None:
    open_authority(tmp_path, NOW)
    (tmp_path / missing).unlink()
    with pytest.raises(BadConfiguration, match=missing):
        open_authority(tmp_path, NOW)


def test_what_an_operator_types_becomes_a_role() -> None:
    assert parse_role("orchestrator") == ORCHESTRATOR
    assert parse_role("node/a") == node_role("a")
    for wrong in ("", "node", "node/", "node/a/b", "admin", "orchestrator/x"):
        with pytest.raises(ValueError, match="orchestrator, or node/NAME"):
            parse_role(wrong)
