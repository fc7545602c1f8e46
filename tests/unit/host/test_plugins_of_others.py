from __future__ import annotations

from pathlib import Path

import pytest

from astara.host import wiring
from astara.host.options import load
from support.packages import install

BROKEN = {
    "no-such-name": "",
    "not-python": "def",
    "fails-at-import": "raise RuntimeError('no licence')",
    "fails-when-made": "class Made:\n    def __init__(self, *_):\n        raise RuntimeError('no card')",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_package_of_others_costs_a_node_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    options = load(["--config-file", str(_config(tmp_path))])
    ours = set(wiring.appliances()), set(wiring.attachments(options))
    for group in ("astara.appliances", "astara.attach"):
        directory = tmp_path / group
        directory.mkdir()
        install(monkeypatch, directory, group, f"{name}-{group[7:]}", BROKEN[name])
    assert (set(wiring.appliances()), set(wiring.attachments(options))) == ours
    assert all(ours)


def _config(tmp_path: Path) -> Path:
    file = tmp_path / "node.conf"
    file.write_text(
        f"[DEFAULT]\nname = n1\nstate_dir = {tmp_path}\n"
        f"ca_file = {tmp_path}/ca\ncert_file = {tmp_path}/crt\nkey_file = {tmp_path}/key\n"
    )
    return file
