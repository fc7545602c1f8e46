"""Files are whole or untouched, and ours alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from astara.appliance.system import files


def test_a_file_is_readable_by_us_alone_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    files.replace(path, "secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_an_equal_file_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert files.replace_if_different(path, "a")
    inode = path.stat().st_ino
    assert not files.replace_if_different(path, "a")
    assert path.stat().st_ino == inode
    assert files.replace_if_different(path, "b")


def test_a_write_that_fails_leaves_the_old_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.replace(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.replace(path, "\ud800")
    target = tmp_path / "directory"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        files.replace(target, "new")
    assert path.read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["directory", "file"]
