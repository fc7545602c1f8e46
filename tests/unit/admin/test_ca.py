"""`astara ca` makes the certificates the configuration files ask for, once."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
from cryptography import x509

from astara.admin.cli import cli


def ask(*words: str) -> Result:
    return CliRunner().invoke(cli, ["ca", *words], prog_name="astara")


def test_a_ca_is_made_once_and_then_kept(tmp_path: Path) -> None:
    assert json.loads(ask("init", "--directory", str(tmp_path), "--json").output)["made"] is True
    first = (tmp_path / "ca.crt").read_bytes()
    assert json.loads(ask("init", "--directory", str(tmp_path), "--json").output)["made"] is False
    assert (tmp_path / "ca.crt").read_bytes() == first


def test_an_issued_certificate_carries_the_role_and_the_addresses(tmp_path: Path) -> None:
    ask("init", "--directory", str(tmp_path))
    result = ask("issue", "node", "rack-7", "--address", "192.0.2.7", "--directory", str(tmp_path), "--json")
    files = json.loads(result.output)
    certificate = x509.load_pem_x509_certificate(Path(files["cert_file"]).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert "rack-7" in names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    assert Path(files["key_file"]).stat().st_mode & 0o077 == 0


def test_issuing_without_a_ca_makes_nothing_and_says_what_to_do_first(tmp_path: Path) -> None:
    result = ask("issue", "orchestrator", "one", "--directory", str(tmp_path))
    assert result.exit_code == 1
    assert "astara ca init" in result.output
    assert list(tmp_path.iterdir()) == []


def test_what_is_revoked_is_named_by_the_ca_and_can_be_issued_anew(tmp_path: Path) -> None:
    where = ("--directory", str(tmp_path))
    ask("init", *where)
    assert ask("revoke", "one", *where).exit_code == 1
    serials = []
    for _ in range(2):
        ask("issue", "orchestrator", "one", *where)
        serials.append(x509.load_pem_x509_certificate((tmp_path / "one.crt").read_bytes()).serial_number)
        assert json.loads(ask("revoke", "one", *where, "--json").output)["ca_file"] == str(tmp_path / "ca.crt")
    content = (tmp_path / "ca.crt").read_bytes()
    named = x509.load_pem_x509_crl(content[content.index(b"-----BEGIN X509 CRL") :])
    assert {one.serial_number for one in named} == set(serials)
    assert ask("issue", "orchestrator", "one", *where).exit_code == 0
