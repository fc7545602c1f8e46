"""A small disk that really fills up: a tmpfs, mounted for the length of a test. Needs root."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

_PAGE = 4096


class SmallDisk:
    """`path` is its mount point."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leaving_pages: int = 0) -> None:
        """Write until nothing fits any more, then give `leaving_pages` pages of 4 kB back."""
        with self._ballast.open("wb", buffering=0) as ballast:
            for size in (_PAGE, 1):
                with contextlib.suppress(OSError):  # ENOSPC is what this is for
                    while True:
                        ballast.write(b"x" * size)
            ballast.truncate(ballast.tell() - leaving_pages * _PAGE)

    def relieve(self) -> None:
        """Take away what filled it."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(path: Path, kilobytes: int, files: int = 10_000) -> Iterator[SmallDisk]:
    """Mount a disk of that size at `path`, with room for so many files; take it away at the end."""
    path.mkdir(parents=True)
    options = f"size={kilobytes}k,nr_inodes={files},mode=711"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
