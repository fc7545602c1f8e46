"""INI files come out as oslo.config reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from astara_lab import ini


def test_oslo_config_reads_back_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "some.conf"
    ini.write(file, {"DEFAULT": {"debug": True, "n": 3}, "nodes": {"node": ["a=https://h:1", "b=https://h:2"]}})

    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.BoolOpt("debug"), cfg.IntOpt("n")])
    conf.register_opts([cfg.MultiStrOpt("node")], group="nodes")
    conf(["--config-file", str(file)])

    assert (conf.debug, conf.n, conf.nodes.node) == (True, 3, ["a=https://h:1", "b=https://h:2"])


def test_a_value_cannot_smuggle_a_second_line_in() -> None:
    with pytest.raises(ValueError, match="one line"):
        ini.render({"a": {"b": "x\n[c]\ny = 1"}})


def test_an_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / "some.conf"
    ini.write(file, {"a": {"b": 1}})
    before = file.stat().st_mtime_ns

    ini.write(file, {"a": {"b": 1}})

    assert file.stat().st_mtime_ns == before
