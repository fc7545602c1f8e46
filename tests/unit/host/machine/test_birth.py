"""A machine's first look at its papers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from astara.contract.agent import Credential
from astara.host import papers
from astara.host.machine import birth
from astara.host.papers import Papers


def written(length: int) -> Papers:
    """Papers with a certificate of that many bytes."""
    return Papers(
        instance_id="6b1c8f2e-0000-4000-8000-000000000001",
        host="node-a",
        credential=Credential(ca="ca", certificate="c" * length, key="key"),
        mac="02:00:00:00:00:01",
        address="169.254.0.2/30",
        port=19801,
        wall=0.0,
        seed="00",
    )


@pytest.fixture
def handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "raw"
    monkeypatch.setattr(birth, "_PAPERS", file)
    return file


@pytest.mark.parametrize("length", [10, 4096, 9000, *range(3700, 4100, 7)])
def test_papers_of_any_length_are_read_whole(handed: Path, length: int) -> None:
    handed.write_bytes(papers.packed(written(length)))
    assert birth.wait_for_papers() == written(length)


def test_a_template_waits_until_it_is_somebody(handed: Path) -> None:
    handed.write_bytes(papers.BLANK)
    assert birth.is_template()
    found: list[Papers] = []
    waiting = threading.Thread(target=lambda: found.append(birth.wait_for_papers()), daemon=True)
    waiting.start()
    replaced = handed.with_suffix(".new")
    replaced.write_bytes(papers.packed(written(10)))
    replaced.replace(handed)  # a machine that wakes finds all of them at once
    waiting.join(20.0)
    assert found == [written(10)]


def test_no_papers_at_all_are_no_template(handed: Path) -> None:
    assert not birth.is_template()
