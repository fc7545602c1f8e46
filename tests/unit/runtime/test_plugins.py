from __future__ import annotations

from pathlib import Path

import pytest

from astara.model.errors import BadConfiguration
from astara.runtime import plugins
from support.packages import install


@pytest.mark.parametrize("code", ["", "def", "raise RuntimeError('no licence')"])
def test_a_broken_package_of_others_is_told_and_stops_only_who_enabled_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    ours = set(plugins.loadable(plugins.PROVIDERS))
    install(monkeypatch, tmp_path, plugins.PROVIDERS, f"broken-{len(code)}", code)
    name = f"broken-{len(code)}"
    assert set(plugins.loadable(plugins.PROVIDERS)) == ours
    assert ours
    (line,) = (line for line in plugins.lines(plugins.PROVIDERS, []) if line.name == name)
    assert line.description.startswith("cannot be loaded: ")
    with pytest.raises(BadConfiguration, match=name):
        plugins.load(plugins.PROVIDERS, name, "[services] providers")
