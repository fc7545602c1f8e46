"""Papers of machines: one length, blank or somebody's."""

from __future__ import annotations

import pytest

from astara.contract.agent import Credential
from astara.contract.codec import ContractError
from astara.contract.papers import plain
from astara.host import papers
from astara.host.papers import Papers


def _papers(**changes: object) -> Papers:
    values: dict[str, object] = {
        "instance_id": "i",
        "host": "node-a",
        "credential": Credential(ca="CA", certificate="CERTIFICATE", key="KEY"),
        "mac": "02:a5:7a:00:00:01",
        "address": "169.254.0.2/30",
        "port": 19801,
        "wall": 1.5,
        "seed": "00ff",
    }
    return Papers(**(values | changes))  # type: ignore[arg-type]


def test_papers_have_one_length_whoever_they_are_for() -> None:
    assert len(papers.packed(_papers())) == len(papers.packed(_papers(host="n" * 200))) == len(papers.BLANK)


def test_what_was_packed_is_unpacked_and_blank_papers_are_nobodys() -> None:
    assert papers.unpacked(papers.packed(_papers())) == _papers()
    assert papers.unpacked(papers.BLANK) is None


def test_certificates_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 65535 fit"):
        papers.packed(_papers(credential=Credential(ca="C" * papers.LENGTH, certificate="", key="")))


def test_damaged_papers_are_refused_without_repeating_them() -> None:
    with pytest.raises(ContractError) as refused:
        papers.unpacked(b'{"key": "SECRET"}'.ljust(papers.LENGTH, b"\0"))
    assert "SECRET" not in str(refused.value)


def test_a_clouds_papers_are_as_long_as_they_are_and_name_no_node() -> None:
    """Nova takes 10 KiB in a file at most (quota injected_file_content_bytes)."""
    own = _papers(host=None, gateway="192.0.2.1")
    assert len(plain(own)) < 1024
    assert papers.unpacked(plain(own)) == own
