"""Packages of others, as pip would install them: a module, and metadata that names its entry points."""

from __future__ import annotations

from pathlib import Path

import pytest


def install(monkeypatch: pytest.MonkeyPatch, directory: Path, group: str, name: str, code: str) -> None:
    """Install a package whose module is `code`, with one entry point `name` in `group`, until the test ends."""
    lay_out(directory, group, name, code)
    monkeypatch.syspath_prepend(str(directory))


def lay_out(directory: Path, group: str, name: str, code: str) -> None:
    """Put the package into `directory`; whoever has that on its path has it installed."""
    module = f"of_others_{name.replace('-', '_')}"
    (directory / f"{module}.py").write_text(code)
    metadata = directory / f"{module}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:Made\n")
