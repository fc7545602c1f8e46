"""What belongs to nobody is cleared, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astara.host import node


def test_a_stray_path_that_leads_to_the_nodes_own_namespace_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))

    with pytest.raises(OSError, match="own namespace"):
        node.end_processes_inside(Path("/proc/self/ns/net"))

    assert killed == []
