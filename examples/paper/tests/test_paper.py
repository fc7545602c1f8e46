from __future__ import annotations

from pathlib import Path

import pytest
from astara_paper.provider import PaperProvider

from astara_suites.providers import InstanceProviderSuite, World


class TestPaper(InstanceProviderSuite):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        (tmp_path / "node-a").mkdir()
        return World(PaperProvider(tmp_path, ("node-a", "silent")), "node-a", "silent")
